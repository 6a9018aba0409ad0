"""What thresholds are chosen by: known answers, and the calibrated log-odds of all labels on one scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from multihot.decisions.calibration import Calibration
from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget, harden

MOST_CANDIDATES = 2000  # common thresholds that are tried
MOST_OF_IMAGES = 500  # of them, where each image is counted by itself


class Counts(NamedTuple):
    """What K thresholds come to for each of several labels or images: hits and predicted (n, K), positives (n, 1)."""

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Logits and known answers of the images that thresholds are fitted on, and their calibration."""

    matrices: LogitsAndTarget
    space: LabelSpace
    calibration: Calibration

    def whole_labels(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields each independent label's column, its logits float32 (N,) and its hard target int8 (N,)."""
        independent, start = set(self.space.independent), 0
        for logits, target in self.matrices.label_chunks(self.space):
            for row in range(len(logits)):
                if start + row in independent:
                    yield start + row, logits[row].numpy(), target[row].numpy()
            start += len(logits)

    def labels(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields each independent label's column, and the logits float32 (n,) and answers int8 (n,) that are known."""
        for column, logits, target in self.whole_labels():
            known = target >= 0
            yield column, logits[known], target[known]

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields calibrated log-odds float64 (B, I) and hard target int8 (B, I) of the I independent labels."""
        independent = self.space.independent
        for _, logits, target in self.matrices.blocks(1 << 22):
            yield self.calibration.log_odds(logits)[:, independent].numpy(), harden(target[:, independent]).numpy()

    @cached_property
    def positives(self) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated log-odds (P,) of all positives of independent labels, and the image (P,) that each is on."""
        log_odds, rows, start = [], [], 0
        for block, target in self.blocks():
            row, column = np.nonzero(target == 1)
            log_odds.append(block[row, column])
            rows.append(row + start)
            start += len(block)
        return np.concatenate(log_odds), np.concatenate(rows)

    def candidates(self, most: int = MOST_CANDIDATES) -> np.ndarray:
        """Returns the log-odds, rising, from which on all is predicted: those of positives, of many evenly spread."""
        values = np.unique(self.positives[0])
        return values[np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))]

    def count_labels(self, candidates: np.ndarray) -> Iterator[tuple[int, Counts]]:
        """Yields column and counts (1, K) of each independent label, predicted from each of K candidates on."""
        for column, logits, target in self.labels():
            yield column, count_from(self.calibration.of_label(column, logits)[None], target[None], candidates)

    def lower_edge(self, log_odds: float) -> float:
        """Returns the threshold below this log-odds that divides it from the next lower one of any answer."""
        lower = -np.inf
        for column, logits, _ in self.labels():
            own = self.calibration.of_label(column, logits)
            lower = max(lower, own[own < log_odds].max(initial=-np.inf))
        return log_odds - 1 if lower == -np.inf else max(lower, (lower + log_odds) / 2)

    @cached_property
    def of_groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hits, predictions and positives (N,) of each image in groups, where the largest logit decides."""
        grouped = [column for columns in self.space.columns for column in columns]
        if not grouped:
            return (np.zeros(len(self.matrices), np.int64),) * 3
        parts = []
        for _, logits, target in self.matrices.blocks():
            target, decision = harden(target[:, grouped]), self.space.decide(logits)[:, grouped]
            sums = decision & (target >= 0)
            parts.append(torch.stack([part.sum(dim=1) for part in (sums & (target == 1), sums, target == 1)]))
        return tuple(torch.cat(parts, dim=1).numpy())


def count_from(log_odds: np.ndarray, target: np.ndarray, candidates: np.ndarray) -> Counts:
    """Returns for each row how many known entries lie at or above each of K rising candidates: both (n, m).

    >>> counts = count_from(np.array([[3.0, 1.0, 2.0]]), np.array([[1, 0, -1]]), np.array([1.0, 2.5]))
    >>> counts.hits.tolist(), counts.predicted.tolist(), counts.positives.tolist()
    ([[1, 1]], [[2, 1]], [[1]])
    """
    num_rows, num_bins = len(log_odds), len(candidates) + 1
    places = np.searchsorted(candidates, log_odds, side="right") + num_bins * np.arange(num_rows)[:, None]

    def count(mask: np.ndarray) -> np.ndarray:
        bins = np.bincount(places[mask], minlength=num_rows * num_bins).reshape(num_rows, num_bins)
        return bins[:, ::-1].cumsum(axis=1)[:, -2::-1]

    return Counts(count(target == 1), count(target >= 0), (target == 1).sum(axis=1, keepdims=True))
