"""The metrics as torchmetrics classes over the exact cores of ranking.py and decisions.py, for a loop of one's own.

`evaluate_logits` goes through the same cores block by block and need not wait for the import of torchmetrics.

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
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.checks import check_logits_and_target, check_threshold
from multihot.metrics.decisions import DecisionSums, score_decisions, sum_chunks, sum_decisions
from multihot.metrics.ranking import ImageRankings, rank_all, rank_images, score_image_rankings


def create_metrics(
    space: LabelSpace, threshold: float | Sequence[float] | None = None, **kwargs: Any
) -> MetricCollection:
    """Returns all metrics; `compute()` gives one dict of scores and, named `label_*`, values of each label (C,).

    They do not sync: they are for one process that has all rows. With `sync_on_compute=True` several share them.

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
    return MetricCollection(metrics, compute_groups=False)  # equal states after a batch would make two metrics one


class AveragePrecision(Metric):
    """Average precision of each label, its mean (mAP), and that of all entries (micro); area under each ROC curve.

    It keeps the logits and targets of all images, because a ranking needs them all.
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
        self.logits.append(logits)
        self.target.append(target)

    def compute(self) -> dict[str, Tensor]:
        """Returns the scores of `rank_all`."""
        return _to_tensors(rank_all(LogitsAndTarget(_join(self.logits).cpu(), _join(self.target).cpu()), self.space))


class Decisions(Metric):
    """Precision, recall, F1, Hamming loss, Jaccard and subset accuracy of the decisions."""

    full_state_update = False

    def __init__(self, space: LabelSpace, threshold: float | Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space = space
        self.threshold = check_threshold(threshold, space)
        no_image = np.zeros((0, len(space.labels)), np.int8)
        for name, value in sum_decisions(no_image > 0, no_image)._asdict().items():
            self.add_state(name, torch.as_tensor(value), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Adds a batch: logits (B, C), target (B, C)."""
        logits, target = check_logits_and_target(logits, target, len(self.space.labels))
        for sums in sum_chunks(logits, target, partial(self.space.decide, threshold=self.threshold)):
            for name, value in sums._asdict().items():
                state = getattr(self, name)
                setattr(self, name, state + torch.as_tensor(value, device=state.device))

    def compute(self) -> dict[str, Tensor]:
        """Returns the scores of `score_decisions`."""
        sums = DecisionSums(*(getattr(self, name).cpu().numpy() for name in DecisionSums._fields))
        return _to_tensors(score_decisions(sums))


class ImageRanking(Metric):
    """How each image ranks its labels: label-ranking average precision, ranking loss and coverage error."""

    full_state_update = False

    def __init__(self, space: LabelSpace, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space = space
        for name in ImageRankings._fields:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Adds a batch: logits (B, C), target (B, C)."""
        logits, target = check_logits_and_target(logits, target, len(self.space.labels))
        for name, values in rank_images(self.space.log_odds(logits).numpy(), target.numpy())._asdict().items():
            getattr(self, name).append(torch.from_numpy(values))

    def compute(self) -> dict[str, Tensor]:
        """Returns `lrap`, `ranking_loss` and `coverage_error`."""
        images = ImageRankings(*(_join(getattr(self, name)).cpu().numpy() for name in ImageRankings._fields))
        return _to_tensors(score_image_rankings(images))


def _join(batches: list[Tensor] | Tensor) -> Tensor:
    """Returns the rows of all batches; one batch, or what a sync has joined already, is not copied."""
    if isinstance(batches, Tensor):
        return batches
    return batches[0] if len(batches) == 1 else torch.cat(batches)


def _to_tensors(scores: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.asarray(value)) for name, value in scores.items()}
