#!/usr/bin/env bash
# label-studio-sdk 2.1.2: one choice below another is exported as if it were two choices.
#
# What it does: with `allowNested` each chosen value is the list of names from the top down, ["animal", "cat"]. CSV and
#   JSON_MIN take a single choice out of its list, so that this list is left: ["animal", "cat"]. Two choices keep the
#   wrapping: {"choices": [["animal", "cat"], ["plant", "rose"]]}. A single choice at the top becomes ["animal"], a list
#   of one name. Without `allowNested` one choice is a bare name, and a list would mean several.
# One would expect: one shape for one answer, or one that tells a path from two labels.
# Seen: the answer "cat, below animal" is the CSV cell ["animal", "cat"].
# For users: read as labels, the cell is an image of an "animal" and of a "cat", which is harmless only where every
#   parent is a label and no name stands below two parents: "left" and "eye" of ["left", "eye"] are not what was chosen.
#   Read paths as one label, "left/eye", when the labelling configuration says allowNested, or export JSON, which keeps
#   the list of lists.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import csv
import json
import sys
from pathlib import Path

from label_studio_sdk.converter import Converter

folder = Path(sys.argv[1])
CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="what" toName="image" choice="multiple" allowNested="true">
<Choice value="animal"><Choice value="cat"/></Choice><Choice value="plant"><Choice value="rose"/></Choice>
</Choices></View>"""
chosen = {"top": [["animal"]], "one": [["animal", "cat"]], "two": [["animal", "cat"], ["plant", "rose"]]}
tasks = []
for name, choices in chosen.items():
    result = [{"from_name": "what", "to_name": "image", "type": "choices", "value": {"choices": choices}}]
    annotation = {"id": len(tasks), "created_at": "2026-01-01T00:00:00Z", "result": result}
    tasks.append({"id": len(tasks), "data": {"image": f"{name}.jpg"}, "annotations": [annotation]})
(folder / "tasks.json").write_text(json.dumps(tasks))
for kind in ("CSV", "JSON_MIN"):
    Converter(CONFIG, str(folder)).convert(str(folder / "tasks.json"), str(folder / kind), kind, is_dir=False)
with open(folder / "CSV/result.csv", newline="") as file:
    cells = {row["image"]: json.loads(row["what"]) for row in csv.DictReader(file)}
values = {row["image"]: row["what"] for row in json.loads((folder / "JSON_MIN/result.json").read_text())}
print("chosen:", chosen)
print("in CSV:", cells)
print("in JSON_MIN:", values)
two = cells["two.jpg"]["choices"]
if cells["one.jpg"] != ["animal", "cat"] or cells["top.jpg"] != ["animal"] or two != chosen["two"]:
    raise SystemExit("changed: CSV")
if values["one.jpg"] != ["animal", "cat"] or values["two.jpg"]["choices"] != chosen["two"]:
    raise SystemExit("changed: JSON_MIN")
PYTHON
