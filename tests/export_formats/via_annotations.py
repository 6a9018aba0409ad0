"""The annotations of VIA 2.0.10 as JSON: what its project has, without the labels that there are."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

from export_formats import via

KEEPS = via.KEEPS


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    via.write(folder, cases)
    project = json.loads((folder / "via_project.json").read_text())
    (folder / "via_project.json").unlink()
    (folder / "via_export.json").write_text(json.dumps(project["_via_img_metadata"]))
    return ["data=via", f"data.path={folder}/via_export.json", f"data.root={folder}/images"]
