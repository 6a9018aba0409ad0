"""Roboflow's `_classes.csv` beside the images of a split, with the blanks that older files have behind the commas."""

from collections.abc import Sequence
from pathlib import Path

from exports import LABELS, Case

KEEPS = {"none"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [[case.image, *(str(int(label in case.readings[0])) for label in LABELS)] for case in cases]
    lines = [f"{', '.join(row)}\n" for row in [["filename", *LABELS], *rows]]
    (folder / "images/_classes.csv").write_text("".join(lines))
    return ["data=roboflow", f"data.path={folder}/images/_classes.csv"]
