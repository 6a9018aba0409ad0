"""From a Manifest to batches on the device: exact shares for every process, the same pixels with any workers."""

import logging
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torchvision.transforms import Compose

from multihot.data.augment.erasing import Erase
from multihot.data.augment.on_device import OnDevice
from multihot.data.image_cache import cache_images
from multihot.data.manifest import Manifest
from multihot.data.resize import TensorResize, needed_side, use_tensor_resize
from multihot.data.sampling import EvaluationOrder, TrainingOrder
from multihot.errors import InputError
from multihot.interrupt import leave_to_parent

log = logging.getLogger(__name__)

PREFETCH = 4  # batches that each worker is ahead
OF_THE_LOADER = (
    "input_size", "mean", "std", "normalize", "use_prefetcher", "separate", "tf_preprocessing", "naflex", "patchify",
)  # fmt: skip
OF_EVALUATION = ("is_training", "interpolation", "crop_pct", "crop_mode", "crop_border_pixels")


class ManifestDataset(Dataset):
    """Reads and transforms one image; its key is (epoch, row), which with the seed decides all its randomness.

    `transform` turns a picture into uint8 (3, H, W), or into a crop of any size and what was drawn for it.
    """

    def __init__(
        self,
        manifest: Manifest,
        transform: Callable,
        seed: int,
        *,
        sparse_target: bool = False,
        read: Callable[[str], Image.Image] | None = None,
        erase: Erase | None = None,
    ):
        self.manifest = manifest
        self.read = read or manifest.read
        self.transform = transform
        self.seed = seed
        self.sparse_target = sparse_target
        self.erase = erase

    def __getitem__(self, key: tuple[int, int]) -> dict | InputError:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict | InputError]:
        with kept_generators():
            return [self.sample(*key) for key in keys]

    def sample(self, epoch: int, row: int) -> dict | InputError:
        """Returns image and target of a row as this epoch sees it."""
        try:
            image = self.read(self.manifest.images[row])
        except InputError as error:
            return error  # raised by Batches: a worker would wrap its few words into a traceback
        seed_generators(self.seed, epoch, row)
        made = self.transform(image)
        sample = {"image": made} if not isinstance(made, tuple) else {"image": made[0], "augment": made[1]}
        if self.erase is not None:
            word = seed_generators(self.seed, epoch, row, 1)  # 1: not again what a crop draws
            sample["erase"] = self.erase.draw(word)
        return sample | answers_of(self.manifest, row, self.sparse_target)


def answers_of(manifest: Manifest, row: int, sparse_target: bool) -> dict:
    """Returns what a sample holds besides its image: `target`, `index`, and `weight` where images have one."""
    sample = {"target": manifest.sparse_target(row) if sparse_target else manifest.target(row), "index": row}
    return sample if manifest.weights is None else sample | {"weight": manifest.weights[row]}


def seed_generators(*seed: int) -> int:
    """Seeds the CPU generators that transforms draw from; returns what each was seeded with."""
    word = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(word)
    np.random.seed(word)
    torch.default_generator.manual_seed(word)
    return word


@contextmanager
def kept_generators() -> Iterator[None]:
    """Puts the CPU generators that transforms draw from back as they were."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seeds the CPU generators, and puts them back as they were."""
    with kept_generators():
        seed_generators(*seed)
        yield


class Normalise:
    """Makes what a model wants, float (B, 3, H, W), of pixels uint8 (B, 3, H, W) on its device."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device):
        self.mean = 255 * torch.tensor(mean, device=device).view(-1, 1, 1)
        self.scale = 1 / (255 * torch.tensor(std, device=device).view(-1, 1, 1))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().sub_(self.mean).mul_(self.scale)


class Batches:
    """Iterates over batches on the device: image float (B, 3, H, W), target float (B, C), index int64 (B,).

    The target is sparse (COO) if the data set's samples have it so. Pictures travel as uint8, a quarter of the bytes,
    and are normalised a batch at a time where the model is. There they are augmented, if they have not been yet, and
    what was drawn to be erased is erased.
    """

    def __init__(
        self,
        loader: DataLoader,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ):
        self.loader = loader
        self.dataset = loader.dataset
        self.order = loader.batch_sampler
        self.manifest: Manifest = self.dataset.manifest
        self.check_targets = isinstance(self.order, TrainingOrder)  # here, on the CPU, it costs no GPU a wait
        self.device = device
        self.normalise = Normalise(mean, std, device)

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def sizes(self) -> list[int]:
        """The number of images in each batch of the training, over all processes."""
        return self.order.batch_sizes()

    @property
    def num_own(self) -> int:
        """How many batches of an evaluation are this process's own; those behind them only keep it in step."""
        return self.order.num_own

    def begin(self, epoch: int, start: int = 0) -> None:
        """Makes the next pass that of an epoch, a training's without its first `start` batches."""
        self.order.epoch, self.order.start = epoch, start

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self.loader:
            if isinstance(batch, InputError):
                raise batch
            num_labels = len(self.manifest.labels)
            if self.check_targets:
                check_target(join_target(batch, num_labels)["target"], num_labels)
            augment, erase = batch.pop("augment", None), batch.pop("erase", None)
            batch = join_target(self.send(batch), num_labels)
            if augment is not None:
                batch["image"] = self.dataset.transform.compute(batch["image"], self.send(augment))
            if batch["image"].dtype == torch.uint8:  # and not the features of a picture
                batch["image"] = self.normalise(batch["image"])
            if erase is not None:
                self.dataset.erase(batch["image"], erase)
            yield batch

    def send(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns tensors on the device, which need not have arrived."""
        return {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}


def join_target(batch: dict[str, torch.Tensor], num_labels: int) -> dict[str, torch.Tensor]:
    """Returns the batch with a sparse target (B, C) if it has the places of one; those travel faster alone."""
    if "place" not in batch:
        return batch
    place, shape = batch["place"], (len(batch["index"]), num_labels)
    target = torch.sparse_coo_tensor(place, batch["target"], shape, check_invariants=False)
    return {key: value for key, value in batch.items() if key != "place"} | {"target": target}


def check_target(target: torch.Tensor, num_labels: int) -> None:
    """Raises InputError unless the target is float (B, C), dense or sparse, of values from 0 to 1 and -1 = unknown.

    >>> check_target(torch.tensor([[1.0, 0.0], [0.5, -1.0]]), num_labels=2)
    """
    if not target.is_floating_point():
        raise InputError(f"the target must be float multi-hot, not {target.dtype}: use target.float()")
    if target.ndim != 2 or target.shape[1] != num_labels:
        raise InputError(f"the target must have the shape (batch, {num_labels}), not {tuple(target.shape)}")
    target = target.coalesce() if target.is_sparse else target
    values = target.values() if target.is_sparse else target
    outside = ~(((values >= 0) & (values <= 1)) | (values == -1))
    if outside.any():
        place = target.indices().T[outside][0] if target.is_sparse else outside.nonzero()[0]
        row, label = place.tolist()
        raise InputError(
            f"the target must lie between 0 and 1, or be -1 (unknown), but image {row} of the batch has "
            f"{values[outside][0]:g} for label {label}"
        )


def create_training_batches(
    manifest: Manifest,
    augment: Callable,
    *,
    accelerator: Accelerator,
    preprocessing: dict,
    order: TrainingOrder,
    num_workers: int | None,
    seed: int,
    image_size: int | None = None,
    sparse_target: bool = False,
    cache: str = "none",
    cache_folder: Path | None = None,
) -> Batches:
    """Returns this process's share of the training batches, augmented.

    Args:
        augment: `timm.data.create_transform` with the settings of an augmentation.
        preprocessing: the model's own, from `timm.data.resolve_input_data_config`.
        num_workers: None chooses by the cores of this machine.
        image_size: pixels of the crops, squares; None: those of the preprocessing.
        cache: what is kept of decoded images, see `cache_images`; crops are cut from the copies.
    """
    num_workers = default_num_workers() if num_workers is None else num_workers
    by = f"{num_workers} processes, {PREFETCH} batches ahead each" if num_workers else "the process that trains"
    log.info("images are decoded by %s (num_workers)", by)
    if image_size is not None:
        channels, side, _ = preprocessing["input_size"]
        tell = log.info if side / 2 <= image_size <= side * 2 else log.warning
        tell(
            "training sees crops of %d pixels, evaluation images of %d (model.train_image_size, model.image_size)",
            image_size, side,
        )  # fmt: skip
        preprocessing = {**preprocessing, "input_size": (channels, image_size, image_size)}
    transform, erase = create_steps(augment, preprocessing)
    check_device(transform, accelerator.device)
    read = cache_images(manifest, cache, cache_folder, transform, accelerator)
    read = partial(read, min_side=needed_side(transform))
    dataset = ManifestDataset(manifest, transform, seed, sparse_target=sparse_target, read=read, erase=erase)
    return create_batches(dataset, order, accelerator.device, preprocessing, num_workers)


def create_steps(augment: Callable, preprocessing: Mapping) -> tuple[Compose, Erase | None]:
    """Returns what makes uint8 pixels (3, H, W) of a picture, and what erases parts of them once they are normalised.

    Args:
        augment: `create_transform`, or a partial of it; what it has of the model's own preprocessing comes first. With
            `device=True` the first only draws for a picture, see `OnDevice`.
    """
    own = getattr(augment, "keywords", {})
    check_augment(own)
    return build_steps(own, preprocessing)


def build_steps(own: Mapping, preprocessing: Mapping) -> tuple[Compose, Erase | None]:
    """Returns what `create_steps` does, of an augmentation's own settings."""
    own = dict(own)
    is_on_device = own.pop("device", False) and own.get("is_training", False)
    settings = {**preprocessing, **own}
    erase = create_transform(**settings).transforms[-1]  # timm leaves it out where a loader of its own has it
    transform = create_transform(**settings, use_prefetcher=True)
    transform = OnDevice(transform) if is_on_device else use_tensor_resize(transform)
    return transform, Erase(erase, preprocessing["input_size"]) if isinstance(erase, RandomErasing) else None


def check_augment(settings: Mapping) -> None:
    """Raises InputError for arguments of `create_transform` that cannot act here, and warns of those that do not."""
    for name in settings:
        if name in OF_THE_LOADER:
            raise InputError(f"augment.{name}: the model and the loader of images decide this; leave it out")
    useless = [] if settings.get("is_training") else [name for name in settings if name not in OF_EVALUATION]
    if useless:
        log.warning("images are not augmented, so augment.%s does nothing (augment=light)", ", augment.".join(useless))


def check_device(transform: Compose, device: torch.device) -> None:
    """Raises InputError if a device cannot compute its half of a transform, and warns where the workers are faster."""
    if not isinstance(transform, OnDevice):
        return
    if device.type == "mps":
        raise InputError("augment.device=true computes with float64, which Apple's GPUs do not have: set it to false")
    if device.type == "cpu":
        log.warning("augment.device=true is for GPUs: on a CPU it takes many times as long as augment.device=false")


def create_evaluation_batches(
    manifest: Manifest,
    *,
    accelerator: Accelerator,
    preprocessing: dict,
    batch_size: int,
    num_workers: int | None,
    augment: Callable | None = None,
    seed: int = 0,
    cache: str = "none",
    cache_folder: Path | None = None,
) -> Batches:
    """Returns this process's share of the batches in the order of the manifest, preprocessed as the model wants it.

    `augment` and its seed are for augmented views of images whose order does not matter. Cached copies are used where
    they give the same pixels to the bit: where the preprocessing begins with a resize of the shorter side.
    """
    order = EvaluationOrder(len(manifest), batch_size, accelerator.process_index, accelerator.num_processes)
    transform, erase = create_steps(augment or create_transform, preprocessing)
    check_device(transform, accelerator.device)
    first = transform.transforms[0]
    is_exact = isinstance(first, TensorResize) and isinstance(first.size, int)
    read = cache_images(manifest, cache if is_exact else "none", cache_folder, transform, accelerator)
    read = partial(read, min_side=needed_side(transform))
    dataset = ManifestDataset(manifest, transform, seed, read=read, erase=erase)
    return create_batches(dataset, order, accelerator.device, preprocessing, num_workers)


def create_batches(
    dataset: Dataset,
    order: Sampler,
    device: torch.device,
    preprocessing: dict,
    num_workers: int | None,
) -> Batches:
    """Returns the batches of a data set in the given order."""
    if num_workers is None:
        num_workers = default_num_workers()
    loader = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=num_workers > 0,
        worker_init_fn=leave_to_parent,
        prefetch_factor=PREFETCH if num_workers else None,
        # Not what Python 3.14 has on Linux: a signal that reaches a half-started worker would hang the training.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        generator=torch.Generator(),  # the global one is for dropout, whatever the number of workers
    )
    return Batches(loader, preprocessing["mean"], preprocessing["std"], device)


def collate(samples: list[dict | InputError]) -> dict[str, torch.Tensor] | InputError:
    """Stacks samples into a batch: image uint8 (B, 3, H, W), target float32 (B, C), index int64 (B,).

    What was drawn of images stays apart, as `augment` and `erase`.

    Sparse targets become `place` int64 (2, K) and `target` float32 (K,), because pinned memory and shared memory know
    no sparse tensors. If an image could not be read, its error is the batch.
    """
    errors = [sample for sample in samples if isinstance(sample, InputError)]
    if errors:
        return errors[0]
    batch = {
        "image": stack([sample["image"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }
    for key in ("augment", "erase"):
        if key in samples[0]:
            batch[key] = default_collate([sample[key] for sample in samples])
    if "weight" in samples[0]:
        batch["weight"] = torch.tensor([sample["weight"] for sample in samples])
    targets = [sample["target"] for sample in samples]
    if isinstance(targets[0], tuple):
        row = np.repeat(np.arange(len(targets)), [len(columns) for columns, _ in targets])
        column, value = (np.concatenate(parts) for parts in zip(*targets, strict=True))
        return batch | {"place": torch.from_numpy(np.stack([row, column])), "target": torch.from_numpy(value)}
    return batch | {"target": torch.from_numpy(np.stack(targets))}


def stack(images: list) -> torch.Tensor:
    """Returns images or features as a batch; smaller images lie in the upper left corner, on black."""
    if len({image.shape for image in images}) == 1:
        return torch.from_numpy(np.stack(images))
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    batch = torch.zeros(len(images), height, width, 3, dtype=torch.uint8)  # as decoders have it: whole rows are copied
    for place, image in zip(batch, images, strict=True):
        place[: image.shape[1], : image.shape[2]] = image.permute(1, 2, 0)
    return batch.permute(0, 3, 1, 2)


def default_num_workers() -> int:
    """Returns how many processes shall decode images: the cores of this process less two, at most 16.

    Two cores stay with the training itself: on a machine with two, decoding in its own process is faster.
    """
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(16, cores // local_processes - 2))
