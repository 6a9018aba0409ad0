"""Features of a frozen backbone: computed once for a split, kept on disk, and read again while nothing changes."""

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from timm.models import get_model_args
from torch import nn
from torch.utils.data import Dataset, Sampler

from multihot.data.loader import Batches, answers_of, create_batches, create_evaluation_batches
from multihot.data.manifest import Manifest
from multihot.errors import InputError, plural
from multihot.files import check_disk_space, removing_on_error, take_space, write_json, writing
from multihot.model.features import hash_backbone, pool, read_features
from multihot.model.finetune import BACKBONE_DROPOUTS
from multihot.model.pieces import compute_pieces
from multihot.progress import Progress

log = logging.getLogger(__name__)

SECONDS_BETWEEN_MARKS = 30.0  # what a kill costs at most
OTHER_FOLDER = "Set data.cache_folder to another folder"


@dataclass(frozen=True)
class Features:
    """All features of a split (V, N, D) or (V, N, T, D), on disk: V views of N images."""

    values: np.ndarray

    def view(self, epoch: int) -> np.ndarray:
        """Returns the features (N, ...) that an epoch sees."""
        return self.values[epoch % len(self.values)]


class FeatureDataset(Dataset):
    """Takes the place of `ManifestDataset`; its samples hold features where that one's hold pictures."""

    def __init__(self, manifest: Manifest, features: Features, sparse_target: bool):
        self.manifest = manifest
        self.features = features
        self.sparse_target = sparse_target

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, row = key
        image = self.features.view(epoch)[row]
        return {"image": image} | answers_of(self.manifest, row, self.sparse_target)


@dataclass(frozen=True)
class FeatureCache:
    """Computes the features of a model's frozen backbone once and keeps them in a folder.

    They are stored as float32, so that a head on them gives what the whole model gives; the tokens that some heads read
    take a hundred times the space of pooled features. Each process computes its share, and all write into one file:
    several machines need a shared folder. What a kill leaves is gone on with, by the same batches, so that the features
    are the same to the bit.
    """

    accelerator: Accelerator
    model: nn.Module
    folder: Path
    settings: Mapping  # what the features depend on besides weights, images and augmentation, as JSON can hold it
    preprocessing: dict
    batch_size: int
    num_workers: int | None

    def read(self, manifest: Manifest) -> Features:
        """Returns one view of each image, as evaluation sees it."""
        return self.read_views(manifest, None, {}, seed=0, num_views=1)

    def read_pooled(self, manifest: Manifest) -> torch.Tensor:
        """Returns pooled features (N, D) of each image: if the head reads tokens, the mean over patches."""
        return pool(self.model, torch.from_numpy(np.array(self.read(manifest).view(0), np.float32)))

    @torch.inference_mode()
    def read_views(
        self, manifest: Manifest, augment: Callable | None, settings: Mapping, seed: int, num_views: int
    ) -> Features:
        """Returns `num_views` views of each image, from the folder if they are there, else computed and kept.

        Args:
            augment: of each view, None for the image as evaluation sees it.
            settings: of the augmentation.
        """
        if not len(manifest):  # data.val_fraction=0
            return Features(np.empty((num_views, 0), np.float32))
        key = {**self.settings, "preprocessing": self.preprocessing}
        key |= {"augment": settings, "seed": seed, "num_views": num_views}
        path = self.folder / f"{fingerprint(self.model, manifest, key)}.npy"
        complete = path.with_suffix(".json")
        if broadcast_object_list([complete.exists() and is_whole(path)])[0]:  # one looks for all: others may be at it
            log.info("features of %s: read from %s", plural(len(manifest), "image"), path)
            return Features(np.load(path, mmap_mode="r"))
        batches = create_evaluation_batches(
            manifest,
            accelerator=self.accelerator,
            preprocessing=self.preprocessing,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            augment=augment,
            seed=seed,
        )
        shape = (num_views, len(manifest), *self.feature_shape(batches))
        values, is_done = open_values(self.accelerator, path, shape)
        self.compute(batches, values, is_done)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with writing(complete, OTHER_FOLDER):
                write_json(complete, {"images": len(manifest), "shape": list(shape), **key})
                marks_of(path).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        log.info("features of %s: kept in %s (%.0f MB)", plural(len(manifest), "image"), path, values.nbytes / 1e6)
        return Features(np.load(path, mmap_mode="r"))

    def compute(self, batches: Batches, values: np.ndarray, is_done: np.ndarray) -> None:
        """Fills this process's rows of the values (V, N, ...) that are not done (V, N), and marks them."""
        self.model.eval()
        compute = partial(read_features, self.model)
        for view, rows in enumerate(values):
            batches.begin(view)
            batches.order.is_done = np.array(is_done[view])
            with marking(values, is_done[view]) as mark:
                for batch in Progress(batches, f"features {view + 1}/{len(values)}"):
                    with self.accelerator.autocast():
                        features = compute_pieces(compute, batch["image"])
                    index = batch["index"].cpu().numpy()
                    rows[index] = features.float().cpu().numpy()
                    mark(index)

    def feature_shape(self, batches: Batches) -> tuple[int, ...]:
        """Returns the shape of one image's features, found by trying: a process may have no batch at all."""
        sample = batches.dataset[(0, 0)]
        if isinstance(sample, InputError):
            raise sample
        image = torch.as_tensor(sample["image"], device=self.accelerator.device)
        self.model.eval()
        with self.accelerator.autocast():
            return tuple(read_features(self.model, image[None].float()).shape[1:])


def create_feature_batches(
    manifest: Manifest,
    features: Features,
    order: Sampler,
    device: torch.device,
    sparse_target: bool = False,
) -> Batches:
    """Returns batches of features in the given order, in the place of batches of pictures."""
    dataset = FeatureDataset(manifest, features, sparse_target)
    return create_batches(dataset, order, device, {"mean": (0.0,), "std": (1.0,)}, num_workers=0)


def open_values(accelerator: Accelerator, path: Path, shape: tuple[int, ...]) -> tuple[np.memmap, np.memmap]:
    """Returns the one file that all processes write into, and the marks (V, N) of what is done, created by process 0.

    A file that is there and not complete is filled on, not emptied: another run may be about to finish it.
    """
    marks = marks_of(path)
    if accelerator.is_main_process:
        with writing(path, OTHER_FOLDER):
            if not is_whole(path):
                create_values(path, shape)
            if not marks.exists() or marks.stat().st_size != math.prod(shape[:2]):
                new = marks.with_suffix(f".{os.getpid()}")
                new.write_bytes(bytes(math.prod(shape[:2])))
                os.replace(new, marks)
    accelerator.wait_for_everyone()
    with writing(path, OTHER_FOLDER):
        return np.lib.format.open_memmap(path, mode="r+"), np.memmap(marks, bool, "r+", shape=shape[:2])


def create_values(path: Path, shape: tuple[int, ...]) -> None:
    """Puts an empty file of features into place, of which nothing is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    way_out = "set data.cache_folder to a folder with more, or take a head on pooled features (head=linear)"
    check_disk_space(path.parent, 4 * math.prod(shape), "the features take", way_out)
    new = path.with_suffix(f".{os.getpid()}")
    with removing_on_error(new):
        np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=shape)
        take_space(new)
    marks_of(path).unlink(missing_ok=True)
    os.replace(new, path)


def marks_of(path: Path) -> Path:
    """Returns the file that says which rows of a file of features are done; a complete one has none."""
    return path.with_suffix(".done")


@contextmanager
def marking(values: np.memmap, is_done: np.ndarray) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives what takes rows (B,) that are computed; they are marked as done when their values have reached the disk:
    now and then, and at the end, whatever ends it.
    """
    rows, last = [], time.monotonic()

    def mark() -> None:
        nonlocal last
        values.flush()
        for some in rows:
            is_done[some] = True
        rows.clear()
        last = time.monotonic()

    def add(some: np.ndarray) -> None:
        rows.append(some)
        if time.monotonic() - last > SECONDS_BETWEEN_MARKS:
            mark()

    try:
        yield add
    finally:
        mark()


def is_whole(path: Path) -> bool:
    """Returns whether a file of features is there in its full size; one that is cut short is made anew."""
    try:
        return np.load(path, mmap_mode="r").ndim > 0
    except (OSError, ValueError, EOFError):
        return False


def fingerprint(model: nn.Module, manifest: Manifest, key: Mapping) -> str:
    """Returns a name that differs whenever the features would: by weights, images (path, size, time) and `key`.

    Weights do not show all of a model, so its architecture and arguments count too (number of heads, activation), but
    for the number of classes and the rates of dropouts, which a frozen backbone does not use.
    """
    unused = ("num_classes", *BACKBONE_DROPOUTS)
    arguments = {name: value for name, value in get_model_args(model).items() if name not in unused}
    settings = [type(model).__name__, model.pretrained_cfg.get("architecture"), arguments, key]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(hash_backbone(model).encode())
    for state in manifest.image_states():
        digest.update(state.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]
