"""Times and weighs scripts/predict.py without its model: made-up logits of many images and labels become a file.

python scripts/weigh_predictions.py out.parquet 20000 10000 20      images, labels, top k; a process of its own
"""

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from timing import peak_memory, restart_peak

from multihot.decisions import Decisions
from multihot.decisions.calibration import Calibration, Slopes
from multihot.labels import LabelSpace
from multihot.prediction.answer_images import answer_images, cut_parts
from multihot.prediction.images import without_answers
from multihot.prediction.parts import open_output
from multihot.processes.session import start_processes

BATCH_SIZE, PART_IMAGES = 64, 1024


def make_up(num_labels: int) -> SimpleNamespace:
    """Returns what takes the place of a Predictor: random logits, and decisions as they are fitted."""
    space = LabelSpace(tuple(f"label{number}" for number in range(num_labels)))
    calibration = Calibration(space, "platt", [Slopes("platt", np.array([1.1, 0.2]))] * num_labels, [])
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        decisions=Decisions(space, torch.full((num_labels,), 3.0), calibration, 0.5),
        preprocessing={"input_size": (3, 1, 1)},
        transform=lambda picture: np.zeros((3, 1, 1), np.uint8),
        min_side=None,
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        logits=lambda pixels: torch.randn(len(pixels), num_labels, generator=generator) - 2,
    )


def main(file: Path, num_images: int, num_labels: int, top_k: int) -> None:
    """Prints seconds and peak memory of this process as JSON, and deletes the file."""
    start_processes()
    predictor = make_up(num_labels)
    manifest = without_answers([f"{row}.jpg" for row in range(num_images)], predictor.decisions.space.labels)
    object.__setattr__(manifest, "read", lambda image, min_side=None: Image.new("RGB", (1, 1)))
    parts = cut_parts(num_images, BATCH_SIZE, PART_IMAGES)
    output = open_output(file, predictor.decisions.space, top_k, {"made": "up"}, len(parts))
    before, start = restart_peak(), time.perf_counter()
    options = {"batch_size": BATCH_SIZE, "num_workers": 0, "top_k": top_k, "min_probability": 0.0}
    answer_images(manifest, predictor, output, output.begin(), parts, **options)
    output.finish()
    measured = {"seconds": time.perf_counter() - start, "peak": peak_memory() / 1e6, "before": before / 1e6}
    print(json.dumps(measured | {"file": file.stat().st_size / 1e6}))
    for path in (file, output.note):
        path.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the answers are written, and deleted: .parquet, .jsonl or .csv")
    parser.add_argument("num_images", type=int)
    parser.add_argument("num_labels", type=int)
    parser.add_argument("top_k", type=int)
    main(**vars(parser.parse_args()))
