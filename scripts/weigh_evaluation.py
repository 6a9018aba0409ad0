"""Times and weighs an evaluation of made-up logits: written in shares and scored in blocks, or all in memory at once.

python scripts/weigh_evaluation.py folder 100000 10000                 a process of its own: its peak is that of this
python scripts/weigh_evaluation.py folder 50000 10000 --in-memory
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from scipy.sparse import csr_array
from timing import peak_memory, restart_peak

from multihot.data.manifest import Manifest, target_of
from multihot.data.sampling import EvaluationOrder
from multihot.evaluation import scores as scoring
from multihot.evaluation.predict import predict, staging
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate_split
from multihot.labels import LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss
from multihot.metrics import blocks
from multihot.processes.session import start_processes

BATCH_SIZE = 256
SHARE_PRESENT = 0.01  # of the answers
ALL = 1 << 62


class MadeUpModel(torch.nn.Module):
    """Gives random logits (B, C) of images (B,) that are no more than their rows."""

    def __init__(self, num_labels: int):
        super().__init__()
        self.num_labels = num_labels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, C), the same for the same rows."""
        generator = torch.Generator().manual_seed(int(image[0]))
        return torch.randn(len(image), self.num_labels, generator=generator)


class MadeUpBatches:
    """Takes the place of `Batches`."""

    def __init__(self, manifest: Manifest, process_index: int, num_processes: int):
        self.manifest = manifest
        self.order = EvaluationOrder(len(manifest), BATCH_SIZE, process_index, num_processes)
        self.num_own = self.order.num_own

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for rows in self.order.rows:
            yield {"image": torch.tensor(rows), "index": torch.tensor(rows)}


def make_up(num_images: int, num_labels: int) -> Manifest:
    """Returns a split of which each image has one percent of the labels."""
    rng = np.random.default_rng(0)
    num_present = max(1, round(SHARE_PRESENT * num_labels))
    starts = rng.integers(num_labels, size=(num_images, 1), dtype=np.int32)
    columns = np.sort((starts + np.arange(num_present, dtype=np.int32) * 97) % num_labels, axis=1)
    ends = np.arange(num_images + 1, dtype=np.int32) * num_present
    targets = csr_array((np.ones(columns.size, np.int8), columns.ravel(), ends), shape=(num_images, num_labels))
    labels = tuple(f"label{number}" for number in range(num_labels))
    return Manifest(labels, [f"{row}.jpg" for row in range(num_images)], targets)


def main(folder: Path, num_images: int, num_labels: int, in_memory: bool) -> None:
    """Prints seconds and peak memory of this process as JSON."""
    state = start_processes()
    accelerator = Accelerator(cpu=True)
    data = make_up(num_images, num_labels)
    batches = MadeUpBatches(data, state.process_index, state.num_processes)
    model, space = MadeUpModel(num_labels), LabelSpace(data.labels)
    loss = MultiLabelLoss(BinaryCrossEntropy(), space)
    torch.set_num_threads(1)
    restart_peak()
    start = time.perf_counter()
    if in_memory:
        blocks.ENTRIES_IN_BLOCK = blocks.ENTRIES_OF_LABELS = scoring.LOSS_ENTRIES = ALL
        predictions = Predictions(torch.cat([model(batch["image"]) for batch in batches]), target_of(data), space)
        written = time.perf_counter()
        scores = evaluate_split(predictions, None, loss).scores
    else:
        with staging(folder / "val") as new:
            predict(accelerator, model, batches, new, "made up", way_out="Make space")
            written = time.perf_counter()
            if state.is_main_process:
                scores = evaluate_split(Predictions.load(new, space), None, loss).scores
    end = time.perf_counter()
    measured = {
        "predicting": written - start,
        "scoring": end - written,
        "peak": peak_memory() / 1e6,
        "cpu": time.process_time(),
    }
    print(json.dumps(measured | ({"scores": scores} if state.is_main_process else {})))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the predictions are written, and deleted")
    parser.add_argument("num_images", type=int)
    parser.add_argument("num_labels", type=int)
    parser.add_argument("--in-memory", action="store_true", help="all at once")
    main(**vars(parser.parse_args()))
