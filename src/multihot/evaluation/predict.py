"""The predictions of a whole split, each image exactly once, and the scores of predictions."""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from multihot.evaluation.predictions import ORIGIN, Predictions, Share, create_predictions
from multihot.files import publish_folder, remove_folder, stage_folder, staged_name, write_json, write_text, writing
from multihot.labels import LabelSpace, show_label
from multihot.loss import MultiLabelLoss, share_known
from multihot.metrics import SCORES, Evaluation, measure
from multihot.metrics.checks import list_thresholds
from multihot.metrics.single_label import SINGLE_LABEL_SCORES, measure_single_label
from multihot.ownership import EVALUATION
from multihot.progress import Progress
from multihot.run.folder import in_process_0
from multihot.seal import seal

if TYPE_CHECKING:
    from multihot.data.loader import Batches  # which imports timm; what scores saved logits need not wait for it

LOSS_ENTRIES = 1 << 25  # as many are judged as one batch
ROWS_SHOWN = 25
THRESHOLD = "threshold"  # what it is called in metrics.json and labels.csv


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Gives all processes an empty folder beside `folder`, which is deleted unless `save_evaluation` moves it there."""
    new = in_process_0(partial(stage_folder, folder))
    try:
        yield new
    finally:
        if PartialState().is_main_process:
            remove_folder(new)


@torch.no_grad()
def predict(
    accelerator: Accelerator,
    model: nn.Module,
    batches: "Batches",
    folder: Path,
    title: str,
    *,
    way_out: str,
    after_batch: Callable[[], None] = lambda: None,
) -> None:
    """Writes the logits of all N images in the order of the manifest, and their targets, into an empty folder that all
    processes see. Each image is seen once, and each process writes the rows of its own batches.

    Args:
        title: what the user sees it called.
        way_out: what to do where the folder cannot be written.
        after_batch: called after each batch, by all processes equally often.
    """
    in_process_0(partial(create_predictions, folder, batches.manifest, way_out))
    model.eval()
    with writing(folder, way_out):
        share = Share(folder)
    with closing(share.file):
        for number, batch in enumerate(Progress(batches, title)):
            with accelerator.autocast():
                output = model(batch["image"])
            if number < batches.num_own:  # else another process's batch
                with writing(folder, way_out):
                    share.write(batch["index"].cpu().numpy(), output.float().cpu().numpy())
            after_batch()
    counts = accelerator.reduce(torch.from_numpy(share.counts).to(accelerator.device), reduction="sum")
    check_each_once(counts)


def check_each_once(counts: torch.Tensor) -> None:
    """Raises AssertionError unless each image was predicted once: counts (N,)."""
    assert (counts == 1).all(), "each image must be predicted exactly once"


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


def save_evaluation(folder: Path, evaluation: Evaluation, origin: Mapping | None) -> None:
    """Adds metrics.json and labels.csv (a row a label), both with the thresholds of the decisions, to the predictions
    in the staged folder, and moves it into place.

    Args:
        origin: what the predictions depend on; None: they are not used in the place of new ones.
    """
    new = staged_name(folder)
    if origin is not None and not (new / ORIGIN).exists():
        seal(new, origin, ORIGIN)
    write_json(new / "metrics.json", evaluation.scores | {THRESHOLD: evaluation.threshold})
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=[*evaluation.table[0], THRESHOLD])
    writer.writeheader()
    for row, threshold in zip(evaluation.table, evaluation.thresholds, strict=True):
        writer.writerow(row | {THRESHOLD: threshold})
    write_text(new / "labels.csv", text.getvalue())
    publish_folder(folder, EVALUATION)


def format_evaluation(evaluation: Evaluation) -> str:
    """Returns the scores and the most frequent labels as a table for a person."""
    scores = [f"  {name:<22} {format_number(score)}" for name, score in evaluation.scores.items()]
    rows = sorted(evaluation.table, key=lambda row: -row["support"])
    names = [show_label(row["label"]) for row in rows[:ROWS_SHOWN]]
    width = max(map(len, names))
    header = f"  {'label':<{width}} " + " ".join(f"{name:>9}" for name in rows[0] if name != "label")
    lines = [
        f"  {label:<{width}} " + " ".join(f"{format_number(row[name]):>9}" for name in row if name != "label")
        for label, row in zip(names, rows, strict=False)
    ]
    more = [f"  ... and {len(rows) - ROWS_SHOWN} rarer labels"] if len(rows) > ROWS_SHOWN else []
    return "\n".join([*scores, "", header, *lines, *more])


def format_number(number: float) -> str:
    """Returns a count as it is and a score with four decimals.

    >>> format_number(12), format_number(0.5), format_number(float("nan"))
    ('12', '0.5000', '-')
    """
    if math.isnan(number):
        return "-"
    return f"{number:d}" if isinstance(number, int) else f"{number:.4f}"
