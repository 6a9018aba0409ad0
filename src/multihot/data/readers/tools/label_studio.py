"""Reads the exports of Label Studio (labelstud.io/guide/export): CSV, TSV, JSON_MIN and JSON.

What they hold is known from label-studio 1.23.2 with label-studio-sdk 2.1.2, its `Converter`.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from typing import NamedTuple

from multihot.data.formats.text_files import open_text
from multihot.data.readers.csv_file import read_rows
from multihot.data.readers.json_lines import read_objects
from multihot.data.readers.tools.label_studio_interface import (
    KINDS,
    NO_LABELS,
    Interface,
    find_file,
    labels_in,
    read_interface,
    valid_name,
)
from multihot.data.table.cells import CellError, is_blank, quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.table import Table
from multihot.errors import InputError, check_choice, name_first

# What each export has of its own, beside the data of the task and a column for each control of the interface.
OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history")
NEITHER = "tasks that are no export (a file that Label Studio imports? Export it again from there, as JSON)"
IN_DOUBT = "labels without an annotation_id, so that nobody has given them (export again)"
ALIKE = (
    "uploads that may be several files (data.uploads=stored reads Label Studio's own copies, media/upload/<project>)"
)
SAME_UPLOAD = "uploads of the same name (data.uploads=stored reads Label Studio's own copies, media/upload/<project>)"
PATH_OR_SEVERAL = (  # findings/label_studio_one_nested_choice.sh
    "answers that are one choice below others, or several of regions (data.interface=<file>.xml tells, or export JSON)"
)
TWO_CONTROLS = "labels of several <Choices>, so that they are one label (tell them apart by data.prefix_labels=true)"


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
        controls = Controls(self, table)
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


class Originals:
    """The files that were uploaded into Label Studio, in the folder of the images; it keeps a file's name in part."""

    def __init__(self, table: Table):
        self.table = table
        self.task_of: dict[str, object] = {}  # name -> task
        self.files: dict[str, list[str]] = {}  # name that Label Studio gives -> files that it may be
        if os.path.isdir(table.root):
            for name in sorted(os.listdir(table.root)):
                self.files.setdefault(valid_name(name), []).append(name)

    def find(self, image: str, task: object, number: int) -> str:
        """Returns the name of the file that an upload is; notes if it may be several."""
        files = self.files.get(image, [])
        if len(files) > 1:
            self.table.note(ALIKE, number, f"{image} may be {name_first(files)}")
        if self.task_of.setdefault(image, task) != task:
            self.table.note(SAME_UPLOAD, number, f"{image} in the tasks {self.task_of[image]} and {task}")
        return files[0] if len(files) == 1 else image


class Controls:
    """What holds the labels: which controls of the labelling interface, and what their labels are called."""

    def __init__(self, settings: LabelStudioReader, table: Table):
        self.table = table
        self.names = None if settings.choices is None else tuple(map(str, settings.choices))
        self.prefix = settings.prefix_labels
        self.own = {*OWN, settings.image_column, settings.split_column}
        self.owner: dict[str, str] = {}  # label -> name of its control
        self.labels: dict[tuple[str, str], str] = {}  # control and choice -> label, of those that were met
        self.known: frozenset[str] = frozenset()  # choices that the interface lists
        self.is_nested: dict[str, bool] = {}  # name of a control -> whether its choices are paths
        if settings.interface is not None:
            self.follow(settings, read_interface(settings.interface))

    def follow(self, settings: LabelStudioReader, interface: Interface) -> None:
        """Takes labels and groups of exclusive choices from the labelling interface."""
        if self.names is None:
            self.names = tuple(interface)
        missing = [name for name in self.names if name not in interface]
        if missing:
            raise InputError(
                f"{settings.interface} has no control {', '.join(map(repr, missing))} of data.choices; it has "
                f"{', '.join(map(repr, interface)) or 'none that holds labels'}"
            )
        controls = {name: interface[name] for name in self.names}
        self.known = frozenset(choice for control in controls.values() for choice in control.labels)
        self.is_nested = {name: control.is_nested for name, control in controls.items()}
        labels = {name: [self.label(name, choice) for choice in control.labels] for name, control in controls.items()}
        if all(control.is_closed for control in controls.values()):
            settings.declare(self.table, list(dict.fromkeys(chain.from_iterable(labels.values()))))
        self.table.groups = {
            name: {"labels": labels[name], "none": not control.required}
            for name, control in controls.items()
            if control.exclusive and len(labels[name]) > 1
        }

    def label(self, name: str, choice: str) -> str:
        """Returns what a choice of a control is called; raises CellError if another control has the same."""
        label = f"{name}: {choice}" if self.prefix else choice
        if self.owner.setdefault(label, name) != name:
            raise CellError(TWO_CONTROLS, f"{choice!r} of {self.owner[label]!r} and {name!r}")
        self.labels[name, choice] = label
        return label

    def find(self, file: str, keys: Sequence[str]) -> list[str]:
        """Returns which keys of a row hold labels: those of the settings, or the only one that is left."""
        if self.names is not None:
            return [key for key in keys if key in self.names]
        left = [key for key in keys if key not in self.own]
        if len(left) > 1:
            raise InputError(
                f"{file} has {', '.join(map(repr, left))} beside what Label Studio writes of its own: say which of "
                "them hold labels by data.choices=[...], or give the labelling interface by data.interface=<file>.xml "
                "(Settings, Labeling Interface, Code)"
            )
        return left

    def read(self, number: int, cells: Iterable[tuple[str, object]]) -> dict[str, float]:
        """Returns what a reading says, {label: 1.0}, by the names of controls and their cells; notes what is wrong."""
        answers: dict[str, float] = {}
        for name, cell in cells:
            try:
                if cell:
                    answers |= self.parse(name, cell) if isinstance(cell, str) else self.answers_in(name, cell)
            except CellError as error:
                self.table.note(error.problem, number, f"{name!r}: {error.details}")
            except RecursionError:
                self.table.note(NO_LABELS, number, f"{name!r}: lists in lists in lists")
        return answers

    def read_result(self, number: int, result: object) -> dict[str, float]:
        """Returns what the result of an annotation says; notes what cannot be read."""
        if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
            self.table.note(NEITHER, number, f"an annotation holds {quote(result)}")
            return {}
        cells: dict[str, list] = {}
        for part in result:
            name, kind = part.get("from_name"), part.get("type")
            if isinstance(name, str) and (kind in KINDS if self.names is None else name in self.names):
                cells.setdefault(name, []).append(part.get("value"))
        return self.read(number, cells.items())

    def parse(self, name: str, cell: str) -> dict[str, float]:
        """Returns what a text says: one choice as it is, or several as JSON."""
        text = cell.strip()
        if not text:
            return {}
        if text[0] in "[{" and cell not in self.known:
            try:
                return self.answers_in(name, json.loads(text))
            except ValueError:
                pass  # a choice that begins with a bracket
        return self.answers_in(name, text)

    def answers_in(self, name: str, value: object) -> dict[str, float]:
        """Returns what a value of a control says; a list of names alone is a path where choices are nested."""
        choices = [value] if isinstance(value, str) else value.get("choices") if isinstance(value, dict) else None
        try:
            return {self.labels[name, choice]: 1.0 for choice in (choices if isinstance(choices, list) else [None])}
        except (KeyError, TypeError):  # another kind of value, or a choice that is new
            return {self.label(name, choice): 1.0 for choice in labels_in(self.tell_path(name, value))}

    def tell_path(self, name: str, value: object) -> object:
        """Returns a list of two names or more as one choice below others, where it is; raises CellError in doubt."""
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, str) for item in value):
            return value
        if name not in self.is_nested:
            raise CellError(PATH_OR_SEVERAL, quote(value))
        return "/".join(value) if self.is_nested[name] else value


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
