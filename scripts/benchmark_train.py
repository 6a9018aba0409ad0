"""Times train.py and timm's train.py on the same photos, each in a process of its own."""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

from benchmark_predict import PRECISIONS, check_script, time_programs
from timing import report

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
LABELS = ("label0", "label1")  # timm's script reads folders of classes: one label an image
NUM_VALIDATION = 8  # images that each program validates on; both lengths have them, so they do not count


def compare_trainings(
    images: Sequence[str], work: Path, *, mixed_precision: str, model: str, image_size: int | None, batch_size: int,
    steps: Sequence[int], num_rounds: int, timm_train: str | None,
) -> None:  # fmt: skip
    """Prints images a second of train.py, with the kernels that its trial chooses, and of timm's script in float32, its
    default, and in bfloat16: by how much longer an epoch of more images takes.

    Args:
        work: a folder for what is written.
        mixed_precision: of train.py.
        image_size: pixels; None: the model's own.
        steps: batches of the two lengths.
        timm_train: train.py of timm's repository.
    """
    check_script("timm_train", timm_train, "train.py")
    lengths = [write_length(work / f"train{number}", images, number * batch_size) for number in steps]
    settings = {"model": model, "image_size": image_size, "batch_size": batch_size}
    ours = partial(train, work / "runs", count(), mixed_precision, **settings)
    programs = {f"train.py, mixed_precision={mixed_precision}": ours}
    for precision in (PRECISIONS["no"], PRECISIONS["bf16"]):
        script = partial(train_timm, timm_train, work / "timm", precision, **settings)
        programs[f"timm's train.py in {precision}"] = script
    time_programs({"train.py": ours}, lengths[:1] * 2, num_rounds=1)  # what its trial finds is remembered
    times = time_programs(programs, lengths, num_rounds)
    (own, own_times), *others = times.items()
    for other, other_times in others:
        report(own, (steps[1] - steps[0]) * batch_size, own_times, other, other_times)


def write_length(folder: Path, images: Sequence[str], num_train: int) -> Path:
    """Returns a folder of links to images, a folder a class as timm reads it, and photos.csv, as train.py does."""
    rows = []
    for split, name, number in (("train", "train", num_train), ("val", "validation", NUM_VALIDATION)):
        for row, image in enumerate(islice(cycle(images), number)):
            label = LABELS[row % len(LABELS)]
            link = folder / name / label / f"{row:06}{Path(image).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(image).absolute())
            rows.append([link, split, label])
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "split", "labels"], *rows])
    return folder


def train(
    runs: Path, numbers: Iterator[int], mixed_precision: str, folder: Path, *, model: str, image_size: int | None,
    batch_size: int,
) -> list[str]:  # fmt: skip
    """Returns our command for an epoch."""
    size = "null" if image_size is None else image_size
    return [
        str(TRAIN), "data=csv", f"data.path={folder}/photos.csv", "model=vit_tiny", f"model.name={model}",
        f"model.image_size={size}", "model.pretrained=false", "augment=light", "epochs=1", f"batch_size={batch_size}",
        "optimizer.layer_decay=null", "clip_norm=null", f"mixed_precision={mixed_precision}", "tracker=none",
        "decisions=none", "report=false", f"runs_folder={runs}", f"name=run{next(numbers)}",
    ]  # fmt: skip


def train_timm(
    script: str, out: Path, precision: str, folder: Path, *, model: str, image_size: int | None, batch_size: int
) -> list[str]:  # fmt: skip
    """Returns the command by which timm's script makes the same steps: BCE, fused AdamW, crop and flip."""
    options = {
        "--data-dir": [folder], "--model": [model], "--num-classes": [len(LABELS)], "--batch-size": [batch_size],
        "--epochs": [1], "--warmup-epochs": [0], "--opt": ["adamw"], "--opt-kwargs": ["fused=True"], "--lr": [5e-4],
        "--weight-decay": [0.05], "--scale": [0.5, 1.0], "--color-jitter": [0], "--device": ["cpu"], "--workers": [0],
        "--log-interval": [10**6], "--output": [out],
    } | ({} if image_size is None else {"--img-size": [image_size]})  # fmt: skip
    flags = ["--bce-loss", "--no-prefetcher"]
    if precision != PRECISIONS["no"]:
        flags += ["--amp", "--amp-dtype", precision]
    return [script, *(str(word) for name, values in options.items() for word in (name, *values)), *flags]
