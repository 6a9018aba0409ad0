"""Label Studio's JSON, as label-studio 1.23.2 writes it: a task an image, in one line."""

import json
from collections.abc import Sequence
from pathlib import Path

from export_formats.label_studio import KEEPS, create_tasks

__all__ = ["KEEPS", "write"]


def write(folder: Path, cases: Sequence) -> list[str]:
    (folder / "project-1.json").write_text(json.dumps(list(create_tasks(cases))))
    return ["data=label_studio", f"data.path={folder / 'project-1.json'}"]
