"""Scores of the single-label case, where every image has exactly one label: torchmetrics' own."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multihot.metrics import Evaluation
from multihot.metrics.blocks import LogitsAndTarget, harden

SINGLE_LABEL_SCORES = ("accuracy", "macro_f1", "num_labels_evaluated", "num_images")


def evaluate_single_label(logits: Tensor, target: Tensor, labels: Sequence[str]) -> Evaluation:
    """Returns accuracy, macro F1 over the labels that occur, and the table: logits (N, C), target (N, C) one-hot.

    An image without a known label (all -1, or 0 and -1) is left out of everything, and so of `num_images`; where none
    is left, accuracy and macro F1 are NaN.

    >>> logits, target = torch.tensor([[2.0, -1.0], [3.0, 1.0]]), torch.tensor([[1, 0], [0, 1]])
    >>> evaluate_single_label(logits, target, ["cat", "dog"]).scores["accuracy"]
    0.5
    """
    return measure_single_label(LogitsAndTarget(logits, target), labels)


def measure_single_label(matrices: LogitsAndTarget, labels: Sequence[str]) -> Evaluation:
    """Returns what `evaluate_single_label` does for logits and targets of any size."""
    from torchmetrics.functional.classification import multiclass_stat_scores

    predicted, true = [], []
    for _, logits, target in matrices.blocks():
        target = harden(target)
        is_known = (target == 1).any(dim=1)
        predicted.append(logits.argmax(dim=1))
        true.append(target.argmax(dim=1).masked_fill(~is_known, -1))
    predicted, true = torch.cat(predicted), torch.cat(true)
    num_images = (true >= 0).sum().item()
    counts = multiclass_stat_scores(predicted, true, len(labels), average=None, ignore_index=-1)
    hits, false_alarms, _, misses, support = counts.T
    absent = support == 0
    columns = {
        "support": support,
        "predicted": hits + false_alarms,
        "precision": (hits / (hits + false_alarms).clamp(min=1)).masked_fill(absent, torch.nan),
        "recall": (hits / support.clamp(min=1)).masked_fill(absent, torch.nan),
        "f1": (2 * hits / (2 * hits + false_alarms + misses).clamp(min=1)).masked_fill(absent, torch.nan),
    }
    values = (
        hits.sum().item() / num_images if num_images else math.nan,
        columns["f1"].nanmean().item(),
        (~absent).sum().item(),
        num_images,
    )
    scores = dict(zip(SINGLE_LABEL_SCORES, values, strict=True))
    rows = zip(labels, *(column.tolist() for column in columns.values()), strict=True)
    return Evaluation(scores, [dict(zip(("label", *columns), row, strict=True)) for row in rows])
