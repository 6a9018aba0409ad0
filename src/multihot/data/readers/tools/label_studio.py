"""Reads the exports of Label Studio (labelstud.io/guide/export): CSV, TSV, JSON_MIN and JSON.

What they hold is known from label-studio 1.23.2 with label-studio-sdk 2.1.2, its `Converter`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from multihot.data.formats.text_files import open_text
from multihot.data.readers.csv_file import read_rows
from multihot.data.readers.json_lines import read_objects
from multihot.data.readers.tools.label_studio_addresses import Originals, find_file
from multihot.data.readers.tools.label_studio_controls import NEITHER, Controls
from multihot.data.table.cells import is_blank, quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.table import Table
from multihot.errors import InputError, check_choice

IN_DOUBT = "labels without an annotation_id, so that nobody has given them (export again)"


class Reading(NamedTuple):
    """What one person has answered about the image of a task; answers are None: nobody has."""

    number: int
    task: object
    image: object
    split: str | None
    answers: Mapping[str, float] | None


@dataclass(kw_only=True)
class LabelStudioReader(ExportReader):
    """An export of Label Studio; which of its formats it is, is known by what it holds.

    A task that was skipped is one that nobody has answered; one that was submitted without a choice has none of the
    labels. In CSV and JSON_MIN only `annotation_id` tells the two apart; skipped ones are not in them.

    Args:
        image_column: the key of the image in the data of a task, the $image of <Image value="$image">.
        split_column: the key of the split, where the data of a task have it.
        interface: file of the labelling interface (Settings, Labeling Interface, Code); it lists the labels in their
            order, and those of <Choices choice="single"> exclude each other. None: labels are those of the answers.
        choices: names of the <Choices> (or <Taxonomy>, <RectangleLabels>, ...) that hold labels; None: all.
        prefix_labels: labels are called "<name of the Choices>: <choice>".
        uploads: files that were uploaded into Label Studio are called `original` or `stored` (0123abcd-photo.jpg).
    """

    image_column: str
    split_column: str
    interface: str | None
    choices: Sequence[str] | None
    prefix_labels: bool
    uploads: str

    way_to_split = (
        "give each split an export of its own (data.path for train, data.val_path, data.test_path), or its name as "
        "data.split_column in the data of the tasks"
    )

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields an item a task."""
        check_choice("data.uploads", self.uploads, ("original", "stored"))
        controls = self.find_controls(table)
        readings = read_json if begins_json(file) else read_csv
        originals = Originals(table)
        for _, of_task in groupby(readings(self, file, table, controls), attrgetter("task", "image")):
            first, *_ = of_task = list(of_task)
            image = first.image
            if isinstance(image, str):
                image, is_upload = find_file(image, self.uploads)
                if is_upload and self.uploads == "original":
                    image = originals.find(image, first.task, first.number)
            answered = [reading.answers for reading in of_task if reading.answers is not None]
            yield Item(first.number, image, answered, first.split)

    def find_controls(self, table: Table) -> Controls:
        """Returns what holds the labels; tells the table what the labelling interface says of them."""
        data = self.image_column, self.split_column
        controls = Controls(table, self.choices, prefix=self.prefix_labels, data=data)
        labels = None if self.interface is None else controls.follow(self.interface)
        if labels is not None:
            self.declare(table, labels)
        return controls


def begins_json(file: str) -> bool:
    """Returns whether a file begins like a list or an object of JSON."""
    with open_text(file) as text:
        return text.read(64).lstrip()[:1] in ("[", "{")


def read_csv(settings: LabelStudioReader, file: str, table: Table, controls: Controls) -> Iterator[Reading]:
    """Yields a reading a line of CSV or TSV."""
    with open_text(file) as text:
        first = text.readline(1 << 16)
    rows = read_rows(file, "\t" if "\t" in first and "," not in first else None)
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    check_header(file, header, settings.image_column)
    place = {name: header.index(name) for name in header}
    image, task, annotation = (place[name] for name in (settings.image_column, "id", "annotation_id"))
    split, columns = place.get(settings.split_column), [(name, place[name]) for name in controls.find(file, header)]
    for number, cells in rows:
        if len(cells) != len(header):
            table.note_width(number, len(cells), len(header))
            continue
        answers = controls.read(number, [(name, cells[k]) for name, k in columns])
        if not cells[annotation].strip():
            if answers:
                table.note(IN_DOUBT, number, quote(next(iter(answers))))
            answers = None
        yield Reading(number, cells[task], cells[image], split_in(cells[split] if split is not None else None), answers)


def check_header(file: str, header: Sequence[str], image_column: str) -> None:
    """Raises InputError unless the columns are those of an export."""
    for name, way_out in (
        ("annotation_id", "without it a task that nobody has answered looks like one with none of the labels: export "
                          "it again (or, if it is no export of Label Studio, set data=csv)"),
        ("id", "it tells which task a row is about: export it again"),
        (image_column, "data.image_column says which"),
    ):  # fmt: skip
        if header.count(name) != 1:
            raise InputError(
                f"{file} must have one column {name!r} and has {', '.join(map(repr, header)) or 'none'}; {way_out}"
            )


def read_json(settings: LabelStudioReader, file: str, table: Table, controls: Controls) -> Iterator[Reading]:
    """Yields the readings of each task of JSON, or of each item of JSON_MIN."""
    left: dict[str, None] = {}
    table.units[-1] = "task"
    for place, (_, item) in enumerate(read_objects(file), start=1):  # often all of them are in one line
        number = item["id"] if isinstance(item.get("id"), int) else place
        if isinstance(item.get("data"), dict):
            yield from read_task(settings, number, item, table, controls)
            continue
        if "annotation_id" not in item:
            table.note(NEITHER, number, quote(item))
            continue
        left.update(dict.fromkeys(item))
        answers = controls.read(number, [(name, item.get(name)) for name in controls.find(file, list(left))])
        if item["annotation_id"] is None:
            if answers:
                table.note(IN_DOUBT, number, quote(next(iter(answers))))
            answers = None
        yield create_reading(settings, number, item, answers)


def read_task(
    settings: LabelStudioReader, number: int, task: Mapping, table: Table, controls: Controls
) -> Iterator[Reading]:
    """Yields the readings of a task, or one without an answer; predictions and drafts are not answers."""
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        table.note(NEITHER, number, f"its annotations are {quote(annotations)}")
        return
    yield create_reading(settings, number, task["data"], None)
    for annotation in annotations:
        if not (annotation.get("was_cancelled") or annotation.get("skipped")):
            answers = controls.read_result(number, annotation.get("result"))
            yield create_reading(settings, number, task["data"], answers)


def create_reading(
    settings: LabelStudioReader, number: int, data: Mapping, answers: Mapping[str, float] | None
) -> Reading:
    """Returns a reading of the image in the data of a task."""
    split = split_in(data.get(settings.split_column))
    return Reading(number, number, data.get(settings.image_column), split, answers)


def split_in(cell: object) -> str | None:
    """Returns the split that a cell names, None if it is empty."""
    return None if is_blank(cell) else str(cell).strip()
