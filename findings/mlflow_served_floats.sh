#!/usr/bin/env bash
# MLflow 3.17.2: the server casts what the same model refuses in Python; a picture of 0 to 1 becomes black, "false"
# becomes True.
#
# What it does: the served model reads JSON with the types of its signature by a cast of NumPy's and checks them
#   afterwards, when they are right. pyfunc's predict checks what it is given, and refuses it.
# One would expect: an error for numbers that are not whole where whole ones are wanted, as in Python, and as the
#   server gives for 300 in uint8.
# Seen: a signature of uint8 pictures. A picture of 200s has a mean of 200 both ways. Divided by 255, predict raises
#   and the server answers 200 OK with a mean of 0. In a boolean column "false", "0", "no" and 0.2 are True and null is
#   False; in a column of whole numbers 0.7 is 0. predict refuses all but null.
# For users: a client that normalises its pictures first gets the scores of a black one, without an error. In tables an
#   annotator's 0.7 is absent and "no" is present. Take encoded files (a binary column), or float32 and check the
#   range.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mlflow-skinny==3.17.2 pandas==3.1.1 numpy==2.4.6 fastapi==0.165.0 httpx2==2.16.2
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import logging
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, Schema, TensorSpec

logging.getLogger("mlflow").setLevel("ERROR")
folder = Path(sys.argv[1])


class Shown(mlflow.pyfunc.PythonModel):
    """Gives back a table, and of pictures the mean."""

    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pandas.DataFrame):
            return model_input["answer"].tolist()
        return model_input.mean(axis=(1, 2, 3)).tolist()


def opened(name: str, schema: Schema) -> tuple[mlflow.pyfunc.PyFuncModel, TestClient]:
    """The model in Python and behind MLflow's own server."""
    mlflow.pyfunc.save_model(folder / name, python_model=Shown(), signature=ModelSignature(schema), pip_requirements=[])
    model = mlflow.pyfunc.load_model(str(folder / name))
    return model, TestClient(scoring_server.init(model))


def answered(model: mlflow.pyfunc.PyFuncModel, client: TestClient, given: object, body: dict) -> tuple:
    """What Python and the server answer, or that it is refused."""
    try:
        in_python = list(model.predict(given))[0]
    except MlflowException:
        in_python = "refused"
    reply = client.post("/invocations", json=body)
    served = reply.json()["predictions"][0] if reply.status_code == 200 else "refused"
    return in_python, served


whole = np.full((1, 4, 4, 3), 200, np.uint8)
pictures = opened("pictures", Schema([TensorSpec(np.dtype("uint8"), (-1, 4, 4, 3))]))
seen = {name: answered(*pictures, picture, {"inputs": picture.tolist()})
        for name, picture in {"200": whole, "200 / 255": whole / 255, "300": whole.astype(np.int64) + 100}.items()}
print("mean of a picture of uint8, in Python and served:", seen)
if seen != {"200": (200, 200), "200 / 255": ("refused", 0), "300": ("refused", "refused")}:
    raise SystemExit("changed: pictures between 0 and 1")
tables = {}
for kind, values in {"boolean": ["false", "0", "no", 0.2, None], "long": [0.7, 1.5, True]}.items():
    both = opened(kind, Schema([ColSpec(kind, "answer")]))
    for value in values:
        tables[kind, value] = answered(*both, pandas.DataFrame({"answer": [value]}),
                                       {"dataframe_records": [{"answer": value}]})
        print(f"{kind} column, {value!r}: in Python {tables[kind, value][0]}, served {tables[kind, value][1]}")
served = [answer for _, answer in tables.values()]
refused = [answer == "refused" for answer, _ in tables.values()]
if served != [True, True, True, True, False, 0, 1, 1] or refused != [True, True, True, True, False, True, True, True]:
    raise SystemExit("changed: answers of a table")
PYTHON
