"""Times reading a CSV of a million images with 50,000 labels, three an image, and weighs it.

python scripts/weigh_manifest.py large.csv        a process of its own: its peak is that of the reading
"""

import argparse
import os
import time
from itertools import islice
from pathlib import Path

import hydra
import numpy as np
from PIL import Image
from timing import peak_memory
from timm.data import create_transform
from torch.utils.data import DataLoader

from multihot.data import create_reader
from multihot.data.loader import ManifestDataset
from multihot.data.sampling import TrainingOrder

CONF = Path(__file__).resolve().parents[1] / "conf"
NUM_IMAGES, NUM_LABELS = 1_000_000, 50_000
IMAGES_A_FOLDER = 1000


def main(path: str) -> None:
    """Prints time and memory of reading the CSV in this process, and what each worker of a loader adds."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
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


def write_large_csv(folder: Path) -> Path:
    """Writes the CSV of a million images, all links to one JPEG a folder."""
    rng = np.random.default_rng(0)
    with (folder / "large.csv").open("w") as file:
        file.write("image,split,labels\n")
        for number in range(NUM_IMAGES):
            part = f"images/{number // IMAGES_A_FOLDER:04d}"
            photo = folder / part / f"photo_{number:09d}.jpg"
            if number % IMAGES_A_FOLDER == 0:
                photo.parent.mkdir(parents=True)
                Image.new("RGB", (16, 16)).save(photo)
                first = photo
            else:
                os.link(first, photo)
            labels = " ".join(f"label_{label}" for label in rng.choice(NUM_LABELS, 3, replace=False, shuffle=False))
            file.write(f"{part}/{photo.name},{'val' if number % 100 == 0 else 'train'},{labels}\n")
    return folder / "large.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the CSV, as scripts/benchmark.py parts=[manifest] writes it")
    main(parser.parse_args().file)
