"""Suspected label errors: known answers that are far from the probability of a model which has not seen them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multihot.decisions.calibration import calibrate
from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.ranking import average_precision

NO_OTHER = -1


@dataclass(frozen=True)
class Suspects:
    """S suspected answers, the worst first: each is that of one image about one label, and should be the contrary.

    Of a group it is the answer that is given as present, and `others` the label that should be in its place; or, where
    none is given, the label that should be there.
    """

    rows: np.ndarray  # int64 (S,)
    columns: np.ndarray  # int64 (S,)
    others: np.ndarray  # int64 (S,), NO_OTHER: no other label of a group is concerned
    doubts: np.ndarray  # float32 (S,), how far the answer is from the probability

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, most: int) -> "Suspects":
        """Returns the worst, so many at most."""
        return Suspects(self.rows[:most], self.columns[:most], self.others[:most], self.doubts[:most])


def cross_calibrate(logits: Tensor, target: Tensor, space: LabelSpace, folds: np.ndarray) -> Tensor:
    """Returns probabilities float32 (N, C), those of each fold by the calibration that the others give.

    Args:
        folds: of each image, int64 (N,), from 0 up.
    """
    probability = torch.empty(logits.shape)
    for fold in range(folds.max() + 1):
        own = torch.from_numpy(folds == fold)
        calibration = calibrate(LogitsAndTarget(logits[~own], target[~own]), space)
        probability[own] = torch.sigmoid(calibration.log_odds(logits[own])).float()
    return probability


def measure_doubt(probability: np.ndarray, target: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Returns how far each known answer is from its probability, float32 (N, C) from 0 to 1; NaN where none is known.

    Of the labels of a group one alone has it for each image: the one that is given, or the likeliest where it is known
    that none is. It is then the probability that anything else is true.

    Args:
        probability: (N, C), of a model that has not seen the answers.
        target: (N, C) of 1, 0, -1 (unknown) or soft answers.

    >>> measure_doubt(np.array([[0.5, 0.75, 0.5]]), np.array([[1, 0, -1]]), LabelSpace(("cat", "dog", "owl"))).tolist()
    [[0.5, 0.75, nan]]
    """
    doubt = np.abs(target - probability).astype(np.float32)
    doubt[target == -1] = np.nan
    for group, members in zip(space.groups, space.columns, strict=True):
        inside, answers = probability[:, members], target[:, members]
        is_given = (answers >= 0.5).any(axis=1)
        is_none = ~is_given & (answers != -1).all(axis=1) & group.none
        chosen = np.where(is_given, answers.argmax(axis=1), inside.argmax(axis=1))
        images = np.arange(len(target))
        value = np.where(is_given, np.abs(answers - inside)[images, chosen], inside.sum(axis=1))
        doubt[:, members] = np.nan
        doubt[images, np.array(members)[chosen]] = np.where(is_given | is_none, value, np.nan)
    return doubt


def find_suspects(doubt: np.ndarray, probability: np.ndarray, target: np.ndarray, space: LabelSpace) -> Suspects:
    """Returns all answers in whose place another is likelier than not: doubt, probability and target (N, C)."""
    places = np.flatnonzero(doubt > 0.5)
    places = places[np.argsort(-doubt.flat[places], kind="stable")]
    rows, columns = np.unravel_index(places, doubt.shape)
    others, is_likely = np.full(len(rows), NO_OTHER), np.ones(len(rows), bool)
    for group, members in zip(space.groups, space.columns, strict=True):
        inside = np.flatnonzero(np.isin(columns, members))
        outcomes = probability[np.ix_(rows[inside], members)]
        none = 1 - outcomes.sum(axis=1) if group.none else np.zeros(len(inside))
        is_given = target[rows[inside], columns[inside]] >= 0.5
        outcomes[is_given[:, None] & (np.array(members) == columns[inside, None])] = -1
        none[~is_given] = -1
        best, best_outcome = outcomes.max(axis=1), outcomes.argmax(axis=1)
        others[inside] = np.where(is_given & (best >= none), np.array(members)[best_outcome], NO_OTHER)
        is_likely[inside] = np.maximum(best, none) > 0.5
    return Suspects(rows[is_likely], columns[is_likely], others[is_likely], doubt.flat[places[is_likely]])


def score_planted(doubt: np.ndarray, is_planted: np.ndarray) -> dict[str, float | int]:
    """Returns how well planted errors, bool (N, C), are found by ranking all known answers by doubt (N, C).

    `ap` is the average precision, `ap_at_random` that of a ranking by chance, and `precision` the share of planted ones
    among as many of the worst as there are planted ones.
    """
    is_known = ~np.isnan(doubt)
    scores, planted = doubt[is_known], is_planted[is_known]
    num_planted = int(planted.sum())
    worst = np.argsort(-scores, kind="stable")[:num_planted]
    return {
        "ap": average_precision(scores, planted.astype(np.int8)),
        "ap_at_random": float(planted.mean()),
        "precision": float(planted[worst].mean()) if num_planted else float("nan"),
        "num_planted": num_planted,
    }
