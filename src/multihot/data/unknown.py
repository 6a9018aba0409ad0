"""What an unknown label is taken for in training."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multihot.errors import InputError, check_choice

STRATEGIES = ("ignore", "negative", "weak_negative", "large_loss_rejection")


@dataclass(frozen=True)
class UnknownStrategy:
    """Unknown labels count nothing (ignore), as absent (negative), or as absent with a weight (weak_negative).

    With large_loss_rejection (LL-R, arxiv.org/abs/2206.03740) they count as absent but for those whose loss is so large
    that they are probably present: of each batch `rejection` percent more with every epoch, none in the first.
    """

    strategy: str = "ignore"
    weight: float = 0.1  # of weak_negative
    rejection: float = 0.2  # percent of the unknown labels per epoch, of large_loss_rejection

    def __post_init__(self):
        check_choice("loss.unknown.strategy", self.strategy, STRATEGIES)
        if not 0 <= self.weight <= 1:
            raise InputError(f"loss.unknown.weight={self.weight}: expected a weight from 0 to 1")
        if not 0 <= self.rejection <= 100:
            raise InputError(f"loss.unknown.rejection={self.rejection}: expected percent per epoch, from 0 to 100")

    @property
    def element_weight(self) -> float:
        """The weight of the loss of an unknown label, before any rejection."""
        return {"ignore": 0.0, "weak_negative": self.weight}.get(self.strategy, 1.0)

    def num_trained(self, num_known: Tensor, num_images: int) -> Tensor:
        """Returns how many answers (C,) of each label the loss is given, an unknown one counting its weight.

        >>> UnknownStrategy("weak_negative", weight=0.25).num_trained(torch.tensor([20, 100]), num_images=100)
        tensor([ 40., 100.])
        """
        return num_known + self.element_weight * (num_images - num_known)

    def reject(self, elements: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        """Returns the elements (B, C) with 0 for the unknown (bool (B, C)) ones of the largest loss; epoch from 0."""
        num_rejected = math.ceil(int(unknown.sum()) * min(1.0, epoch * self.rejection / 100))
        largest = elements.detach().masked_fill(~unknown, -torch.inf).flatten().topk(num_rejected).indices
        is_rejected = torch.zeros_like(unknown).flatten().index_fill_(0, largest, True).view_as(unknown)
        return elements.masked_fill(is_rejected, 0)
