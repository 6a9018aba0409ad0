"""Vertex AI's CSV, as its docs have it: no header, and any number of labels."""

from collections.abc import Sequence
from pathlib import Path

from exports import Case

from export_formats.vertex import KEEPS, labels_of

__all__ = ["KEEPS", "write"]


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [",".join(["TRAINING", f"gs://bucket/{case.image}", *labels_of(case)]) for case in cases]
    (folder / "data.csv").write_text("".join(f"{row}\n" for row in rows))
    return ["data=vertex", f"data.path={folder}/data.csv", "data.replace_prefix={gs://bucket/: images/}"]
