"""Where the ranking of one label can be cut, and what each cut would come to."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

RAW_FROM = 100  # positives from which a label's own answers say where to cut; with less, its calibrated probabilities
MOST_CUTS = 512  # of a label with less


@dataclass(frozen=True)
class Cuts:
    """Cuts of one label, the highest first: above each lie `num_predicted` known entries, `hits` of them positives.

    All arrays are (K,). `cut` lies in the middle between the lowest logit above it and the next lower one.
    """

    cut: np.ndarray  # float32 logits
    num_predicted: np.ndarray
    hits: np.ndarray  # float64; expected ones of a rare label
    positives: float  # expected ones of a rare label

    def f_score(self, beta: float) -> np.ndarray:
        """Returns the F-beta of each cut (K,)."""
        return f_score(self.hits, self.num_predicted, self.positives, beta)


def f_score(hits: np.ndarray, num_predicted: np.ndarray, num_positives: np.ndarray | float, beta: float) -> np.ndarray:
    """Returns F-beta from counts, 0 where nothing is predicted and nothing is there.

    >>> f_score(np.array([2.0]), np.array([3]), 4, 1.0).round(4).tolist()  # 2 * 2 / (3 + 4)
    [0.5714]
    """
    total = np.asarray(num_predicted + beta**2 * num_positives, np.float64)
    return np.divide((1 + beta**2) * hits, total, out=np.zeros(np.broadcast(hits, total).shape), where=total > 0)


def between(higher: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Returns float32 cuts between float32 logits: `higher` is above each, `lower` is not.

    Next to each other, two numbers have none between them: then the cut is the lower one.

    >>> higher = np.float32([1.0, np.nextafter(np.float32(1), np.float32(2))])
    >>> lower = np.float32([0.0, 1.0])
    >>> cut = between(higher, lower)
    >>> cut.tolist(), (higher > cut).tolist(), (lower > cut).tolist()
    ([0.5, 1.0], [True, True], [False, False])
    """
    middle = ((higher.astype(np.float64) + lower) / 2).astype(np.float32)
    return np.where(middle < higher, middle, lower)


def list_cuts(logits: np.ndarray, target: np.ndarray, log_odds: np.ndarray | None = None) -> Cuts:
    """Returns the cuts of a label that can be the best by any score: logits float32 (n,), target (n,) of 1 and 0.

    That are one above all, and those right below a positive. With less than RAW_FROM positives, where the best cut of
    so few is mostly luck, answers are replaced by calibrated probabilities, and cuts become sparser downwards.

    Args:
        log_odds: of the calibrated probabilities (n,); None: the answers count, however few there are.
    """
    order = np.argsort(-logits, kind="stable")
    logits = logits[order]
    is_expected = log_odds is not None and np.count_nonzero(target) < RAW_FROM
    worth = expit(log_odds[order]) if is_expected else target[order].astype(np.float64)
    hits = np.cumsum(worth)
    ends = np.flatnonzero(np.append(logits[1:] != logits[:-1], True))  # the last ones of equal logits
    if is_expected:
        ends = ends[np.unique(np.geomspace(1, len(ends), min(MOST_CUTS, len(ends))).round().astype(int) - 1)]
    else:
        ends = ends[np.diff(hits[ends], prepend=0) > 0]
    cut = between(logits[ends], np.append(logits, just_below(logits[-1]))[ends + 1])
    return Cuts(np.append(logits[:1], cut), np.append(0, ends + 1), np.append(0, hits[ends]), float(worth.sum()))


def just_below(logit: np.float32) -> np.float32:
    """Returns a number clearly below the lowest logit."""
    return min(logit - np.float32(1), np.nextafter(logit, -np.float32(np.inf)))
