"""Times and weighs scores: all of them, their intervals, and an evaluation of made-up logits."""

import json
import os
import socket
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from omegaconf import DictConfig, OmegaConf
from scipy.sparse import csr_array
from timing import in_turn, peak_memory, process_seconds, restart_peak
from timm.data import resolve_input_data_config

from multihot.data import create_reader
from multihot.data.loader import create_evaluation_batches
from multihot.data.manifest import Manifest
from multihot.evaluation.predict import predict
from multihot.labels import LabelSpace
from multihot.metrics import multi_label_scores
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.bootstrap import resample
from multihot.metrics.resamples import draw_weights
from multihot.model.create import create_model
from multihot.processes.session import open_session

SCRIPTS = Path(__file__).resolve().parent
METRIC_SIZES = ((5_000, 1_000), (40_000, 1_000), (5_000, 10_000))  # images, labels
PEER_SIZE, PEER_RESAMPLES = (2_000, 100), 50
BYTES_IN_MEMORY = 20  # of each logit: itself, the target and what is sorted


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
