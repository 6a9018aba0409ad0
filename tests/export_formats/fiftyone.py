"""FiftyOne's `labels.json`, as fiftyone 1.22.1 writes it, null for images without a label."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import LABELS, Case

KEEPS = {"unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    labels = {
        Path(case.image).stem: [*map(LABELS.index, sorted(case.readings[0]))] or None for case in cases if case.readings
    }
    labels |= {Path(case.image).stem: None for case in cases if not case.readings}
    (folder / "images").rename(folder / "data")
    (folder / "labels.json").write_text(json.dumps({"classes": LABELS, "labels": labels}))
    return ["data=fiftyone", f"data.path={folder}"]
