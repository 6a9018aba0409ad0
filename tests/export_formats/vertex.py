"""Vertex AI's JSON lines, as its docs have them, where a label says that there is none of the others."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"none", "unknown"}


def labels_of(case: Case) -> list[str]:
    """Returns the labels that Vertex AI has for an image."""
    return sorted(case.readings[0] or {"None_of_the_above"}) if case.readings else []


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [
        {
            "imageGcsUri": f"gs://bucket/{case.image}",
            "classificationAnnotations": [{"displayName": label} for label in labels_of(case)],
            "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "training"},
        }
        for case in cases
    ]
    (folder / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return ["data=vertex", f"data.path={folder}/data.jsonl", "data.replace_prefix={gs://bucket/: images/}"]
