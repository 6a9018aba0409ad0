#!/usr/bin/env bash
# FastAPI 0.165.0: a NaN in a JSON body that its own check refuses is answered with 500, and a NaN in an answer is null
# or 500 by whether the function says what it returns.
#
# What it does: the refusal (422) quotes the value that was given, and a NaN cannot be written as JSON there: the error
#   is raised and logged as the server's. An answer with a return type is written by pydantic, one without by Python's
#   json.
# One would expect: 422, as for the same NaN in the query or as a word, and one way to write an answer.
# Seen: {"threshold": NaN} for a number from 0 to 1: 500. "nan" as a word, or in the query: 422. Infinity and 1e400,
#   which strict JSON allows and Python reads as inf: 500 as well. probability NaN: with "-> Answer" 200 and null,
#   without 500.
# For users: whoever sends a threshold out of pandas or NumPy makes the server log tracebacks and is told that the
#   server is at fault. An image whose score is NaN is an empty probability or an error by a type annotation. Set a
#   handler for RequestValidationError that leaves the values out, and look for NaN before answering.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fastapi==0.165.0 starlette==1.10.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

app = FastAPI()


class Question(BaseModel):
    threshold: float = Field(ge=0, le=1)


class Answer(BaseModel):
    probability: float


@app.post("/predict")
def predict(question: Question) -> float:
    return question.threshold


@app.get("/cut")
def cut(threshold: Annotated[float, Query(ge=0, le=1)]) -> float:
    return threshold


@app.get("/typed")
def typed() -> Answer:
    return Answer(probability=float("nan"))


@app.get("/untyped")
def untyped():
    return {"probability": float("nan")}


client = TestClient(app, raise_server_exceptions=False)
bodies = {value: client.post("/predict", content=f'{{"threshold": {value}}}',
                             headers={"content-type": "application/json"}).status_code
          for value in ("0.5", "2", "NaN", "Infinity", "1e400", '"nan"')}
print("threshold in the body:", bodies)
query = client.get("/cut", params={"threshold": "nan"}).status_code
print("nan in the query:", query)
answers = {path: client.get(path) for path in ("/typed", "/untyped")}
print("an answer of NaN:", {path: (answer.status_code, answer.text) for path, answer in answers.items()})
if bodies != {"0.5": 200, "2": 422, "NaN": 500, "Infinity": 500, "1e400": 500, '"nan"': 422} or query != 422:
    raise SystemExit("changed: what a NaN or inf in the body is answered")
if answers["/typed"].text != '{"probability":null}' or answers["/untyped"].status_code != 500:
    raise SystemExit("changed: a NaN in an answer")
PYTHON
