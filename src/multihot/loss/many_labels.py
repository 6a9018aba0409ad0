"""A linear head with its loss over so many labels that its logits (B, C) are never held at once."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multihot.loss.closed_form import Weighting, split, weigh
from multihot.loss.functions import ClosedForm, at_least_float32

MANY_LABELS = 20_000  # from here on FactoredLogits save memory and, the more labels, time


class FactoredLogits(NamedTuple):
    """What a linear head returns in training instead of the logits: features @ weight.T + bias."""

    features: Tensor  # (B, D)
    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)


def sums_closed_form(loss: nn.Module) -> bool:
    """Returns whether a MultiLabelLoss is the sum of a closed form, each element for itself."""
    return isinstance(loss.function, ClosedForm)


def can_factor(loss: nn.Module) -> bool:
    """Returns whether a MultiLabelLoss takes FactoredLogits."""
    return sums_closed_form(loss) and not loss.space.groups and loss.reduction != "none"


def sum_factored(
    function: ClosedForm, logits: FactoredLogits, target: Tensor, weighting: Weighting, scale: float
) -> Tensor:
    """Returns scale times the sum of all weighted elements, with gradients for features, weight and bias.

    Labels pass in chunks: logits, loss and slope are made, turned into gradients and dropped. The target (B, C) may be
    sparse. Matrix products are done in autocast's dtype, or else that of the features, the loss in float32.
    """
    if torch.is_grad_enabled() and any(part.requires_grad for part in logits):
        return _SumFactored.apply(*logits, target, function, weighting, scale)
    return _sum_chunks(logits, target, function, weighting, scale, gradients=None)


class _SumFactored(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, weight, bias, target, function, weighting, scale):
        logits = FactoredLogits(features, weight, bias)
        features_gradient = at_least_float32(torch.zeros_like(features))
        gradients = FactoredLogits(features_gradient, torch.empty_like(weight), torch.empty_like(bias))
        loss = _sum_chunks(logits, target, function, weighting, scale, gradients)
        ctx.save_for_backward(*gradients)
        ctx.dtype = features.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        features, weight, bias = ctx.saved_tensors
        if grad_output != 1:  # in place: a second backward through this graph is refused by autograd
            features, weight, bias = (part.mul_(grad_output) for part in (features, weight, bias))
        return features.to(ctx.dtype), weight, bias, None, None, None, None


def _sum_chunks(logits, target, function, weighting, scale, gradients):
    features, weight, bias = logits
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    features, sums = features.to(dtype), []
    chunks = split(len(weight), len(features), features.device)
    for columns, target_chunk in zip(chunks, split_columns(target, chunks), strict=True):
        weight_chunk = weight[columns].to(dtype)
        chunk = at_least_float32(torch.addmm(bias[columns].to(dtype), features, weight_chunk.T))
        loss, slope = weigh(function, chunk, target_chunk, weighting.of_labels(columns))
        sums.append(loss.sum())
        if gradients is not None:
            torch.mul(slope.sum(dim=0), scale, out=gradients.bias[columns])
            slope = slope.to(dtype)  # scaled after the products: a mean's slopes would underflow in fp16
            torch.mul(slope.T @ features, scale, out=gradients.weight[columns])
            gradients.features.add_(slope @ weight_chunk, alpha=scale)
    return torch.stack(sums).sum() * scale


def split_columns(target: Tensor, chunks: list[slice]) -> Iterator[Tensor]:
    """Yields the dense target (B, c) of each chunk of labels."""
    if not target.is_sparse:
        yield from (target[:, columns] for columns in chunks)
        return
    target = target.coalesce()
    column, order = target.indices()[1].sort()
    row, values = target.indices()[0][order], target.values()[order]
    starts = torch.tensor([columns.start for columns in chunks], device=column.device)
    edges = [*torch.searchsorted(column, starts).tolist(), len(column)]
    for columns, first, last in zip(chunks, edges[:-1], edges[1:], strict=True):
        chunk = values.new_zeros(len(target), columns.stop - columns.start)
        chunk[row[first:last], column[first:last] - columns.start] = values[first:last]
        yield chunk
