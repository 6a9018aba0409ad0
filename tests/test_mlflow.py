"""A run's model as an MLflow pyfunc, which answers as the handler does."""

import sys

import numpy as np
import pytest
from conftest import compose_config, load_script
from PIL import Image

from multihot.errors import InputError
from multihot.export.templates.handler import EndpointHandler

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow", "ignore:.*type hint is inferred", "ignore:.*is deprecated")


def export_mlflow(*overrides: str) -> None:
    """Runs scripts/export_mlflow.py in this process."""
    load_script("scripts/export_mlflow").main.__wrapped__(compose_config("export_mlflow", list(overrides)))


def test_a_pyfunc_answers_as_the_handler_does(train, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pandas = pytest.importorskip("pandas")
    train("name=a")
    export_mlflow(f"run={tmp_path}/a", f"out={tmp_path}/out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(picture)
    [data] = [path.parent for path in (tmp_path / "out/data").rglob("config.json")]
    handler, inputs = EndpointHandler(str(data)), [picture.read_bytes(), b"none"]
    model = mlflow.pyfunc.load_model(str(tmp_path / "out"))
    images = pandas.DataFrame({"image": inputs})
    assert model.predict(images) == handler({"inputs": inputs})
    assert model.predict(images, params={"top_k": 2}) == handler({"inputs": inputs, "parameters": {"top_k": 2}})
    assert model.predict(images)[1]["error"]


def test_a_folder_of_others_is_not_replaced(tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/MLmodel").write_text("flavors: {sklearn: {}}")
    with pytest.raises(InputError, match="would be replaced"):
        export_mlflow(f"run={tmp_path}/a", f"out={tmp_path}/out")


def test_without_mlflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r'pip install -e "\.\[mlflow\]"'):
        export_mlflow(f"run={tmp_path}/a", f"out={tmp_path}/out")
