"""Measures the speed of this machine, two things in turn, and prints the ratios.

python scripts/benchmark.py
python scripts/benchmark.py parts=[kernels] mixed_precision=bf16 model=vit_small
python scripts/benchmark.py parts=[input] data=csv data.path=my.csv
"""

import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
from benchmark_start import measure_start
from benchmark_train import compare_trainings
from benchmark_weights import measure_weights
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from scipy.sparse import csr_array
from timing import cpu_seconds, in_turn, peak_memory, process_seconds, report, restart_peak
from timm.data import resolve_input_data_config
from torch import nn
from weigh_manifest import write_large_csv

from multihot.cli import run_script
from multihot.data import create_reader
from multihot.data.loader import Batches, create_evaluation_batches
from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.evaluation.predict import predict
from multihot.labels import LabelSpace
from multihot.metrics import multi_label_scores
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.bootstrap import resample
from multihot.metrics.resamples import draw_weights
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
METRIC_SIZES = ((5_000, 1_000), (40_000, 1_000), (5_000, 10_000))  # images, labels
PEER_SIZE, PEER_RESAMPLES = (2_000, 100), 50
BYTES_IN_MEMORY = 20  # of each logit: itself, the target and what is sorted
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


def measure_metrics(cfg: DictConfig, folder: Path) -> None:
    """Times all scores from logits, and compares those of 5,000 images with the time to predict the logits."""
    multi_label_scores(torch.randn(4, 4), torch.ones(4, 4))  # imports torchmetrics
    for num_images, num_labels in METRIC_SIZES:
        logits, target = make_logits(num_images, num_labels)
        before = restart_peak()
        multi_label_scores(logits, target)
        extra = (peak_memory() - before) / 1e6
        times, sorting = in_turn(
            cfg.num_rounds,
            lambda logits=logits, target=target: multi_label_scores(logits, target),
            lambda logits=logits: np.sort(logits.numpy(), axis=0),
            clock=process_seconds,
        )
        ratios = sorted(own / other for own, other in zip(times, sorting, strict=True))
        print(
            f"all scores of {num_images:,} images x {num_labels:,} labels: {median(times):.2f} s, peak + {extra:.2f} "
            f"GB; {median(ratios):.2f} times a column-wise sort ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        if (num_images, num_labels) == METRIC_SIZES[0]:
            print_share(cfg, median(times), num_images, num_labels, folder)


def make_logits(num_images: int, num_labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns random logits and targets (N, C), one percent of them present."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_images, num_labels, generator=generator)
    return logits, (torch.rand(num_images, num_labels, generator=generator) < 0.01).to(torch.int8)


def measure_intervals(cfg: DictConfig, _folder: Path) -> None:
    """Times and weighs all scores of resamples once, and compares mAP alone with torchmetrics on a smaller size."""
    matrices, space = make_matrices(*cfg.intervals_size)
    before, start = restart_peak(), time.perf_counter()
    resample(matrices, space, draw_weights(len(matrices), cfg.num_resamples), space.decide)
    taken, extra = time.perf_counter() - start, (peak_memory() - before) / 1e6
    num_images, num_labels = matrices.logits.shape
    print(
        f"all scores of {cfg.num_resamples:,} resamples of {num_images:,} images x {num_labels:,} labels: {taken:.1f} "
        f"s, peak + {extra:.2f} GB, {torch.get_num_threads()} threads"
    )
    small = make_matrices(*PEER_SIZE)
    times = in_turn(cfg.num_rounds, partial(resample_map, *small), partial(resample_with_torchmetrics, *small))
    ratios = sorted(other / own for own, other in zip(*times, strict=True))
    print(
        f"mAP of {PEER_RESAMPLES} resamples of {PEER_SIZE[0]:,} images x {PEER_SIZE[1]:,} labels: "
        f"{median(times[0]):.3f} s; torchmetrics' BootStrapper: {median(times[1]):.3f} s; ratio {median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def make_matrices(num_images: int, num_labels: int) -> tuple[LogitsAndTarget, LabelSpace]:
    """Returns what `make_logits` does with its labels."""
    return LogitsAndTarget(*make_logits(num_images, num_labels)), LabelSpace(tuple(map(str, range(num_labels))))


def resample_map(matrices: LogitsAndTarget, space: LabelSpace) -> np.ndarray:
    """Returns mAP of each resample."""
    return resample(matrices, space, draw_weights(len(matrices), PEER_RESAMPLES), space.decide, wanted=["map"])["map"]


def resample_with_torchmetrics(matrices: LogitsAndTarget, space: LabelSpace) -> torch.Tensor:
    """Returns mAP of each resample by torchmetrics, which repeats the images."""
    from torchmetrics.classification import MultilabelAveragePrecision
    from torchmetrics.wrappers import BootStrapper

    metric = MultilabelAveragePrecision(len(space.labels), validate_args=False)
    peer = BootStrapper(metric, PEER_RESAMPLES, raw=True, sampling_strategy="multinomial")
    peer.update(matrices.logits.sigmoid(), matrices.target.int())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that vanish from a resample
        return peer.compute()["raw"]


def print_share(cfg: DictConfig, seconds: float, num_images: int, num_labels: int, folder: Path) -> None:
    """Prints the share that the metrics have of an evaluation pass."""
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        model = create_model(num_labels=num_labels, **OmegaConf.to_container(cfg.model))
        model.to(session.accelerator.device)
        data = create_reader(cfg.data)("train").thin_out(cfg.max_images)
        targets = csr_array((len(data), num_labels), dtype=np.int8)
        data = Manifest(tuple(map(str, range(num_labels))), data.images, targets, data.read)
        batches = create_evaluation_batches(
            data, accelerator=session.accelerator, preprocessing=resolve_input_data_config(model),
            batch_size=cfg.batch_size, num_workers=cfg.num_workers,
        )  # fmt: skip
        folder /= "predictions"
        folder.mkdir()
        predict_all = partial(predict, session.accelerator, model, batches, folder, "evaluation", way_out="Make space")
        [times] = in_turn(cfg.num_rounds, predict_all)
    whole = median(times) * num_images / len(data)
    print(f"  that is {seconds / whole:.2%} of predicting {num_images:,} images with {cfg.model.name} ({whole:.0f} s)")


def measure_evaluation(cfg: DictConfig, folder: Path) -> None:
    """Times and weighs evaluations of made-up logits: written in shares by one process and by two and scored block by
    block, and all in memory at once where there is so much.
    """
    num_images, num_labels = cfg.evaluation_size
    ways = {"in shares": (1, ()), "in shares by two processes": (2, ()), "all in memory": (1, ("--in-memory",))}
    if BYTES_IN_MEMORY * num_images * num_labels > psutil.virtual_memory().available:
        del ways["all in memory"]
        print("all in memory at once: this machine has too little")
    measured = {way: [] for way in ways}
    for _ in range(cfg.num_rounds):
        for way, (num_processes, options) in ways.items():
            measured[way].append(weigh_evaluation(folder, num_images, num_labels, num_processes, options))
    for way, rounds in measured.items():
        predicting, scoring = (median(first[name] for first, *_ in rounds) for name in ("predicting", "scoring"))
        peaks = " and ".join(f"{max(one['peak'] for one in same):.2f}" for same in zip(*rounds, strict=True))
        print(
            f"{num_images:,} images x {num_labels:,} labels {way}: predicting {predicting:.1f} s, scoring "
            f"{scoring:.1f} s, peak {peaks} GB"
        )
    if "all in memory" in ways:
        ratios = sorted(
            seconds(own) / seconds(other)
            for own, other in zip(measured["in shares"], measured["all in memory"], strict=True)
        )
        print(f"seconds in shares / all in memory: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def seconds(processes: list[dict]) -> float:
    """Returns how long an evaluation took."""
    return processes[0]["predicting"] + processes[0]["scoring"]


def weigh_evaluation(
    folder: Path, num_images: int, num_labels: int, num_processes: int, options: tuple[str, ...]
) -> list[dict]:
    """Returns what each process of an evaluation of made-up logits has measured."""
    command = [sys.executable, str(SCRIPTS / "weigh_evaluation.py"), folder, num_images, num_labels, *options]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    together |= {"WORLD_SIZE": str(num_processes), "ACCELERATE_USE_CPU": "1"}
    processes = [
        subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, text=True,
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(num_processes)
    ]  # fmt: skip
    printed = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), printed
    return [json.loads(text.splitlines()[-1]) for text in printed]


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
