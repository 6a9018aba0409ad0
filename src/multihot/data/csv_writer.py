"""Writes images, splits and answers as a file that data=csv reads to the same: the inverse of readers/csv_file.py."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multihot.errors import InputError, list_first

if TYPE_CHECKING:
    from multihot.data.manifest import Manifest

SEPARATORS = (" ", ";", "|", ",", "\t")
LEFT_OUT = ""  # the split of an image that is not written


@dataclass(frozen=True)
class CellWriter:
    """Writes one row an image, all its labels in one cell."""

    separator: str

    def format(self, data: "Manifest", splits: np.ndarray, folder: Path) -> str:
        """Returns the text of the file."""
        has_unknown = bool((data.targets.data == -1).any())
        header = ["image", "split", "labels", *["unknown"] * has_unknown, *["weight"] * (data.weights is not None)]

        def rows() -> Iterable[list]:
            for row, image in each_image(data, splits, folder):
                columns, values = data.sparse_target(row)
                present, unknown = columns[values > 0], columns[values == -1]
                cells = [self.separator.join(data.labels[k] for k in part) for part in (present, unknown)]
                yield [image, splits[row], *cells[: 1 + has_unknown], *weight_of(data, row)]

        return format_csv(header, rows())

    def settings(self, data: "Manifest") -> dict[str, str]:
        """Returns the settings of data=csv that read the file, where they differ from the default."""
        unknown = {"data.unknown_column": "unknown"} if (data.targets.data == -1).any() else {}
        return ({} if self.separator == " " else {"data.separator": self.separator}) | unknown


class PairWriter:
    """Writes one row an image and answer, for all that a cell of labels cannot say."""

    def format(self, data: "Manifest", splits: np.ndarray, folder: Path) -> str:
        """Returns the text of the file; a label without any answer in train gets one that says what is true anyway."""
        header = ["image", "split", "label", "value", *["weight"] * (data.weights is not None)]
        missing = labels_not_in_train(data, splits)

        def rows() -> Iterable[list]:
            """Yields the cells of each row."""
            nonlocal missing
            for row, image in each_image(data, splits, folder):
                columns, values = data.sparse_target(row)
                said = values != data.unlisted
                answers = [
                    (data.labels[column], format_value(value))
                    for column, value in zip(columns[said], values[said], strict=True)
                ]
                if splits[row] == "train":
                    answers += [(data.labels[column], data.unlisted) for column in missing]
                    missing = []
                for answer in answers or [("", "")]:
                    yield [image, splits[row], *answer, *weight_of(data, row)]

        return format_csv(header, rows())

    def settings(self, data: "Manifest") -> dict[str, str]:
        """Returns the settings of data=csv that read the file, where they differ from the default."""
        settings = {"data.layout": "pairs", "data.labels_column": "label", "data.value_column": "value"}
        return settings | ({"data.unlisted_pairs": "unknown"} if data.unlisted == -1 else {})


def choose_writer(data: "Manifest", new_splits: Sequence[np.ndarray], separator: str | None) -> CellWriter | PairWriter:
    """Returns what writes a file that is read to the same labels and answers.

    Raises:
        InputError: a label contains the separator.
    """
    if data.is_soft or data.unlisted == -1 or any(len(labels_not_in_train(data, splits)) for splits in new_splits):
        return PairWriter()
    candidates = SEPARATORS if separator is None else (separator,)
    for candidate in candidates:
        if candidate and not any(candidate in label for label in data.labels):
            return CellWriter(candidate)
    if separator is None:
        raise InputError(f"labels contain each of {SEPARATORS}; choose another separator=")
    bad = [label for label in data.labels if separator in label]
    raise InputError(f"separator={separator!r} must not be empty or in a label:\n{list_first(bad)}")


def labels_not_in_train(data: "Manifest", splits: np.ndarray) -> np.ndarray:
    """Returns the columns of the labels about which no train image says anything; data=csv would not know them."""
    train = data.targets[np.flatnonzero(splits == "train")]
    num_answers = np.bincount(train.indices[train.data != data.unlisted], minlength=len(data.labels))
    return np.flatnonzero(num_answers == 0)


def each_image(data: "Manifest", splits: np.ndarray, folder: Path) -> Iterable[tuple[int, str]]:
    """Yields the row and the path of each image that is written: relative to the folder if it is in there."""
    start = os.path.join(os.path.abspath(folder), "")
    for row in np.flatnonzero(splits != LEFT_OUT).tolist():
        yield row, os.path.abspath(data.images[row]).removeprefix(start)


def weight_of(data: "Manifest", row: int) -> list[str]:
    """Returns the cell of an image's weight, none if there are no weights."""
    return [] if data.weights is None else [format_value(data.weights[row])]


def format_value(value: np.float32) -> str:
    """Returns the shortest number that is read as the same float32.

    >>> format_value(np.float32(0.1)), format_value(np.float32(-1))
    ('0.1', '-1')
    """
    return str(value).removesuffix(".0")


def format_csv(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Returns the rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
