"""How far the scores of an evaluation may be from those of more images of the same kind."""

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from multihot.decisions import Decisions
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import FITTED, GAIN
from multihot.metrics import Evaluation
from multihot.metrics.bootstrap import resample, resample_decisions, resample_single_label
from multihot.metrics.checks import check_threshold
from multihot.metrics.intervals import FEW_POSITIVES, LEVEL, ap_interval, basic_interval
from multihot.metrics.resamples import draw_weights

DIGITS = 6  # of an interval: as many are the same for any number of threads


def add_intervals(
    evaluation: Evaluation,
    predictions: Predictions,
    num_resamples: int,
    threshold: float | Sequence[float] | None = None,
    decisions: Decisions | None = None,
) -> None:
    """Adds the interval of each score that a resample has too, and of each label's AP, to an evaluation; and, as
    `gain_micro_f1`, that of fitted_micro_f1 - micro_f1.

    Args:
        num_resamples: of the images, or of the clusters where the predictions have them.
        decisions: by which it is scored too.
    """
    weights = draw_weights(len(predictions), num_resamples, predictions.cluster)
    resampled = resample_scores(predictions, weights, threshold, decisions if evaluation.decided_by else None)
    for name, score in evaluation.scores.items():
        if name in resampled:
            highest = len(predictions.space.labels) if name == "coverage_error" else 1
            ends = basic_interval(score, resampled[name], lowest=0, highest=highest)
            evaluation.intervals[name] = tuple(round(end, DIGITS) for end in ends)
        own = name.removeprefix(FITTED)
        if own != name and own in resampled:
            ends = basic_interval(
                score - evaluation.scores[own], resampled[name] - resampled[own], lowest=-1, highest=1
            )
            evaluation.intervals[f"{GAIN}{own}"] = tuple(round(end, DIGITS) for end in ends)
    add_ap_intervals(evaluation, predictions)


def resample_scores(
    predictions: Predictions,
    weights: Tensor,
    threshold: float | Sequence[float] | None = None,
    decisions: Decisions | None = None,
    wanted: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the values (R,) of the scores of predictions in each resample; with decisions `fitted_...` too.

    Args:
        weights: how often each resample has each image, uint8 (R, N).
        wanted: names of scores; what has none of them is not computed. None: all.
    """
    space = predictions.space
    if space.is_single_label:
        return resample_single_label(predictions, space, weights)
    decide = partial(space.decide, threshold=check_threshold(threshold, space))
    resampled = resample(predictions, space, weights, decide, wanted)
    if decisions is not None and (wanted is None or any(name.startswith(FITTED) for name in wanted)):
        fitted = resample_decisions(predictions, weights, decisions.decide)
        resampled |= {f"{FITTED}{name}": values for name, values in fitted.items()}
    return resampled


def add_ap_intervals(evaluation: Evaluation, predictions: Predictions) -> None:
    """Adds `ap_low` and `ap_high` behind the `ap` of each label, where the table has one."""
    if "ap" not in evaluation.table[0]:
        return
    ends = find_ap_intervals(predictions, *([row[name] for row in evaluation.table] for name in ("ap", "support")))
    for row, low, high in zip(evaluation.table, *(end.round(DIGITS).tolist() for end in ends), strict=True):
        columns = list(row.items())
        place = list(row).index("ap") + 1
        row.clear()
        row.update([*columns[:place], ("ap_low", low), ("ap_high", high), *columns[place:]])


def find_ap_intervals(
    predictions: Predictions, ap: Sequence[float], support: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends (C,) of the interval of each label's average precision: ap (C,), support (C,).

    Of clusters those with a positive count: ten images of a patient do not say ten times as much as one.
    """
    return ap_interval(ap, support if predictions.cluster is None else count_clusters(predictions))


def count_clusters(predictions: Predictions) -> np.ndarray:
    """Returns how many clusters have a positive of each label, int64 (C,)."""
    num_labels = predictions.logits.shape[1]
    numbers = np.unique(predictions.cluster.numpy(), return_inverse=True)[1].ravel()
    pairs = []
    for rows, _, target in predictions.blocks():
        images, labels = (target.numpy() >= 0.5).nonzero()
        pairs.append(np.unique(numbers[rows][images] * num_labels + labels))
    return np.bincount(np.unique(np.concatenate(pairs)) % num_labels, minlength=num_labels)


def describe_intervals(evaluation: Evaluation, predictions: Predictions, num_resamples: int) -> str:
    """Returns what the intervals are, and how many labels have few positives, in one sentence."""
    drawn = f"{len(predictions):,} images"
    if predictions.cluster is not None:
        drawn = f"{len(predictions.cluster.unique()):,} clusters of {drawn}"
    rare = sum(row["support"] < FEW_POSITIVES for row in evaluation.table)
    return (
        f"{LEVEL:.0%} intervals by {num_resamples:,} resamples of {drawn}, for images and not for another training; "
        f"{rare} of {len(evaluation.table)} labels have fewer than {FEW_POSITIVES} positives"
    )
