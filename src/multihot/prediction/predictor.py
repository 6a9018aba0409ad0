"""What answers for a picture: the model of a run, its preprocessing and its decisions, behind one object."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from PIL import Image
from timm.data import create_transform, resolve_input_data_config
from torch import Tensor, nn

from multihot.data.images import decode_image
from multihot.data.loader import Normalise, create_steps
from multihot.data.pixels import decode_pixels, takes_pixels
from multihot.data.resize import needed_side
from multihot.decisions import Decisions
from multihot.evaluation.decided import read_space, settle_decisions
from multihot.export.onnx_model import OnnxModel
from multihot.labels import LabelSpace
from multihot.model.pieces import InPieces
from multihot.model.rounded import round_weights
from multihot.model.saved import load_model
from multihot.processes.session import open_session
from multihot.run.folder import Run


@dataclass(frozen=True)
class Predictor:
    """Turns pictures into pixels, pixels into logits, and holds the decisions that turn logits into answers."""

    space: LabelSpace
    decisions: Decisions
    preprocessing: dict  # timm's data config
    accelerator: Accelerator
    kernels: str  # that were chosen, on which the last digits depend
    logits: Callable[[Tensor], Tensor]  # pixels uint8 (B, 3, H, W) -> logits float32 (B, C) on the CPU
    model: nn.Module | None  # None: of a backend that has none

    @property
    def labels(self) -> tuple[str, ...]:
        """The label list (C,)."""
        return self.space.labels

    @cached_property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """What makes pixels of a picture."""
        return create_steps(create_transform, self.preprocessing)[0]

    @property
    def min_side(self) -> int | None:
        """The pixels that the shorter side of a picture must have: large JPEGs are decoded at a part of their size."""
        return needed_side(self.transform)

    @property
    def decode(self) -> Callable[..., Image.Image | Tensor]:
        """`decode_pixels` where the transform begins with pixels, else `decode_image`."""
        return decode_pixels if takes_pixels(self.transform) else decode_image

    def prepare(self, picture: Image.Image | Tensor) -> np.ndarray:
        """Returns the pixels uint8 (3, H, W) that the model sees of an RGB picture, or of what `decode` gives."""
        return np.asarray(self.transform(picture))


@contextmanager
def open_predictor(
    run: Run, trained: DictConfig, labels: tuple[str, ...], backend: str = "torch"
) -> Iterator[Predictor]:
    """Gives what answers as `evaluate.py` does, in the precision and with the kernels that are chosen for the run.

    Args:
        trained: the settings of the run.
        backend: torch | onnx (what scripts/export_onnx.py has written).

    Raises:
        InputError: the model or its decisions are damaged, or there is no ONNX file of this model.
    """
    space = read_space(trained, labels)
    decisions = settle_decisions(run, trained, space)
    if backend == "onnx":
        computed = OnnxModel.of_run(run, num_threads=torch.get_num_threads())
        with open_session("no", "default", trained.model, trained.seed) as session:
            preprocessing, kernels = computed.preprocessing, session.compute.kernels
            yield Predictor(space, decisions, preprocessing, session.accelerator, kernels, computed.logits, None)
        return
    computing = trained.mixed_precision, trained.kernels, trained.model, trained.seed, trained.data.get("cache_folder")
    with open_session(*computing) as session:
        model = round_weights(load_model(run.best, labels), session.compute.mixed_precision)
        model.to(session.accelerator.device).eval()
        preprocessing = resolve_input_data_config(model)
        normalise = Normalise(preprocessing["mean"], preprocessing["std"], session.accelerator.device)
        compute = partial(compute_logits, InPieces(model), normalise, session.accelerator)
        kernels = session.compute.kernels
        yield Predictor(space, decisions, preprocessing, session.accelerator, kernels, compute, model)


def compute_logits(model: nn.Module, normalise: Normalise, accelerator: Accelerator, pixels: Tensor) -> Tensor:
    """Returns the logits float32 (B, C), on the CPU, of pixels uint8 (B, 3, H, W), as evaluate.py computes them."""
    with torch.no_grad(), accelerator.autocast():
        return model(normalise(pixels.to(accelerator.device))).float().cpu()
