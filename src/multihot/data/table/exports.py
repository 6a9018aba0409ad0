"""What exports of annotation tools share: images, each with the readings of the people who have looked at it."""

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from multihot.data.formats.recognize import check_own
from multihot.data.table.places import Problems
from multihot.data.table.reader import SPLIT_BY_PATHS, TableReader
from multihot.data.table.table import SPLIT_OF_NAME, Table
from multihot.errors import InputError, name_first

log = logging.getLogger(__name__)

UNTAGGED = (
    "images without a label, and {}: say what they are by data.untagged=absent (none of the labels), unknown, or skip "
    "(they are left out)"
)
UNANSWERED = "exports without an answer (let people answer some images and export it again, or correct data.path)"
NAMELESS = "labels that are nothing but blanks (correct them)"
OTHER_SPLIT = "images whose split is another than that of their file (take the split out, or give one file alone)"


class Item(NamedTuple):
    """An image of an export."""

    number: int  # line, or place in the file
    image: str  # as the tool writes it
    readings: Sequence[Mapping[str, float]]  # one a person who has answered: {label: answer}; none: nobody has
    split: str | None = None  # None: that of the file


@dataclass(kw_only=True)
class ExportReader(TableReader):
    """Reads the files that an annotation tool exports: one a split, or one that says the split of each image.

    A reading is what one person has answered about a whole image. Labels that it does not name are absent to it; one
    that names none says that there is none of the labels. An image without a reading is one that nobody has answered.

    Args:
        image_suffix: added to each image, as ".jpg" where the export has names without endings; None: nothing.
        agree: how several readings of an image go together: "error": they must be equal; "majority": what more than
            half of them say, a tie is unknown; "any": present if one says so; "all": if all do; "mean": the mean, a
            soft answer.
        unlisted: what a label is that a reading does not name: "absent", or "unknown" where people only name labels
            that they are asked about.
        untagged: what an image is that nobody has answered: "absent" (none of the labels), "unknown", or "skip": left
            out. None: left out, if the export tells it from one that has none of the labels; else it is an error.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    image_suffix: str | None
    agree: str
    unlisted: str
    untagged: str | None

    unit: ClassVar[str] = "line"  # what the numbers of its items count
    way_to_split: ClassVar[str] = SPLIT_BY_PATHS
    untagged_means: ClassVar[str | None] = None  # why nobody's answer and "none of the labels" look alike; None: not

    def parts(self, path: str) -> Sequence[str]:
        """Returns the files that a path stands for."""
        return [path]

    def root_of(self, file: str) -> str | None:
        """Returns the folder of a file's images; None is that of the file."""
        return self.root

    @abstractmethod
    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of a file; notes in the table what is wrong with others."""

    def declare(self, table: Table, labels: Iterable[str]) -> None:
        """Says which labels the export lists itself, behind those of the files before."""
        table.labels = tuple(dict.fromkeys([*(table.labels or ()), *labels]))

    def fill(self, table: Table) -> None:
        """Adds the images of all files to the table."""
        paths = self.paths()
        for path in paths.values() if self.misread == "error" else ():
            check_own(self, path)
        table.agree = self.agree
        table.unlisted = -1 if self.unlisted == "unknown" else 0
        table.twice = "all answers about an image belong to one split"
        is_alone, num_untagged, num_items = set(paths) == {"train"}, 0, 0
        for split, file in ((split, file) for split, path in paths.items() for file in self.parts(path)):
            table.begin(file, self.root_of(file), self.unit)
            for item in self.read(file, table):
                num_items += 1
                num_untagged += not item.readings
                self.add(table, item, split, is_alone)
        if num_untagged:
            self.tell_untagged(table, num_untagged, num_items)
        note_nameless(table)

    def add(self, table: Table, item: Item, file_split: str, is_alone: bool) -> None:
        """Adds one image to the table, a row a reading.

        Args:
            is_alone: one file has all splits.
        """
        split = file_split if item.split is None else SPLIT_OF_NAME.get(item.split.lower(), item.split)
        if split != file_split and not is_alone:
            table.note(OTHER_SPLIT, item.number, f"{item.image}: {split!r}")
            return
        readings, is_read = item.readings, 1
        if not readings:
            if self.untagged is None and self.untagged_means is not None:
                table.note(UNTAGGED.format(self.untagged_means), item.number, item.image)
            if self.untagged in (None, "skip"):
                return
            readings, is_read = [{}], self.untagged == "absent"
        is_text = isinstance(item.image, str) and bool(item.image)
        image = f"{item.image}{self.image_suffix}" if self.image_suffix and is_text else item.image
        for reading in readings:
            table.add(
                item.number,
                image,
                list(reading),
                reading.values(),
                split=split,
                again=True,
                num_readings=None if table.unlisted else is_read,
            )

    @property
    def named(self) -> str:
        """The files and folders of the settings."""
        return name_first(list(dict.fromkeys(self.paths().values())))

    def select(self, split: str, problems: Problems) -> np.ndarray:
        """Returns the rows of a split; notes that no image has an answer."""
        if not len(self.table) and not problems:
            problems[UNANSWERED].append(self.named)
        return super().select(split, problems)

    def tell_untagged(self, table: Table, num_untagged: int, num_items: int) -> None:
        """Warns of images that nobody has answered."""
        if self.untagged is None and self.untagged_means is not None:  # an error
            return
        ways = {
            "absent": "are taken for images with none of the labels",
            "unknown": "have unknown labels alone; nothing is learnt from them, data.untagged=skip leaves them out",
        }
        log.warning(
            "%s: %d of %d images have no answer, and %s",
            self.named,
            num_untagged,
            num_items,
            ways.get(self.untagged, "are left out (data.untagged=skip)"),
        )


def note_nameless(table: Table) -> None:
    """Notes where labels are that have no name."""
    nameless = [number for label, number in table.id_of.items() if not label.strip()]
    for answer in np.flatnonzero(np.isin(np.asarray(table.label_ids), nameless)) if nameless else ():
        table.problems[NAMELESS].append(table.place_of(answer))
    if any(not label.strip() for label in table.labels or ()):
        raise InputError(f"{name_first(table.files)}: the export lists {NAMELESS}")
