"""All scores of many resamples of a split, from one set of weights: how often each resample has each image.

Rankings are sorted once (resampled_rankings.py); counts of decisions are matrix products.
"""

from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor

from multihot.labels import LabelSpace
from multihot.metrics import SCORES, judge_groups
from multihot.metrics.blocks import LogitsAndTarget, harden
from multihot.metrics.decisions import Decide, DecisionSums, judge_images, score_decisions
from multihot.metrics.ranking import rank_images
from multihot.metrics.resampled_rankings import ENTRIES_AT_ONCE, resample_labels, resample_pooled
from multihot.metrics.resamples import divide, weigh_images

LABEL_SCORES = ("map", "macro_auroc")
IMAGE_SCORES = ("lrap", "ranking_loss", "coverage_error")
DECISION_SCORES = [
    name for name in SCORES if name not in (*LABEL_SCORES, "micro_ap", *IMAGE_SCORES) and not name.startswith("num_")
]


def resample(
    matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor, decide: Decide, wanted: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns the values (R,) of each score that `measure` gives and is no count, `<group>_accuracy` included: what it
    would give of each resample, each image repeated as often as its weight says. Labels that vanish from a resample
    are left out of its macro averages.

    `micro_ap` is not among them where N x C is above 2^28.

    Args:
        weights: uint8 (R, N).
        decide: gives which labels are predicted, bool (B, C), of logits (B, C).
        wanted: names of scores; what has none of them is not computed. None: all.
    """
    parts = [
        (LABEL_SCORES, lambda: average_labels(resample_labels(matrices, space, weights))),
        (("micro_ap",), lambda: resample_pooled(matrices, space, weights)),
        (IMAGE_SCORES, lambda: resample_images(matrices, space, weights)),
        (DECISION_SCORES, lambda: resample_decisions(matrices, weights, decide)),
        ([f"{group.name}_accuracy" for group in space.groups], lambda: resample_groups(matrices, space, weights)),
    ]
    computed = [compute() for names, compute in parts if wanted is None or {*names} & {*wanted}]
    return {name: values for part in computed for name, values in part.items()}


def resample_single_label(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> dict[str, np.ndarray]:
    """Returns the values (R,) of the scores of `measure_single_label`."""
    scores = resample_decisions(matrices, weights, space.decide, answer=take_one_answer)
    return {"accuracy": scores["subset_accuracy"], "macro_f1": scores["macro_f1"]}


def take_one_answer(target: Tensor) -> Tensor:
    """Returns the target int8 (N, C) with one label present and all others absent, or, without one, all unknown.

    >>> take_one_answer(torch.tensor([[1, -1], [0, -1]])).tolist()
    [[1, 0], [-1, -1]]
    """
    present = harden(target) == 1
    return torch.where(present.any(dim=1, keepdim=True), present.to(torch.int8), -1)


def average_labels(of_labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the means (R,) over the labels that are not NaN: of_labels (2, C, R)."""
    sums, counts = np.nansum(of_labels, axis=1), (~np.isnan(of_labels)).sum(axis=1)
    return dict(zip(LABEL_SCORES, divide(sums, counts), strict=True))


def resample_images(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> dict[str, np.ndarray]:
    """Returns the values (R,) of `lrap`, `ranking_loss` and `coverage_error`."""
    blocks = matrices.blocks()
    images = [rank_images(space.log_odds(logits).numpy(), harden(target).numpy()) for _, logits, target in blocks]
    *values, is_known = map(np.concatenate, zip(*images, strict=True))
    means = weigh_images([*(column * is_known for column in values), is_known], weights)
    return dict(zip(IMAGE_SCORES, divide(means[:-1], means[-1]), strict=True))


def resample_decisions(
    matrices: LogitsAndTarget, weights: Tensor, decide: Decide, answer: Callable[[Tensor], Tensor] = harden
) -> dict[str, np.ndarray]:
    """Returns the values (R,) of the scores of decisions; those of labels and the counts are not among them.

    Args:
        answer: makes a target int8 (B, C) of one that may be soft.
    """
    counts = torch.zeros(3, len(weights), matrices.logits.shape[1])
    images = []
    for rows, logits, target in matrices.blocks(ENTRIES_AT_ONCE):
        target, decision = answer(target), decide(logits)
        is_positive, is_predicted = target == 1, decision & (target >= 0)
        of_rows = weights[:, rows].float()
        for count, matrix in zip(counts, (is_predicted & is_positive, is_predicted, is_positive), strict=True):
            count.addmm_(of_rows, matrix.float())
        images.append(judge_images(decision.numpy(), target.numpy()))
    of_images = weigh_images([np.concatenate(values) for values in zip(*images, strict=True)], weights)
    rows = zip(*counts.double().numpy(), *of_images, strict=True)
    scores = [score_decisions(DecisionSums(*row)) for row in rows]
    names = [name for name in scores[0] if not name.startswith(("label_", "num_"))]
    return {name: np.array([score[name] for score in scores]) for name in names}


def resample_groups(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> dict[str, np.ndarray]:
    """Returns the values (R,) of each group's accuracy, NaN where no image of the resample has an answer."""
    blocks = [judge_groups(logits, harden(target), space) for _, logits, target in matrices.blocks()]
    result = {}
    for group, right in zip(space.groups, map(torch.cat, zip(*blocks, strict=True)), strict=True):
        num_right, num_known = weigh_images([right.nan_to_num().numpy(), (~right.isnan()).numpy()], weights)
        result[f"{group.name}_accuracy"] = divide(num_right, num_known)
    return result
