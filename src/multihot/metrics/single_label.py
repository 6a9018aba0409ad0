"""Scores of the single-label case, where every image has exactly one label: torchmetrics' own."""

from collections.abc import Sequence

from torch import Tensor

from multihot.metrics import Evaluation


def evaluate_single_label(logits: Tensor, target: Tensor, labels: Sequence[str]) -> Evaluation:
    """Returns accuracy, macro F1 and the table of labels: logits (N, C), target (N, C) one-hot.

    >>> import torch
    >>> logits, target = torch.tensor([[2.0, -1.0], [3.0, 1.0]]), torch.tensor([[1, 0], [0, 1]])
    >>> evaluate_single_label(logits, target, ["cat", "dog"]).scores["accuracy"]
    0.5
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_stat_scores

    predicted, true, num_labels = logits.argmax(dim=1), target.argmax(dim=1), len(labels)
    scores = {
        "accuracy": multiclass_accuracy(predicted, true, num_labels, average="micro").item(),
        "macro_f1": multiclass_f1_score(predicted, true, num_labels, average="macro").item(),
        "num_images": len(logits),
    }
    hits, false_alarms, _, misses, support = multiclass_stat_scores(predicted, true, num_labels, average=None).T
    columns = {
        "support": support,
        "predicted": hits + false_alarms,
        "precision": hits / (hits + false_alarms).clamp(min=1),
        "recall": hits / (hits + misses).clamp(min=1),
        "f1": 2 * hits / (2 * hits + false_alarms + misses).clamp(min=1),
    }
    rows = zip(labels, *(column.tolist() for column in columns.values()), strict=True)
    return Evaluation(scores, [dict(zip(("label", *columns), row, strict=True)) for row in rows])
