#!/usr/bin/env bash
# datumaro 1.13.12 leaves images without a label out of the label files of Pascal VOC, and adds a label "background".
#
# What it does: the export "voc_classification" writes ImageSets/Main/train.txt with all images, and a file a label with an
#   answer an image (1 or -1). An image that shows none of the labels stands in the first, and in none of the others.
#   A file background_train.txt is written too, with -1 throughout.
# One would expect: -1 for that image in each label file, as in VOC itself, and the labels that the data set has.
# Seen: of the images a (cat), b (dog), c (none) the files of cat, dog and background have a and b alone.
# For users: who reads the label files (their usual use in classification) loses the pure negatives, and gets a label that is
#   never present: its average precision is undefined, and it takes part in a macro average that counts it as 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12
"$folder/venv/bin/python" - "$folder/voc" <<'PYTHON'
import sys
from pathlib import Path

import datumaro
import numpy as np
from datumaro.components.media import Image

labels = ["cat", "dog"]
shown = {"a": ["cat"], "b": ["dog"], "c": []}
items = [
    datumaro.DatasetItem(
        id=image,
        subset="train",
        media=Image.from_numpy(np.zeros((8, 8, 3), np.uint8)),
        annotations=[datumaro.Label(labels.index(label)) for label in present],
    )
    for image, present in shown.items()
]
datumaro.Dataset.from_iterable(items, categories=labels).export(sys.argv[1], "voc_classification", save_media=True)
lists = Path(sys.argv[1]) / "ImageSets" / "Main"
seen = {path.stem: path.read_text().split() for path in sorted(lists.iterdir())}
for name, words in seen.items():
    print(name, words)
expected = {
    "background_train": ["a", "-1", "b", "-1"],
    "cat_train": ["a", "1", "b", "-1"],
    "dog_train": ["a", "-1", "b", "1"],
    "train": ["a", "b", "c"],
}
if seen != expected:
    raise SystemExit("changed: the label files of VOC")
PYTHON
