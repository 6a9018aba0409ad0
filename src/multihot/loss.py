"""What every loss is given, checked; the losses themselves are torch's and timm's (conf/loss)."""

import torch
from torch import nn

from multihot.errors import InputError


def check_target(target: torch.Tensor, num_labels: int) -> None:
    """Raises InputError unless the target is float (B, C) with values from 0 to 1.

    >>> check_target(torch.tensor([[1.0, 0.0], [0.5, 1.0]]), num_labels=2)
    """
    if not target.is_floating_point():
        raise InputError(f"the target must be float multi-hot, not {target.dtype}: use target.float()")
    if target.ndim != 2 or target.shape[1] != num_labels:
        raise InputError(f"the target must have the shape (batch, {num_labels}), not {tuple(target.shape)}")
    outside = ~((target >= 0) & (target <= 1))
    if outside.any():
        row, label = outside.nonzero()[0].tolist()
        raise InputError(
            f"the target must lie between 0 and 1, but image {row} of the batch has {target[row, label]:g} "
            f"for label {label}" + (" (-1 = unknown: this loss needs every answer)" * bool(target[row, label] == -1))
        )


def check_loss(loss: nn.Module, single_label: bool) -> None:
    """Raises InputError if a softmax loss is to learn labels that are independent of each other."""
    if isinstance(loss, nn.CrossEntropyLoss) and not single_label:
        raise InputError(
            "loss=cross_entropy makes the labels of an image compete for one probability; for several labels an image "
            "take loss=bce or loss=asymmetric, for exactly one set single_label=true"
        )
