"""Cross-entropy of labels that exclude each other."""

import torch
from torch import Tensor

from multihot.labels import with_none


def group_cross_entropy(
    logits: Tensor, target: Tensor, none: bool, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Returns the cross-entropy (B,) of a group: logits and target (B, K), with `none` over K + 1 outcomes.

    The members' targets y are answers of weight sum(y); what is left of 1 goes to the outcomes still possible, the
    unknown members and "none", as their marginal likelihood:
    -sum(y log p) - (1 - sum(y)) log(sum of the possible p). So one known member is plain cross-entropy, and a group of
    which nothing is known costs exactly 0. `weight` (K,) is that of the outcome (none: 1; several: their mean).

    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> ruled_out = group_cross_entropy(logits, torch.tensor([[0.0, -1.0, -1.0]]), none=False)
    >>> torch.allclose(ruled_out, -logits.softmax(1)[:, 1:].sum(1).log())
    True
    """
    log_probability = with_none(logits, none).log_softmax(dim=1)
    present, possible, weight = _outcomes(target.to(logits.dtype), none, weight)
    rest = (1 - present.sum(dim=1)).clamp(min=0)
    rest = rest * (possible.any(dim=1) & ~possible.all(dim=1))
    marginal = log_probability.masked_fill(~possible, torch.finfo(logits.dtype).min).logsumexp(dim=1)
    marginal_weight = (weight * possible).sum(dim=1) / possible.sum(dim=1).clamp(min=1)
    loss = -(present * weight * log_probability).sum(dim=1) - (rest * marginal_weight) * marginal.where(rest > 0, 0)
    if smoothing:
        is_known = (present > 0).any(dim=1) | (rest > 0)
        uniform = -(weight * log_probability).mean(dim=1)
        loss = torch.where(is_known, loss * (1 - smoothing) + uniform * smoothing, 0)
    return loss


def _outcomes(target: Tensor, none: bool, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what is present, what is possible (B, K or K + 1) and the weight of each outcome."""
    present, possible = target.clamp(min=0), target < 0
    weight = torch.ones_like(target[0]) if weight is None else weight
    if none:
        present = torch.cat([present, torch.zeros_like(present[:, :1])], dim=1)
        possible = torch.cat([possible, torch.ones_like(possible[:, :1])], dim=1)
        weight = torch.cat([weight, torch.ones_like(weight[:1])])
    return present, possible, weight
