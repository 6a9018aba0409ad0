"""What every loss is given, checked."""

import torch
from torch import nn

from multihot.errors import InputError

BINARISING = ("TwoWayLoss", "ZlprLoss")  # timm's; they take a target for present above 0.5, and for absent below


def check_loss(loss: nn.Module, *, is_soft: bool = False, is_mixed: bool = False) -> None:
    """Raises InputError if a loss cannot be trained with: a softmax of independent labels, any other of labels that all
    exclude each other, one that is no single number, or one that would round soft targets.

    Args:
        is_soft: whether the data has answers between absent and present.
        is_mixed: whether Mixup or CutMix is on.
    """
    if type(loss.function).__name__ in BINARISING and loss.space.independent and (is_soft or is_mixed):
        source = "mix.mixup and mix.cutmix make" if is_mixed else "the data has"
        raise InputError(
            f"{source} targets between 0 and 1, which {type(loss.function).__name__} would round to absent or present: "
            "take loss=bce or loss=asymmetric"
        )
    if loss.reduction == "none":
        raise InputError("loss.reduction=none leaves no number to train on: take mean, batchmean or sum")
    is_softmax, has_independent = isinstance(loss.function, nn.CrossEntropyLoss), bool(loss.space.independent)
    if is_softmax and has_independent:
        raise InputError(
            "loss=cross_entropy makes the labels of an image compete for one probability; for several labels an image "
            "take loss=bce or loss=asymmetric, for exactly one set single_label=true"
        )
    if not is_softmax and not has_independent:
        raise InputError(
            "all labels exclude each other (single_label=true or data.groups), which is judged by cross-entropy: "
            "take loss=cross_entropy"
        )


def count_dims(function: nn.Module, num_labels: int) -> int:
    """Returns what a function's loss is of: 2 = elements (B, C), 1 = images (B,), 0 = the batch.

    >>> count_dims(nn.CrossEntropyLoss(reduction="none"), num_labels=3)
    1
    """
    name, reduction = type(function).__name__, getattr(function, "reduction", "none")
    if reduction != "none":
        raise InputError(f"{name} must leave the reduction to loss.reduction: set loss.function.reduction=none")
    if not num_labels:
        return 2
    with torch.no_grad():
        loss = function(torch.zeros(2, num_labels), torch.zeros(2, num_labels))
    if loss.shape not in ((2, num_labels), (2,), ()):
        raise InputError(f"{name} must return a loss (B, C), (B,) or (), not {tuple(loss.shape)} of (2, {num_labels})")
    return loss.ndim


def check_settings(loss: nn.Module) -> None:
    """Raises InputError unless the settings of a MultiLabelLoss are in range and its function can follow them."""
    if not 0 <= loss.smoothing < 1:
        raise InputError(f"loss.smoothing={loss.smoothing}: expected a number from 0 to below 1")
    needs = {
        "pos_weight": (loss.pos_weight is not None, 2),
        f"unknown.strategy={loss.unknown.strategy}": (loss.unknown.strategy not in ("ignore", "negative"), 2),
        "weight": (loss.weight is not None, 1),
        "smoothing": (loss.smoothing > 0, 1),
        f"reduction={loss.reduction}": (loss.reduction != "mean", 1),
    }
    for setting, (is_set, num_dims) in needs.items():
        if is_set and loss.num_dims < num_dims:
            judged, needed = ("a batch", "an image")[loss.num_dims], ("an image", "a label")[num_dims - 1]
            raise InputError(
                f"loss.{setting} needs the loss of {needed}, but {type(loss.function).__name__} only gives that of "
                f"{judged} as a whole: leave the setting out, or take loss=bce or loss=asymmetric"
            )
