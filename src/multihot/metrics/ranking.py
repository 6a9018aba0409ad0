"""Exact ranking scores: equal to scikit-learn with ties, with absent labels and with unknown targets.

They rank any finite float32 scores. Hand them logits, not probabilities: in float32 the sigmoid is exactly 1.0 from
about 17 on, which would make ties of the surest predictions.
"""

from typing import NamedTuple

import numpy as np
import torch


def average_precision(scores: np.ndarray, target: np.ndarray) -> float:
    """Returns the average precision of one ranking: scores (K,), target (K,) of 1, 0 and -1 (left out).

    It is the mean over the positives of the precision among all entries that score at least as much, so equal scores
    share one threshold, as in sklearn.metrics.average_precision_score. NaN without a positive, and without a negative:
    there any ranking has 1.

    >>> average_precision(np.array([0.9, 0.8, 0.7, 0.7]), np.array([1, 0, 1, 0]))
    0.75
    """
    if not (target == 0).any():
        return np.nan
    num_entries, num_hits = _count_at_least(*_sort(_sink_unknown(scores, target), target == 1))
    return float((num_hits / num_entries).mean()) if num_hits.size else np.nan


def rank_labels(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the average precision (C,) and the area under the ROC curve (C,) of labels: logits and target (N, C).

    The area is the share of the pairs of a positive and a negative in which the positive scores higher; equal scores
    count one half, as in sklearn.metrics.roc_auc_score. Both are NaN for a label without a positive or a negative:
    nothing is to be ranked.

    >>> rank_labels(np.array([[3.0, 1.0], [2.0, 5.0], [2.0, 4.0]]), np.array([[0, 1], [0, 1], [1, 1]]))
    (array([0.33333333,        nan]), array([0.25,  nan]))
    """
    columns = zip(_transpose(_sink_unknown(logits, target)), _transpose(target == 1), strict=True)
    precision, area = np.array([_rank_label(*_sort(*column)) for column in columns]).T
    return precision, area


class ImageRankingSums(NamedTuple):
    """Sums over images; those of two batches add up to those of both."""

    lrap: np.float64
    ranking_loss: np.float64
    coverage_error: np.float64
    num_images: np.int64  # with at least one known label


def sum_image_rankings(logits: np.ndarray, target: np.ndarray) -> ImageRankingSums:
    """Returns the sums over images of how each ranks its labels: logits (N, C), target (N, C) of 1, 0 and -1.

    An image without a positive has LRAP 1, ranking loss 0 and coverage 0, as in scikit-learn.
    """
    scores, is_positive = _sink_unknown(logits, target), target == 1
    num_positive, num_known = is_positive.sum(axis=1), (target >= 0).sum(axis=1)
    lrap, num_wrong_pairs, coverage = np.ones(len(logits)), np.zeros(len(logits)), np.zeros(len(logits))
    for image in num_positive.nonzero()[0]:
        num_entries, num_hits = _count_at_least(*_sort(scores[image], is_positive[image]))
        lrap[image] = (num_hits / num_entries).mean()
        num_wrong_pairs[image] = (num_entries - num_hits).sum()
        coverage[image] = num_entries[0]
    num_pairs = num_positive * (num_known - num_positive)
    ranking_loss = num_wrong_pairs / np.maximum(num_pairs, 1)
    return ImageRankingSums(lrap[num_known > 0].sum(), ranking_loss.sum(), coverage.sum(), (num_known > 0).sum())


def score_image_rankings(sums: ImageRankingSums) -> dict[str, np.ndarray]:
    """Returns the means over the images with at least one known label, NaN if there is none.

    >>> sums = sum_image_rankings(np.array([[3.0, 2.0, 1.0]]), np.array([[0, 1, 0]]))
    >>> {name: float(value) for name, value in score_image_rankings(sums).items()}
    {'lrap': 0.5, 'ranking_loss': 0.5, 'coverage_error': 2.0}
    """
    num_images = sums.num_images or np.nan
    return {name: total / num_images for name, total in sums._asdict().items() if name != "num_images"}


def _rank_label(entries: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    if not positive.size:
        return np.nan, np.nan
    num_negative = np.count_nonzero(entries > -np.inf) - positive.size
    if not num_negative:
        return np.nan, np.nan
    num_at_least, num_hits = _count_at_least(entries, positive)
    num_above = entries.size - entries.searchsorted(positive, side="right")
    # A pair in the wrong order counts 2 and a tie 1; the P positives, each compared with all of them, add P * P.
    num_wrong = (num_at_least + num_above).sum() - positive.size**2
    return (num_hits / num_at_least).mean(), 1 - num_wrong / (2 * positive.size * num_negative)


def _sort(scores: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of all entries and those of the positives, the lowest first; nothing without a positive.

    Sorting the values and looking up the few positives is far cheaper than sorting indices (argsort, torch.sort).
    """
    positive = np.sort(scores[is_positive])
    return np.sort(scores) if positive.size else positive, positive


def _count_at_least(entries: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each positive how many entries and how many positives, both sorted, score at least as much."""
    return entries.size - entries.searchsorted(positive), positive.size - positive.searchsorted(positive)


def _sink_unknown(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the scores, -inf where the target is unknown: below each positive and so never counted."""
    unknown = target < 0
    return np.where(unknown, np.float32(-np.inf), scores) if unknown.any() else scores


def _transpose(matrix: np.ndarray) -> np.ndarray:
    """Returns a contiguous copy (C, N) of the matrix (N, C); torch copies in tiles, in a third of numpy's time."""
    return torch.from_numpy(matrix).T.contiguous().numpy()
