"""The API: what is asked, what is refused, and what is said of each request in the log."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multihot.errors import InputError
from multihot.serving.batching import ModelError
from multihot.serving.bodies import Body, read_body
from multihot.serving.limits import Gate, Limits, Refused, Share
from multihot.serving.openapi import LABEL, RESPONSES, TOP_K, Answers, describe_body
from multihot.serving.page import PAGE_TYPES, create_docs, create_page
from multihot.serving.service import Service, limiting_pixels

log = logging.getLogger(__name__)

GONE = 499  # nginx's status of a request whose client does not wait any more; nobody reads it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Result = TypeVar("Result")


class Server:
    """What the requests share: the service, what it may hold, and what is said of the run."""

    def __init__(self, service: Service, limits: Limits, about: Mapping[str, object]):
        self.service = service
        self.limits = limits
        self.about = about
        self.gate = Gate(limits)
        self.is_ready = False

    @asynccontextmanager
    async def open(self, _app: FastAPI) -> AsyncIterator[None]:
        """Is ready as long as it is open; then ends when the queue is done."""
        with limiting_pixels(self.limits.pixels):
            self.is_ready = True
            yield
            self.is_ready = False
            self.service.close()

    async def within_limits(self, request: Request, answer: Callable[[Body], Awaitable[Result]]) -> Result:
        """Returns what is answered to the body of a request.

        Raises:
            Refused: the request is wrong or too large, the queue is full, or the time is over.
            ClientDisconnect: nobody waits for the answer any more.
        """
        with self.gate.enter() as share:
            try:
                return await asyncio.wait_for(self.read_and_answer(request, share, answer), self.limits.seconds)
            except asyncio.TimeoutError:
                raise Refused(504, f"no answer within {self.limits.seconds:g} s (seconds)") from None

    async def read_and_answer(
        self, request: Request, share: Share, answer: Callable[[Body], Awaitable[Result]]
    ) -> Result:
        """Returns what `within_limits` does."""
        headers = request.headers
        chunks = request.stream()
        body = await read_body(headers.get("content-type", ""), headers.get("content-length", ""), chunks, share)
        if not body.uploads:
            raise Refused(422, "there is no image in the request")
        request.state.num_images = len(body.uploads)
        share.add_images(len(body.uploads))
        return await unless_gone(request, answer(body))


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Returns the result of work, which is cancelled if the client goes away; raises ClientDisconnect then."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


def read_top_k(fields: Mapping[str, object]) -> int | None:
    """Returns the number of labels that are asked for; raises Refused for another field or what is no such number."""
    check_fields(fields, "top_k")
    value = fields.get("top_k")
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal() or int(value) < 1:
        raise Refused(422, f"top_k={value!r}: expected a whole number from 1 up")
    return int(value)


def check_fields(fields: Mapping[str, object], known: str) -> None:
    """Raises Refused for a field that means nothing."""
    unknown = sorted(set(fields) - {known})
    if unknown:
        raise Refused(422, f"there is no field {unknown[0]!r}: besides images there is {known}")


def create_app(service: Service, limits: Limits, about: Mapping[str, object], origins: list[str]) -> FastAPI:
    """Returns the application.

    Args:
        about: what /health says of the run and the versions, with its name as `run`.
        origins: of the pages that browsers let read the answers (CORS).
    """
    server = Server(service, limits, about)
    app = FastAPI(
        title=f"multihot: {about['run']}", version=str(about["multihot"]), docs_url=None, redoc_url=None,
        lifespan=server.open,
    )  # fmt: skip
    app.state.server = server
    add_answers(app, server)
    add_facts(app, server)
    add_pages(app, server)
    app.add_exception_handler(Refused, tell_refused)
    app.add_exception_handler(InputError, lambda _, error: JSONResponse({"detail": str(error)}, 422))
    app.add_exception_handler(ModelError, lambda _, error: JSONResponse({"detail": str(error)}, 500))
    app.add_exception_handler(ClientDisconnect, lambda _, error: Response(status_code=GONE))
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"])
    app.add_middleware(Logged)
    return app


def tell_refused(_request: Request, refused: Exception) -> JSONResponse:
    """Returns the answer to a request that is refused."""
    return JSONResponse({"detail": str(refused)}, refused.status, refused.headers)


def add_answers(app: FastAPI, server: Server) -> None:
    """Adds what the model is asked for."""

    @app.post(
        "/predict", response_model=Answers, responses=RESPONSES, openapi_extra=describe_body("files", top_k=TOP_K)
    )
    async def predict(request: Request) -> Response:
        """Labels of images, sent as files of a form or as base64 in JSON.

        An image that cannot be read has an error in its own record; the others are answered.
        """
        content = await server.within_limits(
            request, lambda body: server.service.answer(body.uploads, read_top_k(body.fields))
        )
        return Response(content, media_type="application/json")

    @app.post(
        "/saliency",
        response_class=Response,
        responses=RESPONSES | {200: {"description": "a picture", "content": {"image/jpeg": {}}}},
        openapi_extra=describe_body("files", label=LABEL),
    )
    async def saliency(request: Request) -> Response:
        """The part of one image that the model sees, orange where it speaks for the field label."""

        async def show(body: Body) -> bytes:
            check_fields(body.fields, "label")
            if len(body.uploads) != 1:
                raise Refused(422, "a saliency is of one image")
            return await server.service.show(body.uploads[0], str(body.fields.get("label")))

        return Response(await server.within_limits(request, show), media_type="image/jpeg")


def add_facts(app: FastAPI, server: Server) -> None:
    """Adds what is said of the server and its labels."""
    predictor = server.service.predictor

    @app.get("/health", responses={503: {"description": "not ready"}})
    async def health() -> Response:
        """Whether images are answered, by which model and which versions."""
        state = {"ready": server.is_ready, "images": server.gate.num_images, "bytes": server.gate.num_bytes}
        return JSONResponse(state | dict(server.about), 200 if server.is_ready else 503)

    @app.get("/labels")
    async def labels() -> dict:
        """The labels in the order of the model's outputs, their thresholds as calibrated probabilities, the groups.

        Of a label in a group the threshold is null: the largest logit decides.
        """
        thresholds = predictor.decisions.thresholds()
        return {"labels": predictor.labels, "thresholds": thresholds, "groups": [*map(asdict, predictor.space.groups)]}


def add_pages(app: FastAPI, server: Server) -> None:
    """Adds what people see, none of it from elsewhere."""

    def page(name: str) -> Callable[[], Awaitable[Response]]:
        content = create_page(name, server.about)

        async def send() -> Response:
            return Response(content, media_type=PAGE_TYPES[name])

        return send

    for name in PAGE_TYPES:
        app.get("/" if name == "page.html" else f"/{name}", include_in_schema=False)(page(name))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(create_docs(app.openapi(), str(request.base_url)))


class Logged:
    """Sets headers that keep browsers careful, and writes one line a request into the log."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            client, state = (scope.get("client") or ["-"])[0], scope.get("state", {})
            images = f" {state['num_images']} images" if "num_images" in state else ""
            milliseconds = 1000 * (time.perf_counter() - start)
            path = ascii(scope["path"][:80])[1:-1]
            log.info("%s %s %s %d%s %.0f ms", client, scope["method"], path, status, images, milliseconds)
