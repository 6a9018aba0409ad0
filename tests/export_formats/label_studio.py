"""Label Studio's CSV, JSON_MIN and JSON, as the `Converter` of label-studio-sdk 2.1.2 writes them."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

KEEPS = {"none", "unknown", "annotators"}
WHEN = {"created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-01T10:00:00Z", "lead_time": 1.5}
UNANSWERED = {"annotator": None, "annotation_id": None, **dict.fromkeys(WHEN)}


def write(folder: Path, cases: Sequence) -> list[str]:
    rows = list(create_rows(cases))
    header = sorted({name for row in rows for name in row})
    with (folder / "project-1.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        for row in rows:
            cell = row.get("labels", "")
            writer.writerow(row | {"labels": cell if isinstance(cell, str) else json.dumps(cell)})
    return ["data=label_studio", f"data.path={folder / 'project-1.csv'}", f"data.root={folder / 'images'}"]


def create_rows(cases: Sequence) -> Iterator[dict]:
    """Yields a row a reading, the newest of an image first: one choice is bare, and none is no key."""
    for number, case in enumerate(cases, start=1):
        task = {"id": number, "image": f"/data/upload/1/{number:08x}-{case.image}"}
        for reading in reversed(case.readings):
            chosen = sorted(reading)
            labels = {"labels": chosen[0] if len(chosen) == 1 else {"choices": chosen}} if chosen else {}
            yield task | labels | {"annotator": 1, "annotation_id": number, **WHEN}
        if not case.readings:
            yield task | UNANSWERED


def create_tasks(cases: Sequence) -> Iterator[dict]:
    """Yields a task an image, with all its annotations; every other one without an answer was skipped."""
    for number, case in enumerate(cases, start=1):
        annotations = [create_annotation(reading) for reading in case.readings]
        if not annotations and number % 20:
            annotations = [create_annotation(set()) | {"was_cancelled": True}]
        yield {
            "id": number,
            "data": {"image": f"/data/local-files/?d=images/{case.image}"},
            "annotations": annotations,
            "predictions": [create_annotation({"dog"})],
            "drafts": [create_annotation({"owl"})],
        }


def create_annotation(labels: set[str]) -> dict:
    value = {"choices": sorted(labels)}
    part = {"from_name": "labels", "to_name": "image", "type": "choices", "value": value}
    return {"id": 7, "completed_by": 1, "was_cancelled": False, "result": [part] if labels else [], **WHEN}
