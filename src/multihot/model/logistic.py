"""Logistic regression of many labels at once, on features or on the logits of another classifier."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, UnknownStrategy

IGNORE = UnknownStrategy()
L2_STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of half the squared weights, against the sum of the losses over images


@dataclass(frozen=True)
class Answers:
    """Which of N images have which of C labels, as a loss is given it."""

    space: LabelSpace
    target: torch.Tensor  # (N, C), soft ones and unknown ones (-1) among them
    image_weight: torch.Tensor | None = None  # (N,), what each image counts
    unknown: UnknownStrategy = IGNORE

    def of_images(self, rows: torch.Tensor) -> "Answers":
        """Returns those about some images."""
        image_weight = None if self.image_weight is None else self.image_weight[rows]
        return replace(self, target=self.target[rows], image_weight=image_weight)

    def parts(self) -> Iterator[tuple["Answers", list[int]]]:
        """Yields those about each independent label and each exclusive group by themselves, with their columns."""
        parts = [(LabelSpace((self.space.labels[column],)), [column]) for column in self.space.independent]
        groups = zip(self.space.groups, self.space.columns, strict=True)
        parts += [(LabelSpace(group.labels, (group,)), columns) for group, columns in groups]
        for space, columns in parts:
            yield replace(self, space=space, target=self.target[:, columns]), columns

    def find_fitted(self) -> list[int]:
        """Returns the columns in which images that count have a positive and a negative answer."""
        target = self.target if self.image_weight is None else self.target[self.image_weight > 0]
        is_absent = (target >= 0) & (target < 0.5)
        if self.unknown.element_weight:
            is_absent[:, self.space.independent] |= target[:, self.space.independent] < 0
        return ((target >= 0.5).any(dim=0) & is_absent.any(dim=0)).nonzero().flatten().tolist()

    @cached_property
    def loss(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Logits (N, C) -> negative log-likelihood of all answers: BCE, and cross-entropy inside groups, summed."""
        loss = MultiLabelLoss(BinaryCrossEntropy(), self.space, reduction="sum", unknown=self.unknown)
        return lambda logits: loss(logits, self.target, self.image_weight)


def fit_best(features: torch.Tensor, answers: Answers) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Returns what `fit_logistic` does, and its l2: that with the least loss on every fifth image, when fitted to the
    others.
    """
    held_out = torch.arange(len(features)) % 5 == 0
    held, others, losses = answers.of_images(held_out), answers.of_images(~held_out), {}
    for l2 in L2_STRENGTHS:
        weight, bias = fit_logistic(features[~held_out], others, l2)
        losses[l2] = held.loss(features[held_out] @ weight.T + bias).item()
    best = min(losses, key=losses.get)
    return *fit_logistic(features, answers, best), best


def fit_logistic(features: torch.Tensor, answers: Answers, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (C, D) and bias (C,) that minimise the summed loss of features (N, D) + l2/2 of squared weights.

    The problem is that of scikit-learn's `LogisticRegression(C=1 / l2)` on standardised features, for all labels at
    once (a softmax inside exclusive groups). The labels share one optimiser in float32, which ends a little early: with
    thousands of images or hundreds of features logits are up to 0.1 from scikit-learn's at l2=1. In float64 it would
    take six times as long.
    """
    standard, mean, scale = standardise(features, answers.image_weight)
    weight = torch.zeros(answers.target.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(answers.target.shape[1], requires_grad=True)

    def objective() -> torch.Tensor:
        return answers.loss(standard @ weight.T + bias) + l2 / 2 * weight.square().sum()

    minimise(objective, [weight, bias])
    weight, bias = weight.detach(), bias.detach()
    return weight / scale, bias - (weight / scale) @ mean


def fit_scales(
    logits: torch.Tensor, answers: Answers, columns: Sequence[int], prior: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a scale (K,) and an offset (K,) that make logits (N, K) the best for these columns of the answers.

    The other columns have their logits `prior` (C,). It is barely regularised, so that separable answers have a limit.
    """
    standard, mean, spread = standardise(logits, answers.image_weight)
    scale = torch.zeros(len(columns), requires_grad=True)
    offset = prior[columns].clone().requires_grad_()
    place = torch.tensor(columns)

    def objective() -> torch.Tensor:
        scaled = prior.expand(len(logits), -1).index_copy(1, place, standard * scale + offset)
        return answers.loss(scaled) + 1e-3 / 2 * scale.square().sum()

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
