"""What a worker computes for a training image with augment.device=true and without, and what the device computes."""

from functools import partial
from statistics import median

import torch
from omegaconf import DictConfig, OmegaConf
from timing import in_turn, process_seconds
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg

from multihot.data import create_reader
from multihot.data.loader import ManifestDataset, collate, create_steps
from multihot.data.manifest import Manifest
from multihot.data.resize import needed_side

ERASED = {"re_prob": 0.25}
CASES = {
    "crop and flip": {},
    "colour too": {"color_jitter": 0.4},
    "colour and erasing too": {"color_jitter": 0.4, **ERASED},
}


def measure_augment(cfg: DictConfig) -> None:
    """Prints milliseconds of a worker an image, decoding too, and images/s of the half that the device computes."""
    manifest = create_reader(cfg.data)("train")
    keys = [(0, row) for row in range(min(len(manifest), cfg.batch_size))]
    light = {name: value for name, value in OmegaConf.to_container(cfg.augment).items() if not name.startswith("_")}
    for name, own in CASES.items():
        here, there = (
            create_dataset(cfg.model.name, manifest, {**light, **own, "device": on_device})
            for on_device in (False, True)
        )
        whole, drawn = in_turn(
            cfg.num_rounds, partial(make_batch, here, keys), partial(make_batch, there, keys),
            clock=process_seconds,
        )  # fmt: skip
        ratios = sorted(part / all_of_it for part, all_of_it in zip(drawn, whole, strict=True))
        print(
            f"{name}: a worker takes {1e3 * median(whole) / len(keys):.2f} ms an image, with augment.device=true "
            f"{1e3 * median(drawn) / len(keys):.2f}; ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        print_other_half(there, make_batch(there, keys), cfg.num_rounds)


def make_batch(dataset: ManifestDataset, keys: list[tuple[int, int]]) -> dict:
    """Returns what a worker makes of these images."""
    return collate(dataset.__getitems__(keys))


def create_dataset(model: str, manifest: Manifest, augment: dict) -> ManifestDataset:
    """Returns the training images of a model, augmented."""
    preprocessing = resolve_data_config({}, pretrained_cfg=get_pretrained_cfg(model).to_dict())
    transform, erase = create_steps(partial(create_transform, **augment), preprocessing)
    read = partial(manifest.read, min_side=needed_side(transform))
    return ManifestDataset(manifest, transform, seed=0, read=read, erase=erase)


def print_other_half(dataset: ManifestDataset, batch: dict, num_rounds: int) -> None:
    """Prints how fast the device here resizes, turns, colours and erases, and how much an image holds that travels."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def compute() -> None:
        drawn = {name: value.to(device, non_blocking=True) for name, value in batch["augment"].items()}
        images = dataset.transform.compute(batch["image"].to(device, non_blocking=True), drawn).float()
        if dataset.erase is not None:
            dataset.erase(images, batch["erase"])
        if device.type == "cuda":
            torch.cuda.synchronize()

    [seconds] = in_turn(num_rounds if device.type == "cuda" else 1, compute)
    num_images = len(batch["image"])
    print(
        f"  the other half on {device.type}: {num_images / median(seconds):.0f} images/s; an image of "
        f"{batch['image'].nbytes / num_images / 1e3:.0f} KB travels"
    )
