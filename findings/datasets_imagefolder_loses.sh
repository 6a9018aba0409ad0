#!/usr/bin/env bash
# datasets 5.2.0 loses pictures of an imagefolder, and the label file with them, without a word.
#
# What it does: load_dataset("imagefolder") reads only the pictures that have a row in metadata.csv. And if the name of one
#   picture or folder has the word "train" (or "test") in it, the folder is taken for one that is split: all other pictures
#   are left out, and so is the metadata.csv beside them.
# One would expect: a picture without a row kept with nothing known, or an error, as a row without a picture gives. And all
#   pictures of a folder that names no splits, with their labels.
# Seen: three pictures, two rows: two pictures. The same folder with all rows and a picture of a train station: one picture,
#   without its labels. Class folders bus, car, train (labels of Pascal VOC and COCO): one class.
# For users: count what is loaded. Pictures of nothing, which nobody gave a row, are the negatives. Give
#   `data_files={"train": "**"}` to have no folder taken for a split.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from datasets import load_dataset
from PIL import Image


def load(name: str, pictures: list[str], rows: dict[str, str]) -> dict[str, tuple[list[str], int]]:
    """Returns columns and number of pictures of each split that is found."""
    folder = Path(sys.argv[1]) / name
    for picture in pictures:
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / picture)
    if rows:
        lines = ["file_name,labels", *(f"{picture},{labels}" for picture, labels in rows.items())]
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    found = load_dataset("imagefolder", data_dir=str(folder))
    return {split: (part.column_names, len(part)) for split, part in found.items()}


labelled = {"a.png": "bus", "b.png": "car"}
rowless = load("rowless", ["a.png", "b.png", "nothing.png"], labelled)
whole = load("whole", ["a.png", "b.png", "station.png"], labelled | {"station.png": "bus"})
station = load("station", ["a.png", "b.png", "train-station.png"], labelled | {"train-station.png": "bus"})
classes = load("classes", ["bus/1.png", "car/2.png", "train/3.png"], {})
print("three pictures, two rows:", rowless)
print("three pictures, three rows:", whole)
print("one of them named train-station.png:", station)
print("class folders bus, car, train:", classes)
if rowless != {"train": (["image", "labels"], 2)}:
    raise SystemExit("changed: a picture without a row")
if whole != {"train": (["image", "labels"], 3)}:
    raise SystemExit("changed: pictures that all have a row")
if station != {"train": (["image"], 1)}:
    raise SystemExit("changed: a picture with train in its name")
if classes != {"train": (["image"], 1)}:
    raise SystemExit("changed: a class folder named train")
PYTHON
