"""What is drawn of one label: precision and recall at exact cuts, reliability, and the scores by answer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from multihot.decisions.reliability import place_in_bins

FEWEST_IN_BIN = 10


class Cuts(NamedTuple):
    """A label is predicted where its log-odds are above a cut: cuts float32 (K,) from low to high, and how many of the
    known positives and negatives are above each (K,).
    """

    cut: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray


def count_at_cuts(scores: np.ndarray, target: np.ndarray, num_cuts: int, always: Sequence[float] = ()) -> Cuts:
    """Returns the counts at the cuts that matter: about `num_cuts` of them, or all that differ if those are not more.

    Half of the cuts are spread evenly over the positives and half over the logarithm of the rank; the first predicts
    every image and the last none.

    Args:
        scores: log-odds float32 (N,).
        target: (N,) of 1, 0 and -1 (left out).
        always: cuts that are taken as they are.

    >>> count_at_cuts(np.float32([3, 2, 2, 1]), np.int8([1, 0, 1, 0]), 9, [0.5])
    Cuts(cut=array([0.5, 1.5, 2.5, 3. ], dtype=float32), true_positives=array([2, 2, 1, 0]), \
false_positives=array([2, 1, 0, 0]))
    """
    known = target >= 0
    order = np.argsort(-scores[known])
    ranked, is_positive = scores[known][order], target[known][order] == 1
    ends = np.flatnonzero(np.diff(ranked)) + 1  # so many are above a cut that parts no equal scores
    ends = choose(ends, is_positive, num_cuts)
    between = (ranked[ends - 1] + ranked[ends].astype(np.float64)) / 2
    middle = between.astype(np.float32)
    middle = np.where(middle < ranked[ends - 1], middle, ranked[ends])  # of neighbours in float32 there is none
    outer = [np.nextafter(ranked[-1], np.float32(-np.inf)), ranked[0]] if len(ranked) else []
    given = np.float32([cut for cut in always if np.isfinite(cut)])
    if given.size:  # the first of those that predict every image is enough
        outer = outer[1:] if len(ranked) and given.min() < ranked[-1] else outer
    cut = np.unique(np.concatenate([middle, np.float32(outer), given]))
    num_above = len(ranked) - np.searchsorted(ranked[::-1], cut, side="right")
    hits = np.concatenate([[0], np.cumsum(is_positive)])[num_above]
    return Cuts(cut, hits, num_above - hits)


def choose(ends: np.ndarray, is_positive: np.ndarray, num: int) -> np.ndarray:
    """Returns at most `num` of the places in a ranking, those where most is to be seen."""
    if len(ends) <= num:
        return ends
    weight = 1 / np.arange(1, len(is_positive) + 1)
    weight = weight / weight.sum() + is_positive / max(1, is_positive.sum())
    reached = np.cumsum(weight)[ends - 1]
    return ends[np.unique(np.searchsorted(reached, np.linspace(reached[0], reached[-1], num)))]


class Bins(NamedTuple):
    """Images in the order of their probability, divided into parts of equal size: (B,) each, 0 images in empty ones."""

    num_images: np.ndarray
    num_positives: np.ndarray
    mean: np.ndarray  # probability, float32
    mean_before: np.ndarray  # of calibration


def fill_bins(probability: np.ndarray, before: np.ndarray, target: np.ndarray, num_bins: int) -> Bins:
    """Returns the quantile bins of a label's known answers, equal probabilities in one; of few answers, fewer bins.

    Args:
        probability, before: calibrated and not (N,), in the same order.

    >>> fill_bins(np.float32([0.1, 0.9]), np.float32([0.2, 0.8]), np.int8([0, 1]), 2).num_images
    array([2, 0])
    """
    known = np.flatnonzero(target >= 0)
    order = known[np.argsort(probability[known])]
    place = place_in_bins(probability[order], min(num_bins, max(1, len(order) // FEWEST_IN_BIN)))
    num_images, num_positives, *sums = (
        np.bincount(place, weight, num_bins) for weight in (None, target[order] == 1, probability[order], before[order])
    )
    means = (np.float32(total / np.maximum(num_images, 1)) for total in sums)
    return Bins(num_images, num_positives.astype(int), *means)


def count_scores(scores: np.ndarray, target: np.ndarray, num_bins: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns how many known negatives and positives have a score in each bin of equal width (2, B), and the range.

    >>> counts, range = count_scores(np.float32([0, 1, 2, 4]), np.int8([0, 0, 1, 1]), 2)
    >>> counts.tolist(), range
    ([[2, 0], [0, 2]], (0.0, 4.0))
    """
    known = target >= 0
    scores, target = scores[known], target[known]
    low, high = (float(scores.min()), float(scores.max())) if scores.size else (0.0, 0.0)
    low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
    place = np.minimum((scores - low) * (num_bins / (high - low)), num_bins - 1).astype(np.int64)
    return np.bincount(place + num_bins * target, minlength=2 * num_bins).reshape(2, num_bins), (low, high)
