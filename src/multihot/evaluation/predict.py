"""Predicts a whole split, each image exactly once, and puts the folder of its predictions and scores into place."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from multihot.evaluation.predictions import ORIGIN, Share, create_predictions
from multihot.files import publish_folder, remove_folder, stage_folder, staged_name, write_json, write_text, writing
from multihot.metrics import Evaluation
from multihot.ownership import EVALUATION
from multihot.progress import Progress
from multihot.run.folder import in_process_0
from multihot.seal import seal

if TYPE_CHECKING:
    from multihot.data.loader import Batches  # which imports timm; what scores saved logits need not wait for it

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


def seal_predictions(new: Path, origin: Mapping) -> None:
    """Writes what predictions depend on beside them, unless it is there; the folder has nothing else yet."""
    if not (new / ORIGIN).exists():
        seal(new, origin, ORIGIN)


def save_evaluation(folder: Path, evaluation: Evaluation, origin: Mapping | None) -> None:
    """Adds metrics.json and labels.csv (a row a label), both with the thresholds of the decisions, to the predictions
    in the staged folder, and moves it into place.

    Args:
        origin: what the predictions depend on; None: they are not used in the place of new ones.
    """
    new = staged_name(folder)
    if origin is not None:
        seal_predictions(new, origin)
    more = {"decisions": evaluation.decided_by, "intervals": evaluation.intervals}
    more = {name: value for name, value in more.items() if value}
    write_json(new / "metrics.json", evaluation.scores | {THRESHOLD: evaluation.threshold} | more)
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=[*evaluation.table[0], THRESHOLD])
    writer.writeheader()
    for row, threshold in zip(evaluation.table, evaluation.thresholds, strict=True):
        writer.writerow(row | {THRESHOLD: threshold})
    write_text(new / "labels.csv", text.getvalue())
    publish_folder(folder, EVALUATION)
