"""What the metrics accept; anything else is an InputError that says where."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from multihot.errors import InputError, plural
from multihot.labels import ACTIVATIONS, LabelSpace

# Wider logits are refused: narrowing them to float32 could turn different scores into ties.
LOGITS_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_logits_and_target(logits: Tensor, target: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns the logits (N, C) as float32 and the target (N, C) as int8 on the CPU, without a copy where they are so.

    Raises:
        InputError: if they are not two tensors of one shape (N, C), if a logit is not finite, or if a target is
            not 1 (present), 0 (absent) or -1 (unknown).
    """
    if logits.dtype not in LOGITS_DTYPES:
        raise InputError(f"logits must be float32, float16 or bfloat16, not {logits.dtype}: call logits.float() first")
    if logits.ndim != 2 or logits.numel() == 0:
        raise InputError(f"logits must have the shape (N, C), images by labels, not {tuple(logits.shape)}")
    if num_labels not in (None, logits.shape[1]):
        raise InputError(
            f"logits must have one column for each of {plural(num_labels, 'label')}, not {logits.shape[1]}"
        )
    if target.shape != logits.shape:
        raise InputError(f"target must have the shape of the logits {tuple(logits.shape)}, not {tuple(target.shape)}")
    logits = logits.detach().cpu().float()
    check_finite(logits)
    return logits, _check_target(target.detach().cpu())


def check_finite(logits: Tensor, first_row: int = 0) -> None:
    """Raises InputError with the place of the first of the logits (N, C) that is not finite."""
    # One pass without a mask of N x C: the extremes of a tensor are finite only if all of it is.
    if not torch.stack(logits.aminmax()).isfinite().all():
        row, column = _first(~logits.isfinite())
        raise InputError(
            f"logits must be finite, but logits[{first_row + row}, {column}] is {logits[row, column].item()}"
        )


def check_threshold(threshold: float | Sequence[float] | None, space: LabelSpace) -> np.ndarray:
    """Returns the threshold as float32, () for all labels or (C,) for each label its own; None is the activation's.

    >>> check_threshold([0.5, 0.25], LabelSpace(("cat", "dog")))
    array([0.5 , 0.25], dtype=float32)
    """
    activation = ACTIVATIONS[space.activation]
    checked = np.asarray(activation.threshold if threshold is None else threshold, dtype=np.float32)
    num_labels = len(space.labels)
    if checked.shape not in ((), (num_labels,)):
        raise InputError(
            f"threshold must be one number or a list of {num_labels}, one a label in the order of the label list, but "
            f"is {describe_shape(checked.shape)}"
        )
    if not ((checked >= activation.lowest) & (checked <= activation.highest)).all():
        scale = "a probability" if space.activation == "sigmoid" else f"on the scale of activation={space.activation},"
        raise InputError(f"threshold must be {scale} from {activation.lowest} to {activation.highest}, not {threshold}")
    return checked


def describe_shape(shape: tuple[int, ...]) -> str:
    """Returns the shape of an array in words.

    >>> describe_shape((3,)), describe_shape((2, 5))
    ('a list of 3', 'of shape (2, 5)')
    """
    return f"a list of {shape[0]}" if len(shape) == 1 else f"of shape {shape}"


def list_thresholds(threshold: float | Sequence[float] | None, space: LabelSpace) -> list[float | None]:
    """Returns by which threshold each label is decided, None for one in a group.

    >>> list_thresholds(None, LabelSpace(("cat", "dog")))
    [0.5, 0.5]
    """
    given = ACTIVATIONS[space.activation].threshold if threshold is None else threshold
    each = np.broadcast_to(np.asarray(given, dtype=np.float64), len(space.labels)).tolist()
    independent = set(space.independent)
    return [value if column in independent else None for column, value in enumerate(each)]


def check_decided(threshold: float | Sequence[float] | None, space: LabelSpace) -> None:
    """Raises InputError for thresholds that do not fit the labels, and for one that nothing is decided by."""
    if threshold is not None and not space.independent:
        raise InputError(
            f"threshold={threshold} does nothing where all labels exclude each other and the largest logit decides: "
            "leave it out"
        )
    check_threshold(threshold, space)


def _check_target(target: Tensor) -> Tensor:
    hard = target.to(torch.int8)
    lowest, highest = hard.aminmax()
    if lowest < -1 or highest > 1 or not torch.equal(hard.to(target.dtype), target):
        row, column = _first((hard != target) | (hard < -1) | (hard > 1))
        raise InputError(
            "targets must be 1 (present), 0 (absent) or -1 (unknown), "
            f"but target[{row}, {column}] is {target[row, column].item()}"
        )
    return hard


def _first(mask: Tensor) -> list[int]:
    return mask.nonzero()[0].tolist()
