"""Logits of a whole split, each image exactly once, and what is written about them."""

import copy
import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from multihot.data.loader import Batches
from multihot.data.manifest import Manifest, target_of
from multihot.files import damaged, publish_folder, save_tensors, stage_folder, write_json, write_text
from multihot.labels import LabelSpace, show_label
from multihot.loss import MultiLabelLoss, UnknownStrategy, share_known
from multihot.metrics import SCORES, Evaluation, evaluate_logits
from multihot.metrics.checks import list_thresholds
from multihot.metrics.single_label import SINGLE_LABEL_SCORES, evaluate_single_label
from multihot.ownership import EVALUATION
from multihot.progress import Progress

ROWS_SHOWN = 25
THRESHOLD = "threshold"  # what it is called in metrics.json and labels.csv


@torch.no_grad()
def predict(
    accelerator: Accelerator,
    model: nn.Module,
    batches: Batches,
    title: str,
    after_batch: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Returns the logits, float32 (N, C) on the CPU, of all N images in the order of the manifest, the same in each
    process. Each image is seen once: rows come back by their index, so padding and order cannot count twice.

    Args:
        title: what the user sees it called.
        after_batch: called after each batch, by all processes equally often.
    """
    model.eval()
    rows, logits = [], []
    for number, batch in enumerate(Progress(batches, title)):
        with accelerator.autocast():
            output = model(batch["image"])
        if number < batches.num_own:  # else another process's batch
            rows.append(batch["index"].cpu())
            logits.append(output.float().cpu())
        after_batch()
    num_images, num_labels = len(batches.manifest), accelerator.unwrap_model(model).num_classes
    rows = torch.cat([torch.empty(0, dtype=torch.int64), *rows])  # a process may have no batch at all
    logits = torch.cat([torch.empty(0, num_labels), *logits])
    return in_order(gather(accelerator, rows, padding=-1), gather(accelerator, logits, padding=0), num_images)


def gather(accelerator: Accelerator, own: torch.Tensor, padding: int) -> torch.Tensor:
    """Returns the rows (M, ...) of all processes on the CPU, those of fewer rows padded."""
    if accelerator.num_processes == 1:
        return own
    padded = accelerator.pad_across_processes(own.to(accelerator.device), pad_index=padding)
    return accelerator.gather(padded).cpu()


def in_order(rows: torch.Tensor, logits: torch.Tensor, num_images: int) -> torch.Tensor:
    """Returns logits (N, C) sorted by their rows (M,), rows of -1 left out.

    >>> in_order(torch.tensor([1, -1, 0]), torch.tensor([[0.1], [9.0], [0.2]]), num_images=2).flatten().tolist()
    [0.20000000298023224, 0.10000000149011612]
    """
    logits, rows = logits[rows >= 0], rows[rows >= 0]
    assert torch.equal(rows.sort().values, torch.arange(num_images)), "each image must be predicted exactly once"
    ordered = torch.empty_like(logits)
    ordered[rows] = logits
    return ordered


def evaluate_split(
    logits: torch.Tensor, data: Manifest, space: LabelSpace, threshold: float | None, loss: MultiLabelLoss
) -> tuple[Evaluation, torch.Tensor]:
    """Returns the scores, with the loss, and the table of labels of a split's logits (N, C), and its target (N, C)."""
    target = target_of(data)
    evaluation = evaluate(logits, target, space, threshold)
    evaluation.scores["loss"] = mean_loss(loss, logits, target)
    if data.dropped:
        evaluation.scores["num_images_dropped"] = len(data.dropped)
    return evaluation, target


def evaluate(
    logits: torch.Tensor, target: torch.Tensor, space: LabelSpace, threshold: float | None = None
) -> Evaluation:
    """Returns the scores and the table of labels of logits (N, C) and targets (N, C).

    A soft answer counts as present from 0.5 up.
    """
    if target.is_floating_point():
        target = torch.where(target < 0, -1, target >= 0.5).to(torch.int8)
    with in_one_thread():
        if space.is_single_label:
            evaluation = evaluate_single_label(logits, target, space.labels)
        else:
            evaluation = evaluate_logits(logits, target, space, threshold)
    return replace(evaluation, thresholds=list_thresholds(threshold, space))


def score_names(space: LabelSpace) -> tuple[str, ...]:
    """Returns the names of the scores that `evaluate` and `mean_loss` give."""
    if space.is_single_label:
        return (*SINGLE_LABEL_SCORES, "loss")
    return (*SCORES, *(f"{group.name}_accuracy" for group in space.groups), "loss")


def mean_loss(loss: MultiLabelLoss, logits: torch.Tensor, target: torch.Tensor) -> float:
    """Returns the loss of all predictions at once, on the CPU: that of the known answers alone, a sum per image."""
    loss = copy.deepcopy(loss).cpu()
    loss.reduction = "batchmean" if loss.reduction == "sum" else loss.reduction
    loss.unknown = UnknownStrategy("ignore")
    if loss.num_dims == 2:
        loss.known_fraction = share_known(loss.space, (target >= 0).sum(dim=0), len(target))
    with in_one_thread():
        return loss(logits, target.float()).item()


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Lets torch compute in one thread: several divide a tensor otherwise, and its sum and last elements round so."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def save_evaluation(
    folder: Path, manifest: Manifest, logits: torch.Tensor, target: torch.Tensor, evaluation: Evaluation
):
    """Writes metrics.json, labels.csv (a row a label), both with the thresholds of the decisions, and the predictions,
    from which both can be computed again.
    """
    new = stage_folder(folder)
    write_json(new / "metrics.json", evaluation.scores | {THRESHOLD: evaluation.threshold})
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=[*evaluation.table[0], THRESHOLD])
    writer.writeheader()
    for row, threshold in zip(evaluation.table, evaluation.thresholds, strict=True):
        writer.writerow(row | {THRESHOLD: threshold})
    write_text(new / "labels.csv", text.getvalue())
    save_tensors(new / "predictions.safetensors", {"logits": logits, "target": target})
    write_json(new / "images.json", list(manifest.images))
    publish_folder(folder, EVALUATION)


def load_predictions(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the saved logits float32 (N, C) and targets (N, C) of a split; raises InputError if they are damaged."""
    path = folder / "predictions.safetensors"
    try:
        saved = load_file(path)
        return saved["logits"], saved["target"]
    except (OSError, KeyError, SafetensorError) as error:
        raise damaged(path, error) from error


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
