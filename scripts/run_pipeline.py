"""Predicts a folder of images by transformers' pipeline, as scripts/benchmark.py parts=[predict] compares it.

python scripts/run_pipeline.py runs/<name>/best photos float32 32         # in batches of 32
python scripts/run_pipeline.py runs/<name>/best photos float32 1 8 32     # says which of them is the fastest
"""

import json
import sys
import time
from pathlib import Path

import torch
from transformers import pipeline


def main(best: str, folder: str, precision: str, *sizes: str) -> None:
    """Prints the size of batches that was the fastest."""
    answer = pipeline("image-classification", model=best, dtype=getattr(torch, precision), device="cpu")
    images = sorted(map(str, Path(folder).iterdir()))
    seconds = {}
    for size in map(int, sizes):
        start = time.perf_counter()
        answers = answer(images, batch_size=size, function_to_apply="sigmoid", top_k=answer.model.num_labels)
        seconds[size] = time.perf_counter() - start
    assert len(answers) == len(images)
    print(json.dumps({"fastest": min(seconds, key=seconds.get), "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
