"""A model.onnx computed by onnxruntime: logits of pixels, for prediction and server."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multihot.errors import InputError, first_line
from multihot.evaluation.predictions import hash_model
from multihot.export.onnx_names import IMAGE, OUTPUTS, PIXELS
from multihot.run.folder import Run

ONNX_FOLDER, ONNX_FILE = "onnx", "model.onnx"  # in a run folder


class OnnxModel:
    """What `scripts/export_onnx.py` has written."""

    def __init__(self, path: str | Path, num_threads: int | None = None):
        """Opens a file.

        Args:
            num_threads: of one computation; None: onnxruntime takes all cores.

        Raises:
            InputError: onnxruntime is not installed, there is no such file, or it is of something else.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path} is not there; this makes it: python scripts/export_onnx.py run=<run folder>")
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = num_threads or 0
        try:
            with computing(str(self.path)):
                self.session = runtime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
            self.metadata = self.session.get_modelmeta().custom_metadata_map
            self.input = self.metadata["input"]
            config = json.loads(self.metadata["preprocessing"])
        except LookupError as error:
            raise InputError(f"{path} is no file that scripts/export_onnx.py has written") from error
        self.preprocessing = {name: tuple(each) if isinstance(each, list) else each for name, each in config.items()}
        mean, std = (255 * torch.tensor(self.preprocessing[name]).view(-1, 1, 1) for name in ("mean", "std"))
        self.mean, self.scale = mean, 1 / std

    @classmethod
    def of_run(cls, run: Run, num_threads: int | None = None) -> "OnnxModel":
        """Returns the model that was exported from a run.

        Raises:
            InputError: there is none, it is of another model than best/, or it resizes photos itself.
        """
        path = run.folder / ONNX_FOLDER / ONNX_FILE
        command = f"python scripts/export_onnx.py run={run.folder}"
        if not path.is_file():
            raise InputError(f"backend=onnx: {path} is not there; this makes it: {command}")
        model = cls(path, num_threads)
        if model.input == "photo":
            raise InputError(f"backend=onnx: {path} resizes photos itself; {command} writes one that does not")
        if model.metadata.get("model_hash") != hash_model(run.best):
            raise InputError(f"backend=onnx: {path} is of another model than {run.best}; {command} makes it anew")
        return model

    def answer(self, feed: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits and probability float32 (B, C) and decision bool (B, C) of what `feed` gives."""
        return self.run(OUTPUTS, feed)

    def logits(self, pixels: Tensor) -> Tensor:
        """Returns logits float32 (B, C) of pixels uint8 (B, 3, H, W), resized and cropped to the model's size."""
        return self.run(OUTPUTS[:1], self.feed(pixels))[0]

    def run(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> tuple[Tensor, ...]:
        """Returns outputs by name."""
        with computing(str(self.path)):
            return tuple(map(torch.from_numpy, self.session.run(names, feed)))

    def feed(self, pixels: Tensor) -> dict[str, np.ndarray]:
        """Returns pixels uint8 (B, 3, H, W) as the file wants them, if it does not resize them itself."""
        if self.input == "pixels":
            return {PIXELS: pixels.permute(0, 2, 3, 1).contiguous().numpy()}
        return {IMAGE: pixels.float().sub_(self.mean).mul_(self.scale).numpy()}


@contextmanager
def computing(path: str) -> Iterator[None]:
    """Turns an error of onnxruntime, whose errors have no common class of their own, into an InputError."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = tuple(each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))
    try:
        yield
    except errors as error:
        raise InputError(f"onnxruntime cannot compute {path}: {first_line(error)}") from error


def import_onnxruntime():
    """Returns the module; raises InputError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError('ONNX needs onnxruntime: pip install -e ".[onnx]"') from error
    return onnxruntime
