#!/usr/bin/env bash
# label-studio-sdk 2.1.2: of two people's answers to an image YOLO and VOC keep the older one, and COCO has the image
# twice.
#
# What it does: the converter takes the answers to a task one after the other, newest first. The exports of boxes write
#   a file an image, so that the last one, the oldest answer, overwrites the others. COCO gives each answer an image of
#   its own with the same file name. A box with two names keeps both in YOLO, and the first alone in COCO and VOC. A
#   task that nobody has answered is an image without boxes in COCO and YOLO, as one that was answered with "nothing";
#   one that was skipped is gone.
# One would expect: the answers together, the newest, or a choice; and each image once.
# Seen: the first person draws a cat, the second one later a dog: YOLO and VOC have the cat, COCO two images, one with
#   the dog. COCO lists choices about the whole image as categories too, though no annotation can have them.
# For users: corrections by a second person are lost, and from COCO every image that two people labelled is in the set
#   twice, with targets that contradict each other, perhaps in two splits. Export JSON, which keeps each answer with its
#   person.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

folder = Path(sys.argv[1])
CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="scene" toName="image"><Choice value="night"/></Choices>
<RectangleLabels name="box" toName="image"><Label value="cat"/><Label value="dog"/></RectangleLabels></View>"""


def box(*names: str) -> dict:
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": list(names)}
    where = {"from_name": "box", "to_name": "image", "type": "rectanglelabels"}
    return where | {"original_width": 100, "original_height": 100, "value": value}


def answer(day: int, *boxes: dict, skipped: bool = False) -> dict:
    when = f"2026-01-{day:02}T00:00:00Z"
    return {"id": day, "completed_by": day, "created_at": when, "result": list(boxes), "was_cancelled": skipped}


answers = {
    "two_people": [answer(1, box("cat")), answer(2, box("dog"))],
    "two_names": [answer(3, box("cat", "dog"))],
    "nothing": [answer(4)],
    "unanswered": [],
    "skipped": [answer(5, skipped=True)],
}
tasks = []
for name, given in answers.items():
    Image.new("RGB", (100, 100)).save(folder / f"{name}.jpg")
    tasks.append({"id": len(tasks), "data": {"image": str(folder / f"{name}.jpg")}, "annotations": given})
(folder / "tasks.json").write_text(json.dumps(tasks))
for kind in ("COCO", "YOLO", "VOC"):
    Converter(CONFIG, str(folder), download_resources=False).convert(
        str(folder / "tasks.json"), str(folder / kind), kind, is_dir=False
    )

names = (folder / "YOLO/classes.txt").read_text().split()
yolo = {
    path.stem: [names[int(line.split()[0])] for line in path.read_text().splitlines()]
    for path in (folder / "YOLO/labels").iterdir()
}
voc = {
    path.stem: [name for name in ("cat", "dog") if f"<name>{name}</name>" in path.read_text()]
    for path in (folder / "VOC/Annotations").iterdir()
}
found = json.loads((folder / "COCO/result.json").read_text())
categories = {one["id"]: one["name"] for one in found["categories"]}
coco = [
    (
        Path(image["file_name"]).stem,
        [categories[one["category_id"]] for one in found["annotations"] if one["image_id"] == image["id"]],
    )
    for image in found["images"]
]
print("YOLO:", yolo)
print("VOC:", voc)
print("COCO:", coco, "of the categories", list(categories.values()))
if yolo != {"two_people": ["cat"], "two_names": ["cat", "dog"], "nothing": [], "unanswered": []}:
    raise SystemExit("changed: YOLO")
if voc["two_people"] != ["cat"] or voc["two_names"] != ["cat"] or "skipped" in voc:
    raise SystemExit("changed: VOC")
twice = [("two_people", ["dog"]), ("two_people", ["cat"])]
if coco != [*twice, ("two_names", ["cat"]), ("nothing", []), ("unanswered", [])] or "night" not in categories.values():
    raise SystemExit("changed: COCO")
PYTHON
