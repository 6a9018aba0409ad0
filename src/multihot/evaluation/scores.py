"""The scores of predictions: pure functions of them, the same for any number of processes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from multihot.evaluation.predictions import Predictions
from multihot.labels import LabelSpace, show_label
from multihot.loss import MultiLabelLoss, share_known
from multihot.metrics import SCORES, Evaluation, measure
from multihot.metrics.checks import list_thresholds
from multihot.metrics.single_label import SINGLE_LABEL_SCORES, measure_single_label

LOSS_ENTRIES = 1 << 25  # as many are judged as one batch
ROWS_SHOWN = 25
FITTED = "fitted_"  # before the name of a score: by the fitted decisions
GAIN = "gain_"  # before the name of an interval: of what they add to the score
COLUMNS_SHOWN = (
    "support", "predicted", "ap", "ap_low", "ap_high", "precision", "recall", "f1", "fitted_f1", "fitted_threshold",
)  # fmt: skip


def evaluate_split(
    predictions: Predictions, threshold: float | Sequence[float] | None, loss: MultiLabelLoss, num_dropped: int = 0
) -> Evaluation:
    """Returns the scores of a split, with the loss, and the table of labels.

    Args:
        num_dropped: images that were left out.
    """
    evaluation = evaluate(predictions, threshold)
    evaluation.scores["loss"] = mean_loss(loss, predictions)
    if num_dropped:
        evaluation.scores["num_images_dropped"] = num_dropped
    return evaluation


def evaluate(predictions: Predictions, threshold: float | Sequence[float] | None = None) -> Evaluation:
    """Returns the scores and the table of labels. A soft answer counts as present from 0.5 up."""
    space = predictions.space
    with in_one_thread():
        if space.is_single_label:
            evaluation = measure_single_label(predictions, space.labels)
        else:
            evaluation = measure(predictions, space, threshold)
    return replace(evaluation, thresholds=list_thresholds(threshold, space))


def score_names(space: LabelSpace) -> tuple[str, ...]:
    """Returns the names of the scores that `evaluate` and `mean_loss` give."""
    if space.is_single_label:
        return (*SINGLE_LABEL_SCORES, "loss")
    return (*SCORES, *(f"{group.name}_accuracy" for group in space.groups), "loss")


def mean_loss(loss: MultiLabelLoss, predictions: Predictions) -> float:
    """Returns the loss of all predictions at once, on the CPU: that of the known answers alone, a sum per image.

    Of more than one block it is the mean over blocks; a function that judges a batch as a whole judges each of them.
    """
    num_known = sum((target >= 0).sum(dim=0) for _, _, target in predictions.blocks())
    loss = loss.for_evaluation(share_known(loss.space, num_known, len(predictions)))
    blocks = predictions.blocks(LOSS_ENTRIES)
    with in_one_thread():
        losses = [(loss(logits, target.float()).item(), len(logits)) for _, logits, target in blocks]
    if len(losses) == 1:
        return losses[0][0]
    return math.fsum(value * num_images for value, num_images in losses) / len(predictions)


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Lets torch compute in one thread: several divide a tensor otherwise, and its sum and last elements round so."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def format_evaluation(evaluation: Evaluation) -> str:
    """Returns the scores and the most frequent labels as a table for a person."""
    rows = sorted(evaluation.table, key=lambda row: -row["support"])
    columns = [name for name in COLUMNS_SHOWN if name in rows[0]]
    names = [show_label(row["label"]) for row in rows[:ROWS_SHOWN]]
    width = max(map(len, names))
    header = f"  {'label':<{width}} " + " ".join(f"{name:>9}" for name in columns)
    lines = [
        f"  {label:<{width}} " + " ".join(f"{format_number(row[name]):>{max(9, len(name))}}" for name in columns)
        for label, row in zip(names, rows, strict=False)
    ]
    more = [f"  ... and {len(rows) - ROWS_SHOWN} rarer labels"] if len(rows) > ROWS_SHOWN else []
    return "\n".join([*format_scores(evaluation), "", header, *lines, *more])


def format_scores(evaluation: Evaluation) -> list[str]:
    """Returns a line a score: its value and interval, and beside them those by the fitted decisions."""
    width = 22 if evaluation.intervals else 4
    lines = []
    for name, score in evaluation.scores.items():
        if name.startswith(FITTED):
            continue
        line = f"  {name:<22} {format_number(score):<8}{format_interval(evaluation.intervals.get(name)):<{width}}"
        fitted = evaluation.scores.get(f"{FITTED}{name}")
        if fitted is not None:
            line += f"{format_number(fitted):<8}{format_interval(evaluation.intervals.get(f'{FITTED}{name}')):<{width}}"
            line += format_gain(fitted - score, evaluation.intervals.get(f"{GAIN}{name}"))
        lines.append(line.rstrip())
    if not evaluation.decided_by:
        return lines
    title = f"  {'':<22} {'own threshold':<{8 + width}}{'fitted decisions':<{8 + width}}difference"
    return [title, *lines]


def format_gain(gain: float, interval: tuple[float, float] | None) -> str:
    """Returns a difference and its interval in words.

    >>> format_gain(0.0125, (-0.001, 0.02)), format_gain(-0.5, None)
    ('+0.0125 (-0.0010 to +0.0200)', '-0.5000')
    """
    is_known = interval is not None and not math.isnan(interval[0])
    return f"{gain:+.4f}" + (f" ({interval[0]:+.4f} to {interval[1]:+.4f})" if is_known else "")


def format_interval(interval: tuple[float, float] | None) -> str:
    """Returns an interval in words, "" for none, or where all resamples are the same.

    >>> format_interval((0.25, 0.5)), format_interval(None)
    ('0.2500 to 0.5000', '')
    """
    return "" if interval is None or math.isnan(interval[0]) else " to ".join(map(format_number, interval))


def format_number(number: float | None) -> str:
    """Returns a count as it is and a score with four decimals.

    >>> format_number(12), format_number(0.5), format_number(float("nan")), format_number(None)
    ('12', '0.5000', '-', '-')
    """
    if number is None or math.isnan(number):
        return "-"
    return f"{number:d}" if isinstance(number, int) else f"{number:.4f}"
