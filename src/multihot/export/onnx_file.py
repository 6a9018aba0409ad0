"""The folder of an exported model: written in full, checked where it lies, and only then moved into place."""

from collections.abc import Callable
from pathlib import Path

import onnx

from multihot.export.onnx_model import ONNX_FILE
from multihot.files import publish_folder, remove_folder, stage_folder, writing
from multihot.ownership import Kind

ONE_FILE = 2_000_000_000  # bytes: a protobuf can be no larger than 2 GiB
WAY_OUT = "give another folder by out="
DATA_FILE = f"{ONNX_FILE}.data"
ONNX_MODEL = Kind("an ONNX model", {ONNX_FILE: b"", DATA_FILE: b""}, proof=(ONNX_FILE, b"multihot"))
TRITON_MODEL = Kind(
    "a model of Triton",
    {"config.pbtxt": b"# written by multihot", "labels.txt": b""},
    proof=("config.pbtxt", b"# written by multihot"),
    folders=("1",),
)


def write_model(model: onnx.ModelProto, folder: Path) -> Path:
    """Writes a model into a folder and returns its file; above ONE_FILE its weights are a second file beside it."""
    path = folder / ONNX_FILE
    if count_bytes(model) < ONE_FILE:
        onnx.save_model(model, path)
    else:
        onnx.save_model(model, path, save_as_external_data=True, location=DATA_FILE)
    return path


def count_bytes(model: onnx.ModelProto) -> int:
    """Returns the size of the weights of a model."""
    return sum(len(constant.raw_data) for constant in model.graph.initializer)


def publish(folder: Path, kind: Kind, fill: Callable[[Path], None]) -> None:
    """Moves a folder into place that `fill` has filled; what it raises leaves what was there before.

    Raises:
        InputError: it cannot be written, or what `fill` raises.
    """
    with writing(folder, WAY_OUT):
        new = stage_folder(folder)
        try:
            fill(new)
            publish_folder(folder, kind)
        finally:
            remove_folder(new)
