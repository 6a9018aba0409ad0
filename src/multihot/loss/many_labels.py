"""A head with its loss over so many labels that its logits (B, C) are never held at once."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multihot.loss.closed_form import Weighting, must_multiply, split, weigh
from multihot.loss.functions import ClosedForm, at_least_float32

MANY_LABELS = 20_000  # from here on FactoredLogits save memory and, the more labels, time


class FactoredLogits(NamedTuple):
    """What a head returns in training instead of the logits: features @ weight.T + bias, or what `score` makes."""

    features: Tensor  # (B, D), or what else `score` takes
    weight: Tensor  # (C, D), or (C, ...)
    bias: Tensor  # (C,)
    score: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None  # features, weight and bias of c labels -> (B, c)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What has gradients."""
        return self[:3]


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
    if torch.is_grad_enabled() and any(part.requires_grad for part in logits.tensors):
        return _SumFactored.apply(*logits, target, function, weighting, scale)
    return _sum_chunks(logits, target, function, weighting, scale, gradients=None)


class _SumFactored(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, weight, bias, score, target, function, weighting, scale):
        logits = FactoredLogits(features, weight, bias, score)
        features_gradient = at_least_float32(torch.zeros_like(features))
        gradients = FactoredLogits(features_gradient, torch.empty_like(weight), torch.empty_like(bias))
        loss = _sum_chunks(logits, target, function, weighting, scale, gradients)
        ctx.save_for_backward(*gradients.tensors)
        ctx.dtype = features.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        features, weight, bias = ctx.saved_tensors
        if must_multiply(grad_output):  # in place: a second backward through this graph is refused by autograd
            features, weight, bias = (part.mul_(grad_output) for part in (features, weight, bias))
        return features.to(ctx.dtype), weight, bias, None, None, None, None, None


def _sum_chunks(logits, target, function, weighting, scale, gradients):
    features, weight, bias, score = logits
    device = features.device.type
    is_cast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if is_cast else features.dtype
    features, sums = features.to(dtype), []
    chunks = split(len(weight), features[..., 0].numel() * weight[0, ..., 0].numel(), features.device)
    go_through = _go_through_linear if score is None else partial(_go_through, score)
    for columns, target_chunk in zip(chunks, split_columns(target, chunks), strict=True):
        own = features, weight[columns].to(dtype), bias[columns].to(dtype)
        parts = None if gradients is None else (gradients.features, gradients.weight[columns], gradients.bias[columns])
        judge = partial(weigh, function, target=target_chunk, weighting=weighting.of_labels(columns))
        sums.append(go_through(own, judge, scale, parts))
    return torch.stack(sums).sum() * scale


def _go_through_linear(own, judge, scale, gradients):
    features, weight, bias = own
    loss, slope = judge(logits=at_least_float32(torch.addmm(bias, features, weight.T)))
    if gradients is not None:
        of_features, of_weight, of_bias = gradients
        torch.mul(slope.sum(dim=0), scale, out=of_bias)
        slope = slope.to(features.dtype)  # scaled after the products: a mean's slopes would underflow in fp16
        torch.mul(slope.T @ features, scale, out=of_weight)
        of_features.add_(slope @ weight, alpha=scale)
    return loss.sum()


def _go_through(score, own, judge, scale, gradients):
    own = [part.detach().requires_grad_(gradients is not None) for part in own]
    with torch.set_grad_enabled(gradients is not None):
        logits = score(*own)
    loss, slope = judge(logits=at_least_float32(logits.detach()))
    if gradients is not None:
        of_features, of_weight, of_bias = torch.autograd.grad(logits, own, slope.to(logits.dtype))
        gradients[0].add_(of_features, alpha=scale)
        torch.mul(of_weight, scale, out=gradients[1])
        torch.mul(of_bias, scale, out=gradients[2])
    return loss.sum()


def split_columns(target: Tensor, chunks: list[slice]) -> Iterator[Tensor]:
    """Yields the dense target (B, c) of each chunk of labels.

    How many answers of a sparse one are in a chunk, the device would have to be waited for: all are added to each,
    those of other labels as zeros.
    """
    if not target.is_sparse:
        yield from (target[:, columns] for columns in chunks)
        return
    (row, column), values = target._indices(), target._values()  # the public ones want no place to be there twice
    for columns in chunks:
        width = columns.stop - columns.start
        is_inside = (column >= columns.start) & (column < columns.stop)
        place = torch.where(is_inside, row * width + column - columns.start, 0)
        yield values.new_zeros(len(target) * width).scatter_add_(0, place, values * is_inside).view(-1, width)
