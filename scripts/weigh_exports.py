"""Times and weighs the reading of a million answers from exports of annotation tools, each beside the same as a CSV.

python scripts/weigh_exports.py
python scripts/weigh_exports.py --num-images 100000 --num-rounds 1
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import hydra
import numpy as np
from timing import peak_memory

from multihot.data import create_reader

CONF = Path(__file__).resolve().parents[1] / "conf"
NUM_LABELS, LABELS_AN_IMAGE = 1000, 3
JOB = "tags"


def main(num_images: int, num_rounds: int) -> None:
    """Prints time and peak memory of each source, and the ratio to that of the CSV."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: write(Path(folder), num_images) for name, write in WRITERS.items()}
        results = {name: [] for name in files}
        for _ in range(num_rounds):
            for name, file in files.items():
                results[name].append(read_alone(name, file))
    for name, measured in results.items():
        seconds, megabytes = (median(values) for values in zip(*measured, strict=True))
        ratio = median(own[0] / base[0] for own, base in zip(measured, results["csv"], strict=True))
        print(f"{name}: {num_images:,} images {seconds:.1f} s, {ratio:.2f} x csv; peak + {megabytes:.0f} MB")


def read_alone(name: str, file: Path) -> tuple[float, float]:
    """Returns seconds and MB of reading a file in a process of its own."""
    command = [sys.executable, __file__, "--read", name, str(file)]
    return tuple(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def read(name: str, file: str) -> None:
    """Prints seconds and MB of reading a file in this process."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        data = hydra.compose("train", [f"data={name}", f"data.path={file}", "data.val_fraction=0"]).data
    reader, start, before = create_reader(data), time.perf_counter(), peak_memory()
    reader("train", must_exist=False)
    print(json.dumps([time.perf_counter() - start, (peak_memory() - before) / 1e3]))


def draw_labels(num_images: int) -> Iterator[tuple[int, list[int]]]:
    """Yields the number of each image and those of its labels, the same each time."""
    rng = np.random.default_rng(0)
    for number in range(num_images):
        yield number, rng.choice(NUM_LABELS, number % (LABELS_AN_IMAGE + 1), replace=False, shuffle=False).tolist()


def write_csv(folder: Path, num_images: int) -> Path:
    """Writes the images for data=csv."""
    with (folder / "plain.csv").open("w") as file:
        file.write("image,labels\n")
        for number, labels in draw_labels(num_images):
            file.write(f"photo_{number:07}.jpg,{' '.join(f'label{label}' for label in labels)}\n")
    return folder / "plain.csv"


def write_label_studio(folder: Path, num_images: int) -> Path:
    """Writes them as Label Studio's CSV does."""
    with (folder / "label_studio.csv").open("w") as file:
        file.write("image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time\n")
        for number, labels in draw_labels(num_images):
            names = [f"label{label}" for label in labels]
            cell = json.dumps({"choices": names}).replace('"', '""') if len(names) > 1 else "".join(names)
            cell = f'"{cell}"' if len(names) > 1 else cell
            moment = "2026-11-28T08:00:00.000000Z"
            file.write(
                f"/data/upload/1/0a1b2c3d-photo_{number:07}.jpg,{number},{cell},1,{number},{moment},{moment},1.5\n"
            )
    return folder / "label_studio.csv"


def write_ground_truth(folder: Path, num_images: int) -> Path:
    """Writes them as a manifest of Ground Truth."""
    with (folder / "output.manifest").open("w") as file:
        for number, labels in draw_labels(num_images):
            names = {str(label): f"label{label}" for label in labels}
            about = {
                "class-map": names,
                "confidence-map": dict.fromkeys(names, 0.9),
                "type": "groundtruth/image-classification-multilabel",
                "human-annotated": "yes",
                "creation-date": "2026-11-28T08:00:00.000000",
                "job-name": f"labeling-job/{JOB}",
            }
            item = {"source-ref": f"photo_{number:07}.jpg", JOB: labels, f"{JOB}-metadata": about}
            file.write(json.dumps(item) + "\n")
    return folder / "output.manifest"


WRITERS = {"csv": write_csv, "label_studio": write_label_studio, "ground_truth": write_ground_truth}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=1_000_000)
    parser.add_argument("--num-rounds", type=int, default=3)
    parser.add_argument("--read", nargs=2, metavar=("DATA", "FILE"), help="read this file in this process alone")
    settings = parser.parse_args()
    if settings.read:
        read(*settings.read)
    else:
        main(settings.num_images, settings.num_rounds)
