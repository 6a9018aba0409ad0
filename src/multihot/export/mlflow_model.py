"""A run's model as an MLflow pyfunc: a folder that `mlflow models serve` and `mlflow.pyfunc.load_model` take."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from multihot.errors import InputError
from multihot.evaluation.decided import read_space, settle_decisions
from multihot.export.bundle import WAY_OUT, write_model
from multihot.files import publish_folder, stage_folder, writing
from multihot.model.saved import load_model
from multihot.ownership import Kind
from multihot.run.folder import Run

LOADER = "mlflow_loader"
REQUIRED = ("timm", "torch", "torchvision", "pillow", "numpy")
FOLDER = Kind(
    "an MLflow model",
    dict.fromkeys(("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"), b""),
    proof=("MLmodel", LOADER.encode()),
    folders=("code", "data"),
)


def save_mlflow(folder: Path, run: Run, settings: DictConfig, labels: tuple[str, ...]) -> None:
    """Writes the folder, in full or not at all, without a pickle.

    Args:
        settings: of the run.

    Raises:
        InputError: the model is damaged or has other labels, a file cannot be written, or there is no MLflow.
    """
    decisions = settle_decisions(run, settings, read_space(settings, labels))
    load_model(run.best, labels)  # which checks it
    loader = files("multihot.export") / "templates" / f"{LOADER}.py"
    new = stage_folder(folder)
    with writing(folder, WAY_OUT), TemporaryDirectory() as parent, as_file(loader) as code:
        data = Path(parent) / "model"
        data.mkdir()
        write_model(data, run, decisions)
        with import_mlflow() as mlflow:
            mlflow.pyfunc.save_model(
                new,
                loader_module=LOADER,
                data_path=str(data),
                code_paths=[str(code)],
                signature=create_signature(mlflow),
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIRED],
            )
    publish_folder(folder, FOLDER)


def create_signature(mlflow):
    """Returns what goes in, a column of bytes, and what comes out, as MLflow says it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    score = Object([
        Property("label", DataType.string),
        Property("probability", DataType.double),
        Property("logit", DataType.double),
        Property("threshold", DataType.double, required=False),
        Property("predicted", DataType.boolean),
    ])  # fmt: skip
    outputs = [
        ColSpec(DataType.string, "image"),
        ColSpec(Array(DataType.string), "labels"),
        ColSpec(Array(score), "scores"),
        ColSpec(DataType.string, "error", required=False),
    ]
    params = ParamSchema([ParamSpec("top_k", DataType.long, 0)])  # 0: all
    return ModelSignature(Schema([ColSpec(DataType.binary, "image")]), Schema(outputs), params)


@contextmanager
def import_mlflow() -> Iterator:
    """Gives MLflow, without its warnings; raises InputError where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import mlflow
            import mlflow.pyfunc  # not there in an MLflow without pandas
        except ImportError as error:
            raise InputError(f'this needs MLflow ({error}): pip install -e ".[mlflow]"') from error
        yield mlflow
