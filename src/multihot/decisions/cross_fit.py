"""What decisions bring on images that they were not fitted to: each part of a split is decided by the other parts."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from multihot.decisions.decisions import Decisions
from multihot.errors import InputError
from multihot.metrics.blocks import LogitsAndTarget, harden
from multihot.metrics.bootstrap import resample_decisions
from multihot.metrics.decisions import Decide, measure_decisions
from multihot.metrics.intervals import basic_interval
from multihot.metrics.resamples import draw_weights, weigh_images

NUM_FOLDS, NUM_RESAMPLES = 5, 1000
MOST_ENTRIES = 1 << 27  # of logits that are copied for it
ROWS_AT_ONCE = 4096
SCORES = ("micro_f1", "macro_f1", "samples_f1", "micro_precision", "micro_recall")


class Gain(NamedTuple):
    """A score by the run's threshold, by decisions fitted on other images, and the 95% interval of the difference."""

    before: float
    after: float
    low: float
    high: float


def cross_fit(
    matrices: LogitsAndTarget,
    fit: Callable[[LogitsAndTarget], Decisions],
    decide: Decide,
    clusters: np.ndarray | None = None,
) -> dict[str, Gain]:
    """Returns the gain of each of SCORES, and of `log_loss`, the mean over known answers: logits (N, C), target (N, C).

    Args:
        fit: returns decisions from a part of the images.
        decide: what they are compared with.
        clusters: images (N,) that belong together, and are decided and drawn together.

    Raises:
        InputError: of `fit`, or there are too few images.
    """
    parts = folds(len(matrices), clusters)
    if len(parts) < NUM_FOLDS:
        raise InputError(f"{len(parts)} images, or clusters of them, are too few to fit to some and decide the others")
    decided, log_odds = torch.empty_like(matrices.target, dtype=torch.int8), torch.empty_like(matrices.logits)
    for rows in parts:
        decisions = fit(take(matrices, ~rows))
        logits = matrices.logits[rows].float()
        decided[rows] = decisions.decide(logits).to(torch.int8)
        log_odds[rows] = decisions.calibration.log_odds(logits).float()
    fitted = LogitsAndTarget(decided, matrices.target)
    weights = draw_weights(len(matrices), NUM_RESAMPLES, clusters)
    of_both = [
        (measure_decisions(some, rule), resample_decisions(some, weights, rule))
        for some, rule in ((matrices, decide), (fitted, lambda values: values > 0))
    ]
    (score, resampled), (fitted_score, fitted_resampled) = of_both
    gains = {
        name: Gain(
            float(score[name]),
            float(fitted_score[name]),
            *basic_interval(fitted_score[name] - score[name], fitted_resampled[name] - resampled[name], -1, 1),
        )
        for name in SCORES
    }
    uncalibrated = decisions.space.log_odds(matrices.logits.float())
    losses = [log_losses(some, harden(matrices.target)) for some in (uncalibrated, log_odds)]
    return gains | {"log_loss": gain_of_means(*losses, weights)}


def folds(num_images: int, clusters: np.ndarray | None) -> list[Tensor]:
    """Returns NUM_FOLDS parts of the images, bool (N,) each, drawn at random, the same every time."""
    numbers = np.arange(num_images) if clusters is None else np.unique(clusters, return_inverse=True)[1].ravel()
    part = np.random.default_rng(0).permutation(int(numbers.max()) + 1) % NUM_FOLDS
    return [torch.from_numpy(part[numbers] == fold) for fold in range(NUM_FOLDS) if (part[numbers] == fold).any()]


def take(matrices: LogitsAndTarget, rows: Tensor) -> LogitsAndTarget:
    """Returns some of the images."""
    return LogitsAndTarget(matrices.logits[rows], matrices.target[rows])


def log_losses(log_odds: Tensor, target: Tensor) -> np.ndarray:
    """Returns the sum of the log losses of the known answers of each image and their number, float64 (2, N)."""
    parts = []
    for some, answers in zip(log_odds.split(ROWS_AT_ONCE), target.split(ROWS_AT_ONCE), strict=True):
        known = answers >= 0
        loss = functional.binary_cross_entropy_with_logits(some, answers.float().clamp(min=0), reduction="none")
        parts.append(torch.stack([(loss * known).sum(dim=1, dtype=torch.float64), known.sum(dim=1).double()]))
    return torch.cat(parts, dim=1).numpy()


def gain_of_means(before: np.ndarray, after: np.ndarray, weights: Tensor) -> Gain:
    """Returns the gain of a mean over entries: sums and numbers (2, N) of each image, weights uint8 (R, N)."""
    first_sums, second_sums, counts = weigh_images([before[0], after[0], before[1]], weights)
    first, second = before[0].sum() / before[1].sum(), after[0].sum() / before[1].sum()
    return Gain(first, second, *basic_interval(second - first, (second_sums - first_sums) / counts))
