"""The loss of a model: any loss function, made to work with unknown labels, weights, smoothing and groups."""

import copy

import torch
from torch import Tensor, nn

from multihot.data.unknown import UnknownStrategy
from multihot.errors import InputError, check_choice
from multihot.labels import LabelSpace
from multihot.loss.checks import check_settings, count_dims
from multihot.loss.closed_form import Weighting, smooth, sum_elements
from multihot.loss.functions import ClosedForm, at_least_float32
from multihot.loss.groups import group_cross_entropy
from multihot.loss.many_labels import FactoredLogits, can_factor, sum_factored, sums_closed_form

REDUCTIONS = ("mean", "batchmean", "sum", "none")
HIDDEN_LOGIT = -1e4  # with target 0 invisible to any loss: in float32 e^-1e4 is exactly 0


class MultiLabelLoss(nn.Module):
    """The loss of logits (B, C) for a target (B, C) of 0, 1, soft values between them and -1 = unknown.

    `function` judges the independent labels: a module that returns the loss of each element (B, C), of each image (B,)
    or of the batch. Each group of the space is judged by cross-entropy. An image has D decisions: one an independent
    label (one in all, if the function judges images or batches) and one a group. `reduction` is one of

    - mean: sum / (B D known_fraction), where known_fraction is the share of answers known in the train split (1 if the
      function judges images or batches). Dividing by the number known in this batch would make an image weigh more in a
      batch with few answers; with a constant, accumulated batches and the batches of several processes add up to what
      one large batch gives.
    - batchmean: sum / B; sum: the sum; none: (B, D), the groups last.

    `weight` (C,) multiplies the loss of a label; in a group, and for a function of images, the present label's counts.
    `pos_weight` (C,) multiplies the positive term of a ClosedForm; elements of any other function are multiplied by
    1 + (pos_weight - 1) y, which is the same for targets y of 0 and 1; groups have none. `smoothing` moves targets
    towards 0.5, in a group, and for a function of images, towards all labels alike. `unknown` is for independent
    labels: groups take the likelihood of all that is possible.
    """

    def __init__(
        self,
        function: nn.Module,
        space: LabelSpace,
        *,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
        smoothing: float = 0.0,
        reduction: str = "mean",
        unknown: UnknownStrategy | None = None,
        known_fraction: float = 1.0,
    ):
        super().__init__()
        check_choice("loss.reduction", reduction, REDUCTIONS)
        if hasattr(function, "smoothing"):  # timm's own: distribution-balanced weighs by the targets before it smooths
            function = copy.deepcopy(function)
            function.smoothing = smoothing or function.smoothing
        self.function, self.space, self.reduction = function, space, reduction
        self.smoothing, self.unknown = smoothing, unknown or UnknownStrategy()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("pos_weight", pos_weight, persistent=False)
        self.register_buffer("independent", torch.tensor(space.independent, dtype=torch.long), persistent=False)
        self.num_dims = count_dims(function, len(space.independent))
        self.known_fraction = known_fraction if self.num_dims == 2 else 1.0
        num_independent = len(space.independent) if self.num_dims == 2 else min(1, len(space.independent))
        self.num_decisions = num_independent + len(space.groups)
        check_settings(self)

    def for_evaluation(self, known_fraction: float) -> "MultiLabelLoss":
        """Returns this loss on the CPU for known answers alone; a sum becomes one per image.

        Args:
            known_fraction: the share of answers known in the split that is evaluated.
        """
        loss = copy.deepcopy(self).cpu()
        loss.reduction = "batchmean" if loss.reduction == "sum" else loss.reduction
        loss.unknown = UnknownStrategy("ignore")
        loss.known_fraction = known_fraction if loss.num_dims == 2 else 1.0
        return loss

    def forward(self, logits: Tensor | FactoredLogits, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Returns the loss; sample_weight (B,) multiplies an image's loss, not what the sum is divided by."""
        if self.num_dims == 0 and sample_weight is not None:
            raise InputError(f"{type(self.function).__name__} judges a batch as a whole: it takes no sample_weight")
        if isinstance(logits, FactoredLogits):
            assert can_factor(self), "this loss needs the logits themselves"
            return sum_factored(self.function, logits, target, self._weighting(sample_weight), self._scale(len(target)))
        target = target.to_dense() if target.is_sparse else target
        if self.reduction != "none" and self.space.independent and sums_closed_form(self):
            return self._sum_in_chunks(logits, target, sample_weight)
        elements = torch.cat([self._judge_independent(logits, target), self._judge_groups(logits, target)], dim=1)
        if sample_weight is not None:
            elements = elements * sample_weight.unsqueeze(1)
        return elements if self.reduction == "none" else elements.sum() * self._scale(len(target))

    def _sum_in_chunks(self, logits, target, sample_weight):
        scale, columns = self._scale(len(target)), self._columns
        weighting = self._weighting(sample_weight)
        loss = sum_elements(self.function, logits[:, columns], target[:, columns], weighting, scale)
        if not self.space.groups:
            return loss
        groups = self._judge_groups(logits, target)
        groups = groups if sample_weight is None else groups * sample_weight.unsqueeze(1)
        return loss + groups.sum() * scale

    def _judge_independent(self, logits, target):
        """Returns the weighted loss (B, independent labels, or 1 or 0)."""
        logits, target = at_least_float32(logits[:, self._columns]), target[:, self._columns]
        if not logits.shape[1]:
            return logits
        unknown, target = target < 0, self._smooth(target.clamp(min=0).to(logits.dtype))
        if self.unknown.strategy == "ignore":
            logits, target = logits.masked_fill(unknown, HIDDEN_LOGIT), target.masked_fill(unknown, 0)
        if self.num_dims == 2:
            return self._weigh_elements(self._judge_elements(logits, target), unknown)
        loss = self.function(logits, target).reshape(-1, 1)
        if self.weight is not None:
            loss = loss * (target * self.weight[self._columns]).sum(dim=1, keepdim=True)
        return loss.expand(len(logits), 1)

    def _judge_elements(self, logits, target):
        pos_weight = None if self.pos_weight is None else self.pos_weight[self._columns]
        if isinstance(self.function, ClosedForm):
            return self.function(logits, target, pos_weight)
        elements = self.function(logits, target)
        return elements if pos_weight is None else elements * (1 + (pos_weight - 1) * target)

    def _weigh_elements(self, elements, unknown):
        elements = torch.where(unknown, elements * self.unknown.element_weight, elements)
        return elements if self.weight is None else elements * self.weight[self._columns]

    def _judge_groups(self, logits, target):
        """Returns the loss (B, groups)."""
        losses = [logits.new_empty(len(logits), 0, dtype=torch.float32)]
        for group, columns in zip(self.space.groups, self.space.columns, strict=True):
            weight = None if self.weight is None else self.weight[columns]
            inside = at_least_float32(logits[:, columns])
            loss = group_cross_entropy(inside, target[:, columns], group.none, weight, self.smoothing)
            losses.append(loss.unsqueeze(1))
        return torch.cat(losses, dim=1)

    def _smooth(self, target):
        if hasattr(self.function, "smoothing"):
            return target
        if self.num_dims == 1:
            return target * (1 - self.smoothing) + self.smoothing / target.shape[1]
        return smooth(target, self.smoothing)

    def _weighting(self, sample_weight):
        parts = (None if part is None else part[self._columns] for part in (self.weight, self.pos_weight))
        return Weighting(*parts, sample_weight, self.smoothing, self.unknown.element_weight)

    def _scale(self, num_images):
        mean = num_images * self.num_decisions * self.known_fraction
        return {"mean": 1 / mean, "batchmean": 1 / num_images}.get(self.reduction, 1.0)

    @property
    def _columns(self):
        """The independent labels; a slice makes a view where an index would copy."""
        return self.independent if self.space.groups else slice(None)
