"""The server: its answers are evaluate's, and whatever clients do, it goes on and keeps nothing."""

import asyncio
import base64
import io
import json
import os
import socket
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from conftest import SMALL_DIGITS, train_as_told
from PIL import Image
from test_processes import begin, free_port

from multihot.data import create_source
from multihot.data.corrections import read_corrections
from multihot.data.images import decode_image
from multihot.decisions.calibration import Calibration
from multihot.decisions.decisions import Decisions
from multihot.evaluation.predictions import Predictions
from multihot.labels import Group, LabelSpace
from multihot.prediction.answers import Describer
from multihot.prediction.predictor import open_predictor
from multihot.report.saliency import load_explainer
from multihot.run.folder import load_run
from multihot.serving.app import create_app
from multihot.serving.batching import Batcher
from multihot.serving.bodies import Upload
from multihot.serving.limits import Limits
from multihot.serving.server import bind, create_server
from multihot.serving.service import Cores, Service

LIMITS = Limits(
    file_bytes=1_000_000, request_bytes=4_000_000, total_bytes=20_000_000, num_files=64, num_waiting=64,
    pixels=1_000_000, seconds=20.0,
)  # fmt: skip
ABOUT = {"run": "a", "model": "0123456789abcdef", "backend": "torch", "saliency": True, "multihot": "0"}
SPACE = LabelSpace(
    ("red", "green", "blue", "light", "dark"), (Group("brightness", ("light", "dark")),)
)  # of Colours, below


class Colours:
    """Stands for a predictor: the logits are the mean colour of a picture, and the fourth how light it is."""

    space, labels, min_side, model = SPACE, SPACE.labels, None, None
    accelerator = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self):
        cuts = torch.tensor([0.5, 0.5, 0.5, torch.nan, torch.nan])
        self.decisions = Decisions(SPACE, cuts, Calibration(SPACE, "none", [None] * 5, [1.0]), 0.6224593)
        self.may_go = threading.Event()  # the model waits for it
        self.may_go.set()
        self.sizes: list[int] = []  # of the batches

    decode = staticmethod(decode_image)

    def prepare(self, picture):
        return np.asarray(picture.resize((4, 4))).transpose(2, 0, 1)

    def logits(self, pixels):
        self.may_go.wait(20)
        self.sizes.append(len(pixels))
        means = pixels.double().mean(dim=(2, 3)) / 255
        return torch.cat([means, means.mean(dim=1, keepdim=True), 1 - means.mean(dim=1, keepdim=True)], dim=1).float()


@contextmanager
def serving(predictor, limits=LIMITS, *, batch_size=8, origins=(), **settings):
    """Gives a client of a server on this machine, with its application's state; no request is left at the end."""
    service = Service(predictor, cores=Cores(1), batch_size=batch_size, num_threads=2, **settings)
    app = create_app(service, limits, ABOUT, list(origins))
    bound = bind("127.0.0.1", 0)
    server = create_server(app, limits.seconds)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{bound.getsockname()[1]}"
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        wait_until(lambda: server.started)
        gate, connect = app.state.server.gate, partial(socket.create_connection, bound.getsockname())
        yield SimpleNamespace(client=client, address=address, gate=gate, connect=connect)
        wait_until(lambda: (gate.num_images, gate.num_bytes) == (0, 0))
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def wait_until(condition):
    """Waits until something is true, ten seconds at most."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def png(colour="red", size=(8, 8)):
    """Returns the bytes of a picture."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def head_of(length):
    """Returns the beginning of a request of JSON: httpx would not send half of one."""
    return (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def form(*contents, **fields):
    """Returns the files and the fields of a form, as httpx takes them."""
    return {"files": [("files", (f"{place}.png", each)) for place, each in enumerate(contents)], "data": fields}


@cache
def bomb(side=30_000):
    """Returns a PNG of a hundred kilobytes that is 900 million black pixels."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the folder of a small run."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a")
    return folder / "a"


@pytest.fixture(scope="module")
def pictures(run):
    """Returns the val images of the run, as PNG files."""
    _, trained, _ = load_run(str(run), {})
    data = create_source(trained.data, None, 0)("val")
    result = []
    for image in data.images:
        file = io.BytesIO()
        data.read(image).save(file, "PNG")
        result.append(file.getvalue())
    return result


def test_answers_are_those_of_evaluate(run, pictures):
    opened, trained, labels = load_run(str(run), {})
    with open_predictor(opened, trained, labels) as predictor, serving(predictor, batch_size=8) as served:
        records = served.client.post("/predict", **form(*pictures)).json()["images"]
        alone = [served.client.post("/predict", **form(each)).json()["images"][0] for each in pictures[:3]]
        saved = Predictions.load(run / "val", predictor.space)
        expected = Describer(predictor.decisions).describe([record["image"] for record in records], saved.logits)
    for record, wanted in zip(records + alone, expected + expected[:3], strict=True):
        assert record["labels"] == wanted["labels"]
        found = {score["label"]: score for score in record["scores"]}
        for score in wanted["scores"]:
            other = found[score["label"]]
            assert other["logit"] == pytest.approx(score["logit"], abs=1e-5)
            assert other["probability"] == pytest.approx(score["probability"], abs=2e-6)
            assert (other["threshold"], other["predicted"]) == (score["threshold"], score["predicted"])


def test_logits_are_those_of_evaluate_to_the_last_bit_in_any_batch(run, pictures):
    opened, trained, labels = load_run(str(run), {})
    with open_predictor(opened, trained, labels) as predictor:
        service = Service(predictor, cores=Cores(1), batch_size=8, num_threads=1)
        pixels = [service.prepare(Upload("", each)) for each in pictures[:16]]  # two batches of evaluate
        saved = Predictions.load(run / "val", predictor.space).logits[:16]
        service.warm_up()
        for size in (1, 2, 3, 5, 8):
            logits = torch.cat([service.compute(pixels[start : start + size], 0) for start in range(0, 16, size)])
            assert torch.equal(logits, saved), f"batches of {size}"
        service.close()


def test_jpegs_are_read_straight_to_the_pixels_that_a_picture_has(run, monkeypatch):
    picture, file = Image.effect_noise((300, 200), 60).convert("RGB"), io.BytesIO()
    picture.save(file, "JPEG")
    opened, trained, labels = load_run(str(run), {})
    with open_predictor(opened, trained, labels) as predictor:
        service = Service(predictor, cores=Cores(1), batch_size=8, num_threads=1)
        wanted = predictor.prepare(decode_image(file, "a.jpg", predictor.min_side))
        monkeypatch.setattr("multihot.data.pixels.decode_image", lambda *args: pytest.fail("made a picture"))
        assert np.array_equal(service.prepare(Upload("a.jpg", file.getvalue())), wanted)
        service.close()


@pytest.mark.parametrize(("exact", "sizes"), [(True, [4, 5, 8]), (False, [2, 5, 8])])
def test_small_batches_are_filled_up_where_they_change_logits(exact, sizes):
    class Rounding(Colours):
        def logits(self, pixels):
            return super().logits(pixels) + (1e-6 if len(pixels) < 4 else 0)

    colours = Rounding()
    service = Service(colours, cores=Cores(1), batch_size=8, num_threads=1)
    service.warm_up(exact)
    pixels = [colours.prepare(Image.new("RGB", (8, 8), (number, 0, 0))) for number in range(8)]
    wanted = service.compute(pixels, 0)
    colours.sizes.clear()
    logits = [service.compute(pixels[:size], 0) for size in (2, 5, 8)]
    service.close()
    assert colours.sizes == sizes
    assert [torch.equal(each, wanted[: len(each)]) for each in logits] == [exact, True, True]


def test_forms_and_json_are_answered_alike():
    contents = [png("red"), png("lime"), b"no picture", png("blue", (300, 300))[:90]]
    encoded = [base64.b64encode(each).decode() for each in contents]
    images = [encoded[0], {"name": "b", "data": f"data:image/png;base64,{encoded[1]}"}, *encoded[2:], "/etc/passwd", {}]
    with serving(Colours()) as served:
        by_form = served.client.post("/predict", **form(*contents, top_k="2")).json()["images"]
        by_json = served.client.post("/predict", json={"images": images, "top_k": 2}).json()["images"]
    assert [record["image"] for record in by_form] == ["0.png", "1.png", "2.png", "3.png"]
    assert [record["image"] for record in by_json] == ["0", "b", "2", "3", "4", "5"]
    # Mean colour (1, 0, 0): red is above its cut of 0.5, and dark (2/3) is above light (1/3).
    assert by_form[0]["labels"] == ["red", "dark"]
    assert [score["label"] for score in by_form[0]["scores"]] == ["red", "dark"]
    assert by_form[0]["scores"][0]["logit"] == 1.0
    assert [record["scores"] for record in by_form] == [record["scores"] for record in by_json[:4]]
    assert [record["error"] is None for record in by_form] == [True, True, False, False]
    assert "not an image" in by_form[2]["error"]
    assert "base64" in by_json[4]["error"]  # a path is not read
    assert "base64" in by_json[5]["error"]


def test_facts_and_api_are_told():
    with serving(Colours()) as served:
        assert served.client.get("/health").json() == {"ready": True, "images": 0, "bytes": 0, **ABOUT}
        told = served.client.get("/labels").json()
        assert told["labels"] == list(SPACE.labels)
        assert told["thresholds"] == [0.6224593] * 3 + [None] * 2
        assert told["groups"] == [{"name": "brightness", "labels": ["light", "dark"], "none": False}]
        paths = served.client.get("/openapi.json").json()["paths"]
        assert set(paths) == {"/predict", "/saliency", "/health", "/labels"}
        assert set(paths["/predict"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
        answer = served.client.get("/labels", headers={"Origin": "http://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
    with serving(Colours(), origins=["http://elsewhere.example"]) as served:
        answer = served.client.get("/labels", headers={"Origin": "http://elsewhere.example"})
        assert answer.headers["access-control-allow-origin"] == "http://elsewhere.example"


@pytest.mark.parametrize(
    ("request_of", "status", "words"),
    [
        (form(png(), top_k="0"), 422, "top_k='0'"),
        (form(png(), topk="3"), 422, "no field 'topk'"),
        (form(*[png()] * 65), 413, "64 images"),
        (form(png(), top_k="1" * 5000), 413, "4096 bytes"),
        ({"data": {"top_k": "1"}, "files": {}}, 415, "multipart"),
        ({"files": [("files", ("a.png", bytes(5_000_000)))]}, 413, "4000000 bytes"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "no JSON"),
        ({"json": {"image": "a"}}, 422, "expected"),
        ({"json": {"images": []}}, 422, "no image"),
        ({"json": {"images": [""], "path": "/etc/passwd"}}, 422, "no field 'path'"),
        ({"content": b"--a", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, 400, "cut short"),
        ({"content": b"xyz", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, 400, "no form"),
    ],
)
def test_a_wrong_request_is_refused_in_words(request_of, status, words, shared):
    answer = shared.client.post("/predict", **request_of)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


@pytest.fixture(scope="module")
def shared():
    """Returns a server that several tests ask."""
    with serving(Colours()) as served:
        yield served


def test_a_request_is_counted_while_it_is_read(shared):
    num_sent = 0

    def endless():
        nonlocal num_sent
        yield b'--a\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        while num_sent < 40_000_000:
            num_sent += 1 << 16
            yield bytes(1 << 16)

    headers = {"Content-Type": "multipart/form-data; boundary=a"}
    answer = shared.client.post("/predict", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert shared.gate.num_bytes == 0


def test_one_bad_image_does_not_cost_the_others(shared):
    large, broken = bytes(1_500_000), png("red", (300, 300))[:-30]
    answer = shared.client.post("/predict", **form(large, bomb(), broken, b"", png("blue")))
    records = answer.json()["images"]
    errors = [record["error"] for record in records]
    assert answer.status_code == 200
    assert "1000000 bytes" in errors[0]
    assert "1000000 pixels" in errors[1]
    assert "cannot read the image 2.png" in errors[2]
    assert "empty" in errors[3]
    assert errors[4] is None
    assert records[4]["labels"] == ["blue", "dark"]


WRITTEN = []  # files that are opened to be written, while this is watched
IS_WATCHED = threading.Event()


def watch(event, arguments):
    """Notes what is written; Python knows no way to take such a hook back."""
    if IS_WATCHED.is_set() and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        WRITTEN.append(arguments[0])


def test_nothing_is_written_to_the_disk():
    sys.addaudithook(watch)
    content = os.urandom(900_000)
    with serving(Colours()) as served:
        IS_WATCHED.set()
        served.client.post("/predict", **form(content, content, png()))
        served.client.post("/predict", json={"images": [base64.b64encode(content).decode()]})
        IS_WATCHED.clear()
    assert WRITTEN == []


def test_memory_returns_after_requests(shared):
    request = form(png("red", (900, 900)), bytes(900_000), bomb(), png("red", (900, 900))[:2000])

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(3):
        shared.client.post("/predict", **request)
    before = resident()
    for _ in range(12):
        shared.client.post("/predict", **request)
    assert resident() - before < 12_000_000  # a request brings a megabyte, and five of pixels


def test_a_full_queue_says_when_to_come_again():
    colours = Colours()
    colours.may_go.clear()
    with serving(colours, replace(LIMITS, num_waiting=3)) as served:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(served.client.post("/predict", **form(*[png()] * 3))))
        asking.start()
        wait_until(lambda: served.gate.num_images == 3)
        refused = httpx.post(f"{served.address}/predict", **form(png()), trust_env=False)
        colours.may_go.set()
        asking.join(20)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "queue is full" in refused.json()["detail"]
        assert answers[0].status_code == 200
        assert served.client.post("/predict", **form(png())).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up():
    colours = Colours()
    colours.may_go.clear()
    with serving(colours, replace(LIMITS, seconds=0.3)) as served:
        answer = served.client.post("/predict", **form(png()))
        colours.may_go.set()
        assert (answer.status_code, "0.3 s" in answer.text) == (504, True)


def test_a_client_that_sends_too_slowly_is_given_up():
    with serving(Colours(), replace(LIMITS, seconds=0.3)) as served, served.connect() as slow:
        slow.sendall(head_of(9) + b"{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 504")


def test_what_a_client_asked_that_goes_away_is_not_computed():
    colours = Colours()
    with serving(colours, batch_size=1) as served:
        colours.may_go.clear()
        first = threading.Thread(target=lambda: served.client.post("/predict", **form(png())))
        first.start()
        wait_until(lambda: served.gate.num_images == 1)
        content = base64.b64encode(png()).decode()
        body = json.dumps({"images": [content] * 5}).encode()
        head = head_of(len(body))
        with served.connect() as leaving:
            leaving.sendall(head + body)
            wait_until(lambda: served.gate.num_images == 6)
        with served.connect() as leaving:
            leaving.sendall(head + body[:20])
        wait_until(lambda: served.gate.num_images == 1)
        colours.may_go.set()
        first.join(20)
        assert served.client.post("/predict", **form(png())).status_code == 200
    assert colours.sizes == [1, 1]  # none of the five


def test_a_model_that_fails_does_not_end_the_server():
    colours = Colours()
    answers = iter([RuntimeError("out of memory"), None])

    def fail_once(pixels):
        if error := next(answers):
            raise error
        return Colours.logits(colours, pixels)

    colours.logits = fail_once
    with serving(colours) as served:
        failed = served.client.post("/predict", **form(png()))
        assert (failed.status_code, failed.json()["detail"]) == (500, "the model failed: out of memory")
        assert served.client.post("/predict", **form(png())).status_code == 200


def test_many_clients_at_once_are_answered_or_told_to_come_again():
    num_clients, colours = 1000, Colours()
    contents = {colour: png(colour) for colour in ("red", "lime", "blue")}
    names = {"red": "red", "lime": "green", "blue": "blue"}

    async def ask(port, colour):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"images": [base64.b64encode(contents[colour]).decode()]}).encode()
        writer.write(head_of(len(body)) + body)
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status = int(head.split()[1])
        if status == 200:
            assert json.loads(content)["images"][0]["labels"][0] == names[colour]
        return status

    async def ask_all(port):
        colour = [*contents] * num_clients
        return await asyncio.gather(*(ask(port, colour[place]) for place in range(num_clients)))

    with serving(colours, replace(LIMITS, num_waiting=100), batch_size=32) as served:
        statuses = asyncio.run(ask_all(served.client.base_url.port))
        assert served.client.get("/health").json()["ready"]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 100
    assert sum(colours.sizes) == statuses.count(200)
    assert max(colours.sizes) <= 32


def test_batches_are_what_waits():
    may_go, sizes = threading.Event(), []

    def compute(items, _thread):
        may_go.wait(10)
        sizes.append(len(items))
        return [2 * item for item in items]

    batcher = Batcher(compute, batch_size=3)
    futures = [batcher.submit(number) for number in range(6)]
    wait_until(lambda: len(batcher.waiting) == 5)
    futures[2].cancel()
    may_go.set()
    batcher.close()
    assert [future.result() for future in futures if not future.cancelled()] == [0, 2, 6, 8, 10]
    assert sizes == [1, 3, 1]


def test_an_answer_does_not_wait_for_the_receipt_of_its_headers():
    async def connect():
        accepted = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(
                    transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                )

        bound = bind("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(Protocol, sock=bound)
        async with server:
            _, writer = await asyncio.open_connection(*bound.getsockname())
            writer.close()
            return await accepted

    assert asyncio.run(connect())


def test_a_second_batch_is_computed_beside_the_first_and_one_client_keeps_to_one_thread():
    both, seen = threading.Barrier(2, timeout=10), []

    def compute(items, thread):
        seen.append(thread)
        if items[0] < 2:
            both.wait()  # for the other batch
        return items

    batcher = Batcher(compute, batch_size=1, num_threads=2)
    assert [future.result(10) for future in [batcher.submit(0), batcher.submit(1)]] == [0, 1]
    assert sorted(seen) == [0, 1]
    wait_until(lambda: batcher.num_calls == [0, 0])
    for number in range(2, 6):
        assert batcher.submit(number).result(10) == number
        wait_until(lambda: batcher.num_calls == [0, 0])
    assert seen[2:] == [0] * 4
    batcher.close()


def test_the_first_thread_has_the_cores_that_no_other_uses(monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    cores = Cores(4)
    with cores.share(0), cores.share(1), cores.share(0):
        pass
    with cores.share(1):
        pass
    assert given == [4, 1, 1, 1]


def test_a_saliency_is_a_picture(run, pictures):
    opened, trained, labels = load_run(str(run), {})
    with open_predictor(opened, trained, labels) as predictor:
        settings = {"load_explainer": lambda: load_explainer(opened.best, predictor.space)}
        with serving(predictor, **settings) as served:
            answer = served.client.post("/saliency", **form(pictures[0], label=labels[0]))
            assert answer.headers["content-type"] == "image/jpeg"
            assert Image.open(io.BytesIO(answer.content)).size == tuple(predictor.preprocessing["input_size"][1:])
            answer = served.client.post("/saliency", **form(pictures[0], label="none such"))
            assert (answer.status_code, "none such" in answer.text) == (422, True)
        with serving(predictor) as served:
            answer = served.client.post("/saliency", **form(pictures[0], label=labels[0]))
            assert (answer.status_code, "saliency=false" in answer.text) == (422, True)


@pytest.mark.slow
def test_sigterm_finishes_what_is_waiting(run, pictures, tmp_path):
    port = free_port()
    [process] = begin(tmp_path, 1, "scripts/serve.py", f"run={run}", f"port={port}", "batch_size=1")
    address, answers = f"http://127.0.0.1:{port}", []

    def is_ready():
        try:
            return httpx.get(f"{address}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return not process.is_alive()

    end = time.monotonic() + 120
    while not is_ready() and time.monotonic() < end:
        time.sleep(0.2)
    many = form(*pictures * 3)
    asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{address}/predict", **many, trust_env=False)))
    asking.start()
    end = time.monotonic() + 20
    while not httpx.get(f"{address}/health", trust_env=False).json()["images"] and not answers:
        assert time.monotonic() < end
    process.terminate()
    process.join(60)
    asking.join(10)
    output = (tmp_path / "log").read_text()
    assert process.exitcode == 0, output
    assert len(answers[0].json()["images"]) == 3 * len(pictures)
    assert "POST /predict 200 63 images" in output
    assert "Traceback" not in output


@pytest.fixture
def page(browser):
    """page(address, width=1280): the page in a tab; that it asked nobody else and nothing went wrong is checked."""
    faults, tabs = [], []

    def open_tab(address, width=1280, path="/"):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        ours = (f"{address}/", "blob:", "data:")
        tab.on("request", lambda one: None if one.url.startswith(ours) else faults.append(one.url))
        tab.goto(address + path)
        tabs.append(tab)
        return tab

    yield open_tab
    for tab in tabs:
        tab.close()
    assert faults == []


def choose(tab, *pictures):
    """Chooses files on the page and waits for their answers."""
    files = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in pictures]
    tab.wait_for_selector("body[data-ready]")
    tab.set_input_files("#files", files)
    tab.wait_for_selector('#thumbs:not(:has-text("…"))')


def predicted(tab):
    """Returns the labels that the page calls predicted."""
    return tab.locator("#labels li.yes").evaluate_all("rows => rows.map(row => row.dataset.label)")


def test_the_page_answers_and_saves_corrections(page, tmp_path):
    with serving(Colours()) as served:
        tab = page(served.address)
        choose(tab, ("a, b.png", png("red")), ("blue.png", png("blue")), ("text.png", b"none"))
        assert tab.locator("#labels li").evaluate_all("rows => rows.map(row => row.dataset.label)")[:2] == [
            "red",
            "dark",
        ]
        assert predicted(tab) == ["red", "dark"]
        assert tab.locator("#labels input").count() == 3  # a label in a group has no threshold to move
        tab.locator('[data-label="green"] .wrong').click()
        tab.locator('[data-label="red"] input').fill("0.9")  # above the probability 1 / (1 + 1 / e) = 0.731
        assert predicted(tab) == ["dark"]
        assert "1 threshold moved" in tab.locator("#tray").inner_text()
        tab.locator('[data-label="red"] .wrong').click()  # as it is decided now: absent
        tab.locator("[data-photo='1']").click()
        assert predicted(tab) == ["blue", "dark"]
        tab.locator('[data-label="blue"] .wrong').click()
        with tab.expect_download() as download:
            tab.locator("#save").click()
        download.value.save_as(tmp_path / "corrections.csv")
        tab.locator("#reset").click()
        tab.locator("[data-photo='0']").click()
        assert predicted(tab) == ["red", "dark"]
        tab.locator("#search").fill("ee")
        assert tab.locator("#labels li").count() == 1
        tab.locator("[data-photo='2']").click()
        assert "not an image" in tab.locator("#problem").inner_text()
    lines = [line[1:] for line in read_corrections(str(tmp_path / "corrections.csv"))]
    assert lines == [("a, b.png", "green", 1), ("a, b.png", "red", 1), ("blue.png", "blue", 0)]


def test_photos_can_be_dropped_and_pasted_on_a_telephone_too(page):
    with serving(Colours()) as served:
        tab = page(served.address, width=390)
        tab.wait_for_selector("body[data-ready]")
        data = base64.b64encode(png("lime")).decode()
        give = """([data, kind, key]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            transfer.items.add(new File([bytes], `${kind}.png`, {type: "image/png"}));
            const type = kind === "drop" ? DragEvent : ClipboardEvent;
            window.dispatchEvent(new type(kind, {[key]: transfer, bubbles: true, cancelable: true}));
        }"""
        tab.evaluate(give, [data, "drop", "dataTransfer"])
        tab.evaluate(give, [data, "paste", "clipboardData"])
        tab.wait_for_selector("#thumbs button:nth-child(2)")
        tab.wait_for_selector('#thumbs:not(:has-text("…"))')
        assert predicted(tab) == ["green", "dark"]
        assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_shows_what_speaks_for_a_label_and_the_api_is_described(page):
    def load():
        return lambda picture, label: Image.new("RGB", (40, 40), "orange")

    with serving(Colours(), load_explainer=load) as served:
        tab = page(served.address)
        choose(tab, ("a.png", png("red")))
        tab.locator('[data-label="red"] .where').click()
        tab.wait_for_selector('#caption:has-text("orange speaks for red")')
        assert tab.locator("#picture").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
        tab.locator("#plain").click()
        assert tab.locator("#picture").evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
        tab = page(served.address, path="/docs")
        assert "POST /predict" in tab.locator("main").inner_text()
        assert served.address in tab.locator("main").inner_text()
