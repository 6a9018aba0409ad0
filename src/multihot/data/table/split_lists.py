"""Files of names that say which split an image belongs to."""

import os
from collections.abc import Iterator, Mapping

from multihot.data.formats.text_files import open_text
from multihot.data.manifest import SPLITS
from multihot.data.table.table import name_splits
from multihot.errors import InputError


class SplitLists:
    """The split of each image that lists name.

    Args:
        lists: {split: file of names, one a line}, or one file with a name and its split in each line, with a comma, a
            tab or blanks between, and with or without a line of column names.
        names: what the one file calls the splits, {name: train | val | test}, beside those that are known.
    """

    def __init__(self, lists: str | Mapping[str, str], names: Mapping[object, str] | None):
        self.split_of: dict[str, str] = {}
        splits = name_splits(names)
        if isinstance(lists, str):
            for number, image, split in read_assigned(lists, splits):
                self.add(lists, number, image, split)
        else:
            for name, file in lists.items():
                for number, line in read_lines(file):
                    self.add(file, number, line, splits.get(name.lower(), name))
        if not self.split_of:
            raise InputError(f"data.split_lists={lists}: no image is named there")

    @property
    def example(self) -> str:
        """The first names."""
        return ", ".join(list(self.split_of)[:3])

    def add(self, file: str, number: int, image: str, split: str) -> None:
        """Adds an image; raises InputError if it is in two splits."""
        if self.split_of.setdefault(image, split) != split:
            raise InputError(
                f"{file} line {number}: {image} is of {split}, and {self.split_of[image]} has it too; take one of them "
                "out"
            )

    def of(self, image: str, suffix: str) -> str | None:
        """Returns the split of an image, whose path or name is listed, with its ending or without; None: in none."""
        for name in (image, f"{image}{suffix}", os.path.splitext(image)[0]):
            split = self.split_of.get(name) or self.split_of.get(os.path.basename(name))
            if split is not None:
                return split
        return None


def read_lines(file: str) -> Iterator[tuple[int, str]]:
    """Yields the number and the text of each line that is not blank."""
    with open_text(file) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield number, line.strip()


def read_assigned(file: str, splits: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yields the line, the name and the split of each image in a file of both."""
    for number, line in read_lines(file):
        mark = next((mark for mark in ",\t" if mark in line), None)
        *names, name = line.rsplit(mark, 1)
        image, split = "".join(names).strip(), splits.get(name.strip().lower())
        if split in SPLITS and image:
            yield number, image, split
        elif number > 1:
            raise InputError(
                f"{file} line {number}: {line!r} is not the name of an image and {', '.join(SPLITS)} or what "
                "data.split_names has"
            )
