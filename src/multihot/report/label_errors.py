"""Suspected label errors as people can look at them: a page of pictures, corrections as CSV, tasks for Label Studio."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from multihot.data.csv_writer import format_csv
from multihot.data.label_studio_tasks import create_interface, create_result, list_choices
from multihot.data.manifest import Manifest
from multihot.data.readers.tools.label_studio_addresses import address_of
from multihot.decisions.suspects import NO_OTHER, Suspects
from multihot.report.pictures import encode

HEADER = ("image", "label", "answer", "given", "probability", "rank")
KINDS = {
    "present": "given as present, likely absent",
    "absent": "given as absent, likely present",
    "other": "another label of its group",
}
SIDE = 192  # pixels of the longer side of a picture on the page
SIDE_OF_TASK = 640  # in a task, of what is no file of its own
MODEL_VERSION = "multihot out-of-fold"
GIVEN = '  <Text name="given" value="given: $given"/>\n'  # shown beside the image


@dataclass(frozen=True)
class Change:
    """A label of an image, what is given, what is proposed, and the probability of the label."""

    label: str
    given: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Case:
    """One suspected error: of a label, or of two of a group that change places."""

    rank: int  # from 1 up
    row: int  # of the image
    image: str
    changes: tuple[Change, ...]
    doubt: float

    @property
    def kind(self) -> str:
        """One of KINDS."""
        is_present = self.changes[0].answer == "absent"
        return "other" if len(self.changes) > 1 else "present" if is_present else "absent"

    def lines(self) -> Iterator[list]:
        """Yields the cells of HEADER of each change."""
        for change in self.changes:
            probability = f"{change.probability:.4f}"
            yield [self.image, change.label, change.answer, change.given, probability, self.rank]


def list_cases(suspects: Suspects, data: Manifest, probability: np.ndarray) -> list[Case]:
    """Returns the suspects in words: probability (N, C)."""
    cases = []
    places = zip(suspects.rows.tolist(), suspects.columns.tolist(), suspects.others.tolist(), strict=True)
    for number, (row, column, other) in enumerate(places):
        target = data.target(row)
        columns = [column] if other == NO_OTHER else [column, other]
        changes = tuple(
            Change(data.labels[each], in_words(target[each]), contrary(target[each]), float(probability[row, each]))
            for each in columns
        )
        cases.append(Case(number + 1, row, data.images[row], changes, float(suspects.doubts[number])))
    return cases


def in_words(answer: float) -> str:
    """Returns an answer as a file of corrections has it, a soft one as a number.

    >>> [in_words(answer) for answer in (1, 0, -1, 0.25)]
    ['present', 'absent', 'unknown', '0.25']
    """
    return {1: "present", 0: "absent", -1: "unknown"}.get(answer, f"{answer:g}")


def contrary(answer: float) -> str:
    """Returns what is proposed in the place of an answer."""
    return "absent" if answer >= 0.5 else "present"


def format_suspects(cases: Sequence[Case]) -> str:
    """Returns the CSV file of corrections that are proposed."""
    return format_csv(HEADER, (line for case in cases for line in case.lines()))


def present_labels(data: Manifest, row: int) -> list[str]:
    """Returns the labels that are given for an image."""
    columns, answers = data.sparse_target(row)
    return [data.labels[column] for column in np.sort(columns[answers >= 0.5])]


def create_page(cases: Sequence[Case], data: Manifest, title: str, summary: dict) -> str:
    """Returns the page of pictures, the worst first; it needs no other file and no network."""
    pictures = {row: encode(data.read(data.images[row], min_side=SIDE), SIDE) for row in {case.row for case in cases}}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("multihot.report"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("label_errors.html").render(
        title=title,
        summary=summary,
        kinds={name: words for name, words in KINDS.items() if any(case.kind == name for case in cases)},
        labels=sorted({change.label for case in cases for change in case.changes}),
        header=list(HEADER),
        cases=[
            {
                "case": case,
                "picture": pictures[case.row],
                "name": os.path.basename(case.image),
                "labels": present_labels(data, case.row),
                "lines": list(case.lines()),
            }
            for case in cases
        ],
    )


def create_tasks(cases: Sequence[Case], data: Manifest, image_root: str) -> list[dict]:
    """Returns tasks for Label Studio, one an image: the labels that are given, and as a prediction those proposed.

    Args:
        image_root: folder that Label Studio serves files from; what is no file in it is put into the task itself.
    """
    tasks: dict[int, dict] = {}
    for case in cases:
        if case.row not in tasks:
            given = present_labels(data, case.row)
            tasks[case.row] = {
                "data": {
                    "image": address(case.image, data, image_root),
                    "name": case.image,
                    "given": ", ".join(given),
                    "present": list(given),
                    "rank": case.rank,
                },
                "predictions": [{"model_version": MODEL_VERSION, "score": round(case.doubt, 4), "result": given}],
            }
        proposed = tasks[case.row]["predictions"][0]["result"]
        for change in case.changes:
            if change.answer == "present":
                proposed.append(change.label)
            else:
                proposed.remove(change.label)
    choices = list_choices(data.labels, data.groups)
    for task in tasks.values():
        [prediction] = task["predictions"]
        prediction["result"] = create_result(prediction["result"], choices)
    return list(tasks.values())


def address(image: str, data: Manifest, image_root: str) -> str:
    """Returns where Label Studio finds an image."""
    if os.path.isfile(image):
        return address_of(image, image_root)
    return encode(data.read(image, min_side=SIDE_OF_TASK), SIDE_OF_TASK)


def save_files(folder: Path, cases: Sequence[Case], data: Manifest, title: str, summary: dict) -> None:
    """Writes the page, the corrections, and what Label Studio reads into a folder."""
    texts = {
        "suspects.csv": format_suspects(cases),
        "index.html": create_page(cases, data, title, summary),
        "label_studio.json": json.dumps(create_tasks(cases, data, summary["image_root"]), indent=1, ensure_ascii=False),
        "label_studio.xml": create_interface(data.labels, data.groups, GIVEN),
    }
    for name, text in texts.items():
        errors = "surrogateescape" if name == "suspects.csv" else "backslashreplace"
        (folder / name).write_text(text, encoding="utf-8", errors=errors)
