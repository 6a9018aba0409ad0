"""The first screen: what was trained on what, and how good it is beside the frequencies alone and beside 0.5."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import torch

from multihot.errors import plural
from multihot.evaluation.scores import evaluate, in_one_thread
from multihot.labels import LabelSpace
from multihot.metrics.bootstrap import resample
from multihot.metrics.intervals import basic_interval
from multihot.metrics.resamples import draw_weights
from multihot.monitor import is_better_lower
from multihot.report.numbers import Numbers
from multihot.report.result import Result

TITLES = {
    "map": "mAP",
    "micro_ap": "micro AP",
    "macro_auroc": "macro AUROC",
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "samples_f1": "samples F1",
}
NUM_RESAMPLES = 1000
RESAMPLED_ENTRIES = 500_000  # up to which that is done here, about 20 s
OF_DECISIONS = ("micro_f1", "macro_f1", "samples_f1")


def describe_training(result: Result) -> list[tuple[str, str]]:
    """Returns what was trained on what, as pairs of a word and what it is."""
    settings, counts = result.settings, result.counts
    data, function = settings["data"], settings["loss"]["function"]["_target_"].rpartition(".")[2]
    source = data.get("path") or data.get("name") or data["_target_"].split(".")[-2]
    images = plural(counts["num_images"], "image") if counts else "images"
    measured = plural(result.metrics["num_images"], f"{result.split} image")
    best = max(result.history, key=lambda row: row["epoch"], default={"epoch": settings["epochs"]})["epoch"]
    return [
        ("run", result.name),
        ("model", f"{settings['model']['name']} at {settings['model']['image_size']} px"),
        ("trained on", f"{images} of {PurePath(str(source)).name}"),
        ("loss", function),
        ("fine-tuning", settings["finetune"]["_target_"].rpartition(".")[2]),
        ("epochs", f"{best} of {settings['epochs']}"),
        ("measured on", f"{measured}, {plural(len(result.space.labels), 'label')}"),
        ("decided by", describe_decisions(result)),
    ]


def describe_decisions(result: Result) -> str:
    """Returns how labels are decided, in a few words."""
    if result.fitted is not None:
        return f"fitted decisions: {result.fitted.description}"
    if not result.space.independent:
        return "the largest logit decides"
    threshold = result.metrics.get("threshold")
    return "a threshold a label" if isinstance(threshold, list) else f"threshold {threshold}, not calibrated"


def resample_result(result: Result, is_compared: bool) -> dict[str, np.ndarray]:
    """Returns the values (R,) of the scores in resamples of the images, the same for all results of these images; {}
    where they are not needed, or would take too long.

    Args:
        is_compared: with another; else evaluate.py may have made all intervals.
    """
    predictions, space = result.predictions, result.space
    name = "micro_f1" if result.fitted is None else "fitted_micro_f1"
    is_there = not is_compared and name in (result.metrics.get("intervals") or {})
    if is_there or space.is_single_label or predictions.logits.numel() > RESAMPLED_ENTRIES:
        return {}
    weights = draw_weights(len(predictions), NUM_RESAMPLES, predictions.cluster)
    with in_one_thread():
        return resample(predictions, space, weights, result.decisions.decide, TITLES)


def list_scores(result: Result, numbers: Numbers, resampled: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """Returns the scores, each with its interval if there is one, that of the frequencies alone, and that at 0.5.

    Args:
        resampled: see `resample_result`.
    """
    alone = score_frequencies(result)
    intervals = result.metrics.get("intervals") or {}
    names = [*TITLES, *(f"{group.name}_accuracy" for group in result.space.groups)]
    rows = []
    for name in names:
        is_fitted = result.fitted is not None and name in OF_DECISIONS
        value = numbers.decided[name] if name in OF_DECISIONS and result.space.independent else result.metrics.get(name)
        if value is None or math.isnan(value):
            continue
        interval = intervals.get(f"fitted_{name}" if is_fitted else name)
        if interval is None and name in resampled:
            interval = basic_interval(value, resampled[name], lowest=0, highest=1)
        rows.append({
            "name": name,
            "title": TITLES.get(name, name.replace("_", " ")),
            "value": value,
            "interval": drop_nan(interval),
            "alone": alone.get(name),
            "usual": numbers.usual[name] if is_fitted else None,
        })  # fmt: skip
    return rows


def subtract(rows: Sequence[Mapping], others: Sequence[Mapping], resampled: Sequence[Mapping]) -> dict[str, dict]:
    """Returns for each score of two results the second less the first, with the interval of that if there is one.

    Args:
        resampled: of both.
    """
    ours, theirs = ({row["name"]: row["value"] for row in one} for one in (rows, others))
    differences = {}
    for name in ours.keys() & theirs.keys():
        value, interval = theirs[name] - ours[name], None
        if all(name in one for one in resampled):
            interval = basic_interval(value, resampled[1][name] - resampled[0][name])
        differences[name] = {"value": value, "interval": drop_nan(interval)}
    return differences


def drop_nan(interval: Sequence[float | None] | None) -> Sequence[float] | None:
    """Returns the ends of an interval, None where they are no numbers.

    >>> drop_nan((0.25, 0.5)), drop_nan((math.nan, math.nan)), drop_nan([None, None])
    ((0.25, 0.5), None, None)
    """
    return None if interval is None or any(end is None or math.isnan(end) for end in interval) else interval


def score_frequencies(result: Result) -> dict[str, float]:
    """Returns the scores of the frequencies of the train split alone, which are the same for each image."""
    if result.counts is None:
        return {}
    logits = frequency_logits(result.space, result.counts).expand(len(result.predictions), -1)
    return evaluate(replace(result.predictions, logits=logits, mapped=None)).scores


def frequency_logits(space: LabelSpace, counts: Mapping[str, Sequence[float]]) -> torch.Tensor:
    """Returns the logits (C,) by which each label has its frequency among the train answers as probability.

    >>> frequency_logits(LabelSpace(("cat", "dog")), {"label_count": [5, 0], "num_known": [10, 10]})
    tensor([ 0.0000, -3.0445])
    """
    present, known = (torch.tensor(counts[name], dtype=torch.float64) for name in ("label_count", "num_known"))
    margin = 0.5 / (known + 1)
    frequency = (present / known.clamp(min=1)).clamp(margin, 1 - margin)
    logits = torch.logit(frequency)
    for group, columns in zip(space.groups, space.columns, strict=True):
        rest = (1 - frequency[columns].sum()).clamp(min=1e-6) if group.none else torch.ones(())
        logits[columns] = torch.log(frequency[columns] / rest)
    return logits.float()


def draw_history(result: Result, width: int, height: int) -> dict[str, object] | None:
    """Returns the monitored score of each epoch as the points of a line, with the best; None of fewer than two."""
    name = result.monitor
    scores = {row["epoch"]: row[name] for row in result.history if row.get(name) is not None}
    if len(scores) < 2:
        return None
    low, high, last = min(scores.values()), max(scores.values()), max(scores)
    best = (min if is_better_lower(name) else max)(scores, key=scores.get)
    points = {
        epoch: (round(width * epoch / last, 1), round(height * (high - score) / ((high - low) or 1), 1))
        for epoch, score in scores.items()
    }
    return {"monitor": name, "points": points, "scores": scores, "best": best, "last": last}
