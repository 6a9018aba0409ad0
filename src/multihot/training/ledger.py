"""What updates come to, kept on the device: whoever asks it for a number after each of them has it wait each time."""

from typing import NamedTuple

import torch
from torch import Tensor

LOSS, NORM = "loss", "gradient's norm"


class Bad(NamedTuple):
    """The first number that was not finite."""

    name: str  # LOSS or NORM
    value: float
    update: int


class Ledger:
    """The sum of losses, the last one, and the first number that was not finite.

    Args:
        loss_sum: over the images so far.
    """

    def __init__(self, device: torch.device, loss_sum: float = 0.0):
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.loss_sum = torch.full((), loss_sum, dtype=exact, device=device)
        self.last_loss = torch.zeros_like(self.loss_sum)
        self.bad = dict.fromkeys((LOSS, NORM), self.loss_sum.new_zeros(2))  # value and update of each, 0 for none
        self.is_bad = torch.zeros((), device=device)  # 1 from the first such number on; optimizers know it as found_inf

    def add_loss(self, loss: Tensor, num_images: int, update: int) -> None:
        """Adds the loss of a batch, a mean over so many images."""
        self.last_loss = loss.detach().to(self.loss_sum.dtype)
        self.loss_sum = self.loss_sum + self.last_loss * num_images
        self.note(LOSS, self.last_loss, update)

    def add_norm(self, norm: Tensor, update: int) -> None:
        """Notes the norm of the gradients of an update."""
        self.note(NORM, norm.detach().to(self.loss_sum.dtype), update)

    def note(self, name: str, value: Tensor, update: int) -> None:
        """Notes a number if it is the first that is not finite."""
        is_wrong = ~torch.isfinite(value)
        is_first = is_wrong & (self.is_bad == 0)
        place = torch.stack([value, torch.full_like(value, update)])
        self.bad = {**self.bad, name: torch.where(is_first, place, self.bad[name])}
        self.is_bad = torch.maximum(self.is_bad, is_wrong.to(self.is_bad.dtype))

    def read(self) -> tuple[float, float, Bad | None]:
        """Returns the sum of losses, the last loss, and the first number that was not finite; waits for the device."""
        numbers = torch.cat([torch.stack([self.loss_sum, self.last_loss]), *self.bad.values()]).tolist()
        found = (
            Bad(name, value, int(update))
            for name, value, update in zip(self.bad, numbers[2::2], numbers[3::2], strict=True)
        )
        return numbers[0], numbers[1], next((bad for bad in found if bad.update), None)
