"""Label Studio's JSON_MIN, as the `Converter` of label-studio-sdk 2.1.2 writes it."""

import json
from collections.abc import Sequence
from pathlib import Path

from export_formats.label_studio import KEEPS, create_rows

__all__ = ["KEEPS", "write"]


def write(folder: Path, cases: Sequence) -> list[str]:
    items = [json.dumps(row, indent=2).replace("/", "\\/") for row in create_rows(cases)]
    (folder / "project-1.json").write_text("[\n" + ",\n".join(items) + "\n]")
    return ["data=label_studio", f"data.path={folder / 'project-1.json'}", f"data.root={folder / 'images'}"]
