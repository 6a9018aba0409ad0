"""Reads a JSON object whose keys are images and whose values are their labels: {"a.jpg": ["cat", "dog"], ...}."""

from collections.abc import Sequence
from dataclasses import dataclass

from multihot.data.formats.strict_json import load_file
from multihot.data.formats.text_files import open_text
from multihot.data.table.columns import ColumnReader, Rows
from multihot.errors import InputError


@dataclass(kw_only=True)
class JsonMapReader(ColumnReader):
    """One JSON object, an image a key; see ColumnReader, of which data.layout=cell alone is of use.

    Args:
        names_path: file of the names of labels that are numbers, one a line, that of 0 first; None: a label is called
            by its number.
    """

    names_path: str | None = None

    unit = "image"

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the columns of image and labels, and a row for each key."""
        images = load_file(file)
        if not isinstance(images, dict) or not images or not all(isinstance(cell, list) for cell in images.values()):
            raise InputError(f'{file} must hold one JSON object of images and lists: {{"a.jpg": [0, 7], "b.jpg": []}}')
        names = None if self.names_path is None else read_names(self.names_path)
        rows = ((image, self.name(file, image, numbers, names)) for image, numbers in images.items())
        return [self.image_column, str(self.labels_column)], enumerate(rows, start=1)

    def name(self, file: str, image: str, numbers: list, names: Sequence[str] | None) -> list:
        """Returns the names of labels that are numbers; without names what there is."""
        if names is None:
            return numbers
        wrong = [number for number in numbers if type(number) is not int or not 0 <= number < len(names)]
        if wrong:
            raise InputError(
                f"{file}: {image!r} has the label {wrong[0]!r}, and {self.names_path} names those from 0 to "
                f"{len(names) - 1}; correct one of them"
            )
        return [names[number] for number in numbers]

    def own_labels(self) -> tuple[str, ...]:
        """Returns the labels; numbers in their order, as 2 before 10."""
        labels = super().own_labels()
        is_sorted = self.labels is not None or not all(map(str.isdecimal, labels))
        return labels if is_sorted else tuple(sorted(labels, key=lambda label: (len(label), label)))


def read_names(file: str) -> list[str]:
    """Returns the names in a file, one a line."""
    with open_text(file) as text:
        names = [line.strip() for line in text if line.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{file} must have the name of each label in a line of its own, none twice")
    return names
