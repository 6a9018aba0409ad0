"""COCO's format as V7 writes it (darwin-py 3.6.3): tags of whole images, which are not among the annotations."""

import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from exports import LABELS, Case

KEEPS = {"none"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    """Writes the export and returns what reads it."""
    content = {
        "info": {"description": "Exported from Darwin"},
        "images": [write_image(case) for case in cases],
        "annotations": [],
        "categories": [],
        "tag_categories": [{"id": crc32(label.encode()), "name": label} for label in LABELS],
    }
    (folder / "output.json").write_text(json.dumps(content))
    return ["data=coco", f"data.path={folder}/output.json", f"data.root={folder}/images"]


def write_image(case: Case) -> dict:
    tags = [crc32(label.encode()) for label in sorted(set().union(*case.readings))]
    return {"license": 0, "file_name": case.image, "id": crc32(f"/{case.image}".encode()), "tag_ids": tags}
