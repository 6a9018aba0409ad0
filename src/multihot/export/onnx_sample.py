"""Images of a run's data on which an exported model is checked."""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multihot.data import create_source
from multihot.errors import InputError

log = logging.getLogger(__name__)

SPLIT = "val"
NOISE_SIDES = (300, 400)  # of a picture of noise


class Sample(NamedTuple):
    """N pictures as they are, uint8 (H, W, 3) of any size, and as the model sees them, uint8 (N, 3, H, W)."""

    photos: list[np.ndarray]
    pixels: Tensor


def read_sample(
    settings: Mapping, labels: tuple[str, ...], num_images: int, prepare: Callable, min_side: int | None
) -> Sample:
    """Returns images from all over the val split; noise where they cannot be read.

    Args:
        settings: data of the run.
        prepare: picture -> pixels uint8 (3, H, W).
        min_side: pixels that the shorter side of a picture must have.
    """
    try:
        data = create_source({**settings, "bad_images": "error"}, None, 0)(SPLIT, labels)
        rows = np.unique(np.linspace(0, len(data) - 1, num_images).astype(int)) if len(data) else []
        pictures = [data.read(data.images[row], min_side=min_side) for row in rows]
    except InputError as error:
        log.warning("images of the run's data cannot be read: %s", error)
        pictures = []
    if not pictures:
        log.warning("it is checked on noise alone; +data.root=<new place> finds images that were moved")
        noise = np.random.default_rng(0).integers(0, 256, (num_images, *NOISE_SIDES, 3), np.uint8)
        pictures = list(map(Image.fromarray, noise))
    pixels = torch.from_numpy(np.stack([np.asarray(prepare(picture)) for picture in pictures]))
    return Sample([np.asarray(picture) for picture in pictures], pixels)
