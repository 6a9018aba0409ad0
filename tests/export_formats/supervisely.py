"""A project of Supervisely, as supervisely 6.74.51 writes it."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import LABELS, Case

KEEPS = {"unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    annotations = folder / "project/photos/ann"
    annotations.mkdir(parents=True)
    (folder / "images").rename(folder / "project/photos/img")
    tags = [{"name": label, "value_type": "none", "color": "#180F8A", "applicable_type": "all"} for label in LABELS]
    (folder / "project/meta.json").write_text(json.dumps({"classes": [], "tags": tags}))
    for case in cases:
        names = sorted(case.readings[0]) if case.readings else []
        content = {"description": "", "size": {"height": 8, "width": 8}, "tags": [{"name": name} for name in names]}
        (annotations / f"{case.image}.json").write_text(json.dumps(content | {"objects": [], "customBigData": {}}))
    return ["data=supervisely", f"data.path={folder / 'project'}"]
