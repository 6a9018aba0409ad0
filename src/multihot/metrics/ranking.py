"""Exact ranking scores: equal to scikit-learn with ties, with absent labels and with unknown targets.

They rank any finite float32 scores. Hand them logits, not probabilities: in float32 the sigmoid is exactly 1.0 from
about 17 on, which would make ties of the surest predictions.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget, harden
from multihot.metrics.cells import count_cells
from multihot.metrics.decisions import mean_of_evaluated

POSITIVES_AT_ONCE = 1 << 12
FEW_POSITIVES = 32  # of an image
COMPARED_AT_ONCE = 1 << 18  # entries, which stay in the processor's cache


def average_precision(scores: np.ndarray, target: np.ndarray) -> float:
    """Returns the average precision of one ranking: scores (K,), target (K,) of 1, 0 and -1 (left out).

    It is the mean over the positives of the precision among all entries that score at least as much, so equal scores
    share one threshold, as in sklearn.metrics.average_precision_score. NaN without a positive, and without a negative:
    there any ranking has 1.

    >>> average_precision(np.array([0.9, 0.8, 0.7, 0.7]), np.array([1, 0, 1, 0]))
    0.75
    """
    return pooled_average_precision(scores[target == 1], [(scores, target)])


def pooled_average_precision(positive: np.ndarray, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Returns the average precision of the one ranking of all entries, which come in parts: (scores, target) each.

    Args:
        positive: the scores of the positives of all parts; they are sorted in place.
    """
    if not positive.size:
        return np.nan
    positive.sort()
    num_entries, has_negative = np.zeros(positive.size, np.int64), False
    for scores, target in parts:
        has_negative |= bool((target == 0).any())
        near, num_higher = count_cells(_sink_unknown(scores, target).ravel(), positive)
        num_entries += num_higher
        _add_counts(num_entries, near, positive)
    return float((_count_at_least(positive, positive) / num_entries).mean()) if has_negative else np.nan


def rank_labels(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the average precision (C,) and the area under the ROC curve (C,) of labels: logits and target (C, N).

    The area is the share of the pairs of a positive and a negative in which the positive scores higher; equal scores
    count one half, as in sklearn.metrics.roc_auc_score. Both are NaN for a label without a positive or a negative:
    nothing is to be ranked.

    >>> rank_labels(np.array([[3.0, 2.0, 2.0], [1.0, 5.0, 4.0]]), np.array([[0, 0, 1], [1, 1, 1]]))
    (array([0.33333333,        nan]), array([0.25,  nan]))
    """
    precision, area, _ = _rank_labels(logits, target)
    return precision, area


def rank_all(matrices: LogitsAndTarget, space: LabelSpace) -> dict[str, np.ndarray | float]:
    """Returns `map`, `micro_ap`, `macro_auroc`, `num_labels_ranked`, and `label_ap` and `label_auroc` (C,)."""
    of_labels, positive = [], []
    for log_odds, target in matrices.label_chunks(space):
        *of_chunk, of_positives = _rank_labels(log_odds.numpy(), target.numpy())
        of_labels.append(of_chunk)
        positive.append(of_positives)
    del log_odds, target  # views of memory that the blocks below need
    (label_ap, label_auroc), positive = np.concatenate(of_labels, axis=1), np.concatenate(positive)
    blocks = ((space.log_odds(logits).numpy(), harden(target).numpy()) for _, logits, target in matrices.blocks())
    return {
        "map": mean_of_evaluated(label_ap),
        "micro_ap": pooled_average_precision(positive, blocks),
        "macro_auroc": mean_of_evaluated(label_auroc),
        "num_labels_ranked": np.count_nonzero(~np.isnan(label_ap)),
        "label_ap": label_ap,
        "label_auroc": label_auroc,
    }


class ImageRankings(NamedTuple):
    """How each image (N,) ranks its labels; those of two batches follow each other."""

    lrap: np.ndarray
    ranking_loss: np.ndarray
    coverage_error: np.ndarray
    is_known: np.ndarray  # at least one label is


def rank_images(logits: np.ndarray, target: np.ndarray) -> ImageRankings:
    """Returns how each image ranks its labels: logits (N, C), target (N, C) of 1, 0 and -1.

    An image without a positive has LRAP 1, ranking loss 0 and coverage 0, as in scikit-learn.
    """
    scores, is_positive = _sink_unknown(logits, target), target == 1
    num_positive, num_known = np.count_nonzero(is_positive, axis=1), np.count_nonzero(target >= 0, axis=1)
    positive, ends = scores.ravel().compress(is_positive.ravel()), np.cumsum(num_positive)
    lrap, num_wrong_pairs, coverage = np.ones(len(logits)), np.zeros(len(logits)), np.zeros(len(logits))
    for images in _group_images(num_positive, scores.shape[1]):
        own = np.sort(positive[ends[images, np.newaxis] - np.arange(num_positive[images[0]]) - 1], axis=1)
        num_hits, num_entries = _count_in_images(own, own), _count_in_images(scores[images], own)
        lrap[images] = (num_hits / num_entries).mean(axis=1)
        num_wrong_pairs[images] = (num_entries - num_hits).sum(axis=1)
        coverage[images] = num_entries[:, 0]
    num_pairs = num_positive * (num_known - num_positive)
    return ImageRankings(lrap, num_wrong_pairs / np.maximum(num_pairs, 1), coverage, num_known > 0)


def score_image_rankings(images: ImageRankings) -> dict[str, np.ndarray]:
    """Returns the means over the images with at least one known label, NaN if there is none.

    >>> images = rank_images(np.array([[3.0, 2.0, 1.0]]), np.array([[0, 1, 0]]))
    >>> {name: float(value) for name, value in score_image_rankings(images).items()}
    {'lrap': 0.5, 'ranking_loss': 0.5, 'coverage_error': 2.0}
    """
    num_images = images.is_known.sum() or np.nan
    return {
        "lrap": images.lrap[images.is_known].sum() / num_images,
        "ranking_loss": images.ranking_loss.sum() / num_images,
        "coverage_error": images.coverage_error.sum() / num_images,
    }


def _rank_labels(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what `rank_labels` does, and the scores of all positives (P,)."""
    scores, is_positive = _sink_unknown(logits, target), target == 1
    positive = logits.ravel().compress(is_positive.ravel())
    each = np.split(positive, np.count_nonzero(is_positive, axis=1).cumsum()[:-1])
    precision, area = np.array([_rank_label(*label) for label in zip(scores, each, strict=True)]).T
    return precision, area, positive


def _rank_label(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    positive = np.sort(positive)
    num_negative = np.count_nonzero(scores > -np.inf) - positive.size
    if not (positive.size and num_negative):
        return np.nan, np.nan
    near, num_higher = count_cells(scores, positive)
    num_at_least, num_hits = num_higher + _count_at_least(near, positive), _count_at_least(positive, positive)
    num_above = num_higher + near.size - near.searchsorted(positive, side="right")
    # A pair in the wrong order counts 2 and a tie 1; the P positives, each compared with all of them, add P * P.
    num_wrong = (num_at_least + num_above).sum() - positive.size**2
    return (num_hits / num_at_least).mean(), 1 - num_wrong / (2 * positive.size * num_negative)


def _group_images(num_positive: np.ndarray, num_labels: int) -> Iterator[np.ndarray]:
    """Yields images with equally many positives, some of them after the others; those without any are left out."""
    for number in np.unique(num_positive[num_positive > 0]):
        images = (num_positive == number).nonzero()[0]
        step = max(1, COMPARED_AT_ONCE // (number * num_labels))
        yield from (images[start : start + step] for start in range(0, len(images), step))


def _count_in_images(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns how many scores (n, C) of its image are at least as high as each positive (n, P), the lowest first.

    To compare an image's few positives with all its entries takes less time than to sort these.
    """
    if positive.shape[1] <= FEW_POSITIVES:
        is_at_least = (scores[:, np.newaxis] >= positive[..., np.newaxis]).view(np.uint8)
        fastest = np.min_scalar_type(scores.shape[1])  # that holds the sum; count_nonzero takes four times as long
        return is_at_least.sum(axis=2, dtype=fastest).astype(np.int64)
    return np.stack([_count_at_least(np.sort(row), own) for row, own in zip(scores, positive, strict=True)])


def _add_counts(counts: np.ndarray, entries: np.ndarray, positive: np.ndarray) -> None:
    """Adds to each count what `_count_at_least` gives. Positives that lie close to each other are looked up together
    where they are: of millions, each would go through memory.
    """
    for start in range(0, positive.size, POSITIVES_AT_ONCE):
        part = slice(start, start + POSITIVES_AT_ONCE)
        low, high = entries.searchsorted(positive[part][[0, -1]])
        counts[part] += entries.size - low - entries[low:high].searchsorted(positive[part])


def _count_at_least(entries: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns for each positive how many entries, both sorted, score at least as much."""
    return entries.size - entries.searchsorted(positive)


def _sink_unknown(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the scores, -inf where the target is unknown: below each positive and so never counted."""
    unknown = target < 0
    return np.where(unknown, np.float32(-np.inf), scores) if unknown.any() else scores
