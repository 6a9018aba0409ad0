"""Heads on the pooled features: one linear layer."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from multihot.loss import FactoredLogits
from multihot.model.stored import present_less_absent


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Returns a context in which nothing is cast to a lower precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class Float32Linear(nn.Linear):
    """nn.Linear that multiplies in float32 under autocast too.

    In bfloat16 many images have the same logit (2,493 photos had some 300 values a label), and ties lower the average
    precision: mAP by 0.0005 on these photos.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Returns float32 logits (..., C)."""
        with without_autocast(features.device):
            return super().forward(features.float())


class FactoredLinear(Float32Linear):
    """nn.Linear that hands out its factors in training, so that a loss need not hold all logits (B, C) at once.

    `factor_head` puts it in the place of timm's own classifier; the keys of the state dict stay the same.
    """

    def forward(self, features: Tensor) -> Tensor | FactoredLogits:
        """Returns FactoredLogits while gradients are recorded in training, else the logits (B, C)."""
        if self.training and torch.is_grad_enabled():
            return FactoredLogits(features, self.weight, self.bias)
        return super().forward(features)


class PairedLinear(Float32Linear):
    """nn.Linear with two rows a label, of absent and of present, that gives the difference of their logits.

    It subtracts the rows, not the logits, which is the same but for rounding: so it computes to the bit what the one
    linear layer does that it is saved as, with half of the products.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Returns float32 log-odds (..., C) of presence."""
        with without_autocast(features.device):
            weight, bias = present_less_absent(self.weight), present_less_absent(self.bias)
            return nn.functional.linear(features.float(), weight, bias)


class FactoredPairedLinear(PairedLinear):
    """PairedLinear that hands out its factors in training, as FactoredLinear does."""

    def forward(self, features: Tensor) -> Tensor | FactoredLogits:
        """Returns FactoredLogits while gradients are recorded in training, else the log-odds (B, C)."""
        if self.training and torch.is_grad_enabled():
            return FactoredLogits(features, present_less_absent(self.weight), present_less_absent(self.bias))
        return super().forward(features)


class TwoLogit(nn.Module):
    """Two logits a label, absent and present, with a softmax over the pair.

    sigmoid(present - absent) is that softmax, so the difference is the label's one logit, and cross-entropy of the
    pairs is BCE of the differences.
    """

    reads_tokens = False

    def __init__(self, num_features: int, num_labels: int):
        super().__init__()
        self.classifier = PairedLinear(num_features, 2 * num_labels)

    def forward(self, features: Tensor) -> Tensor | FactoredLogits:
        """Returns the log-odds (B, C) that each label is present, or their factors."""
        return self.classifier(features)

    def factor(self) -> None:
        """Lets the head hand out FactoredLogits in training."""
        self.classifier.__class__ = FactoredPairedLinear

    def start_at_log_odds(self, log_odds: Tensor) -> None:
        """Makes `log_odds` (C,) the logits of every image: zero weights, half of it on each side of the pair."""
        set_constant(self.classifier, torch.stack([-log_odds / 2, log_odds / 2], dim=-1).flatten())

    def carry_row(self, label: int, weight: Tensor, bias: float) -> None:
        """Makes the label's logit `weight` (D,) . features + `bias`."""
        for row, half in ((2 * label, -0.5), (2 * label + 1, 0.5)):
            set_row(self.classifier, row, half * weight, half * bias)


def set_constant(layer: nn.Linear, logits: Tensor) -> None:
    """Makes the layer give `logits` (C,) for any features."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(logits)


def set_row(layer: nn.Linear, row: int, weight: Tensor, bias: float) -> None:
    """Sets one row of the weights and its bias."""
    with torch.no_grad():
        layer.weight[row] = weight
        layer.bias[row] = bias
