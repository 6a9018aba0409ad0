#!/usr/bin/env bash
# datumaro 1.13.12: an image with two labels goes through folders as two images of one label each, or loses a label.
#
# What it does: the export "imagenet" copies an image into the folder of each of its labels. Read back by datumaro, each
#   copy is an image of its own with the folder in its name, and its one label. The export "cifar" keeps the first
#   label. Exported from that and read again, two labels stay two images for good. Nothing is said in either case.
# One would expect: one image with two labels, which its reader could tell by the equal names, or a refusal.
# Seen: "both" (cat and dog) comes back from imagenet as "cat:both" with cat and "dog:both" with dog, three images from
#   two; from cifar as an image of a cat.
# For users: every second label of an image becomes a false negative, twice, and a split made afterwards puts the same
#   picture on both sides. CVAT writes its ImageNet export in this way. Export its XML, or join the copies by name
#   before splitting.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType, Label
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

folder = Path(sys.argv[1])
picture = np.zeros((32, 32, 3), np.uint8)
images = {"both": [0, 1], "one": [0]}
data = Dataset.from_iterable(
    [
        DatasetItem(name, media=Image.from_numpy(data=picture), annotations=[Label(label) for label in labels])
        for name, labels in images.items()
    ],
    categories=["cat", "dog"],
    media_type=Image,
)


def labels_of(path: Path, kind: str) -> dict[str, list[str]]:
    found = Dataset.import_from(str(path), kind)
    names = found.categories()[AnnotationType.label]
    return {item.id: sorted(names[one.label].name for one in item.annotations) for item in found}


seen = {}
for kind in ("datumaro", "imagenet", "cifar"):
    data.export(str(folder / kind), kind, save_media=True)
    seen[kind] = labels_of(folder / kind, kind)
    print(kind, seen[kind])
if seen["datumaro"] != {"both": ["cat", "dog"], "one": ["cat"]}:
    raise SystemExit("changed: datumaro's own format")
if seen["imagenet"] != {"cat:both": ["cat"], "dog:both": ["dog"], "cat:one": ["cat"]}:
    raise SystemExit("changed: folders")
if seen["cifar"] != {"both": ["cat"], "one": ["cat"]}:
    raise SystemExit("changed: cifar")
PYTHON
