"""Measures the speed of this machine, two things in turn, and prints the ratios.

python scripts/benchmark.py
python scripts/benchmark.py parts=[kernels] mixed_precision=bf16 model=vit_small
python scripts/benchmark.py parts=[input] data=csv data.path=my.csv
"""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

import hydra
import numpy as np
import psutil
import torch
from accelerate import Accelerator
from benchmark_augment import measure_augment
from benchmark_features import measure_features
from benchmark_labels import measure_labels
from benchmark_predict import check_peers, compare_programs
from benchmark_scores import measure_evaluation, measure_intervals, measure_metrics
from benchmark_start import measure_start
from benchmark_train import compare_trainings
from benchmark_weights import measure_weights
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from timing import cpu_seconds, in_turn, report
from timm.data import resolve_input_data_config
from torch import nn
from weigh_manifest import write_large_csv

from multihot.cli import run_script
from multihot.data import create_reader
from multihot.data.loader import Batches
from multihot.errors import InputError
from multihot.model.create import create_model
from multihot.model.kernels import Compute, choose_compute, pick_architecture, use_kernels
from multihot.processes.session import Session, open_session, start_processes
from multihot.run.folder import Run
from multihot.settings.check import check_settings
from multihot.tracking.open import open_tracker
from multihot.training.build import build
from multihot.training.epoch import Trainer, train_one_epoch
from multihot.training.recipe import Recipe, read_recipe

SCRIPTS = Path(__file__).resolve().parent
PHOTO_SIZE = (500, 375)  # pixels
LABELS = [f"label{number}" for number in range(20)]


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Prints a line for each thing that is measured."""
    parts = {
        "loop": measure_loop, "kernels": measure_kernels, "input": measure_input, "manifest": measure_manifest,
        "checkpoint": measure_checkpoint, "tracking": measure_tracking,
        "metrics": measure_metrics, "intervals": measure_intervals, "evaluation": measure_evaluation,
        "augment": lambda cfg, _folder: measure_augment(cfg),
        "weights": lambda cfg, _folder: measure_weights(cfg),
        "labels": lambda cfg, _folder: measure_labels(cfg.num_rounds),
        "features": measure_features, "predict": measure_predict, "start": measure_starts, "train": measure_train,
    }  # fmt: skip
    check_settings(cfg, "benchmark")
    start_processes()
    cfg.max_images = cfg.num_steps * cfg.batch_size  # an epoch is a round
    with tempfile.TemporaryDirectory() as folder:
        if "path" in cfg.data and cfg.data.path is None:
            write_photos(Path(folder), cfg.max_images)
            cfg.data.path = f"{folder}/photos.csv"
        for part in cfg.parts:
            parts[part](cfg, Path(folder))


@contextmanager
def open_training(cfg: DictConfig, folder: Path) -> Iterator[tuple[Session, Trainer, Batches]]:
    """Gives a session, a trainer and its batches, as train.py has them."""
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        trainer, batches, _ = build(to_recipe(cfg), session.accelerator, Run(folder))
        yield session, trainer, batches


def to_recipe(cfg: DictConfig) -> Recipe:
    """Returns what the settings say of the training that is measured."""
    return read_recipe(OmegaConf.to_container(cfg, resolve=True))


def train_epoch(trainer: Trainer, batches: Batches) -> None:
    """Trains an epoch and measures nothing."""
    train_one_epoch(trainer, batches)
    trainer.state.finish_epoch()


def measure_loop(cfg: DictConfig, folder: Path) -> None:
    """Compares training on image files with forward, backward and step on one cached batch."""
    with open_training(cfg, folder) as (session, trainer, batches):
        cached = next(iter(batches))
        loop, bare = in_turn(
            cfg.num_rounds,
            lambda: train_epoch(trainer, batches),
            lambda: [bare_step(session.accelerator, trainer.model, trainer.optimizer, trainer.loss, cached)
                     for _ in range(len(batches))],
        )  # fmt: skip
    report(
        f"training loop, {cfg.model.name}, mixed precision {session.compute.mixed_precision}, "
        f"{session.compute.kernels} kernels", len(batches) * cfg.batch_size, loop, "bare loop on a cached batch", bare,
    )  # fmt: skip


def measure_checkpoint(cfg: DictConfig, folder: Path) -> None:
    """Times a checkpoint, and tells the epochs in which it counts little."""
    with open_training(cfg, folder) as (_, trainer, batches):
        epoch, save = in_turn(cfg.num_rounds, lambda: train_epoch(trainer, batches), trainer.checkpoints.save)
    size = sum(path.stat().st_size for path in (folder / "last").iterdir()) / 1e6
    per_image = median(epoch) / (len(batches) * cfg.batch_size)
    print(
        f"checkpoint of {cfg.model.name} ({size:.0f} MB): {median(save):.2f} s, {min(save):.2f} to {max(save):.2f}; "
        f"less than 3% of an epoch from {median(save) / per_image / 0.03:.0f} images on ({1 / per_image:.1f} images/s)"
    )


def measure_tracking(cfg: DictConfig, folder: Path) -> None:
    """Compares telling a tracker of an update with making it, and weighs the tracker's own processes."""
    if cfg.tracker.kind is None:
        raise InputError("parts=[tracking] needs a tracker: tracker=wandb tracker.mode=offline")
    steps = count()
    named = {"overrides": [], "is_sweep": False, "goes_on": False, "manifests": {}, "is_main_process": True}
    with (
        open_training(cfg, folder) as (_, trainer, batches),
        open_tracker(OmegaConf.to_container(cfg, resolve=True), folder, **named) as tracker,
    ):
        trainer.log_every = 10**9  # only tell_updates tells

        def tell_updates() -> None:
            for _, step in zip(range(len(batches)), steps, strict=False):
                tracker.log({"train/batch_loss": 0.5, "train/lr": 1e-3}, step)

        helpers = psutil.Process().children(recursive=True)
        before = sum(map(cpu_seconds, helpers))
        told, made = in_turn(cfg.num_rounds, tell_updates, lambda: train_epoch(trainer, batches))
        share = (sum(map(cpu_seconds, helpers)) - before) / sum(told + made)
    shares = sorted(one / other for one, other in zip(told, made, strict=True))
    print(
        f"telling {cfg.tracker.kind} an update: {median(told) / len(batches) * 1e3:.2f} ms, {median(shares):.3%} of "
        f"making it with {cfg.model.name} ({shares[0]:.3%} to {shares[-1]:.3%}); its own processes take {share:.2%} of "
        "a core"
    )


def measure_kernels(cfg: DictConfig, _folder: Path) -> None:
    """Compares a bare loop with what the trial chose with the default kernels in the precision of the hardware."""
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        chosen, device = session.compute, session.accelerator.device
    default = choose_compute(cfg.mixed_precision, "default", **pick_architecture(cfg.model), device=device)
    steps = [create_bare_loop(cfg, compute, device) for compute in (chosen, default)]
    times = in_turn(cfg.num_rounds, *(lambda step=step: [step() for _ in range(cfg.num_steps)] for step in steps))
    names = [f"mixed precision {compute.mixed_precision}, {compute.kernels} kernels" for compute in (chosen, default)]
    images = cfg.num_steps * cfg.batch_size
    report(f"bare loop, {cfg.model.name}, {names[0]}", images, times[0], names[1], times[1])


def measure_input(cfg: DictConfig, folder: Path) -> None:
    """Times the way from image files to batches stage by stage, and the same with shrunk copies."""
    cfg = cfg.copy()
    cfg.data.cache, cfg.data.cache_folder = "none", f"{folder}/cache"
    with open_training(cfg, folder) as (session, trainer, batches):
        cfg.data.cache = "resized"
        _, from_copies, _ = build(to_recipe(cfg), session.accelerator, Run(folder))
        dataset = batches.dataset
        images = dataset.manifest.images
        pictures = [dataset.read(images[row]) for row in range(min(len(images), cfg.batch_size))]
        times = in_turn(
            cfg.num_rounds,
            lambda: [dataset.read(image) for image in images],
            lambda: [dataset.transform(picture) for picture in pictures],
            lambda: list(batches),
            lambda: list(from_copies),
            lambda: train_epoch(trainer, batches),
        )  # fmt: skip
    decode, augment, plain, copied, training = times
    num_images = sum(batches.sizes)
    print(f"decode: {len(images) / median(decode):.1f} images/s in one process")
    print(f"augment: {len(pictures) / median(augment):.1f} images/s in one process")
    print(f"loader: {num_images / median(plain):.1f} images/s, {batches.loader.num_workers} workers")
    print(f"loader and {cfg.model.name}: {num_images / median(training):.1f} images/s")
    report("loader, data.cache=resized", num_images, copied, "data.cache=none", plain)


def measure_manifest(_cfg: DictConfig, folder: Path) -> None:
    """Times reading a CSV of a million images with 50,000 labels, three an image, and weighs it."""
    subprocess.run([sys.executable, str(SCRIPTS / "weigh_manifest.py"), str(write_large_csv(folder))], check=True)


def create_bare_loop(cfg: DictConfig, compute: Compute, device: torch.device) -> Callable[[], None]:
    """Returns a function that makes one training step on a batch of noise."""
    use_kernels(compute.kernels)
    model = create_model(num_labels=len(LABELS), **OmegaConf.to_container(cfg.model))
    image = torch.randn(cfg.batch_size, *resolve_input_data_config(model)["input_size"], device=device)
    target = (torch.rand(cfg.batch_size, len(LABELS), device=device) > 0.9).float()
    optimizer = torch.optim.AdamW(model.to(device).parameters(), fused=True)

    def step() -> None:
        use_kernels(compute.kernels)
        with torch.autocast(device.type, torch.bfloat16, enabled=compute.mixed_precision == "bf16"):
            logits = model(image)
        nn.functional.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_step(accelerator: Accelerator, model: nn.Module, optimizer, loss: nn.Module, batch: dict) -> None:
    """Makes one step of a prepared model and nothing else."""
    accelerator.backward(loss(model(batch["image"]), batch["target"]))
    optimizer.step()
    optimizer.zero_grad()


def measure_predict(cfg: DictConfig, folder: Path) -> None:
    """Compares scripts/predict.py with transformers' pipeline and timm's inference.py, decoding included."""
    check_peers(cfg.timm_inference)
    cfg, run = cfg.copy(), Run(folder / "run", batch_size=cfg.batch_size)
    run.folder.mkdir()
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        cfg.mixed_precision, cfg.kernels = session.compute.mixed_precision, session.compute.kernels
        trainer, _, validator = build(to_recipe(cfg), session.accelerator, run)
        validator.measure(trainer, train_loss=None)
    first = torch.get_num_threads()  # batches: one for each lane
    compare_programs(
        run.folder, create_reader(cfg.data)("train").images, precision=cfg.mixed_precision, batch_size=cfg.batch_size,
        steps=(first, first + cfg.num_steps), num_rounds=cfg.num_rounds, timm_inference=cfg.timm_inference,
    )  # fmt: skip


def measure_train(cfg: DictConfig, folder: Path) -> None:
    """Compares train.py with timm's on an epoch of the photos."""
    compare_trainings(
        create_reader(cfg.data)("train").images, folder, mixed_precision=cfg.mixed_precision, model=cfg.model.name,
        image_size=cfg.model.image_size, batch_size=cfg.batch_size, steps=(2, 2 + cfg.num_steps),
        num_rounds=cfg.num_rounds, timm_train=cfg.timm_train,
    )  # fmt: skip


def measure_starts(cfg: DictConfig, folder: Path) -> None:
    """Times train.py from the shell to its first update, beside its imports and timm's train.py."""
    images = list(create_reader(cfg.data)("train").images)
    measure_start(
        cfg.data.path, images, folder, model=cfg.model.name, num_rounds=cfg.num_rounds, timm_train=cfg.timm_train
    )


def write_photos(folder: Path, num_train: int) -> None:
    """Writes JPEG files cut out of scikit-learn's two sample photos, and photos.csv with random labels."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    width, height = PHOTO_SIZE
    with (folder / "photos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "labels"])
        for number in range(num_train + 8):
            photo = photos[number % 2]
            left, top = rng.integers(photo.width - width), rng.integers(photo.height - height)
            photo.crop((left, top, left + width, top + height)).save(folder / f"{number}.jpg", quality=90)
            labels = LABELS if number == 0 else rng.permutation(LABELS)[: rng.integers(1, 4)]
            writer.writerow([f"{number}.jpg", "train" if number < num_train else "val", " ".join(labels)])


if __name__ == "__main__":
    run_script(main)
