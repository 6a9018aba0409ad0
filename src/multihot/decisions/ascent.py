"""Coordinate ascent of the samples F-beta: one label's cut after the other, while the mean over images rises."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from multihot.decisions.cuts import RAW_FROM, between, f_score, just_below
from multihot.decisions.evidence import Evidence

MOST_SWEEPS = 5
LEAST_GAIN = 1e-6  # of the mean, in a sweep that another one follows


@dataclass
class Images:
    """What each of N images has by the decisions so far; the answers of rare labels are expected ones."""

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    beta: float

    def move(self, rows: np.ndarray, worth: np.ndarray, sign: int) -> None:
        """Counts a label as predicted on more images, or on fewer (-1)."""
        self.hits[rows] += sign * worth
        self.predicted[rows] += sign

    def gain(self, rows: np.ndarray, worth: np.ndarray) -> np.ndarray:
        """Returns by how much a label's prediction changes the F-beta of images (n,) that it is not predicted on."""
        hits, predicted, positives = self.hits[rows], self.predicted[rows], self.positives[rows]
        with_label = f_score(hits + worth, predicted + 1, positives, self.beta)
        return with_label - f_score(hits, predicted, positives, self.beta)


def climb(evidence: Evidence, common: float, beta: float, no_positive: str) -> tuple[dict[int, float], dict[int, str]]:
    """Returns the cut of each label with a positive, and why each of the others keeps the common threshold.

    Args:
        common: the threshold of all labels at the start, as calibrated log-odds.
    """
    images = Images(*(part.astype(np.float64) for part in evidence.of_groups), beta)
    cuts: dict[int, float] = {}
    kept: dict[int, str] = {}
    for column, logits, rows, worth, target in known_parts(evidence):
        images.positives[rows] += worth
        cuts[column] = evidence.calibration.find_cut(column, common)
        is_predicted = logits > np.float32(cuts[column])
        images.move(rows[is_predicted], worth[is_predicted], 1)
        if not target.any():
            kept[column] = no_positive
    for _ in range(MOST_SWEEPS):
        gained = sum(improve(images, cuts, *part) for part in known_parts(evidence) if part[0] not in kept)
        if gained < LEAST_GAIN * len(images.hits):
            break
    return {column: cut for column, cut in cuts.items() if column not in kept}, kept


def known_parts(evidence: Evidence):
    """Yields column, logits (n,), rows (n,), worth (n,) and target (n,) of each label's known answers.

    The worth of predicting one is the answer, or the calibrated probability where a label has few positives.
    """
    for column, logits, target in evidence.whole_labels():
        rows = np.flatnonzero(target >= 0)
        logits, target = logits[rows], target[rows]
        is_rare = 0 < np.count_nonzero(target) < RAW_FROM
        worth = expit(evidence.calibration.of_label(column, logits)) if is_rare else target.astype(np.float64)
        yield column, logits, rows, worth, target


def improve(
    images: Images,
    cuts: Mapping[int, float],
    column: int,
    logits: np.ndarray,
    rows: np.ndarray,
    worth: np.ndarray,
    target: np.ndarray,
) -> float:
    """Returns by how much a better cut of one label raises the sum over images, and takes it."""
    is_predicted = logits > np.float32(cuts[column])
    images.move(rows[is_predicted], worth[is_predicted], -1)
    gain = images.gain(rows, worth)
    before = gain[is_predicted].sum()
    order = np.argsort(-logits, kind="stable")
    sorted_logits, total = logits[order], np.cumsum(gain[order])
    ends = np.flatnonzero(np.append(sorted_logits[1:] != sorted_logits[:-1], True))
    best = ends[np.argmax(total[ends])]
    if total[best] > max(before, 0.0) + 1e-12:
        lower = np.append(sorted_logits, just_below(sorted_logits[-1]))[best + 1]
        cuts[column] = float(between(sorted_logits[best], lower))
    elif before < 0:
        cuts[column] = float(sorted_logits[0])
    is_predicted = logits > np.float32(cuts[column])
    images.move(rows[is_predicted], worth[is_predicted], 1)
    return gain[is_predicted].sum() - before
