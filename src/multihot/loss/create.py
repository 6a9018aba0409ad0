"""The loss of a run from its settings and the label counts of its train split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from multihot.data.unknown import UnknownStrategy
from multihot.errors import check_choice
from multihot.labels import LabelSpace
from multihot.loss.multi_label import MultiLabelLoss
from multihot.loss.weights import mean_scale, read_pos_weight, read_weight


def create_loss(
    function: nn.Module | Callable[..., nn.Module],
    *,
    weight: float | Sequence[float] | None,
    pos_weight: float | Sequence[float] | Mapping | None,
    smoothing: float,
    reduction: str,
    unknown: Mapping | UnknownStrategy,
    space: LabelSpace,
    label_count: Sequence[int] | Tensor,
    num_known: Sequence[int] | Tensor,
    num_images: int,
) -> MultiLabelLoss:
    """Returns the loss.

    Args:
        function: A module, or a partial that is still to be given `class_counts` and `num_samples`.
        weight: None, a number, or one a label.
        pos_weight: None, a number, one a label, or `{power, max}`: (num_negative / num_positive)^power, at most max.
            The scale of the loss is kept: what pos_weight adds to its mean is divided out. Where unknown answers are
            trained as absent they are negatives, each counting its weight; the weights of images count nothing.
        smoothing: From 0 to below 1.
        reduction: mean, batchmean, sum or none.
        unknown: The settings of UnknownStrategy.
        space: The labels.
        label_count: Images (C,) of the train split in which a label is present.
        num_known: Images (C,) of the train split with an answer for a label.
        num_images: Images of the train split.
    """
    label_count, num_known = torch.as_tensor(label_count), torch.as_tensor(num_known)
    independent = space.independent
    if not isinstance(function, nn.Module):
        function = function(class_counts=label_count[independent], num_samples=num_images)
    unknown = read_unknown(unknown)
    num_trained = unknown.num_trained(num_known, num_images)
    weight = read_weight("weight", weight, len(space.labels))
    pos_weight = read_pos_weight(pos_weight, label_count, num_trained)
    if pos_weight is not None and independent:
        weight = torch.ones(len(space.labels)) if weight is None else weight
        weight[independent] /= mean_scale(pos_weight[independent], label_count[independent], num_trained[independent])
    return MultiLabelLoss(
        function,
        space,
        weight=weight,
        pos_weight=pos_weight,
        smoothing=smoothing,
        reduction=reduction,
        unknown=unknown,
        known_fraction=share_known(space, num_known, num_images) if unknown.strategy == "ignore" else 1.0,
    )


def read_unknown(unknown: Mapping | UnknownStrategy) -> UnknownStrategy:
    """Returns the strategy that a mapping of its settings means."""
    if isinstance(unknown, UnknownStrategy):
        return unknown
    for key in unknown:
        check_choice("a setting of loss.unknown", key, [field.name for field in fields(UnknownStrategy)])
    return UnknownStrategy(**unknown)


def share_known(space: LabelSpace, num_known: Tensor, num_images: int) -> float:
    """Returns the share of known decisions; a group counts as its best known label, 1 if nothing is known.

    >>> share_known(LabelSpace(("cat", "dog")), torch.tensor([10, 5]), num_images=10)
    0.75
    """
    decisions = [*num_known[space.independent].tolist(), *(int(num_known[columns].max()) for columns in space.columns)]
    return sum(decisions) / (len(decisions) * num_images) or 1.0
