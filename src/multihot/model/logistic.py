"""Logistic regression of many labels at once, on features or on the logits of another classifier."""

from collections.abc import Callable, Sequence

import torch

from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss


def fit_logistic(
    features: torch.Tensor, target: torch.Tensor, space: LabelSpace, l2: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (C, D) and bias (C,) that minimise the summed loss of features (N, D) + l2/2 of squared weights.

    As scikit-learn's `LogisticRegression(C=1 / l2)` on standardised features, for all labels at once (a softmax inside
    exclusive groups), with targets that may be soft or unknown (-1).
    """
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)
    standard = (features - mean) / scale
    weight = torch.zeros(target.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    loss = create_likelihood(space)
    minimise(lambda: loss(standard @ weight.T + bias, target) + l2 / 2 * weight.square().sum(), [weight, bias])
    weight, bias = weight.detach(), bias.detach()
    return weight / scale, bias - (weight / scale) @ mean


def fit_scales(
    logits: torch.Tensor, target: torch.Tensor, space: LabelSpace, columns: Sequence[int], prior: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a scale (K,) and an offset (K,) that make logits (N, K) the best for these columns of target (N, C).

    The other columns have their logits `prior` (C,). It is barely regularised, so that separable answers have a limit.
    """
    mean, spread = logits.mean(dim=0), logits.std(dim=0, correction=0).clamp(min=1e-6)
    standard = (logits - mean) / spread
    scale = torch.zeros(len(columns), requires_grad=True)
    offset = prior[columns].clone().requires_grad_()
    loss, place = create_likelihood(space), torch.tensor(columns)

    def objective() -> torch.Tensor:
        scaled = prior.expand(len(logits), -1).index_copy(1, place, standard * scale + offset)
        return loss(scaled, target) + 1e-3 / 2 * scale.square().sum()

    minimise(objective, [scale, offset])
    scale = scale.detach() / spread
    return scale, offset.detach() - scale * mean


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


def create_likelihood(space: LabelSpace) -> MultiLabelLoss:
    """Returns the negative log-likelihood of all known labels: BCE, and cross-entropy inside groups, summed."""
    return MultiLabelLoss(BinaryCrossEntropy(), space, reduction="sum")
