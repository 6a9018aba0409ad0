"""What thresholds are chosen for. An aim finds one for all labels, as log-odds, and one a label, as logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from multihot.decisions.ascent import climb
from multihot.decisions.cuts import Cuts, f_score, list_cuts
from multihot.decisions.evidence import MOST_OF_IMAGES, Evidence, count_from
from multihot.errors import InputError

CONFIDENCE = 0.95  # of a promised precision
MOST_ROUNDS = 50
NO_POSITIVE = "has no positive"
SLACK = 1e-9  # 10 * (1 - 0.9) is a little less than 1


class Own(NamedTuple):
    """Thresholds of labels by themselves: logits by column, and why other labels keep the common one."""

    cuts: Mapping[int, float]
    kept: Mapping[int, str]


def cut_each(evidence: Evidence, choose: Callable[[Cuts], int | str], *, by_answers: bool = False) -> Own:
    """Returns the chosen cut of each label; one without a positive keeps the common threshold.

    Args:
        choose: gives the place of the best cut, or why none is good enough.
        by_answers: answers count, however few there are; else a rare label is cut by its calibrated probabilities.
    """
    cuts, kept = {}, {}
    for column, logits, target in evidence.labels():
        if not target.any():
            kept[column] = NO_POSITIVE
            continue
        of_label = list_cuts(logits, target, None if by_answers else evidence.calibration.of_label(column, logits))
        place = choose(of_label)
        if isinstance(place, str):
            kept[column] = place
        else:
            cuts[column] = float(of_label.cut[place])
    return Own(cuts, kept)


@dataclass(frozen=True)
class MicroF1:
    """The best micro F-beta, of all decisions together."""

    beta: float = 1.0

    def common(self, evidence: Evidence) -> float:
        """Returns the best threshold of all labels, as calibrated log-odds."""
        candidates = evidence.candidates()
        hits, predicted, positives = (part.sum() for part in evidence.of_groups)
        for _, counts in evidence.count_labels(candidates):
            hits, predicted = hits + counts.hits[0], predicted + counts.predicted[0]
            positives += counts.positives.item()
        best = np.argmax(f_score(hits, predicted, positives, self.beta))
        return evidence.lower_edge(candidates[best])

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cuts of all labels that are best together, by Dinkelbach's method.

        F = (1 + beta^2) hits / (predicted + beta^2 positives) can be more than a value v exactly if the largest sum of
        (1 + beta^2) hits - v predicted is above v beta^2 positives, and that sum each label makes largest for itself.
        """
        hits, predicted, positives = (float(part.sum()) for part in evidence.of_groups)
        labels, kept = {}, {}
        for column, logits, target in evidence.labels():
            if target.any():
                labels[column] = list_cuts(logits, target, evidence.calibration.of_label(column, logits))
                positives += labels[column].positives
            else:
                kept[column] = NO_POSITIVE
                predicted += np.count_nonzero(evidence.calibration.of_label(column, logits) > common)
        value, places = 0.0, {}
        for _ in range(MOST_ROUNDS):
            places = {
                column: int(np.argmax((1 + self.beta**2) * cuts.hits - value * cuts.num_predicted))
                for column, cuts in labels.items()
            }
            all_hits = hits + sum(labels[column].hits[place] for column, place in places.items())
            all_predicted = predicted + sum(labels[column].num_predicted[place] for column, place in places.items())
            better = float(f_score(np.array([all_hits]), all_predicted, positives, self.beta)[0])
            if better <= value:
                break
            value = better
        return Own({column: float(labels[column].cut[place]) for column, place in places.items()}, kept)


@dataclass(frozen=True)
class MacroF1:
    """The best macro F-beta, the mean over labels with a positive."""

    beta: float = 1.0

    def common(self, evidence: Evidence) -> float:
        """Returns the best threshold of all labels, as calibrated log-odds."""
        candidates = evidence.candidates()
        total = np.zeros(len(candidates))
        for _, counts in evidence.count_labels(candidates):
            if counts.positives.item():
                total += f_score(counts.hits[0], counts.predicted[0], counts.positives[0], self.beta)
        return evidence.lower_edge(candidates[np.argmax(total)])

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cut of each label of the highest F-beta, expected of a rare label."""
        return cut_each(evidence, lambda cuts: int(np.argmax(cuts.f_score(self.beta))))


@dataclass(frozen=True)
class SamplesF1:
    """The best samples F-beta, the mean over images with a known answer."""

    beta: float = 1.0

    def common(self, evidence: Evidence) -> float:
        """Returns the best threshold of all labels, as calibrated log-odds."""
        candidates = evidence.candidates(MOST_OF_IMAGES)
        total, start = np.zeros(len(candidates)), 0
        for log_odds, target in evidence.blocks():
            counts = count_from(log_odds, target, candidates)
            hits, predicted, positives = (part[start : start + len(target), None] for part in evidence.of_groups)
            total += f_score(
                counts.hits + hits, counts.predicted + predicted, counts.positives + positives, self.beta
            ).sum(axis=0)
            start += len(target)
        return evidence.lower_edge(candidates[np.argmax(total)])

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cuts of all labels that no label alone can improve, by coordinate ascent from the common one."""
        return Own(*climb(evidence, common, self.beta, NO_POSITIVE))


@dataclass(frozen=True)
class Precision:
    """The most decisions of which at least this share is right: by the lower Clopper-Pearson bound (95%, one-sided).

    It is promised of independent labels; in a group the largest logit decides. The cut that just reached it on the
    fitted images would miss it on others every second time.
    """

    at_least: float

    def common(self, evidence: Evidence) -> float:
        """Returns the lowest threshold of all labels that keeps the promise for all decisions together.

        Raises:
            InputError: none does.
        """
        candidates = evidence.candidates()
        hits = predicted = 0
        for _, counts in evidence.count_labels(candidates):
            hits, predicted = hits + counts.hits[0], predicted + counts.predicted[0]
        promised = lowest_precision(hits, predicted)
        kept = np.flatnonzero(promised >= self.at_least)
        if not kept.size:
            raise InputError(
                f"a precision of {self.at_least} cannot be promised by any threshold, and of these images none above "
                f"{promised.max():.3f} can. Ask for less by decisions.aim.at_least="
            )
        return evidence.lower_edge(candidates[kept[0]])

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cut of each label that keeps the promise for itself."""
        return cut_each(evidence, self.choose, by_answers=True)

    def choose(self, cuts: Cuts) -> int | str:
        """Returns the place of the lowest cut that keeps the promise, or why none does."""
        kept = np.flatnonzero(lowest_precision(cuts.hits, cuts.num_predicted) >= self.at_least)
        if kept.size:
            return int(kept[-1])
        return f"no precision of {self.at_least} can be promised with {cuts.positives:.0f} positives"


@dataclass(frozen=True)
class Recall:
    """The least decisions that find at least this share of what is there, on new images like these (conformal).

    With one threshold: the mean share over images with a label (risk control, arxiv.org/abs/2208.02814). With one a
    label: a new positive of the label lies above its cut with this probability (the k-th smallest of P positives,
    k = floor((P + 1) (1 - at_least))).
    """

    at_least: float

    def common(self, evidence: Evidence) -> float:
        """Returns the highest threshold of all labels that keeps the promise.

        Raises:
            InputError: the images are too few for it.
        """
        log_odds, rows = evidence.positives
        _, place, num_positives = np.unique(rows, return_inverse=True, return_counts=True)
        order, num_images = np.argsort(log_odds, kind="stable"), len(num_positives)
        missed = np.cumsum(1 / num_positives[place][order])  # below the next higher positive
        allowed = (num_images + 1) * (1 - self.at_least) - 1 + SLACK
        num_missed = int(np.searchsorted(missed, allowed, side="right"))
        if allowed < 0:
            raise InputError(
                f"a recall of {self.at_least} cannot be promised by {num_images} images with a label: it needs "
                f"{needed(self.at_least)}, or a smaller decisions.aim.at_least"
            )
        return evidence.lower_edge(log_odds[order][min(num_missed, len(order) - 1)])

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cut of each label that keeps the promise for itself."""
        return cut_each(evidence, self.choose, by_answers=True)

    def choose(self, cuts: Cuts) -> int | str:
        """Returns the place of the cut right below the k-th smallest positive, or why there is none."""
        num_missed = int((cuts.positives + 1) * (1 - self.at_least) + SLACK) - 1
        if num_missed < 0:
            return f"a recall of {self.at_least} needs {needed(self.at_least)} positives, it has {cuts.positives:.0f}"
        return int(np.searchsorted(cuts.hits, cuts.positives - num_missed))


@dataclass(frozen=True)
class Cost:
    """The least cost of wrong decisions: each miss and each false alarm costs so much."""

    miss: float
    false_alarm: float

    def common(self, evidence: Evidence) -> float:
        """Returns the threshold false_alarm / (false_alarm + miss) of calibrated probabilities, as log-odds."""
        return float(np.log(self.false_alarm) - np.log(self.miss))

    def own(self, evidence: Evidence, common: float) -> Own:
        """Returns the cheapest cut of each label."""
        return cut_each(evidence, lambda cuts: int(np.argmin(self.cost(cuts))))

    def cost(self, cuts: Cuts) -> np.ndarray:
        """Returns what the wrong decisions of each cut (K,) cost."""
        return self.miss * (cuts.positives - cuts.hits) + self.false_alarm * (cuts.num_predicted - cuts.hits)


def lowest_precision(hits: np.ndarray, num_predicted: np.ndarray) -> np.ndarray:
    """Returns the lower Clopper-Pearson bound of hits / num_predicted, 0 without hits.

    >>> lowest_precision(np.array([0, 29]), np.array([3, 30])).round(4).tolist()
    [0.0, 0.8514]
    """
    bound = betaincinv(np.maximum(hits, 1), num_predicted - hits + 1, 1 - CONFIDENCE)
    return np.where(hits > 0, bound, 0.0)


def needed(recall: float) -> int:
    """Returns how many positives a promised recall needs.

    >>> needed(0.9), needed(0.95)
    (9, 19)
    """
    return int(np.ceil(1 / (1 - recall) - 1 - SLACK))
