"""The metrics as torchmetrics classes over the exact cores of ranking.py and decisions.py.

All take (logits, target) and apply the sigmoid themselves where they need it: torchmetrics' own classes guess whether
they got logits, and take those that all lie in [0, 1] for probabilities.

Why none of torchmetrics' own is used (1.9.0; the first four are shown by a test):
- With unknown answers (ignore_index=-1) MultilabelCoverageError and MultilabelRankingLoss are wrong: 11.55 for 4.98 and
  0.19 for 0.25 on 40 random images; MultilabelHammingDistance averages labels, however few answers one has.
- A label of which nothing is known ends MultilabelAveragePrecision and MultilabelAUROC with an IndexError.
- An absent label has average precision -0.0, and F1 0, and is counted in the macro average.
- MultilabelRankingLoss is not scikit-learn's where scores are equal.
- The others are exact but slower, each with a pass of its own: on 5,000 images x 1,000 labels
  MultilabelRankingAveragePrecision takes 0.9 s, MultilabelAveragePrecision 1.5 s, MultilabelStatScores and
  MultilabelF1Score 0.16 s each, all of ours together 0.3 s.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from multihot.labels import LabelSpace
from multihot.metrics.checks import check_logits_and_target, check_threshold
from multihot.metrics.decisions import DecisionSums, mean_of_evaluated, score_decisions, sum_decisions
from multihot.metrics.ranking import (
    ImageRankingSums,
    average_precision,
    rank_labels,
    score_image_rankings,
    sum_image_rankings,
)

ENTRIES_IN_CHUNK = 1 << 20  # probabilities and decisions at a time: they stay in the processor's cache


def create_metrics(
    space: LabelSpace, threshold: float | Sequence[float] | None = None, **kwargs: Any
) -> MetricCollection:
    """Returns all metrics; `compute()` gives one dict of scores and, named `label_*`, values of each label (C,).

    They do not sync: `evaluation.predict` has handed every row to every process once, and a sync would count each row
    once a process.

    Args:
        space: the labels, and how logits become decisions.
        threshold: of the independent labels, on the scale of the activation; one, or one for each label (C,).
        kwargs: arguments of `torchmetrics.Metric`.
    """
    kwargs = {"sync_on_compute": False} | kwargs
    metrics = [
        AveragePrecision(space, **kwargs),
        Decisions(space, threshold, **kwargs),
        ImageRanking(space, **kwargs),
    ]
    return MetricCollection(metrics, compute_groups=False)  # the groups would be found by comparing all states


class AveragePrecision(Metric):
    """Average precision of each label, its mean (mAP), and that of all entries (micro); area under each ROC curve.

    It keeps the log-odds and targets of all images, because a ranking needs them all.
    """

    full_state_update = False
    logits: list[Tensor]
    target: list[Tensor]

    def __init__(self, space: LabelSpace, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space = space
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Adds a batch: logits (B, C), target (B, C)."""
        logits, target = check_logits_and_target(logits, target, len(self.space.labels))
        self.logits.append(self.space.log_odds(logits))
        self.target.append(target)

    def compute(self) -> dict[str, Tensor]:
        """Returns `map`, `micro_ap`, `macro_auroc`, `num_labels_ranked`, and `label_ap` and `label_auroc` (C,)."""
        logits, target = _join(self.logits).cpu().numpy(), _join(self.target).cpu().numpy()
        label_ap, label_auroc = rank_labels(logits, target)
        means = {"map": mean_of_evaluated(label_ap), "macro_auroc": mean_of_evaluated(label_auroc)}
        micro_ap = average_precision(logits.ravel(), target.ravel())
        num_ranked = np.count_nonzero(~np.isnan(label_ap))
        of_labels = {"num_labels_ranked": num_ranked, "label_ap": label_ap, "label_auroc": label_auroc}
        return _to_tensors({**means, "micro_ap": micro_ap, **of_labels})


class Decisions(Metric):
    """Precision, recall, F1, Hamming loss, Jaccard and subset accuracy of the decisions."""

    full_state_update = False

    def __init__(self, space: LabelSpace, threshold: float | Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space = space
        self.threshold = check_threshold(threshold, space)
        logits, target = _no_images(space)
        _add_states(self, sum_decisions(logits > 0, target))

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Adds a batch: logits (B, C), target (B, C)."""
        num_labels = len(self.space.labels)
        logits, target = check_logits_and_target(logits, target, num_labels)
        num_rows = max(1, ENTRIES_IN_CHUNK // num_labels)
        for chunk, chunk_target in zip(logits.split(num_rows), target.split(num_rows), strict=True):
            decision = self.space.decide(chunk, self.threshold).numpy()
            _add_to_states(self, sum_decisions(decision, chunk_target.numpy()))

    def compute(self) -> dict[str, Tensor]:
        """Returns the scores of `score_decisions`."""
        return _to_tensors(score_decisions(_read_states(self, DecisionSums)))


class ImageRanking(Metric):
    """How each image ranks its labels: label-ranking average precision, ranking loss and coverage error."""

    full_state_update = False

    def __init__(self, space: LabelSpace, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space = space
        _add_states(self, sum_image_rankings(*_no_images(space)))

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Adds a batch: logits (B, C), target (B, C)."""
        logits, target = check_logits_and_target(logits, target, len(self.space.labels))
        _add_to_states(self, sum_image_rankings(self.space.log_odds(logits).numpy(), target.numpy()))

    def compute(self) -> dict[str, Tensor]:
        """Returns `lrap`, `ranking_loss` and `coverage_error`."""
        return _to_tensors(score_image_rankings(_read_states(self, ImageRankingSums)))


def _no_images(space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits (0, C) and target (0, C); the sums over them are where the states start."""
    num_labels = len(space.labels)
    return np.zeros((0, num_labels), np.float32), np.zeros((0, num_labels), np.int8)


def _add_states(metric: Metric, sums: NamedTuple) -> None:
    for name, value in sums._asdict().items():
        metric.add_state(name, torch.as_tensor(value), dist_reduce_fx="sum")


def _add_to_states(metric: Metric, sums: NamedTuple) -> None:
    for name, value in sums._asdict().items():
        state = getattr(metric, name)
        setattr(metric, name, state + torch.as_tensor(value, device=state.device))


def _read_states(metric: Metric, sums: type[NamedTuple]) -> NamedTuple:
    return sums(*(getattr(metric, name).cpu().numpy() for name in sums._fields))


def _join(batches: list[Tensor] | Tensor) -> Tensor:
    """Returns the rows of all batches; one batch, or what a sync has joined already, is not copied."""
    if isinstance(batches, Tensor):
        return batches
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def _to_tensors(scores: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.asarray(value)) for name, value in scores.items()}
