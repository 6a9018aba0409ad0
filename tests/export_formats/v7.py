"""V7's Darwin JSON 2.0, as darwin-py 3.6.3 lays it out and reads it."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    annotations = folder / "releases/latest/annotations"
    annotations.mkdir(parents=True)
    for case in cases:
        names = sorted(case.readings[0]) if case.readings else []
        slot = {"type": "image", "slot_name": "0", "source_files": [{"file_name": case.image, "url": "https://v7/1"}]}
        content = {
            "version": "2.0",
            "item": {"name": case.image, "path": "/", "source_info": {}, "slots": [slot]},
            "annotations": [{"id": name, "name": name, "slot_names": ["0"], "tag": {}} for name in names],
        }
        (annotations / f"{Path(case.image).stem}.json").write_text(json.dumps(content))
    return ["data=v7", f"data.path={annotations}"]
