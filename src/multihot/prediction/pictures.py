"""Batches of pictures to predict, in which one that cannot be read has its reason and leaves the others as they are."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from multihot.data.loader import PREFETCH
from multihot.data.manifest import Manifest
from multihot.data.pixels import reader_for
from multihot.errors import InputError
from multihot.interrupt import leave_to_parent
from multihot.prediction.predictor import Predictor


class Pixels(NamedTuple):
    """What the model sees of a batch."""

    pixels: torch.Tensor  # uint8 (B, 3, H, W), black where a picture cannot be read
    reasons: tuple[str | None, ...]  # (B,), why it cannot


class Pictures(Dataset):
    """The images of a manifest by row, as the model sees them."""

    def __init__(self, manifest: Manifest, predictor: Predictor):
        self.manifest = manifest
        self.transform, self.min_side = predictor.transform, predictor.min_side
        self.read = reader_for(self.transform, manifest.read)
        self.shape = tuple(predictor.preprocessing["input_size"])

    def __getitem__(self, row: int) -> tuple[np.ndarray, str | None]:
        try:
            picture = self.read(self.manifest.images[row], min_side=self.min_side)
        except InputError as error:
            return np.zeros(self.shape, np.uint8), str(error)
        return np.asarray(self.transform(picture)), None


def stack(samples: Sequence[tuple[np.ndarray, str | None]]) -> Pixels:
    """Returns the samples as a batch."""
    pixels, reasons = zip(*samples, strict=True)
    return Pixels(torch.from_numpy(np.stack(pixels)), reasons)


def read_batches(pictures: Pictures, rows: Sequence[range], num_workers: int) -> Iterator[Callable[[], Pixels]]:
    """Yields for each batch of rows what gives it: read by the caller, or by processes ahead of it."""
    if not num_workers:
        yield from (partial(read_batch, pictures, batch) for batch in rows)
        return
    loader = DataLoader(
        pictures,
        batch_sampler=rows,
        num_workers=num_workers,
        collate_fn=stack,
        worker_init_fn=leave_to_parent,
        prefetch_factor=PREFETCH,
        multiprocessing_context="fork",
        generator=torch.Generator(),
    )
    for batch in loader:
        yield partial(Pixels, *batch)


def read_batch(pictures: Pictures, rows: range) -> Pixels:
    """Returns the batch of the given rows."""
    return stack([pictures[row] for row in rows])
