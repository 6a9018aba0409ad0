"""All numbers of a result: of its decisions, of its images and of each label, counted in pieces of any size."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor

from multihot.decisions.reliability import measure_label
from multihot.labels import LabelSpace
from multihot.metrics.blocks import ENTRIES_OF_LABELS, harden
from multihot.metrics.decisions import DecisionSums, score_decisions, sum_decisions
from multihot.metrics.ranking import rank_labels
from multihot.report.curves import Bins, Cuts, count_at_cuts, count_scores, fill_bins
from multihot.report.result import Decides, Result

NUM_BINS = 10  # of a reliability curve
NUM_SCORE_BINS = 24
MOST_CUTS, FEWEST_CUTS = 4000, 12  # of a label
CUT_ENTRIES = 100_000  # of all labels: 12 bytes each
MEASURED_LABELS, MEASURED_ENTRIES = 500, 2_000_000  # up to which calibration is measured, 5 s
NUM_DRAWS = 100
CALIBRATION = ("slope", "ece", "ece_expected")
CLOSEST = 1e-7  # of a probability to 0 and 1, in the loss of an image


class Images(NamedTuple):
    """What is known of each image (N,)."""

    loss: np.ndarray  # summed over its known labels
    num_wrong: np.ndarray
    num_present: np.ndarray


class Doubts(NamedTuple):
    """Known answers in which a label differs most from its probability, the most first: (S,) each."""

    row: np.ndarray
    label: np.ndarray
    difference: np.ndarray


@dataclass(frozen=True)
class LabelNumbers:
    """The numbers of one label."""

    num_known: int
    support: int
    true_positives: int  # of the decisions
    false_positives: int
    expected: float  # sum of the probabilities of the known answers
    ap: float
    auroc: float
    cut: float  # NaN: the largest of a group decides
    cuts: Cuts
    bins: Bins
    calibration: dict[str, float]  # {} where that would take too long
    histogram: np.ndarray  # int (2, B): negatives, positives
    score_range: tuple[float, float]
    examples: list[np.ndarray]  # rows of images, see `find_examples`


class Numbers(NamedTuple):
    """All numbers of a result."""

    decided: dict[str, float]  # scores of the decisions
    usual: dict[str, float]  # and those at the threshold of the activation
    images: Images
    doubts: Doubts
    labels: list[LabelNumbers]


def count(result: Result, num_doubts: int, num_examples: int) -> Numbers:
    """Returns all numbers of a result.

    Args:
        num_doubts: answers that are kept.
        num_examples: images of each kind that are kept of a label.
    """
    predictions, decisions, space = result.predictions, result.decisions, result.space
    decided, usual, images, doubts = None, None, [], Doubts(*np.zeros((3, 0)))
    for rows, logits, target in predictions.blocks():
        target = harden(target).numpy()
        decision, probability = as_array(decisions.decide(logits)), as_array(decisions.probability(logits))
        decided = add(decided, sum_decisions(decision, target))
        usual = add(usual, sum_decisions(space.decide(logits).numpy(), target))
        difference = np.abs((target == 1) - probability)
        difference[target < 0] = 0
        images.append(judge_images(difference, decision, target))
        doubts = keep_largest(doubts, difference, rows.start, num_doubts)
    return Numbers(
        summed(decided), summed(usual), Images(*map(np.concatenate, zip(*images, strict=True))), doubts,
        list(count_labels(result, num_examples, set(np.argsort(-decided.support)[:num_doubts].tolist()))),
    )  # fmt: skip


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    """Returns a tensor or an array as an array."""
    return values.numpy() if isinstance(values, Tensor) else np.asarray(values)


def add(sums: DecisionSums | None, more: DecisionSums) -> DecisionSums:
    """Returns the sums over the images of both."""
    return more if sums is None else sums.add(more)


def summed(sums: DecisionSums) -> dict[str, float]:
    """Returns the scores of decisions that are one number."""
    return {name: value.item() for name, value in score_decisions(sums).items() if np.ndim(value) == 0}


def judge_images(difference: np.ndarray, decision: np.ndarray, target: np.ndarray) -> Images:
    """Returns log loss, wrong decisions and present labels of each image, unknown answers left out.

    Args:
        difference: of probability and answer (B, C), 0 where that is unknown.
    """
    loss = -np.log1p(-np.minimum(difference, 1 - CLOSEST)).sum(axis=1)
    wrong = (decision != (target == 1)) & (target >= 0)
    return Images(loss, wrong.sum(axis=1), (target == 1).sum(axis=1))


def keep_largest(doubts: Doubts, difference: np.ndarray, first_row: int, num: int) -> Doubts:
    """Returns the largest of the doubts so far and those of a block, difference (B, C)."""
    flat = difference.ravel()
    top = np.argpartition(-flat, num - 1)[:num] if num < flat.size else np.arange(flat.size)
    row, label = np.divmod(top, difference.shape[1])
    every = Doubts(*map(np.concatenate, zip(doubts, (row + first_row, label, flat[top]), strict=True)))
    order = np.lexsort((every.label, every.row, -every.difference))[:num]
    return Doubts(every.row[order].astype(int), every.label[order].astype(int), every.difference[order])


def count_labels(result: Result, num_examples: int, frequent: Collection[int]) -> Iterator[LabelNumbers]:
    """Yields the numbers of each label; examples only of the frequent ones, as there is no room for others."""
    num_labels = len(result.space.labels)
    num_cuts = int(np.clip(CUT_ENTRIES // num_labels, FEWEST_CUTS, MOST_CUTS))
    cuts = np.asarray(result.decisions.cuts)
    is_measured = num_labels <= MEASURED_LABELS and num_labels * len(result.predictions) <= MEASURED_ENTRIES
    for first, part in columns(result):
        for place, (scores, chances, target, decision) in enumerate(zip(*part, strict=True)):
            cut, room = float(cuts[first + place]), num_examples if first + place in frequent else 0
            calibration = measure_calibration(chances, target) if is_measured else {}
            yield count_label(scores, chances, target, decision, cut, num_cuts, room, calibration)


def columns(result: Result) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Yields log-odds, probabilities, hard target and decisions (c, N) of some labels after the others, with the
    number of the first.
    """
    predictions, decisions, space = result.predictions, result.decisions, result.space
    num_labels = len(space.labels)
    step = min(num_labels, max(1, ENTRIES_OF_LABELS // len(predictions)))
    for start in range(0, num_labels, step):
        own = slice(start, min(start + step, num_labels))
        parts = []
        for _, logits, target in predictions.blocks():
            chances, decision = as_array(decisions.probability(logits)), as_array(decisions.decide(logits))
            log_odds = space.log_odds(logits, own).numpy()
            parts.append(
                [part.T for part in (log_odds, chances[:, own], harden(target).numpy()[:, own], decision[:, own])]
            )
        yield start, tuple(np.ascontiguousarray(np.concatenate(part, axis=1)) for part in zip(*parts, strict=True))


def count_label(scores, chances, target, decision, cut, num_cuts, num_examples, calibration) -> LabelNumbers:
    """Returns the numbers of one label.

    Args:
        scores, chances, target, decision: log-odds, probability, answer and decision of each image (N,).
        cut: of the decisions.
    """
    known, is_positive = target >= 0, target == 1
    if np.isfinite(cut):
        cut = move_between(cut, scores, decision)
    cuts = count_at_cuts(scores, target, num_cuts, [0.0, cut])
    histogram, score_range = count_scores(scores, target, NUM_SCORE_BINS)
    (ap,), (auroc,) = rank_labels(scores[None], target[None])
    return LabelNumbers(
        num_known=int(known.sum()),
        support=int(is_positive.sum()),
        true_positives=int((decision & is_positive).sum()),
        false_positives=int((decision & known & ~is_positive).sum()),
        expected=float(chances[known].sum(dtype=np.float64)),
        ap=float(ap),
        auroc=float(auroc),
        cut=cut,
        cuts=cuts,
        bins=fill_bins(chances, expit(scores), target, NUM_BINS),
        calibration=calibration,
        histogram=histogram,
        score_range=score_range,
        examples=find_examples(scores, target, decision, cut, num_examples),
    )


def measure_calibration(chances: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Returns the measures of `multihot.decisions.reliability` for the known answers of a label."""
    known, edge = target >= 0, np.finfo(np.float32).tiny
    if not known.any():
        return {}
    log_odds = logit(np.clip(chances[known].astype(np.float64), edge, 1 - np.finfo(np.float32).epsneg))
    measured = measure_label(log_odds, target[known] == 1, NUM_BINS, NUM_DRAWS, np.random.default_rng(0))
    return {name: float(measured[name]) for name in CALIBRATION}


def move_between(cut: float, scores: np.ndarray, decision: np.ndarray) -> float:
    """Returns the cut, moved by a rounding error where it would not decide as the decisions do.

    >>> move_between(0.5, np.float32([0.4, 0.5]), np.array([False, True]))
    0.4000000059604645
    """
    low = scores[~decision].max(initial=-np.inf)
    high = scores[decision].min(initial=np.inf)
    return float(np.float32(cut if low <= np.float32(cut) < high else low if low < high else cut))


def find_examples(
    scores: np.ndarray, target: np.ndarray, decision: np.ndarray, cut: float, num: int
) -> list[np.ndarray]:
    """Returns rows of images: the surest misses and false alarms, those on both sides of the cut, the surest hits.

    Of each the most telling first, at most `num`.
    """
    if not num:
        return []
    known = target >= 0
    cut = 0.0 if np.isnan(cut) else cut
    kinds = (
        (decision < (target == 1)) & known, (decision > (target == 1)) & known,
        known & (scores > cut), known & (scores <= cut), decision & (target == 1),
    )  # fmt: skip
    orders = (scores, -scores, scores, -scores, -scores)
    return [first_of(np.flatnonzero(kind), order, num) for kind, order in zip(kinds, orders, strict=True)]


def first_of(rows: np.ndarray, order: np.ndarray, num: int) -> np.ndarray:
    """Returns those of the rows whose value is lowest, the lowest first."""
    values = order[rows]
    if num < len(rows):
        chosen = np.argpartition(values, num - 1)[:num]
        rows, values = rows[chosen], values[chosen]
    return rows[np.argsort(values, kind="stable")]


def probability_at_cuts(decisions: Decides, space: LabelSpace, labels: list[LabelNumbers]) -> list[np.ndarray]:
    """Returns the probability at each cut of each label; inside a group, where it depends on the other logits too, that
    of its log-odds.
    """
    matrix = np.zeros((max(len(label.cuts.cut) for label in labels), len(labels)), np.float32)
    for column, label in enumerate(labels):
        matrix[: len(label.cuts.cut), column] = label.cuts.cut
    chances = as_array(decisions.probability(torch.from_numpy(matrix)))
    grouped = np.setdiff1d(np.arange(len(labels)), space.independent)
    chances[:, grouped] = expit(matrix[:, grouped])
    return [chances[: len(label.cuts.cut), column] for column, label in enumerate(labels)]
