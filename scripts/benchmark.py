"""Measures the speed of this machine, two things in turn, and prints the ratios.

python scripts/benchmark.py
python scripts/benchmark.py parts=[kernels] mixed_precision=bf16 model=vit_small
python scripts/benchmark.py parts=[input] data=csv data.path=my.csv
"""

import contextlib
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from statistics import median

import hydra
import numpy as np
import psutil
import timm
import torch
from accelerate import Accelerator
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from timm.data import create_transform, resolve_input_data_config
from torch import nn
from torch.utils.data import DataLoader

from multihot.cli import run_script
from multihot.data import create_reader
from multihot.data.loader import ManifestDataset, create_evaluation_batches
from multihot.data.sampling import TrainingOrder
from multihot.errors import InputError, check_choice
from multihot.evaluation import predict
from multihot.metrics import multi_label_scores
from multihot.model.kernels import Compute, choose_compute, pick_architecture, use_kernels
from multihot.run import Run
from multihot.session import open_session, start_processes
from multihot.tracker import log_scores, start_tracker
from multihot.training import train_one_epoch

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from train import build  # noqa: E402  the script above this folder

METRIC_SIZES = ((5_000, 1_000), (40_000, 1_000), (5_000, 10_000))  # images, labels
PHOTO_SIZE = (500, 375)  # pixels
LARGE_IMAGES, LARGE_LABELS = 1_000_000, 50_000
LABELS = [f"label{number}" for number in range(20)]


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Prints a line for each thing that is measured."""
    parts = {
        "loop": measure_loop, "kernels": measure_kernels, "input": measure_input, "manifest": measure_manifest,
        "checkpoint": measure_checkpoint, "tracking": measure_tracking,
        "metrics": measure_metrics, "startup": measure_startup,
    }  # fmt: skip
    start_processes()
    with tempfile.TemporaryDirectory() as folder:
        if "path" in cfg.data and cfg.data.path is None:
            write_photos(Path(folder), cfg.num_steps * cfg.batch_size)
            cfg.data.path = f"{folder}/photos.csv"
        for part in cfg.parts:
            check_choice("parts", part, list(parts))
            parts[part](cfg, Path(folder))


def measure_loop(cfg: DictConfig, folder: Path) -> None:
    """Compares training on image files with forward, backward and step on one cached batch."""
    cfg = cfg.copy()
    cfg.max_images = cfg.num_steps * cfg.batch_size
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        trainer, batches, _ = build(cfg, session.accelerator, Run(folder))
        cached = next(iter(batches))
        loop, bare = in_turn(
            cfg.num_rounds,
            lambda: train_epoch(trainer, batches),
            lambda: [bare_step(session.accelerator, trainer.model, trainer.optimizer, trainer.loss, cached)
                     for _ in range(len(batches))],
        )  # fmt: skip
        images = len(batches) * cfg.batch_size
        report(
            f"training loop, {cfg.model.name}, mixed precision {session.compute.mixed_precision}, "
            f"{session.compute.kernels} kernels", images, loop, "bare loop on a cached batch", bare,
        )  # fmt: skip


def measure_checkpoint(cfg: DictConfig, folder: Path) -> None:
    """Times a checkpoint, and tells the epochs in which it counts little."""
    cfg = cfg.copy()
    cfg.max_images = cfg.num_steps * cfg.batch_size
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        trainer, batches, _ = build(cfg, session.accelerator, Run(folder))
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
    cfg = cfg.copy()
    cfg.max_images, cfg.log_every = cfg.num_steps * cfg.batch_size, 10**9
    steps = count()
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed, cfg.tracker.kind, folder) as session:
        trainer, batches, _ = build(cfg, session.accelerator, Run(folder))
        start_tracker(session.accelerator, Run(folder), OmegaConf.to_container(cfg, resolve=True), [], None)

        def tell_updates() -> None:
            for _, step in zip(range(len(batches)), steps, strict=False):
                log_scores(session.accelerator, {"train/batch_loss": 0.5, "train/lr": 1e-3}, step)

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


def cpu_seconds(process: psutil.Process) -> float:
    """Returns how long a process has computed."""
    times = process.cpu_times()
    return times.user + times.system


def train_epoch(trainer, batches) -> None:
    """Trains an epoch and measures nothing."""
    train_one_epoch(trainer, batches)
    trainer.state.finish_epoch()


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
    cfg.max_images = cfg.num_steps * cfg.batch_size
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        batches = {}
        for cache in ("none", "resized"):
            cfg.data.cache, cfg.data.cache_folder = cache, f"{folder}/cache"
            trainer, batches[cache], _ = build(cfg, session.accelerator, Run(folder))
        dataset = batches["none"].loader.dataset
        rows = range(min(len(dataset.manifest), cfg.num_steps * cfg.batch_size))
        pictures = [dataset.read(dataset.manifest.images[row]) for row in rows[: cfg.batch_size]]
        times = in_turn(
            cfg.num_rounds,
            lambda: [dataset.read(dataset.manifest.images[row]) for row in rows],
            lambda: [dataset.transform(picture) for picture in pictures],
            lambda: list(batches["none"]),
            lambda: list(batches["resized"]),
            lambda: train_epoch(trainer, batches["none"]),
        )  # fmt: skip
    decode, augment, plain, cached, training = times
    num_images = batches["none"].order.num_images
    print(f"decode: {len(rows) / median(decode):.1f} images/s in one process")
    print(f"augment: {len(pictures) / median(augment):.1f} images/s in one process")
    print(f"loader: {num_images / median(plain):.1f} images/s, {batches['none'].loader.num_workers} workers")
    print(f"loader and {cfg.model.name}: {num_images / median(training):.1f} images/s")
    report("loader, data.cache=resized", num_images, cached, "data.cache=none", plain)


def measure_manifest(_cfg: DictConfig, folder: Path) -> None:
    """Times reading a CSV of a million images with 50,000 labels, three an image, and weighs it."""
    path = write_large_csv(folder)
    script = (
        "import sys; sys.path.insert(0, 'scripts'); from benchmark import weigh_manifest; weigh_manifest(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=REPO, check=True)


def write_large_csv(folder: Path) -> Path:
    """Writes the CSV of a million images, all links to one JPEG a folder."""
    rng = np.random.default_rng(0)
    with (folder / "large.csv").open("w") as file:
        file.write("image,split,labels\n")
        for number in range(LARGE_IMAGES):
            part = f"images/{number // 1000:04d}"
            if number % 1000 == 0:
                (folder / part).mkdir(parents=True)
                Image.new("RGB", (16, 16)).save(folder / part / f"photo_{number:09d}.jpg")
                first = folder / part / f"photo_{number:09d}.jpg"
            else:
                os.link(first, folder / part / f"photo_{number:09d}.jpg")
            labels = " ".join(f"label_{label}" for label in rng.choice(LARGE_LABELS, 3, replace=False, shuffle=False))
            file.write(f"{part}/photo_{number:09d}.jpg,{'val' if number % 100 == 0 else 'train'},{labels}\n")
    return folder / "large.csv"


def weigh_manifest(path: str) -> None:
    """Prints time and memory of reading a CSV in this process, and what each worker of a loader adds."""
    with hydra.initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        read = create_reader(hydra.compose("train", ["data=csv", f"data.path={path}"]).data)
    start, before = time.perf_counter(), peak_memory()
    train = read("train")
    val = read("val", labels=train.labels)
    seconds, peak = time.perf_counter() - start, (peak_memory() - before) / 1e6
    print(f"{len(train) + len(val):,} images x {len(train.labels):,} labels: {seconds:.1f} s, peak + {peak:.2f} GB")
    dataset = ManifestDataset(train, create_transform(32, is_training=True, use_prefetcher=True), 0, sparse_target=True)
    order = TrainingOrder(len(train), 256, seed=0)
    loader = DataLoader(dataset, batch_sampler=islice(order, 200), num_workers=2, collate_fn=weigh_worker)
    print(f"each of 2 workers adds {max(loader) / 1e3:.0f} MB at most")


def weigh_worker(_samples: list) -> int:
    """Returns the memory in KB that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def create_bare_loop(cfg: DictConfig, compute: Compute, device: torch.device) -> Callable[[], None]:
    """Returns a function that makes one training step on a batch of noise."""
    use_kernels(compute.kernels)
    model = timm.create_model(cfg.model.name, num_classes=20, img_size=cfg.model.image_size, **cfg.model.kwargs)
    image = torch.randn(cfg.batch_size, *resolve_input_data_config(model)["input_size"], device=device)
    target = (torch.rand(cfg.batch_size, 20, device=device) > 0.9).float()
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


def measure_metrics(cfg: DictConfig, _folder: Path) -> None:
    """Times all scores from logits, and compares those of 5,000 images with the time to predict the logits."""
    multi_label_scores(torch.randn(4, 4), torch.ones(4, 4))  # imports torchmetrics
    for num_images, num_labels in METRIC_SIZES:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(num_images, num_labels, generator=generator)
        target = (torch.rand(num_images, num_labels, generator=generator) < 0.01).to(torch.int8)
        before = restart_peak()
        [times] = in_turn(3, lambda logits=logits, target=target: multi_label_scores(logits, target))
        extra = (peak_memory() - before) / 1e6
        print(
            f"all scores of {num_images:,} images x {num_labels:,} labels: {median(times):.2f} s, peak + {extra:.2f} GB"
        )
        if (num_images, num_labels) == METRIC_SIZES[0]:
            print_share(cfg, median(times), num_images, num_labels)


def restart_peak() -> int:
    """Lets the peak of this process's memory begin anew where Linux allows it; returns it in KB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Returns the peak of this process's memory in KB since it was last begun anew."""
    return int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1])


def print_share(cfg: DictConfig, seconds: float, num_images: int, num_labels: int) -> None:
    """Prints the share that the metrics have of an evaluation pass."""
    with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed) as session:
        model = timm.create_model(cfg.model.name, num_classes=num_labels, img_size=cfg.model.image_size)
        data = instantiate(cfg.data)("train", labels=None)
        batches = create_evaluation_batches(
            data, accelerator=session.accelerator, preprocessing=resolve_input_data_config(model),
            batch_size=cfg.batch_size, num_workers=cfg.num_workers,
        )  # fmt: skip
        [times] = in_turn(3, lambda: predict(session.accelerator, model, batches, "evaluation"))
    whole = median(times) * num_images / len(data)
    print(f"  that is {seconds / whole:.2%} of predicting {num_images:,} images with {cfg.model.name} ({whole:.0f} s)")


def measure_startup(_cfg: DictConfig, folder: Path) -> None:
    """Times what a user waits for: --help, and the end of the measurement before the first optimizer step."""
    train = [sys.executable, str(REPO / "train.py")]
    for title, arguments, words in (
        ("train.py --help", ["--help"], "Groups"),
        ("train.py to its first step, digits", [f"runs_folder={folder}"], "before training"),
    ):
        [times] = in_turn(3, lambda arguments=arguments, words=words: wait_for([*train, *arguments], words))
        print(f"{title}: {median(times):.1f} s")


def wait_for(command: list[str], words: str) -> None:
    """Starts a command and stops it when it prints the words."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        found = any(words in line for line in process.stdout)
        process.kill()
    assert found, f"{' '.join(command)} never printed {words!r}"


def in_turn(num_rounds: int, *actions: Callable) -> list[list[float]]:
    """Returns the seconds of each action in each round, after one round that is not counted."""
    times = [[] for _ in actions]
    for number in range(num_rounds + 1):
        for seconds, action in zip(times, actions, strict=True):
            start = time.perf_counter()
            action()
            if number:
                seconds.append(time.perf_counter() - start)
    return times


def report(title: str, images: int, times: list[float], reference: str, reference_times: list[float]) -> None:
    """Prints images a second of both and the ratio: the median over rounds, with the smallest and largest."""
    ratios = sorted(other / own for own, other in zip(times, reference_times, strict=True))
    print(
        f"{title}: {images / median(times):.1f} images/s; {reference}: {images / median(reference_times):.1f}; "
        f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
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
