#!/usr/bin/env bash
# datumaro 1.13.12 turns the verified negatives of Open Images into present labels in every format that has no score.
#
# What it does: Open Images says for each image and label whether people found it (Confidence 1) or looked and did not
#   (0). Both are read as a label, the second with the attribute score 0. CVAT, ImageNet, its text lists and Pascal VOC
#   keep the label and drop the score. COCO and datumaro's own JSON keep both, as a category of the image with a score
#   of 0 beside it.
# One would expect: an absent label to be absent, or the conversion to be refused. VOC has a -1 for just that.
# Seen: of an image with "cat" verified absent, CVAT's file has a tag "cat", VOC's cat_train.txt a 1, ImageNet the image
#   in cat/.
# For users: Open Images has more verified negatives than positives for many labels; a converted set teaches the
#   opposite. Take the labels with a score of 0 out before converting, or read the CSV files yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

folder = Path(sys.argv[1])
source = folder / "open_images"
(source / "annotations").mkdir(parents=True)
(source / "images/train").mkdir(parents=True)
cv2.imwrite(str(source / "images/train/photo.jpg"), np.zeros((8, 8, 3), np.uint8))
(source / "annotations/class-descriptions.csv").write_text("cat,Cat\ndog,Dog\n")
(source / "annotations/train-annotations-human-imagelabels.csv").write_text(
    "ImageID,Source,LabelName,Confidence\nphoto,verification,cat,0\nphoto,verification,dog,1\n"
)
(source / "annotations/train-images-with-rotation.csv").write_text(
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
    "Thumbnail300KURL,Rotation\nphoto,train,,,,,,,,,,\n"
)


def labels_of(path: Path, kind: str) -> dict[str, float | None]:
    """Returns the score of each label, None where it has none, of all images in an export."""
    data = Dataset.import_from(str(path), kind)
    names = data.categories()[AnnotationType.label]
    return {names[one.label].name: one.attributes.get("score") for item in data for one in item.annotations}


seen = {"open_images": labels_of(source, "open_images")}
for kind in ("cvat", "imagenet", "imagenet_txt", "voc_classification", "coco", "datumaro"):
    Dataset.import_from(str(source), "open_images").export(str(folder / kind), kind, save_media=True)
    seen[kind] = labels_of(folder / kind, kind)
for kind, labels in seen.items():
    print(kind, labels)
[voc] = [path.read_text().split() for path in (folder / "voc_classification/ImageSets/Main").glob("*cat_train.txt")]
print("cat_train.txt of VOC:", voc)
[cat_folder] = [path.parent.name for path in (folder / "imagenet").rglob("*.jpg") if "cat" in path.parent.name]
print("a folder of ImageNet with the photo:", cat_folder)
cat = [name for name in seen["open_images"] if "cat" in name][0]
if seen["open_images"][cat] != 0:
    raise SystemExit("changed: how Open Images is read")
scoreless = ("cvat", "imagenet", "imagenet_txt", "voc_classification")
if any(seen[kind].get(cat, "absent") is not None for kind in scoreless):
    raise SystemExit("changed: formats without a score")
if any(seen[kind][cat] != 0 for kind in ("coco", "datumaro")) or voc[-1] != "1":
    raise SystemExit("changed: formats with a score")
PYTHON
