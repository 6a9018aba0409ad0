"""Writes the report: one HTML file that needs no other and no network."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import jinja2
import torch

from multihot.errors import InputError
from multihot.evaluation.intervals import find_ap_intervals
from multihot.files import write_text, writing
from multihot.report.confusions import Confusions, find_confusions
from multihot.report.numbers import Numbers, count
from multihot.report.payload import describe_labels, describe_pictures, list_labels, shrink
from multihot.report.picks import find_worst_labels, pick
from multihot.report.pictures import NO_PICTURES, Album, embed, explain
from multihot.report.result import Result
from multihot.report.summary import describe_training, draw_history, list_scores, resample_result, subtract
from multihot.report.warnings import warn

WAY_OUT = "give another file by out="
MARK = b"<title>Report of "  # by which an earlier file is known
MOST_ENTRIES = 1 << 28  # answers, up to which a training ends with a report: of more it would take minutes
NUM_PAIRS = 20  # of labels that are confused, of each kind
NUM_SWAPS = 5  # of them, whose images are shown whatever else is
EXAMPLES = 24  # images of each kind that are candidates of a label


def create_page(
    results: Sequence[Result], album: Album = NO_PICTURES, *, num_pictures: int = 0, doctor: Mapping | None = None
) -> str:
    """Returns the page about one result, or about two beside each other.

    Args:
        album: gives at most `num_pictures` of the split.
        doctor: report.json of scripts/validate_data.py.

    Raises:
        InputError: the results are of other labels, images or splits.
    """
    check_same(results)
    first = results[0]
    num_pictures = num_pictures if album.read is not None else 0
    numbers = [count(result, num_pictures, EXAMPLES if num_pictures else 0) for result in results]
    confusions = find_confusions(first.predictions, first.decisions.decide, num_pairs=NUM_PAIRS)
    rows, lists = pick(numbers[0], num_pictures, [row for swap in confusions.swaps[:NUM_SWAPS] for row in swap.rows])
    pictures, why = embed(rows, first.predictions.images, album, len(first.space.labels))
    explained = [*lists["doubts"], *find_worst_labels(first, lists["worst"])]
    payload = {
        "labels": list_labels(first.space.labels),
        "grouped": [column for columns in first.space.columns for column in columns],
        "pictures": pictures,
        "lists": lists,
        "overlays": explain(explained, first.predictions.images, album),
        "confusions": describe_confusions(confusions),
        "runs": [describe_run(result, own, rows) for result, own in zip(results, numbers, strict=True)],
    }
    resampled = [resample_result(result, is_compared=len(results) > 1) for result in results]
    summaries = [describe_summary(*one) for one in zip(results, numbers, resampled, strict=True)]
    return render(
        title=" and ".join(result.name for result in results),
        split=first.split,
        now=datetime.now().strftime("%Y-%m-%d %H:%M"),
        runs=summaries,
        differences=subtract(*(one["scores"] for one in summaries), resampled) if len(results) > 1 else {},
        warnings=warn(first, numbers[0], doctor),
        why_no_pictures=why,
        num_unread=sum(picture["url"] is None for picture in pictures),
        num_pictures=len(rows),
        payload=payload,
    )


def save_page(file: Path, page: str) -> None:
    """Writes a page to a file."""
    with writing(file, WAY_OUT):
        write_text(file, page, errors="backslashreplace")


def check_same(results: Sequence[Result]) -> None:
    """Raises InputError unless all results are of the same labels and images."""
    first = results[0]
    for other in results[1:]:
        if other.space.labels != first.space.labels:
            raise InputError(f"{first.name} and {other.name} have other labels: a report is about runs of the same")
        is_same = list(other.predictions.images) == list(first.predictions.images)
        if not is_same or not torch.equal(other.predictions.target, first.predictions.target):
            raise InputError(
                f"{first.name} and {other.name} have other {first.split} images or answers: evaluate both on the same"
            )


def describe_run(result: Result, numbers: Numbers, rows: Sequence[int]) -> dict[str, object]:
    """Returns all that the page's script needs of a result."""
    ap, support = ([getattr(label, name) for label in numbers.labels] for name in ("ap", "support"))
    low, high = find_ap_intervals(result.predictions, ap, support)
    return {
        "name": result.name,
        "is_fitted": result.fitted is not None,
        **describe_labels(result, numbers, {"low": low, "high": high}),
        **describe_pictures(result, numbers, rows),
    }


def describe_confusions(confusions: Confusions) -> dict[str, object]:
    """Returns the pairs of labels that are confused beyond chance, as lists in the order of their fields."""
    limit = confusions.z_limit
    together = [pair for pair in (*confusions.too_often, *confusions.too_rarely) if abs(pair.z) > limit]
    together.sort(key=lambda pair: -abs(pair.z))
    return {
        "together": [[*map(float, pair)] for pair in together[:NUM_PAIRS]],
        "swaps": [
            [*map(float, swap[:-1]), [int(row) for row in swap.rows]] for swap in confusions.swaps if swap.surplus > 0
        ],
        "num_labels": confusions.num_labels,
    }


def describe_summary(result: Result, numbers: Numbers, resampled: Mapping) -> dict[str, object]:
    """Returns what the first screen says of a result."""
    return {
        "name": result.name,
        "facts": describe_training(result),
        "scores": list_scores(result, numbers, resampled),
        "history": draw_history(result, 200, 60),
        "is_fitted": result.fitted is not None,
    }


def render(*, payload: Mapping, **values: object) -> str:
    """Returns the page with the values in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("multihot.report"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("report.html").render(payload=shrink(payload), **values)
