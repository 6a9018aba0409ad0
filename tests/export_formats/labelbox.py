"""Labelbox's NDJSON, as its docs have it, with a label of each annotator, one of whom skips what nobody answers."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import Case

KEEPS = {"none", "unknown", "annotators"}


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [
        {
            "data_row": {"id": "d", "external_id": case.image, "row_data": f"https://host/{case.image}"},
            "media_attributes": {"height": 8, "width": 8},
            "projects": {"p": {"name": "Animals", "labels": labels_of(case)}},
        }
        for case in cases
    ]
    (folder / "export.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return ["data=labelbox", f"data.path={folder}/export.ndjson", f"data.root={folder}/images"]


def labels_of(case: Case) -> list[dict]:
    """Returns the labels of an image, one an annotator."""
    return [create_label(answers) for answers in case.readings] or [create_label(set(), skipped=True)]


def create_label(answers: set[str], skipped: bool = False) -> dict:
    """Returns the label of one annotator."""
    chosen = [{"feature_id": "f", "name": name, "value": name.replace(" ", "_")} for name in sorted(answers)]
    question = {"feature_id": "q", "name": "Which?", "value": "which?", "checklist_answers": chosen}
    return {
        "label_kind": "Default",
        "id": "l",
        "label_details": {"created_by": "someone@example.org"},
        "performance_details": {"seconds_to_create": 5, "skipped": skipped},
        "annotations": {"objects": [], "classifications": [question] * bool(chosen), "relationships": []},
    }
