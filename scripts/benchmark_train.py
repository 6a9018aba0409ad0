"""Times train.py and timm's train.py on the same photos, each in a process of its own."""

import csv
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path

from benchmark_predict import PRECISIONS, time_programs
from timing import report

from multihot.errors import InputError

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
VALIDATION = 8  # images that each program validates on, which do not count: both lengths have them


def compare_trainings(
    images: Sequence[str], *, model: str, image_size: int, num_labels: int, batch_size: int, lr: float,
    steps: Sequence[int], num_rounds: int, timm_train: str, work: Path,
) -> None:  # fmt: skip
    """Prints images a second of train.py in the precision and kernels that its trial chooses, and of timm's in two
    precisions, by how much longer an epoch of more images takes.

    Args:
        steps: batches of the two lengths.
        timm_train: train.py of timm's repository.
    """
    lengths = [make_length(work / f"train{num_batches}", images, num_batches * batch_size) for num_batches in steps]
    same = {"model": model, "size": image_size, "num_labels": num_labels, "batch_size": batch_size, "lr": lr}
    programs = {"train.py": partial(train, work / "runs", count(), **same)}
    for precision in (PRECISIONS["no"], PRECISIONS["bf16"]):
        programs[f"timm's train.py in {precision}"] = partial(
            train_timm, timm_train, work / "timm", precision=precision, **same
        )
    time_programs({"train.py": programs["train.py"]}, lengths[:1] * 2, 1)  # its trial of kernels is remembered
    times = time_programs(programs, lengths, num_rounds)
    (own, own_times), *others = times.items()
    for other, other_times in others:
        report(own, (steps[1] - steps[0]) * batch_size, own_times, other, other_times)


def check_timm_train(timm_train: str | None) -> None:
    """Raises InputError unless this is a file."""
    if timm_train is None or not os.path.isfile(timm_train):
        raise InputError(
            f"timm_train={timm_train} is no file: parts=[train] needs train.py of a clone of "
            "https://github.com/huggingface/pytorch-image-models"
        )


def make_length(folder: Path, images: Sequence[str], num_images: int) -> Path:
    """Returns a folder of so many images as timm reads them, a folder for each class, and as a list for train.py."""
    rows = []
    for split, number in (("train", num_images), ("validation", VALIDATION)):
        for row, image in enumerate(islice(repeat_all(images), number)):
            label = f"label{row % 2}"
            link = folder / split / label / f"{row:06}{Path(image).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(image).absolute())
            rows.append([str(link), split.removesuffix("idation"), label])
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "split", "labels"], *rows])
    return folder


def repeat_all(images: Sequence[str]):
    """Gives the images again and again."""
    while True:
        yield from images


def train(
    runs: Path, numbers: count, folder: Path, *, model: str, size: int, num_labels: int, batch_size: int, lr: float
) -> list[str]:  # fmt: skip
    """Returns our command: an epoch without anything that timm's does not do."""
    labels = ",".join(f"label{number}" for number in range(num_labels))
    return [
        str(TRAIN), "data=csv", f"data.path={folder}/photos.csv", f"data.labels=[{labels}]", "model=vit_tiny",
        f"model.name={model}", f"model.image_size={size}", "model.pretrained=false", "augment=light", "epochs=1",
        f"batch_size={batch_size}", f"optimizer.lr={lr}", "optimizer.layer_decay=null", "clip_norm=null",
        "tracker=none", "decisions=none", "report=false", f"runs_folder={runs}", f"name=r{next(numbers)}",
    ]  # fmt: skip


def train_timm(
    script: str, out: Path, folder: Path, *, precision: str, model: str, size: int, num_labels: int, batch_size: int,
    lr: float,
) -> list[str]:  # fmt: skip
    """Returns the command of timm's train.py that makes the same steps: BCE, AdamW, crop and flip."""
    options = {
        "--data-dir": folder, "--model": model, "--img-size": size, "--num-classes": num_labels, "--device": "cpu",
        "--batch-size": batch_size, "--opt": "adamw", "--opt-kwargs": "fused=True", "--weight-decay": 0.05, "--lr": lr,
        "--epochs": 1, "--warmup-epochs": 0, "--scale": "0.5 1.0", "--color-jitter": 0, "--workers": 1,
        "--output": out, "--log-interval": 10**6,
    }  # fmt: skip
    flags = ["--bce-loss", *(["--amp", "--amp-dtype", precision] if precision != PRECISIONS["no"] else [])]
    return [script, *(part for name, value in options.items() for part in (name, *str(value).split(" "))), *flags]


Command = Callable[[Path], list[str]]
