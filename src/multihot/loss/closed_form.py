"""The sum of a closed-form loss over (B, C) with its gradient, computed in pieces that stay in cache."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multihot.loss.functions import ClosedForm, at_least_float32

CHUNK_ELEMENTS = 2**18  # on a CPU, per thread: its float32 tensors of 1 MB stay in cache
CHUNK_ELEMENTS_ACCELERATOR = 2**24  # there is no such cache, but a start of each kernel to pay


class Weighting(NamedTuple):
    """What each element counts."""

    weight: Tensor | None = None  # (C,)
    pos_weight: Tensor | None = None  # (C,)
    sample_weight: Tensor | None = None  # (B,)
    smoothing: float = 0.0  # moves a target y to y (1 - smoothing) + smoothing / 2
    unknown_weight: float = 0.0  # of the loss of an unknown label, taken as absent

    def of_images(self, rows: slice) -> "Weighting":
        """Returns the weighting of some images."""
        return self._replace(sample_weight=None if self.sample_weight is None else self.sample_weight[rows])

    def of_labels(self, columns: slice) -> "Weighting":
        """Returns the weighting of some labels."""
        weight, pos_weight = (None if part is None else part[columns] for part in (self.weight, self.pos_weight))
        return self._replace(weight=weight, pos_weight=pos_weight)


def sum_elements(function: ClosedForm, logits: Tensor, target: Tensor, weighting: Weighting, scale: float) -> Tensor:
    """Returns scale times the sum of all weighted elements, with a gradient for the logits (B, C).

    The target (B, C) is -1 where unknown. No other float (B, C) than the gradient is made.
    """
    if torch.is_grad_enabled() and logits.requires_grad:
        return _SumElements.apply(logits, target, function, weighting, scale)
    return _sum_chunks(logits, target, function, weighting, scale, gradient=None)


class _SumElements(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target, function, weighting, scale):
        # float32 even for half logits: the gradient of a mean underflows before a loss scaler could help
        gradient = torch.empty_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        loss = _sum_chunks(logits, target, function, weighting, scale, gradient)
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        if must_multiply(grad_output):  # in place: autograd refuses a second backward through this graph
            gradient.mul_(grad_output)
        return gradient.to(ctx.dtype), None, None, None, None


def _sum_chunks(logits, target, function, weighting, scale, gradient):
    sums = []
    for rows in split(len(logits), logits.shape[1], logits.device):
        loss, slope = weigh(function, at_least_float32(logits[rows]), target[rows], weighting.of_images(rows))
        sums.append(loss.sum())
        if gradient is not None:
            torch.mul(slope, scale, out=gradient[rows])
    return torch.stack(sums).sum() * scale


def split(length: int, width: int, device: torch.device) -> list[slice]:
    """Returns slices of `length` so that each, times `width`, is about one chunk.

    >>> split(5, 2**24, torch.device("cuda"))[:2]
    [slice(0, 1, None), slice(1, 2, None)]
    """
    elements = CHUNK_ELEMENTS * torch.get_num_threads() if device.type == "cpu" else CHUNK_ELEMENTS_ACCELERATOR
    step = max(1, elements // max(1, width))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def weigh(function: ClosedForm, logits: Tensor, target: Tensor, weighting: Weighting) -> tuple[Tensor, Tensor]:
    """Returns the weighted loss and slope (b, c) of a chunk."""
    target = target.to(logits.dtype)
    loss, slope = _loss_and_slope(function, logits, target, weighting)
    if weighting.unknown_weight != 1 and may_be_unknown(target):
        factor = torch.where(target < 0, weighting.unknown_weight, 1.0)
        loss, slope = loss.mul_(factor), slope.mul_(factor)
    if weighting.weight is not None:
        loss, slope = loss.mul_(weighting.weight), slope.mul_(weighting.weight)
    if weighting.sample_weight is not None:
        factor = weighting.sample_weight.unsqueeze(1)
        loss, slope = loss.mul_(factor), slope.mul_(factor)
    return loss, slope


# To skip work that changes nothing, an accelerator would have to be waited for.
def has_queue(device: torch.device) -> bool:
    """Returns whether whoever asks for a value on a device waits for all that it has still to compute."""
    return device.type != "cpu"


def must_multiply(factor: Tensor) -> bool:
    """Returns whether a product with a factor may be another."""
    return has_queue(factor.device) or bool(factor != 1)


def may_be_unknown(target: Tensor) -> bool:
    """Returns whether an answer of a target may be unknown."""
    return has_queue(target.device) or bool(target.min() < 0)


def _loss_and_slope(function, logits, target, weighting):
    # Looking up the few positives makes a CPU faster; an accelerator would wait for their number.
    if has_queue(logits.device):
        target = smooth(target.clamp(min=0), weighting.smoothing)
        return function.loss_and_slope(logits, target, weighting.pos_weight)
    absent = weighting.smoothing / 2  # the target of what is absent
    if absent:
        loss, slope = function.loss_and_slope(logits, absent, weighting.pos_weight)
    else:
        loss, slope = function.absent(logits)
    index = torch.from_numpy(np.flatnonzero(target.numpy() > 0))  # numpy is several times faster than torch here
    pos_weight = None if weighting.pos_weight is None else weighting.pos_weight[index % logits.shape[1]]
    present = function.loss_and_slope(logits.take(index), smooth(target.take(index), weighting.smoothing), pos_weight)
    return loss.put_(index, present[0]), slope.put_(index, present[1])


def smooth(target: Tensor, smoothing: float) -> Tensor:
    """Returns the target moved towards 0.5.

    >>> smooth(torch.tensor([0.0, 1.0]), 0.25).tolist()
    [0.125, 0.875]
    """
    return target * (1 - smoothing) + smoothing / 2 if smoothing else target
