#!/usr/bin/env bash
# darwin-py 3.6.3 (V7): whether a split has multi-hot targets is decided by its own images, and images without a tag are
# gone.
#
# What it does: ClassificationDataset looks through the images of its split. If one of them has two tags, each target is
#   a multi-hot vector; if none has, each target is the number of its tag. Images without a tag are left out, though its
#   code has a case for them (all zeros).
# One would expect: one kind of target for the data set, or an argument for it, and images that show nothing as all
#   zeros.
# Seen: of a release of three training and three validation images the training targets are [1, 1] and [1, 0], the
#   validation targets 1 and 0. The image without a tag is in neither.
# For users: the validation of a multi-label model fails by shape, or does not where a class number broadcasts, as soon
#   as no image of the small split has two tags. False alarms cannot be measured without the images that show nothing.
#   Read the JSON files of the release yourself, with the class list of the whole data set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet darwin-py==3.6.3 torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

from darwin.torch.dataset import ClassificationDataset
from PIL import Image

folder = Path(sys.argv[1]) / "data"
release = folder / "releases/latest"
for part in (folder / "images", release / "annotations", release / "lists/split"):
    part.mkdir(parents=True)
splits = {"train": {"a": ["cat", "dog"], "b": ["cat"], "c": []}, "val": {"d": ["dog"], "e": ["cat"], "f": []}}
for split, images in splits.items():
    files = []
    for name, tags in images.items():
        Image.new("RGB", (16, 16)).save(folder / f"images/{name}.png")
        slot = {"type": "image", "slot_name": "0", "width": 16, "height": 16}
        slot["source_files"] = [{"file_name": f"{name}.png"}]
        item = {"name": f"{name}.png", "path": "/", "slots": [slot]}
        annotations = [{"id": f"{name}-{tag}", "name": tag, "tag": {}, "slot_names": ["0"]} for tag in tags]
        path = release / f"annotations/{name}.json"
        path.write_text(json.dumps({"version": "2.0", "item": item, "annotations": annotations}))
        files.append(str(path))
    (release / f"lists/split/random_{split}.txt").write_text("\n".join(files) + "\n")
(release / "lists/classes_tag.txt").write_text("cat\ndog\n")
seen = {}
for split in splits:
    data = ClassificationDataset(
        dataset_path=folder, partition=split, split="split", split_type="random", release_name="latest"
    )
    seen[split] = {path.stem: data.get_target(index).tolist() for index, path in enumerate(data.images_path)}
    print(split, seen[split])
if seen["train"] != {"a": [1, 1], "b": [1, 0]}:
    raise SystemExit("changed: targets of a split with two tags on one image")
if seen["val"] != {"d": 1, "e": 0}:
    raise SystemExit("changed: targets of a split with one tag an image")
PYTHON
