"""Whether a model.onnx answers as the model of the run does, on real images and at several sizes of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from multihot.decisions import Decisions
from multihot.errors import InputError
from multihot.export.onnx_model import OnnxModel
from multihot.export.onnx_names import OUTPUTS, PIXELS

BATCH_SIZES = (1, 2, 3)  # and all images at once
NUM_BATCHES = 3  # of each size
LOGIT_BOUND = {"float32": 1e-4, "float16": 1e-2}  # of the largest logit, which counts as 1 if it is smaller
PHOTO_BOUND = 1e-2  # more: of the pixels that are resized in the graph, one in 150 differs by 1 or 2 grey levels
PROBABILITY_BOUND = 1e-5


def check_logits(model: OnnxModel, pixels: Tensor, logits: Tensor, bound: float) -> dict[int, float]:
    """Returns the largest difference in a logit at each size of a batch.

    Args:
        pixels: uint8 (N, 3, H, W).
        logits: of the run's own model, float32 (N, C).
        bound: of the differences.

    Raises:
        InputError: a difference is larger.
    """
    differences = {}
    for size in [*BATCH_SIZES, len(pixels)]:
        batches = list(zip(pixels.split(size), logits.split(size), strict=True))[:NUM_BATCHES]
        differences[size] = max(difference(model.logits(images), wanted) for images, wanted in batches)
    check_bound("a logit", max(differences.values()), bound)
    return differences


def check_photos(model: OnnxModel, photos: Sequence[np.ndarray], logits: Tensor, bound: float) -> dict[int, float]:
    """Returns {1: the largest difference in a logit}; photos uint8 (H, W, 3) of any size, else as `check_logits`."""
    answers = [model.run(OUTPUTS[:1], {PIXELS: photo[None]})[0] for photo in photos]
    largest = difference(torch.cat(answers), logits)
    check_bound("a logit", largest, bound)
    return {1: largest}


def check_answers(answers: Sequence[Tensor], decisions: Decisions) -> float:
    """Returns the largest difference in a probability of the model's answers: logits, probability, decision (N, C).

    Raises:
        InputError: it is above PROBABILITY_BOUND, or a label is decided otherwise.
    """
    logits, probability, decision = answers
    largest = difference(probability, decisions.probability(logits))
    check_bound("a probability", largest, PROBABILITY_BOUND)
    if not torch.equal(decision, decisions.decide(logits)):
        raise InputError("the exported model decides otherwise than the run: nothing is written. This is a bug")
    return largest


def find_bound(logits: Tensor, precision: str, kind: str) -> float:
    """Returns by how much a logit may differ: logits (N, C) of the run's own model."""
    share = LOGIT_BOUND[precision] + (PHOTO_BOUND if kind == "photo" else 0)
    return share * max(1.0, logits.abs().max().item())


def difference(got: Tensor, wanted: Tensor) -> float:
    """Returns the largest difference of two matrices; infinite if one has NaN or another shape."""
    if got.shape != wanted.shape:
        return float("inf")
    largest = (got - wanted).abs().max().item()
    return largest if largest == largest else float("inf")


def check_bound(what: str, largest: float, bound: float) -> None:
    """Raises InputError if a difference is above its bound."""
    if largest > bound:
        raise InputError(
            f"the exported model differs by {largest:.2g} in {what}, and at most {bound:.2g} is right: nothing is "
            "written. precision=float32 and input=image are the most exact"
        )
