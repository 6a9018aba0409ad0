"""Logistic regression of many labels at once, on features or on the logits of another classifier."""

from collections.abc import Callable, Sequence

import torch

from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, UnknownStrategy

IGNORE = UnknownStrategy()


def fit_logistic(
    features: torch.Tensor,
    target: torch.Tensor,
    space: LabelSpace,
    l2: float,
    image_weight: torch.Tensor | None = None,
    unknown: UnknownStrategy = IGNORE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (C, D) and bias (C,) that minimise the summed loss of features (N, D) + l2/2 of squared weights.

    The problem is that of scikit-learn's `LogisticRegression(C=1 / l2)` on standardised features, for all labels at
    once (a softmax inside exclusive groups), with targets (N, C) that may be soft or unknown (-1), and images that may
    have weights (N,). The labels share one optimiser in float32, which ends a little early: with thousands of images or
    hundreds of features logits are up to 0.1 from scikit-learn's at l2=1. In float64 it would take six times as long.
    """
    standard, mean, scale = standardise(features, image_weight)
    weight = torch.zeros(target.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    loss = create_likelihood(space, unknown)

    def objective() -> torch.Tensor:
        return loss(standard @ weight.T + bias, target, image_weight) + l2 / 2 * weight.square().sum()

    minimise(objective, [weight, bias])
    weight, bias = weight.detach(), bias.detach()
    return weight / scale, bias - (weight / scale) @ mean


def fit_scales(
    logits: torch.Tensor,
    target: torch.Tensor,
    space: LabelSpace,
    columns: Sequence[int],
    prior: torch.Tensor,
    image_weight: torch.Tensor | None = None,
    unknown: UnknownStrategy = IGNORE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a scale (K,) and an offset (K,) that make logits (N, K) the best for these columns of target (N, C).

    The other columns have their logits `prior` (C,). It is barely regularised, so that separable answers have a limit.
    """
    standard, mean, spread = standardise(logits, image_weight)
    scale = torch.zeros(len(columns), requires_grad=True)
    offset = prior[columns].clone().requires_grad_()
    loss, place = create_likelihood(space, unknown), torch.tensor(columns)

    def objective() -> torch.Tensor:
        scaled = prior.expand(len(logits), -1).index_copy(1, place, standard * scale + offset)
        return loss(scaled, target, image_weight) + 1e-3 / 2 * scale.square().sum()

    minimise(objective, [scale, offset])
    scale = scale.detach() / spread
    return scale, offset.detach() - scale * mean


def standardise(
    values: torch.Tensor, image_weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns values (N, D) with mean 0 and variance 1 over the images, their mean (D,) and their scale (D,)."""
    if image_weight is None:
        mean, scale = values.mean(dim=0), values.std(dim=0, correction=0)
    else:
        share = image_weight / image_weight.sum().clamp(min=1e-12)
        mean = share @ values
        scale = (share @ (values - mean).square()).sqrt()
    scale = scale.clamp(min=1e-6)
    return (values - mean) / scale, mean, scale


def minimise(objective: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> None:
    """Moves the parameters to the minimum of a convex objective."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-4, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)


def create_likelihood(space: LabelSpace, unknown: UnknownStrategy) -> MultiLabelLoss:
    """Returns the negative log-likelihood of all answers: BCE, and cross-entropy inside groups, summed."""
    return MultiLabelLoss(BinaryCrossEntropy(), space, reduction="sum", unknown=unknown)
