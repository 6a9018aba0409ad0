"""What is said of an image: the labels that hold, and of each label probability, logit and threshold."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from multihot.decisions import Decisions
from multihot.metrics.checks import check_finite


class Describer:
    """Says what the decisions of a run make of logits, as plain values that JSON can hold.

    Numbers are the shortest that are read as the same float32.
    """

    def __init__(self, decisions: Decisions):
        self.decisions = decisions
        self.labels = decisions.space.labels
        self.thresholds = decisions.thresholds()

    def describe(
        self, images: Sequence[str], logits: Tensor, top_k: int | None = None, min_probability: float = 0.0
    ) -> list[dict]:
        """Returns a record an image: `image`, `labels` that hold, `scores` (the likeliest first, each with `label`,
        `probability`, `logit`, `threshold` and `predicted`), and `error`, which is None.

        Of a label in a group the threshold is None: the largest logit decides.

        Args:
            images: their names (B,).
            logits: float32 (B, C).
            top_k: labels with scores at most; None: all.
            min_probability: of labels with scores. Neither changes the `labels` that hold.

        Raises:
            InputError: a logit is not finite.
        """
        check_finite(logits)
        probability = self.decisions.probability(logits).numpy()
        predicted = self.decisions.decide(logits).numpy()
        rows = zip(images, logits.numpy(), probability, predicted, strict=True)
        return [self.describe_one(*row, rank(row[2], top_k, min_probability)) for row in rows]

    def describe_one(
        self, image: str, logits: np.ndarray, probability: np.ndarray, predicted: np.ndarray, shown: np.ndarray
    ) -> dict:
        """Returns the record of one image: logits, probability and predicted (C,), and the columns that are shown."""
        scores = [
            {
                "label": self.labels[column],
                "probability": shortest(probability[column]),
                "logit": shortest(logits[column]),
                "threshold": self.thresholds[column],
                "predicted": bool(predicted[column]),
            }
            for column in shown.tolist()
        ]
        labels = [self.labels[column] for column in np.flatnonzero(predicted).tolist()]
        return {"image": image, "labels": labels, "scores": scores, "error": None}


def refuse(image: str, reason: str) -> dict:
    """Returns the record of an image that could not be read."""
    return {"image": image, "labels": [], "scores": [], "error": reason}


def rank(probability: np.ndarray, top_k: int | None, min_probability: float) -> np.ndarray:
    """Returns the columns of the labels of an image that are shown, the likeliest first; of equal ones the first.

    Args:
        probability: (C,).

    >>> rank(np.float32([0.1, 0.7, 0.7, 0.2]), top_k=3, min_probability=0.0).tolist()
    [1, 2, 3]
    """
    if top_k is not None and top_k < len(probability) // 4:  # sorting all of many labels would take longer
        least = np.partition(probability, -top_k)[-top_k]
        candidates = np.flatnonzero(probability >= least)
    else:
        candidates = np.arange(len(probability))
    order = candidates[np.argsort(-probability[candidates], kind="stable")][:top_k]
    return order[probability[order] >= min_probability]


def shortest(value: np.float32) -> float:
    """Returns the shortest number that is read as this float32.

    >>> shortest(np.float32(0.1)), float(np.float32(0.1))
    (0.1, 0.10000000149011612)
    """
    return float(str(value))
