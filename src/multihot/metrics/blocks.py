"""Logits and targets of any size, read in pieces: some images with all labels, or some labels of all images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ENTRIES_IN_CHUNK = 1 << 20  # probabilities and decisions at a time: they stay in the processor's cache
ENTRIES_IN_BLOCK = 1 << 24
ENTRIES_OF_LABELS = 1 << 25  # that are ranked at a time, at most
FEW_LABELS, ENTRIES_OF_MANY = 64, 1 << 23  # more labels than a few are ranked where so many entries hold them
IMAGES_AT_ONCE = 1 << 10  # turned into columns
# Torch rounds the last few entries of a tensor otherwise: where the length is a multiple of this there are none.
VECTOR = 32


class HasLogOdds(Protocol):
    """What gives each label's log-odds (N, c), of some labels, from the logits (N, C) of all."""

    def log_odds(self, logits: Tensor, labels: slice = slice(None)) -> Tensor:
        """Returns them."""


@dataclass(frozen=True)
class LogitsAndTarget:
    """Logits (N, C) and target (N, C) of 1, 0, -1 (unknown) or soft answers, in memory or mapped from a file."""

    logits: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.logits)

    def blocks(self, num_entries: int | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yields rows, their logits float32 (B, C) and their target (B, C), to be used before the next are asked for.

        Args:
            num_entries: about as many are in a block.
        """
        num_labels = self.logits.shape[1]
        whole = math.lcm(rows_in_chunk(num_labels), VECTOR)
        step = whole * max(1, (num_entries or ENTRIES_IN_BLOCK) // (whole * num_labels))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self.logits[rows].float(), self.target[rows]
            self.release()

    def label_chunks(self, space: "HasLogOdds", dtype: torch.dtype = torch.float32) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields log-odds (c, N) and hard target int8 (c, N) of some labels after the others, to be used before the
        next are asked for.

        Args:
            space: of the labels, or a calibration of them.
            dtype: of the log-odds.
        """
        num_labels = self.logits.shape[1]
        most, many = ENTRIES_OF_LABELS // len(self), ENTRIES_OF_MANY // len(self)
        step = min(num_labels, max(1, min(most, max(FEW_LABELS, many))))
        log_odds = torch.empty(step, len(self), dtype=dtype)
        target = torch.empty(step, len(self), dtype=torch.int8)
        for start in range(0, num_labels, step):
            labels = slice(start, min(start + step, num_labels))
            own = slice(labels.stop - start)
            for rows, block, block_target in self.blocks():
                transpose(space.log_odds(block, labels), log_odds[own, rows])
                transpose(harden(block_target[:, labels]), target[own, rows])
            yield log_odds[own], target[own]

    def release(self) -> None:
        """Lets go of the memory that was read through, where it is that of a file."""


def transpose(block: Tensor, columns: Tensor) -> None:
    """Writes a block (B, c) into columns (c, B), some images at a time, which stay in the processor's cache."""
    for part, own in zip(block.split(IMAGES_AT_ONCE), columns.split(IMAGES_AT_ONCE, dim=1), strict=True):
        own.copy_(part.T)


def rows_in_chunk(num_labels: int) -> int:
    """Returns how many images make a chunk."""
    return max(1, ENTRIES_IN_CHUNK // num_labels)


def harden(target: Tensor) -> Tensor:
    """Returns the target int8 (N, C): a soft answer counts as present from 0.5 up.

    >>> harden(torch.tensor([[0.5, 0.25, -1.0]])).tolist()
    [[1, 0, -1]]
    """
    if not target.is_floating_point():
        return target.to(torch.int8)
    return torch.where(target < 0, -1, target >= 0.5).to(torch.int8)
