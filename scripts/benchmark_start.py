"""Times starts: from the shell to the first update of train.py and of timm's, beside the imports both need."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmark_predict import check_script, link_images
from timing import children_seconds, wait_for

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
IMPORTS = "import torch, torchvision, timm; print('imported')"
NUM_IMAGES = 8
OURS = ["epochs=1", f"max_images={NUM_IMAGES}", "tracker=none"]
PLAIN = [
    "model=vit_tiny",
    "mixed_precision=no",
    "kernels=default",
    "augment=light",
    "model.pretrained=false",
]  # as timm's

Start = tuple[list[str], str]  # a command of Python, and the words by which it has come where it is waited for


def measure_start(
    photos: str, images: Sequence[str], folder: Path, *, model: str, num_rounds: int, timm_train: str | None
) -> None:
    """Prints the seconds of each start, waited and computed, and how many times the imports they are.

    Args:
        photos: table of the images that train.py reads.
        images: the files; the first 8 are those that timm's script is given.
        timm_train: train.py of timm's repository; None: left out.
    """
    if timm_train is not None:
        check_script("timm_train", timm_train, "train.py")
    ours = [str(TRAIN), *OURS, f"runs_folder={folder}"]
    starts = {
        "import torch, torchvision, timm": (["-c", IMPORTS], "imported"),
        "train.py --help": ([str(TRAIN), "--help"], "Groups"),
        "train.py on the digits": (ours, "epoch 1: train/loss"),
        f"train.py on {NUM_IMAGES} photos": (
            [*ours, "data=csv", f"data.path={photos}", f"model.name={model}", f"batch_size={NUM_IMAGES}", *PLAIN],
            "epoch 1: train/loss",
        ),
    }
    if timm_train is not None:
        starts["timm's train.py on these photos"] = start_of_timm(timm_train, images[:NUM_IMAGES], folder, model)
    times = time_starts(starts, num_rounds)
    (reference, imports), *_ = times.items()
    for title, rounds in times.items():
        waited, computed = (median(column) for column in zip(*rounds, strict=True))
        ratios = [
            median(own[clock] / other[clock] for own, other in zip(rounds, imports, strict=True)) for clock in (0, 1)
        ]
        print(
            f"{title}: {computed:.2f} s of the processor, {waited:.2f} s; {ratios[1]:.2f} and {ratios[0]:.2f} times "
            f"{reference}"
        )


def start_of_timm(script: str, images: Sequence[str], folder: Path, model: str) -> Start:
    """Returns the start of timm's script on images in two classes, for training and validation alike."""
    data = folder / "classes"
    for split in ("train", "validation"):
        (data / split).mkdir(parents=True)
        for number in (0, 1):
            half = images[number::2]
            link_images(data / split / f"class{number}", half, len(half))
    options = {
        "--data-dir": data, "--model": model, "--num-classes": 2, "--batch-size": NUM_IMAGES, "--epochs": 1,
        "--opt": "adamw", "--lr": 1e-4, "--device": "cpu", "--workers": 0, "--log-interval": 1,
        "--output": folder / "timm",
    }  # fmt: skip
    words = [str(part) for option in options.items() for part in option]
    return [script, *words, "--bce-loss", "--no-prefetcher"], "Train: 0"


def time_starts(starts: dict[str, Start], num_rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Returns the seconds waited and computed of each start in each round, after one round that is not counted."""
    times = {title: [] for title in starts}
    for number in range(num_rounds + 1):
        for title, (command, words) in starts.items():
            seconds = time_start(partial(wait_for, [sys.executable, *command], words))
            if number:  # in the first a trial chooses kernels, and files come into memory
                times[title].append(seconds)
    return times


def time_start(action: Callable[[], None]) -> tuple[float, float]:
    """Returns how long an action takes, and how long the processes that end in it have computed."""
    start, computed = time.perf_counter(), children_seconds()
    action()
    return time.perf_counter() - start, children_seconds() - computed
