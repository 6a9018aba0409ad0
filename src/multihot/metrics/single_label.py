"""Scores of the single-label case, where every image has exactly one label: torchmetrics' own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multihot.metrics import Evaluation

SINGLE_LABEL_SCORES = ("accuracy", "macro_f1", "num_labels_evaluated", "num_images")


def evaluate_single_label(logits: Tensor, target: Tensor, labels: Sequence[str]) -> Evaluation:
    """Returns accuracy, macro F1 over the labels that occur, and the table: logits (N, C), target (N, C) one-hot.

    >>> logits, target = torch.tensor([[2.0, -1.0], [3.0, 1.0]]), torch.tensor([[1, 0], [0, 1]])
    >>> evaluate_single_label(logits, target, ["cat", "dog"]).scores["accuracy"]
    0.5
    """
    from torchmetrics.functional.classification import multiclass_stat_scores

    predicted, true, num_labels = logits.argmax(dim=1), target.argmax(dim=1), len(labels)
    hits, false_alarms, _, misses, support = multiclass_stat_scores(predicted, true, num_labels, average=None).T
    absent = support == 0
    columns = {
        "support": support,
        "predicted": hits + false_alarms,
        "precision": (hits / (hits + false_alarms).clamp(min=1)).masked_fill(absent, torch.nan),
        "recall": (hits / support.clamp(min=1)).masked_fill(absent, torch.nan),
        "f1": (2 * hits / (2 * hits + false_alarms + misses).clamp(min=1)).masked_fill(absent, torch.nan),
    }
    values = (
        hits.sum().item() / len(logits),
        columns["f1"].nanmean().item(),
        (~absent).sum().item(),
        len(logits),
    )
    scores = dict(zip(SINGLE_LABEL_SCORES, values, strict=True))
    rows = zip(labels, *(column.tolist() for column in columns.values()), strict=True)
    return Evaluation(scores, [dict(zip(("label", *columns), row, strict=True)) for row in rows])
