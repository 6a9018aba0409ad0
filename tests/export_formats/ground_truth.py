"""An output manifest of SageMaker Ground Truth, as its docs have it; the ids of a label differ from line to line."""

import json
from collections.abc import Sequence
from pathlib import Path

from exports import LABELS, Case

KEEPS = {"none", "unknown"}
TYPE = "groundtruth/image-classification-multilabel"


def write(folder: Path, cases: Sequence[Case]) -> list[str]:
    rows = [{"source-ref": f"s3://bucket/{case.image}", **answer(number, case)} for number, case in enumerate(cases)]
    (folder / "output.manifest").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return [
        "data=ground_truth",
        f"data.path={folder}/output.manifest",
        "data.replace_prefix={s3://bucket/: images/}",
    ]


def answer(number: int, case: Case) -> dict:
    """Returns what a job says of an image: ids, and the names of these alone."""
    if not case.readings:
        return {"animals-metadata": {"failure-reason": "no worker answered", "job-name": "labeling-job/animals"}}
    names = {(LABELS.index(label) + number) % 10: label for label in case.readings[0]}
    about = {
        "job-name": "labeling-job/animals",
        "class-map": names,
        "confidence-map": dict.fromkeys(names, 0.0),
        "human-annotated": "yes",
        "creation-date": "2020-02-27T21:36:25.000201",
        "type": TYPE,
    }
    return {"animals": list(names), "animals-metadata": about}
