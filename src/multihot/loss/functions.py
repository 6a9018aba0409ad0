"""Loss functions of one logit and its target, each with its derivative in closed form.

Autograd keeps a (B, C) tensor for every step of a formula, and with thousands of labels that traffic is what a loss
costs. A `ClosedForm` gives the loss and its slope (the derivative by the logit) together, so that both can be computed
piece by piece in cache (closed_form.py). Below, p = sigmoid(logit) and y is the target, which may be soft.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ClosedForm(nn.Module, ABC):
    """A loss of each element for itself."""

    @abstractmethod
    def loss_and_slope(
        self, logits: Tensor, target: Tensor | float, pos_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns loss and slope, shaped as the logits; pos_weight scales the positive term only."""

    @abstractmethod
    def absent(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns loss and slope of target 0, which is what nearly all labels of an image have, in fewer steps."""

    def forward(self, logits: Tensor, target: Tensor, pos_weight: Tensor | None = None) -> Tensor:
        """Returns the loss of each element (B, C), not reduced, in float32 or better."""
        return _Elements.apply(at_least_float32(logits), target, pos_weight, self)


class _Elements(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target, pos_weight, function):
        loss, slope = function.loss_and_slope(logits, target, pos_weight)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        return grad_output * ctx.saved_tensors[0], None, None, None


class BinaryCrossEntropy(ClosedForm):
    """-y log(p) - (1 - y) log(1 - p), the elements of torch.nn.BCEWithLogitsLoss."""

    def loss_and_slope(self, logits, target, pos_weight):
        """See ClosedForm; slope = p - y without pos_weight."""
        positive = target if pos_weight is None else target * pos_weight
        if not isinstance(target, Tensor) and target <= 0.5:  # with fewer steps, and nothing cancels
            both = positive + (1 - target)
            return softplus(logits).mul_(both).sub_(logits * positive), torch.sigmoid(logits).mul_(both).sub_(positive)
        loss = positive * softplus(-logits) + (1 - target) * softplus(logits)
        return loss, (1 - target) * torch.sigmoid(logits) - positive * torch.sigmoid(-logits)

    def absent(self, logits):
        """See ClosedForm; slope = p."""
        return softplus(logits), torch.sigmoid(logits)


class FocalLoss(ClosedForm):
    """Focal loss (arxiv.org/abs/1708.02002): BCE times (1 - p_t)^gamma, p_t = p or 1 - p; with gamma 0 it is BCE.

    `alpha` is the weight of positives, 1 - alpha that of negatives; None: no weights.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None):
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def loss_and_slope(self, logits, target, pos_weight):
        """See ClosedForm; with f = (1 - p_t)^gamma the loss is BCE f, the slope BCE' f + BCE f'."""
        entropy, entropy_slope = BinaryCrossEntropy.loss_and_slope(self, logits, target, pos_weight)
        p, complement = torch.sigmoid(logits), torch.sigmoid(-logits)
        error = target * complement + (1 - target) * p  # 1 - p_t
        focus, focus_slope = power_and_slope(error, self.gamma)
        focus_slope = focus_slope * (1 - 2 * target) * p * complement
        balance = 1 if self.alpha is None else target * self.alpha + (1 - target) * (1 - self.alpha)
        return balance * entropy * focus, balance * (entropy_slope * focus + entropy * focus_slope)

    def absent(self, logits):
        """See ClosedForm; slope = p^gamma (p + gamma (1 - p) loss_bce)."""
        p, entropy = torch.sigmoid(logits), softplus(logits)
        focus = power_and_slope(p, self.gamma)[0]
        focus = focus if self.alpha is None else focus * (1 - self.alpha)
        slope = (1 - p).mul_(entropy).mul_(self.gamma).add_(p).mul_(focus)
        return entropy.mul_(focus), slope


class AsymmetricLoss(ClosedForm):
    """Asymmetric loss (arxiv.org/abs/2009.14119): easy negatives count less; with both gammas and clip 0 it is BCE.

    Arguments and values are those of timm.loss.AsymmetricLossMultiLabel: `gamma_neg` and `gamma_pos` focus, a negative
    of a probability below `clip` counts nothing, probabilities are at least `eps` before the log, and
    `disable_torch_grad_focal_loss` takes the focusing factor as a constant in the derivative.
    """

    def __init__(
        self,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        clip: float | None = 0.05,
        eps: float = 1e-8,
        disable_torch_grad_focal_loss: bool = False,
    ):
        super().__init__()
        self.gamma_neg, self.gamma_pos, self.clip, self.eps = gamma_neg, gamma_pos, clip or 0.0, eps
        self.is_focus_constant = disable_torch_grad_focal_loss

    def loss_and_slope(self, logits, target, pos_weight):
        """See ClosedForm; timm's formula, each factor with its derivative."""
        p = torch.sigmoid(logits)
        p_slope = p * (1 - p)
        margin = (1 - p + self.clip).clamp(max=1)  # 1 - p with the margin
        margin_slope = -p_slope * (p >= self.clip)
        positive = target if pos_weight is None else target * pos_weight
        entropy = -positive * p.clamp(min=self.eps).log() - (1 - target) * margin.clamp(min=self.eps).log()
        entropy_slope = -positive * p_slope / p.clamp(min=self.eps) * (p >= self.eps)
        entropy_slope -= (1 - target) * margin_slope / margin.clamp(min=self.eps) * (margin >= self.eps)
        gamma = target * self.gamma_pos + (1 - target) * self.gamma_neg
        focus, focus_slope = power_and_slope(1 - target * p - (1 - target) * margin, gamma)
        slope = entropy_slope * focus
        if not self.is_focus_constant:
            slope -= entropy * focus_slope * (target * p_slope + (1 - target) * margin_slope)
        return entropy * focus, slope

    def absent(self, logits):
        """See ClosedForm; with e = max(p - clip, 0) the loss is -log(1 - e) e^gamma, and e' = p (1 - p)."""
        p = torch.sigmoid(logits)
        error = (p - self.clip).clamp_(min=0)
        margin = 1 - error
        is_clamped = margin < self.eps if self.clip < self.eps else None
        entropy = margin.clamp_(min=self.eps).log().neg_()
        focus, focus_slope = power_and_slope(error, self.gamma_neg)
        slope = focus / margin
        if is_clamped is not None:
            slope.masked_fill_(is_clamped, 0)
        if not self.is_focus_constant:
            slope.addcmul_(entropy, focus_slope)
        slope *= torch.addcmul(p, p, p, value=-1)  # p (1 - p)
        if self.gamma_neg < 1:  # else 0 there already
            slope *= p >= self.clip
        return entropy.mul_(focus), slope


class ProbabilityBinaryCrossEntropy(nn.Module):
    """A sigmoid, then torch.nn.BCELoss: for comparison, as it loses precision at |logit| > 20."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each element (B, C)."""
        probability = torch.sigmoid(at_least_float32(logits))
        return F.binary_cross_entropy(probability, target.to(probability.dtype), reduction="none")


def at_least_float32(logits: Tensor) -> Tensor:
    """Returns half-precision logits as float32, others as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def softplus(logits: Tensor) -> Tensor:
    """Returns log(1 + e^logit); torch's own threshold of 20 is too rough for float64."""
    return F.softplus(logits, threshold=80)


def power_and_slope(base: Tensor, exponent: Tensor | float) -> tuple[Tensor, Tensor]:
    """Returns base^exponent and its derivative by the base, finite at base 0 whatever the exponent.

    >>> [part.tolist() for part in power_and_slope(torch.tensor([0.0, 2.0]), 4.0)]
    [[0.0, 16.0], [0.0, 32.0]]
    """
    if not isinstance(exponent, Tensor) and exponent in (1, 2, 3, 4):
        lower = base.pow(exponent - 1)  # made by multiplication for 0 to 3, ten times faster than other powers
        return lower * base, lower * exponent
    lower = base.clamp(min=torch.finfo(base.dtype).tiny).pow(exponent - 1)
    return base.pow(exponent), lower * exponent
