"""Scores of decisions, whatever made them: equal to scikit-learn with `zero_division=0`, unknown targets left out.

Macro averages run over the labels with at least one known positive: a label without one has no recall to measure, and
counting it as 0 (torchmetrics) makes the average depend on which labels happen to be in the split.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
from torch import Tensor

from multihot.metrics.blocks import LogitsAndTarget, harden, rows_in_chunk

Decide = Callable[[Tensor], Tensor]  # logits float32 (B, C) -> which labels are predicted, bool (B, C)


class DecisionSums(NamedTuple):
    """Counts of each label (C,) and sums over images; those of two batches add up to those of both."""

    true_positives: np.ndarray
    predicted: np.ndarray
    support: np.ndarray
    f1: np.float64
    jaccard: np.float64
    num_exact: np.int64
    num_known: np.int64  # entries
    num_images: np.int64  # with at least one known label

    def add(self, other: "DecisionSums") -> "DecisionSums":
        """Returns the sums over the images of both."""
        return DecisionSums(*(own + more for own, more in zip(self, other, strict=True)))


def measure_decisions(matrices: LogitsAndTarget, decide: Decide) -> dict[str, np.ndarray]:
    """Returns what `score_decisions` gives for logits and targets of any size."""
    blocks = (sum_chunks(logits, harden(target), decide) for _, logits, target in matrices.blocks())
    return score_decisions(reduce(DecisionSums.add, (sums for block in blocks for sums in block)))


def sum_chunks(logits: Tensor, target: Tensor, decide: Decide) -> Iterator[DecisionSums]:
    """Yields the counts of the decisions about chunk after chunk: logits (N, C), target (N, C) of 1, 0 and -1."""
    num_rows = rows_in_chunk(logits.shape[1])
    for chunk, chunk_target in zip(logits.split(num_rows), target.split(num_rows), strict=True):
        yield sum_decisions(decide(chunk).numpy(), chunk_target.numpy())


def sum_decisions(decision: np.ndarray, target: np.ndarray) -> DecisionSums:
    """Returns the counts of the decisions: decision bool (N, C), target (N, C) of 1, 0 and -1.

    >>> sums = sum_decisions(np.array([[True, False], [True, True]]), np.array([[1, 1], [0, -1]]))
    >>> sums.true_positives.tolist(), sums.predicted.tolist(), sums.support.tolist()
    ([1, 0], [2, 0], [1, 1])
    """
    known = target >= 0
    is_positive = target == 1
    is_predicted = decision & known
    is_hit = is_predicted & is_positive
    counts = (matrix.sum(axis=0) for matrix in (is_hit, is_predicted, is_positive))
    return DecisionSums(*counts, *(values.sum() for values in judge_images(decision, target)))


def judge_images(decision: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns what each image (N,) adds to the sums over images: F1, Jaccard, whether all of its decisions are right,
    the number of its known labels, and whether it has one; decision bool (N, C), target (N, C) of 1, 0 and -1.

    >>> [values.tolist() for values in judge_images(np.array([[True, True]]), np.array([[1, 0]]))]
    [[0.6666666666666666], [0.5], [False], [2], [True]]
    """
    known, is_positive = target >= 0, target == 1
    is_predicted = decision & known
    num_hits, num_known = (is_predicted & is_positive).sum(axis=1), known.sum(axis=1)
    num_marked = is_predicted.sum(axis=1) + is_positive.sum(axis=1)
    is_exact = (num_marked == 2 * num_hits) & (num_known > 0)
    f1, jaccard = _divide(2 * num_hits, num_marked), _divide(num_hits, num_marked - num_hits)
    return f1, jaccard, is_exact, num_known, num_known > 0


def score_decisions(sums: DecisionSums) -> dict[str, np.ndarray]:
    """Returns the scores of all decisions by name; those that start with `label_` are (C,), NaN without a positive."""
    num_hits, num_predicted, support = sums.true_positives, sums.predicted, sums.support
    num_wrong = (num_predicted + support - 2 * num_hits).sum()
    evaluated = support > 0
    per_label = {
        name: np.where(evaluated, values, np.nan)
        for name, values in _precision_recall_f1(num_hits, num_predicted, support).items()
    }
    micro = _precision_recall_f1(num_hits.sum(), num_predicted.sum(), support.sum())
    return {
        **{f"micro_{name}": value for name, value in micro.items()},
        **{f"macro_{name}": mean_of_evaluated(values) for name, values in per_label.items()},
        **{f"label_{name}": values for name, values in per_label.items()},
        "label_support": support,
        "label_predicted": num_predicted,
        "samples_f1": _divide(sums.f1, sums.num_images, empty=np.nan),
        "jaccard_samples": _divide(sums.jaccard, sums.num_images, empty=np.nan),
        "subset_accuracy": _divide(sums.num_exact, sums.num_images, empty=np.nan),
        "hamming_loss": _divide(num_wrong, sums.num_known, empty=np.nan),
        "num_labels_evaluated": evaluated.sum(),
        "num_images": sums.num_images,
    }


def mean_of_evaluated(values: np.ndarray) -> np.float64:
    """Returns the mean of those of the values (C,) that are not NaN, NaN if all are.

    >>> float(mean_of_evaluated(np.array([0.5, np.nan, 1.0])))
    0.75
    """
    evaluated = values[~np.isnan(values)]
    return evaluated.mean() if evaluated.size else np.float64(np.nan)


def _precision_recall_f1(num_hits: np.ndarray, num_predicted: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "precision": _divide(num_hits, num_predicted),
        "recall": _divide(num_hits, support),
        "f1": _divide(2 * num_hits, num_predicted + support),
    }


def _divide(numerator: np.ndarray, denominator: np.ndarray, empty: float = 0.0) -> np.ndarray:
    result = np.full(np.shape(denominator), empty)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)
