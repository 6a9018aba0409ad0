"""Logits and targets of any size, read in pieces: some images with all labels, or some labels of all images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from multihot.labels import LabelSpace

ENTRIES_IN_CHUNK = 1 << 20  # probabilities and decisions at a time: they stay in the processor's cache
CHUNKS_IN_BLOCK = 32  # torch rounds the last few entries of a tensor otherwise: whole multiples of 32 have none
LABEL_ENTRIES = 1 << 25  # of the labels that are ranked at a time


@dataclass(frozen=True)
class LogitsAndTarget:
    """Logits (N, C) and target (N, C) of 1, 0, -1 (unknown) or soft answers, in memory or mapped from a file."""

    logits: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.logits)

    def blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yields rows, their logits float32 (B, C) and their target (B, C), to be used before the next are asked for.

        Matrices of up to 2^25 entries are one block.
        """
        step = CHUNKS_IN_BLOCK * rows_in_chunk(self.logits.shape[1])
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self.logits[rows].float(), self.target[rows]
            self.release()

    def label_chunks(self, space: LabelSpace) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields log-odds float32 (N, c) and hard target int8 (N, c) of some labels after the others."""
        num_labels = self.logits.shape[1]
        step = max(1, LABEL_ENTRIES // max(1, len(self)))
        for start in range(0, num_labels, step):
            labels = slice(start, min(start + step, num_labels))
            shape = len(self), labels.stop - start
            log_odds, target = torch.empty(shape), torch.empty(shape, dtype=torch.int8)
            for rows, block, block_target in self.blocks():
                log_odds[rows] = space.log_odds(block, labels)
                target[rows] = harden(block_target[:, labels])
            yield log_odds, target

    def release(self) -> None:
        """Lets go of the memory that was read through, where it is that of a file."""


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
