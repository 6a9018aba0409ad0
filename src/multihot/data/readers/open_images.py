"""Reads the image-level labels of Open Images V4 to V7: a line an image, a label and how sure it is.

The files are described at https://storage.googleapis.com/openimages/web/download_v7.html. Only some labels of each
image have been verified: the others are neither present nor absent, but unknown.
"""

import logging
from array import array
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from multihot.data.manifest import SPLITS
from multihot.data.readers.csv_file import read_rows
from multihot.data.table.answers import parse_number
from multihot.data.table.cells import BLANK
from multihot.data.table.reader import SPLIT_BY_PATHS, TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError, plural

log = logging.getLogger("multihot")

COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
MACHINE = "machine"  # as Source; the others are people: verification, crowdsource-verification, ...
UNKNOWN = -1.0


@dataclass(kw_only=True)
class OpenImagesReader(TableReader):
    """The images of the lists and what is known of them: 1 present, 0 absent, machine-made labels in between.

    A label with lines of people and of a machine has the people's answer, as in the training of Google's own model
    (https://storage.googleapis.com/openimages/2017_07/oidv2-resnet_v1_101.readme.txt). Lines of equal rank that
    contradict each other leave it unknown.

    Args:
        path: human-verified labels of the train split; `val_path` and `test_path` those of the other splits.
        machine_path: machine-made labels of the train split, in addition, and so on; None: none.
        classes_path: the name of each label. Names that several labels have get the label's id added.
        trainable_path: ids of the labels to keep, one a line; None: all of `classes_path`. Lines about labels that are
            not kept, because of it or of `labels`, are left out.
        images: where the image of an id is inside of `root`, with `{id}`, or `{id[0]}` for its first character.
        unverified: what is true of a label without a line. If it is unknown, images without any line about a label
            that is kept are left out.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    machine_path: str | None
    val_machine_path: str | None
    test_machine_path: str | None
    classes_path: str
    trainable_path: str | None
    images: str
    val_images: str
    test_images: str
    unverified: str

    way_to_split = SPLIT_BY_PATHS

    def fill(self, table: Table) -> None:
        """Adds the rows of all files to the table."""
        files = {"train": (self.path, self.machine_path), "val": (self.val_path, self.val_machine_path)}
        files["test"] = (self.test_path, self.test_machine_path)
        if not any(map(any, files.values())):
            raise InputError("one of data.path, data.val_path and data.test_path must not be empty")
        names = read_names(self.classes_path)
        kept = self.choose(names)
        table.unlisted = int(BLANK[self.unverified])
        table.list_labels([names[key] for key in kept] if self.labels is None else list(map(str, self.labels)))
        label_of = dict.fromkeys(names, -1) | {key: number for number, key in enumerate(kept)}
        patterns = dict(zip(SPLITS, (self.images, self.val_images, self.test_images), strict=True))
        for pattern in patterns.values():
            check_pattern(pattern)
        for split, paths in files.items():
            source = LabelFiles(table, split, self.root, patterns[split], label_of)
            for file in filter(None, paths):
                source.read(file)
            source.add_answers()

    def choose(self, names: dict[str, str]) -> list[str]:
        """Returns the ids of the labels to keep, in the order of `labels`, `trainable_path` or `classes_path`."""
        if self.labels is not None:
            id_of = {name: key for key, name in names.items()}
            return [find_label(str(label), id_of, names, "data.labels", self.classes_path) for label in self.labels]
        if self.trainable_path is None:
            return list(names)
        keys = [cells[0].strip() for _, cells in read_rows(self.trainable_path)]
        return [find_label(key, {}, names, self.trainable_path, self.classes_path) for key in dict.fromkeys(keys)]


class LabelFiles:
    """The files of one split: their images go to the table at once, the answers when all files are read."""

    def __init__(self, table: Table, split: str, root: str | None, pattern: str, label_of: dict[str, int]):
        self.table, self.split, self.root, self.pattern, self.label_of = table, split, root, pattern, label_of
        self.row_of: dict[str, int] = {}  # image -> row of the table; -1 if it has none
        self.value_of = Confidences()
        self.rows, self.labels, self.values, self.are_machine = array("i"), array("i"), array("f"), array("b")

    def read(self, file: str) -> None:
        """Adds the images of a file to the table and remembers its answers.

        Nothing but numbers outlives a row: millions of lists would keep the garbage collector busy.
        """
        rows = read_rows(file)
        header = [cell.strip() for cell in next(rows, (0, []))[1]]
        if any(header.count(name) != 1 for name in COLUMNS):
            raise InputError(
                f"{file} is no list of image-level labels of Open Images: its first line must be {','.join(COLUMNS)}, "
                f"not {','.join(header)}"
            )
        self.table.begin(file, self.root)
        cells_of_columns, width = itemgetter(*map(header.index, COLUMNS)), len(header)
        skips_others = self.table.unlisted == -1
        for number, cells in rows:
            if len(cells) != width:
                self.table.note_width(number, len(cells), width)
                continue
            image, source, name, confidence = cells_of_columns(cells)
            label, value = self.label_of.get(name), self.value_of[confidence]
            if label is None or value is None:
                self.note(number, name, label, confidence, value)
            elif label >= 0 or not skips_others:
                row = self.row_of.get(image)
                if row is None:
                    row = self.row_of[image] = self.add_image(number, image)
                if label >= 0 and row >= 0:
                    self.rows.append(row)
                    self.labels.append(label)
                    self.values.append(value)
                    self.are_machine.append(source == MACHINE)

    def note(self, number: int, name: str, label: int | None, confidence: str, value: float | None) -> None:
        """Notes what is wrong with a row."""
        if label is None:
            self.table.note("labels that data.classes_path does not name", number, name)
        if value is None:
            self.table.note("confidences that are not from 0 to 1", number, repr(confidence))

    def add_image(self, number: int, image: str) -> int:
        """Adds an image without answers to the table and returns its row; -1 if the table refuses it."""
        row = len(self.table)
        place = self.pattern.format(id=image) if image else ""
        self.table.add(number, place, (), split=self.split)
        return row if len(self.table) > row else -1

    def add_answers(self) -> None:
        """Adds what is known of the images to the table."""
        answers = map(np.asarray, (self.rows, self.labels, self.values, self.are_machine))
        rows, labels, values, num_contradictions = settle(*answers)
        if num_contradictions:
            log.warning("%s: unknown are %s with contradicting lines", self.split, plural(num_contradictions, "label"))
        self.table.add_answers(rows, labels, values)


class Confidences(dict):
    """What each way to write a confidence says: a number from 0 to 1, or None."""

    def __missing__(self, cell: str) -> float | None:
        value = parse_number(cell)
        self[cell] = value if value is not None and 0 <= value <= 1 else None
        return self[cell]


def settle(rows: np.ndarray, labels: np.ndarray, values: np.ndarray, are_machine: np.ndarray) -> tuple:
    """Returns rows (A,), labels (A,) and values (A,) with one answer an image and label, and how many contradict.

    >>> rows, are_machine = np.zeros(4, np.int32), np.array([True, False, False, False])
    >>> settle(rows, np.array([5, 5, 6, 6], np.int32), np.array([0.75, 0, 1, 0], np.float32), are_machine)[1:]
    (array([5, 6], dtype=int32), array([ 0., -1.], dtype=float32), 1)
    """
    if not len(rows):
        return rows, labels, values, 0
    key = rows.astype(np.int64) * (int(labels.max()) + 1) + labels
    if (np.diff(key) > 0).all():
        return rows, labels, values, 0
    order = np.lexsort((are_machine, key))
    key, values, are_machine = key[order], values[order], are_machine[order]
    start = np.flatnonzero(np.r_[True, np.diff(key) > 0])
    group = np.repeat(np.arange(len(start)), np.diff(np.r_[start, len(key)]))
    first = start[group]
    contradicts = (are_machine == are_machine[first]) & (values != values[first])
    settled = values[start]
    settled[group[contradicts]] = UNKNOWN
    num_contradictions = len(np.unique(group[contradicts]))
    return rows[order][start], labels[order][start], settled, num_contradictions


def read_names(file: str) -> dict[str, str]:
    """Returns the name of each label id, in the order of the file, with or without a first line of column names."""
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in read_rows(file)]
    if rows and rows[0][1] == ["LabelName", "DisplayName"]:
        del rows[0]
    wrong = [number for number, cells in rows if len(cells) != 2 or not all(cells)]
    if wrong or not rows:
        where = f" line {wrong[0]}" if wrong else ""
        raise InputError(f"{file}{where} is not the id and the name of a label, as in /m/011k07,Tortoise")
    names = {key: name for _, (key, name) in rows}
    if len(names) < len(rows):
        key = Counter(cells[0] for _, cells in rows).most_common(1)[0][0]
        raise InputError(f"{file} names the label {key} twice; remove one of its lines")
    uses = Counter(names.values())
    return {key: name if uses[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def check_pattern(pattern: str) -> None:
    """Raises InputError unless a pattern gives each image a place of its own."""
    try:
        is_good = pattern.format(id="a1b2c3") != pattern.format(id="a1b2c4")
    except (LookupError, ValueError, AttributeError):
        is_good = False
    if not is_good:
        raise InputError(f"data.images={pattern}: it must hold {{id}}, as in train/{{id}}.jpg")


def find_label(label: str, id_of: dict[str, str], names: dict[str, str], source: str, classes_path: str) -> str:
    """Returns the id of a label, of which the id or the name is given."""
    key = label if label in names else id_of.get(label)
    if key is None:
        raise InputError(f"{source} has the label {label!r}, which {classes_path} does not; correct one of them")
    return key
