"""How good a model is: every score of a split from its logits (N, C) and targets (N, C), exact as scikit-learn's.

Absent labels, those without a known positive, are left out of macro averages and NaN in the table; unknown targets (-1)
are left out everywhere, and an image without any known label is left out of the means over images. A label without a
known negative has nothing to rank, any model's average precision is 1: `map` and `macro_auroc` leave it out too.
`num_labels_evaluated` have a positive, of them `num_labels_ranked` have a negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.metrics.blocks import LogitsAndTarget, harden
from multihot.metrics.checks import check_finite, check_logits_and_target, check_threshold
from multihot.metrics.decisions import score_decisions, sum_chunks
from multihot.metrics.ranking import ImageRankings, rank_all, rank_images, score_image_rankings

SCORES = (
    "map",
    "micro_ap",
    "macro_auroc",
    "micro_f1",
    "macro_f1",
    "samples_f1",
    "micro_precision",
    "macro_precision",
    "micro_recall",
    "macro_recall",
    "hamming_loss",
    "jaccard_samples",
    "subset_accuracy",
    "lrap",
    "ranking_loss",
    "coverage_error",
    "num_labels_evaluated",
    "num_labels_ranked",
    "num_images",
)
COLUMNS = ("support", "predicted", "ap", "auroc", "precision", "recall", "f1")


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split by name, a table with one row a label (its name, `support`, `predicted`, `ap`, ...), and
    what each label was decided by.
    """

    scores: dict[str, float]
    table: list[dict[str, str | float]]
    thresholds: list[float | None] = field(default_factory=list)  # None: of a group, where the largest logit decides
    decided_by: dict[str, str] = field(default_factory=dict)  # fitted decisions of the scores `fitted_...`
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # by the names of scores; may be empty

    @property
    def threshold(self) -> float | list[float | None] | None:
        """The one threshold of all labels, or each label's; None where none is used."""
        used = {threshold for threshold in self.thresholds if threshold is not None}
        return self.thresholds if len(used) > 1 else next(iter(used), None)


def evaluate_logits(
    logits: Tensor, target: Tensor, space: LabelSpace, threshold: float | Sequence[float] | None = None
) -> Evaluation:
    """Returns all scores and the table of labels: logits (N, C), target (N, C) of 1, 0 and -1 (unknown).

    An independent label is predicted where its activation is above the threshold, one number or one for each label
    (C,), None for the activation's own; of an exclusive group the winner is. Each group has its `<group>_accuracy`.

    >>> import torch
    >>> logits, target = torch.tensor([[2.0, -1.0], [-3.0, 1.0]]), torch.tensor([[1, 0], [0, 0]])
    >>> evaluation = evaluate_logits(logits, target, LabelSpace(("cat", "dog")))
    >>> evaluation.scores["map"], evaluation.scores["num_labels_evaluated"], evaluation.scores["hamming_loss"]
    (1.0, 1, 0.25)
    >>> evaluation.table[1]
    {'label': 'dog', 'support': 0, 'predicted': 1, 'ap': nan, 'auroc': nan, 'precision': nan, 'recall': nan, 'f1': nan}
    """
    return measure(LogitsAndTarget(*check_logits_and_target(logits, target, len(space.labels))), space, threshold)


def measure(
    matrices: LogitsAndTarget, space: LabelSpace, threshold: float | Sequence[float] | None = None
) -> Evaluation:
    """Returns what `evaluate_logits` does for logits and targets of any size; soft answers are present from 0.5 up."""
    check_group_names(space.groups)
    decide = partial(space.decide, threshold=check_threshold(threshold, space))
    decisions, images, winners = None, [], []
    for rows, logits, target in matrices.blocks():
        check_finite(logits, first_row=rows.start)
        target = harden(target)
        for sums in sum_chunks(logits, target, decide):
            decisions = sums if decisions is None else decisions.add(sums)
        images.append(rank_images(space.log_odds(logits).numpy(), target.numpy()))
        winners.append(judge_groups(logits, target, space))
    result = {
        **rank_all(matrices, space),
        **score_decisions(decisions),
        **score_image_rankings(ImageRankings(*map(np.concatenate, zip(*images, strict=True)))),
    }
    accuracies = {
        f"{group.name}_accuracy": mean_of_known(torch.cat(right))
        for group, *right in zip(space.groups, *winners, strict=True)
    }
    columns = [result[f"label_{name}"].tolist() for name in COLUMNS]
    rows = [dict(zip(("label", *COLUMNS), row, strict=True)) for row in zip(space.labels, *columns, strict=True)]
    return Evaluation({name: np.asarray(result[name]).item() for name in SCORES} | accuracies, rows)


def multi_label_scores(logits: Tensor, target: Tensor, threshold: float | Sequence[float] = 0.5) -> dict[str, float]:
    """Returns the scores of `evaluate_logits` alone, for labels that are all independent and have no names."""
    space = LabelSpace(tuple(str(column) for column in range(logits.shape[-1])))
    return evaluate_logits(logits, target, space, threshold).scores


def judge_groups(logits: Tensor, target: Tensor, space: LabelSpace) -> list[Tensor]:
    """Returns for each exclusive group whether its winner is right, float32 (N,), NaN for an image without an answer.

    An image has one if a member is present, or if all are known to be absent ("none").
    """
    result = []
    decision = space.decide(logits) if space.groups else None
    for columns in space.columns:
        truth = target[:, columns]
        known = (truth == 1).any(dim=1) | (truth == 0).all(dim=1)
        right = (decision[:, columns] == (truth == 1)).all(dim=1)
        result.append(right.float().masked_fill(~known, torch.nan))
    return result


def mean_of_known(values: Tensor) -> float:
    """Returns the mean of those of the values (N,) that are not NaN, NaN if all are."""
    return values[~values.isnan()].mean().item()


def check_group_names(groups: Sequence[Group]) -> None:
    """Raises InputError if the accuracy of a group would be called as a score is.

    >>> check_group_names([Group("colour", ("red", "green"))])
    """
    for group in groups:
        if f"{group.name}_accuracy" in SCORES:
            raise InputError(
                f"the group {group.name} (data.groups) would have its {group.name}_accuracy in the place of the score "
                "of that name: call it otherwise"
            )
