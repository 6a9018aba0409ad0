"""What /openapi.json says of requests and answers: bodies are read by `multihot.serving.bodies`, not by FastAPI."""

from collections.abc import Mapping

from pydantic import BaseModel


class Score(BaseModel):
    """One label of an image."""

    label: str
    probability: float
    logit: float
    threshold: float | None
    predicted: bool


class Answer(BaseModel):
    """One image: the labels that hold, the scores of all or of the top_k likeliest, or why it cannot be read."""

    image: str
    labels: list[str]
    scores: list[Score]
    error: str | None


class Answers(BaseModel):
    """One record an image, in the order of the request."""

    images: list[Answer]


class Problem(BaseModel):
    """Why a request is not answered."""

    detail: str


PROBLEMS = {
    400: "the body is damaged",
    413: "too many bytes or images",
    415: "neither a form nor JSON",
    422: "a field is wrong",
    500: "the model failed",
    503: "the queue is full, or the server is ending: come again after Retry-After seconds",
    504: "it took too long",
}
RESPONSES = {status: {"description": words, "model": Problem} for status, words in PROBLEMS.items()}
IMAGE_OF_JSON = {
    "oneOf": [
        {"type": "string", "description": "its bytes as base64"},
        {
            "type": "object",
            "required": ["data"],
            "properties": {"name": {"type": "string"}, "data": {"type": "string", "description": "base64"}},
        },
    ]
}
FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
TOP_K = {"type": "integer", "minimum": 1, "description": "labels with scores at most; left out: all"}
LABEL = {"type": "string"}


def describe_body(files: str, **fields: Mapping) -> dict:
    """Returns what OpenAPI says of a body that is a form or JSON."""
    form = {"type": "object", "required": [files], "properties": {files: FILES, **fields}}
    images = {"type": "array", "items": IMAGE_OF_JSON}
    plain = {"type": "object", "required": ["images"], "properties": {"images": images, **fields}}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": plain}}
    return {"requestBody": {"required": True, "content": content}}
