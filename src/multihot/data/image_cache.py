"""Pictures decoded once: shrunk to what the model needs, as raw pixels on disk or in memory that all workers share."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode

from multihot.data.images import decoding_of, file_of
from multihot.data.manifest import Manifest
from multihot.data.pixels import PixelReader, reader_for
from multihot.data.resize import TensorRandomResizedCrop, TensorResize, needed_side, resize
from multihot.errors import InputError
from multihot.files import check_disk_space, file_stamp, removing_on_error, writing

log = logging.getLogger(__name__)

USUAL_ASPECT = 1.5  # of photos: the space that is asked for before anything is written
WIDEST = 2.5  # longer side to shorter; what is wider has no place in memory and is decoded each time
HEADER = 8  # bytes before the pixels in memory: height and width


def cache_images(
    manifest: Manifest, cache: str, folder: Path, transform: Compose, accelerator: Accelerator
) -> Callable[..., Image.Image | Tensor]:
    """Returns what reads the images of a manifest as pixels, uint8 (3, H, W), where the transform begins with a step
    that takes them: from its files, or decodes each image once and keeps a copy, whose shorter side is shrunk to what
    the transform needs.

    Args:
        cache: none | resized (files in `folder`, which outlive the run) | memory (of this machine, for this run).

    Raises:
        InputError: there is no space, or a source whose images have no file cannot be cached.
    """
    if cache == "none":
        return reader_for(transform, manifest.read)
    side, first = needed_side(transform), transform.transforms[0]
    if not isinstance(first, TensorResize | TensorRandomResizedCrop):
        raise InputError(
            f"data.cache={cache} needs a transform that begins with a bilinear or bicubic resize or random crop, not "
            f"{type(first).__name__}: set data.cache=none"
        )
    if len(manifest) and file_of(manifest.images[0]) is None:
        raise InputError(f"data.cache={cache} needs images in files, and {manifest.images[0]} is in none: set none")
    interpolation = first.interpolation if isinstance(first, TensorResize) else InterpolationMode.BICUBIC
    if cache == "resized":
        folder = folder / f"{side}-{interpolation.value}"
        return DiskCache(manifest.read, folder, side, interpolation).check_space(len(manifest))
    return create_memory_cache(manifest, side, interpolation, accelerator)


@dataclass(frozen=True)
class DiskCache:
    """Reads a copy from the folder, or decodes the image and leaves one there.

    A copy is named by the file, its size, its time and how it is decoded: what changes has another. It is written under
    a temporary name and moved into place, so several processes may make the same.
    """

    read: Callable[..., Image.Image]
    folder: Path
    side: int
    interpolation: InterpolationMode

    def __call__(self, image: str, min_side: int | None = None) -> Tensor:
        """Returns the copy of an image, uint8 (3, H, W)."""
        path = self.path_of(image)
        try:
            return torch.from_numpy(np.load(path)).permute(2, 0, 1)
        except (OSError, ValueError, EOFError):  # not there, or torn by a machine that lost its power
            pixels = shrink(PixelReader(self.read)(image, min_side), self.side, self.interpolation)
        with writing(path, "Set data.cache_folder to another, or data.cache=none"):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}.tmp")
            with removing_on_error(new), new.open("wb") as file:
                np.save(file, pixels.permute(1, 2, 0).numpy())
            os.replace(new, path)
        return pixels

    def path_of(self, image: str) -> Path:
        """Returns where the copy of an image is."""
        file = file_of(image)
        decoding = f"{decoding_of(file)} {getattr(self.read, 'value_range', None)}"
        key = " ".join(map(str, (decoding, image, *(file_stamp(file) if file else ()))))
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self.folder / name[:2] / f"{name[2:]}.npy"

    def check_space(self, num_images: int) -> "DiskCache":
        """Returns itself; raises InputError if the folder has too little space for so many copies."""
        with writing(self.folder, "Set data.cache_folder to another, or data.cache=none"):
            self.folder.mkdir(parents=True, exist_ok=True)
        there = sum(len(files) for _, _, files in os.walk(self.folder))
        check_free(self.folder, max(0, num_images - there), self.side, "data.cache_folder to one with more")
        return self


class MemoryCache:
    """Reads copies from one file of shared memory with a place for each image, or decodes and fills the place.

    The file has no name any more: the memory is free again when the last process ends, however it ends.
    """

    def __init__(self, manifest: Manifest, places: np.memmap, side: int, interpolation: InterpolationMode):
        self.read, self.places, self.side, self.interpolation = manifest.read, places, side, interpolation
        self.row_of = {image: row for row, image in enumerate(manifest.images)}

    def __call__(self, image: str, min_side: int | None = None) -> Tensor:
        """Returns the copy of an image, uint8 (3, H, W)."""
        place = self.places[self.row_of[image]]
        height, width = place[:HEADER].view(np.int32)
        if height:
            copy = place[HEADER : HEADER + height * width * 3].reshape(height, width, 3)
            return torch.from_numpy(copy).permute(2, 0, 1)
        pixels = shrink(PixelReader(self.read)(image, min_side), self.side, self.interpolation)
        if pixels.numel() <= len(place) - HEADER:
            place[HEADER : HEADER + pixels.numel()] = pixels.permute(1, 2, 0).reshape(-1).numpy()
            place[4:HEADER].view(np.int32)[0] = pixels.shape[2]
            place[:4].view(np.int32)[0] = pixels.shape[1]  # last: it says that the rest is there
        return pixels


def create_memory_cache(
    manifest: Manifest, side: int, interpolation: InterpolationMode, accelerator: Accelerator
) -> MemoryCache:
    """Returns a cache that all processes and workers of a machine share."""
    folder = Path("/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir())
    word = "the machine or its container more shared memory (docker run --shm-size), or data.cache=resized"
    check_free(folder, len(manifest), side, word)
    shape = (len(manifest), HEADER + int(WIDEST * side) * side * 3)
    path = folder / broadcast_object_list([f"multihot-{os.getpid()}-{os.urandom(4).hex()}"])[0]
    if accelerator.is_local_main_process:
        with writing(path, "Set data.cache=resized or none"), removing_on_error(path):
            np.memmap(path, np.uint8, "w+", shape=shape)  # a sparse file: a page counts once it is written
    accelerator.wait_for_everyone()
    places = np.memmap(path, np.uint8, "r+", shape=shape)
    accelerator.wait_for_everyone()
    if accelerator.is_local_main_process:
        path.unlink()
    return MemoryCache(manifest, places, side, interpolation)


def shrink(pixels: Tensor, side: int, interpolation: InterpolationMode) -> Tensor:
    """Returns pixels (3, H, W) with the shorter side at most `side`."""
    return pixels if min(pixels.shape[1:]) <= side else resize(pixels, [side], interpolation)


def check_free(folder: Path, num_images: int, side: int, way_out: str) -> None:
    """Raises InputError if a folder has too little space for so many copies of usual shape."""
    what = f"copies of {num_images:,} images with {side} pixels take about"
    needed = num_images * side * side * USUAL_ASPECT * 3
    check_disk_space(folder, needed, what, f"set {way_out}, or data.cache=none")
