"""Texts of tags beside images, as taggers of sd-scripts write them; images that nobody has answered have none."""

from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"none", "unknown"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    for case in cases:
        if case.readings:
            tags = ", ".join(sorted(case.readings[0]))
            (folder / "images" / case.image).with_suffix(".txt").write_text(tags + "\n")
    return ["data=sidecar", f"data.path={folder / 'images'}"]
