"""CVAT's ImageNet export, which datumaro 1.13.12 writes: a folder a label, and `no_label` for images without a tag."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    """Writes the export and returns what reads it."""
    for case in cases:
        for label in set().union(*case.readings) or {"no_label"}:
            place = folder / "export" / label / case.image
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "images" / case.image, place)
    return ["data=folder", f"data.path={folder}/export", "data.same_file=name"]  # the images are all alike
