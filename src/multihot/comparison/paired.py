"""Two rows of runs on the same images: how far apart their scores are, and what other images and seeds would give.

Both are resampled alike: an image that is hard for both moves both scores, and their difference little. So the interval
of the difference is narrow where those of the two scores overlap. What it says is about other images of the same kind;
trainings with other seeds differ as well, which only several seeds show.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from multihot.comparison.results import Result
from multihot.comparison.rows import Row
from multihot.errors import InputError
from multihot.evaluation.intervals import resample_scores
from multihot.evaluation.predictions import MATRICES, Predictions
from multihot.files import read_json
from multihot.json_shapes import METRICS
from multihot.labels import ACTIVATIONS
from multihot.metrics.intervals import LEVEL, QUANTILE, basic_interval
from multihot.metrics.resamples import draw_weights
from multihot.run.folder import Run

Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedDifference:
    """How far a row is from another."""

    mean: float
    of_images: Interval  # other images would give
    of_both: Interval | None  # other images and other seeds would give; None: a row has one seed


class Spread(NamedTuple):
    """What the seeds add to the variance of a difference, and the degrees of freedom that it is known by."""

    variance: float
    freedom: float


def subtract_paired(
    folder: Path, rows: Sequence[Row], scores: Sequence[str], num_resamples: int
) -> dict[str, list[PairedDifference]]:
    """Returns for each score the difference of each row but the first to the first.

    Args:
        folder: of the run folders.
        scores: <split>/<metric>, all of one split.

    Raises:
        InputError: runs were measured on other images, answers or labels; predictions are damaged; or a score is none
            that can be resampled.
    """
    [split] = {score.partition("/")[0] for score in scores}
    names = [score.partition("/")[2] for score in scores]
    resampled, known, weights = {}, {}, None
    for run in (run for row in rows for run in row.runs):
        predictions = load_predictions(folder / run.name / split)
        known[run.name] = identify(predictions)
        check_same(known, split)
        if weights is None:
            drawn = draw_weights(len(predictions), num_resamples, predictions.cluster)
            weights = torch.cat([torch.ones_like(drawn[:1]), drawn])  # the first is what was measured
        resampled[run.name] = resample_run(folder / run.name, split, predictions, weights, names)
    return {
        score: [
            subtract(by_seed(row.runs, resampled, name), by_seed(rows[0].runs, resampled, name)) for row in rows[1:]
        ]
        for score, name in zip(scores, names, strict=True)
    }


def load_predictions(folder: Path) -> Predictions:
    """Returns the predictions of a run on a split; raises InputError if there are none."""
    way_out = f"python evaluate.py run={folder.parent} split={folder.name} predict=again writes"
    if not (folder / MATRICES).exists():
        raise InputError(f"{folder} has no predictions: {way_out} them")
    predictions = Predictions.load(folder)
    if predictions.space is None:
        raise InputError(f"{folder} does not say which labels exclude each other: {way_out} that")
    return predictions


def identify(predictions: Predictions) -> dict[str, str]:
    """Returns hashes of what two runs must have in common to be compared image by image."""
    images = predictions.images
    first, last = min(images), max(images)
    common = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = first.rfind("/", 0, common) + 1  # the folder that all are in may have moved
    found = {name: hashlib.sha256() for name in ("images", "answers")}
    for image in images:
        found["images"].update(image[start:].encode("utf-8", "surrogateescape") + b"\n")
    for _, _, target in predictions.blocks():
        found["answers"].update(target.to(torch.float32).numpy())
    hashes = {name: digest.hexdigest() for name, digest in found.items()}
    cluster = b"" if predictions.cluster is None else predictions.cluster.numpy()
    return {"labels": repr(predictions.space.labels), **hashes, "clusters": hashlib.sha256(cluster).hexdigest()}


def check_same(known: Mapping[str, Mapping[str, str]], split: str) -> None:
    """Raises InputError if the last of the runs differs from the first."""
    (first, wanted), (last, found) = next(iter(known.items())), next(reversed(known.items()))
    other = [name for name in wanted if wanted[name] != found[name]]
    if other:
        raise InputError(
            f"{first} and {last} were measured on other {' and '.join(other)} of the {split} split: only runs on the "
            f"same images and answers can be compared image by image. evaluate.py run=<run folder> split={split} with "
            "the data of the other measures one of them anew"
        )


def resample_run(
    run: Path, split: str, predictions: Predictions, weights: Tensor, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns the values (R,) of scores of a run, decided by what metrics.json says that they were decided by."""
    metrics = read_json(run / split / "metrics.json", METRICS)
    threshold, usual = metrics.get("threshold"), ACTIVATIONS[predictions.space.activation].threshold
    if isinstance(threshold, list):
        threshold = [usual if value is None else value for value in threshold]  # in groups it decides nothing
    decisions = read_decisions(run, metrics["decisions"]["sha256"]) if "decisions" in metrics else None
    values = resample_scores(predictions, weights, threshold, decisions, wanted=names)
    unknown = [name for name in names if name not in values]
    if unknown:
        known = sorted(resample_scores(predictions, weights[:1], threshold, decisions))
        raise InputError(f"{split}/{unknown[0]} has no resamples: --paired takes {', '.join(known)}")
    return values


def read_decisions(run: Path, sha256: str):
    """Returns the decisions of a run; raises InputError if they are not those that it was measured by."""
    decisions = Run(run).read_decisions()
    if decisions is None or decisions.sha256 != sha256:
        raise InputError(f"the decisions of {run} have changed since it was measured: evaluate.py measures it anew")
    return decisions


def by_seed(runs: Sequence[Result], resampled: Mapping[str, Mapping[str, np.ndarray]], name: str) -> dict:
    """Returns the values (R,) of a score for each seed: the mean of its runs."""
    found = defaultdict(list)
    for run in runs:
        found[run.seed].append(resampled[run.name][name])
    return {seed: np.mean(values, axis=0) for seed, values in found.items()}


def subtract(ours: Mapping[object, np.ndarray], theirs: Mapping[object, np.ndarray]) -> PairedDifference:
    """Returns ours - theirs, the mean over the seeds of each: values (R,) of each seed, the first that measured."""
    measured, *values = np.mean(list(ours.values()), axis=0) - np.mean(list(theirs.values()), axis=0)
    of_images = basic_interval(measured, np.array(values))
    spread = spread_of_seeds(*({seed: value[0] for seed, value in row.items()} for row in (ours, theirs)))
    of_both = None if spread is None else widen(measured, of_images, float(np.nanvar(values)), spread)
    return PairedDifference(float(measured), of_images, of_both)


def spread_of_seeds(ours: Mapping[object, float], theirs: Mapping[object, float]) -> Spread | None:
    """Returns the variance of the mean difference over seeds, paired where both have the same; None of one seed.

    >>> spread_of_seeds({0: 0.5, 1: 1.5}, {0: 0.5, 1: 1.0})  # differences of 0 and 0.5: a variance of 0.125
    Spread(variance=0.0625, freedom=1)
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    if ours.keys() == theirs.keys():
        gaps = [ours[seed] - theirs[seed] for seed in ours]
        return Spread(float(np.var(gaps, ddof=1)) / len(gaps), len(gaps) - 1)
    parts = [(float(np.var([*row.values()], ddof=1)) / len(row), len(row) - 1) for row in (ours, theirs)]
    variance = sum(part for part, _ in parts)
    return Spread(variance, variance**2 / max(sum(part**2 / freedom for part, freedom in parts), 1e-300))


def widen(mean: float, of_images: Interval, variance: float, seeds: Spread) -> Interval:
    """Returns the interval of other images and other seeds. The two variances add up; of the seeds', which few tell,
    the sum has Satterthwaite's degrees of freedom, and Student's quantile replaces 1.96.

    Args:
        of_images: that of other images alone, which may be lopsided.
        variance: of the resampled differences.
    """
    total = variance + seeds.variance
    if not total or math.isnan(total):
        return of_images
    freedom = total**2 / max(seeds.variance**2 / seeds.freedom, 1e-300) if seeds.variance else math.inf
    more = max(0.0, stats.t.ppf((1 + LEVEL) / 2, freedom) ** 2 * total - QUANTILE**2 * variance)
    low, high = (max(0.0, gap) for gap in (mean - of_images[0], of_images[1] - mean))  # 0 of NaN
    return mean - math.hypot(low, math.sqrt(more)), mean + math.hypot(high, math.sqrt(more))
