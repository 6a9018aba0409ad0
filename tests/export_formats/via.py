"""A project of VIA 2.0.10 with a check box for each label."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import LABELS, Case

KEEPS = {"unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    images = {}
    for case in cases:
        tags = dict.fromkeys(sorted(case.readings[0]), True) if case.readings else {}
        image = {"filename": case.image, "size": 80, "regions": [], "file_attributes": {"tags": tags}}
        images[f"{case.image}80"] = image
    tags = {"type": "checkbox", "description": "", "options": dict.fromkeys(LABELS, ""), "default_options": {}}
    project = {
        "_via_settings": {"core": {"default_filepath": "images/"}},
        "_via_img_metadata": images,
        "_via_attributes": {"region": {}, "file": {"tags": tags}},
        "_via_data_format_version": "2.0.10",
    }
    (folder / "via_project.json").write_text(json.dumps(project))
    return ["data=via", f"data.path={folder / 'via_project.json'}"]
