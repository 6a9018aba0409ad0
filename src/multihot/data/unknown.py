"""What an unknown label is taken for in training."""

from dataclasses import dataclass

from torch import Tensor

from multihot.errors import InputError, check_choice

STRATEGIES = ("ignore", "negative", "weak_negative")


@dataclass(frozen=True)
class UnknownStrategy:
    """Unknown labels count nothing (ignore), as absent (negative), or as absent with a weight (weak_negative)."""

    strategy: str = "ignore"
    weight: float = 0.1  # of weak_negative

    def __post_init__(self):
        check_choice("loss.unknown.strategy", self.strategy, STRATEGIES)
        if not 0 <= self.weight <= 1:
            raise InputError(f"loss.unknown.weight={self.weight}: expected a weight from 0 to 1")

    @property
    def element_weight(self) -> float:
        """The weight of the loss of an unknown label."""
        return {"ignore": 0.0, "weak_negative": self.weight}.get(self.strategy, 1.0)

    def num_trained(self, num_known: Tensor, num_images: int) -> Tensor:
        """Returns how many answers (C,) of each label the loss is given, an unknown one counting its weight.

        >>> import torch
        >>> UnknownStrategy("weak_negative", weight=0.25).num_trained(torch.tensor([20, 100]), num_images=100)
        tensor([ 40., 100.])
        """
        return num_known + self.element_weight * (num_images - num_known)
