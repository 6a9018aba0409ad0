"""Corrections: a CSV file of answers that take the place of the source's own, whatever the source is."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from multihot.data.manifest import SPLITS, Manifest
from multihot.data.readers.csv_file import read_rows
from multihot.data.table.cells import quote
from multihot.data.table.lookalikes import name_alike
from multihot.data.table.places import Cases, Problems
from multihot.errors import InputError, MissingSplitError, list_kinds, name_first, plural
from multihot.labels import LabelSpace

log = logging.getLogger(__name__)

COLUMNS = ("image", "label", "answer")
ANSWERS = {"present": 1, "absent": 0, "unknown": -1}
NO_ANSWER = f"answers that are none of {', '.join(ANSWERS)}"
NO_LABEL = "labels that the data does not have"
NO_IMAGE = "images that the data does not have"
SEVERAL = "images of which the data has several with this ending (write more of the path)"
CONTRADICTION = "answers that contradict another line about the same image and label (keep one of them)"
DIVIDER = re.compile("[/#]")  # in the name of an image, between folders, and between a shard and what is in it

Place = tuple[str, int]  # of an image: split and row


class Line(NamedTuple):
    """One correction, and the line that it stands in."""

    number: int
    image: str
    label: str
    answer: int


@dataclass(frozen=True)
class CorrectedReader:
    """A reader whose Manifests have the answers of a file in the place of their own.

    The file names an image as it is listed, or by an ending of its path that no other image of any split has. The other
    splits are read only where it names one that the wanted split does not have as it is written.
    """

    read: Callable[..., Manifest]
    file: str
    images: dict[str, Sequence[str]] = field(default_factory=dict, repr=False)  # of each split that has been read

    def __call__(self, split: str, labels: Sequence[str] | None = None, must_exist: bool = True) -> Manifest:
        """Returns the images of a split with their answers corrected; raises InputError for lines that are wrong."""
        manifest = self.read(split, labels=labels, must_exist=must_exist)
        self.images[split] = manifest.images
        rows, columns, answers = self.resolve(split, manifest.labels)
        if not len(rows):
            return manifest
        try:
            corrected, num_changed = correct(manifest, rows, columns, answers)
        except InputError as error:
            raise InputError(f"{self.file} leaves answers that cannot be together: {error}") from error
        log.info(
            "%s: %s, %s of the %s split changed",
            self.file,
            plural(len(rows), "correction"),
            plural(num_changed, "answer"),
            split,
        )
        return corrected

    @cached_property
    def lines(self) -> list[Line]:
        """All corrections."""
        return read_corrections(self.file)

    def resolve(self, split: str, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns row, column and answer (K,) of each correction of a split; raises InputError for a wrong one."""
        problems: Problems = defaultdict(Cases)
        places, column_of = self.locate(labels), {label: column for column, label in enumerate(labels)}
        told: dict[tuple[Place, str], Line] = {}
        for line in self.lines:
            where, found = f"{self.file} line {line.number}: ", places[line.image]
            if line.label not in column_of:
                problems[NO_LABEL].append(f"{where}{line.label!r}{name_alike([line.label], labels)}")
            elif len(found) > 1:
                names = name_first([self.images[part][row] for part, row in found], limit=2)
                problems[SEVERAL].append(f"{where}{line.image} ({names})")
            elif not found:
                problems[NO_IMAGE].append(f"{where}{line.image}")
            else:
                first = told.setdefault((found[0], line.label), line)
                if first.answer != line.answer:
                    problems[CONTRADICTION].append(f"{where}{line.image}, {line.label!r}, as in line {first.number}")
        raise_problems(self.file, problems)
        own = [(row, column_of[label], line.answer) for ((part, row), label), line in told.items() if part == split]
        return tuple(np.array(own, np.int64).reshape(-1, 3).T)

    def locate(self, labels: Sequence[str]) -> dict[str, list[Place]]:
        """Returns the places of each image that is named; of one that is not listed so, those of all that end so."""
        names = {line.image for line in self.lines}
        found = find_listed(names, self.images)
        if len(found) < len(names):
            for split in SPLITS:
                if split not in self.images:
                    self.images[split] = read_images(self.read, split, labels)
            found = find_listed(names, self.images)
        return find_endings(names - found.keys(), self.images) | found


def read_corrections(file: str) -> list[Line]:
    """Returns the lines of a file with the columns image, label and answer; other columns are not looked at.

    Raises:
        InputError: a column is missing, or answers are none.
    """
    rows, problems = read_rows(file), defaultdict(Cases)
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"data.corrections={file}: the first line must name the columns {', '.join(COLUMNS)}, divided by commas, "
            f"and is {quote(','.join(header))}"
        )
    wanted, lines = [header.index(name) for name in COLUMNS], []
    for number, cells in rows:
        if len(cells) <= max(wanted):
            problems["rows that are too short"].append(f"{file} line {number}")
            continue
        image, label, answer = (cells[column].strip() for column in wanted)
        if answer.casefold() in ANSWERS:
            lines.append(Line(number, image, label, ANSWERS[answer.casefold()]))
        else:
            problems[NO_ANSWER].append(f"{file} line {number}: {quote(answer)}")
    raise_problems(file, problems)
    return lines


def raise_problems(file: str, problems: Problems) -> None:
    """Raises InputError with all problems of a file, if there are any."""
    if problems:
        raise InputError(f"data.corrections={file} cannot be used. There are\n{list_kinds(problems)}")


def read_images(read: Callable[..., Manifest], split: str, labels: Sequence[str]) -> Sequence[str]:
    """Returns the images of a split, none if the source does not have it."""
    try:
        return read(split, labels=labels, must_exist=False).images
    except MissingSplitError:
        return ()


def find_listed(names: Iterable[str], images: Mapping[str, Sequence[str]]) -> dict[str, list[Place]]:
    """Returns the place of each name that is that of an image.

    >>> find_listed({"a.jpg", "c.jpg"}, {"train": ["b.jpg"], "val": ["a.jpg"]})
    {'a.jpg': [('val', 0)]}
    """
    names = set(names)
    return {image: [(split, row)] for split, part in images.items() for row, image in enumerate(part) if image in names}


def find_endings(names: Iterable[str], images: Mapping[str, Sequence[str]]) -> dict[str, list[Place]]:
    """Returns the places of all images whose path ends like each name, from the beginning of a part on.

    >>> find_endings({"a.jpg", "x/a.jpg", "b.jpg"}, {"train": ["/x/a.jpg", "/y/a.jpg", "/y/bb.jpg"]})["x/a.jpg"]
    [('train', 0)]
    """
    plain = {name: name.replace("\\", "/").removeprefix("./") for name in names}
    by_last = defaultdict(list)
    for name in plain:
        by_last[DIVIDER.split(plain[name])[-1]].append(name)
    found: dict[str, list[Place]] = {name: [] for name in plain}
    for split, part in images.items():
        for row, image in enumerate(part):
            for name in by_last.get(DIVIDER.split(image)[-1], ()):
                if image == plain[name] or image.endswith((f"/{plain[name]}", f"#{plain[name]}")):
                    found[name].append((split, row))
    return found


def correct(manifest: Manifest, rows: np.ndarray, columns: np.ndarray, answers: np.ndarray) -> tuple[Manifest, int]:
    """Returns the manifest with other answers, and how many differ from those before: rows, columns, answers (K,).

    What follows inside of a group is changed too, see `follow_in_group`. Raises InputError if a group cannot be so.

    >>> pair = Manifest(("cat", "dog"), ["a", "b"], csr_array(np.int8([[1, 0], [0, -1]])))
    >>> corrected, num_changed = correct(pair, np.array([0, 1]), np.array([0, 1]), np.array([0, 1]))
    >>> corrected.dense_targets().tolist(), num_changed
    ([[0, 0], [0, 1]], 2)
    """
    touched, place = np.unique(rows, return_inverse=True)
    before = manifest.dense_targets(touched)
    after, is_told = before.copy(), np.zeros(before.shape, bool)
    after[place, columns], is_told[place, columns] = answers, True
    for group, members in zip(manifest.groups, LabelSpace(manifest.labels, manifest.groups).columns, strict=True):
        after[:, members] = follow_in_group(before[:, members], after[:, members], is_told[:, members], group.none)
    changed_rows, changed_columns = np.nonzero(before != after)
    targets = replace_answers(
        manifest.targets,
        touched[changed_rows],
        changed_columns,
        after[changed_rows, changed_columns],
        manifest.unlisted,
    )
    return replace(manifest, targets=targets), len(changed_rows)


def follow_in_group(before: np.ndarray, after: np.ndarray, is_told: np.ndarray, none: bool) -> np.ndarray:
    """Returns the answers (K, G) about the labels of a group with what follows from those that were told.

    One that is present makes the others absent. Where the one that was present is not any more and one of them must be,
    the others are unknown, or the last that is possible is present.

    >>> before, told = np.int8([[1, 0, 0]]), np.array([[False, True, False]])
    >>> follow_in_group(before, np.int8([[1, 1, 0]]), told, none=False).tolist()
    [[0, 1, 0]]
    >>> follow_in_group(before, np.int8([[0, 0, 0]]), told[:, [1, 0, 2]], none=False).tolist()
    [[0, -1, -1]]
    """
    after = after.copy()
    is_chosen = (is_told & (after >= 0.5)).any(axis=1)
    after[is_chosen[:, None] & ~is_told] = 0
    if none:
        return after
    is_open = (before >= 0.5).any(axis=1) & ~(after >= 0.5).any(axis=1)
    after[is_open[:, None] & ~is_told] = -1
    is_last = (is_open & ((after != 0).sum(axis=1) == 1))[:, None] & ~is_told
    after[is_last & (after == -1)] = 1
    return after


def replace_answers(
    targets: csr_array, rows: np.ndarray, columns: np.ndarray, answers: np.ndarray, unlisted: int
) -> csr_array:
    """Returns the targets (N, C) with other answers (K,) at some places, stored unless they are `unlisted`."""
    num_labels = targets.shape[1]
    own_rows = np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr))
    is_kept = ~np.isin(own_rows * num_labels + targets.indices, rows * num_labels + columns)
    is_stored = answers != unlisted
    places = np.r_[own_rows[is_kept], rows[is_stored]], np.r_[targets.indices[is_kept], columns[is_stored]]
    return csr_array((np.r_[targets.data[is_kept], answers[is_stored]], places), shape=targets.shape)
