"""Reads a data set from CSV: one image a row, its labels in one cell, its split in a column or by the file it is in."""

import csv
import math
import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.errors import InputError, list_first
from multihot.labels import read_groups

SPLITS = ("train", "val", "test")


def read_csv(
    split: str,
    *,
    path: str | None,
    val_path: str | None,
    test_path: str | None,
    root: str | None,
    image_column: str,
    labels_column: str,
    split_column: str | None,
    weight_column: str | None,
    separator: str,
    labels: Sequence[str] | None,
    groups: Mapping | None,
    val_fraction: float,
    split_seed: int,
) -> Manifest:
    """Returns the images and labels of one split ("train", "val" or "test"), in the order of the file.

    Either `split_column` divides the rows of the one file `path`, or, as soon as `val_path` or `test_path` is given,
    each file is one split. If no row is for validation, `val_fraction` of the train rows is, drawn with `split_seed`.
    The text of all files is checked whichever split is read, so that no image is in two of them; whether the images
    exist is checked for this split alone. The problems of all rows are raised together as one InputError.

    Args:
        root: folder that image paths start from; None is the folder of the file that names them.
        split_column: None, or missing in a file that has only the two other columns: all its rows are for training.
        weight_column: how much each image counts in the loss, 0 or more; None: all the same.
        separator: stands between the labels of a cell. An empty cell is an image with none of the labels.
        labels: the label list in its order; None is all labels of the train rows, sorted.
        groups: labels that exclude each other, `{name: [label, ...]}` or `{name: {labels: [...], none: true}}`.
    """
    files = {name: file for name, file in zip(SPLITS, (path, val_path, test_path), strict=True) if file}
    if split not in SPLITS:
        raise InputError(f"data=csv has no split {split!r}; choose from {', '.join(SPLITS)}")
    if not files or not separator:
        raise InputError("data.separator and one of data.path, data.val_path, data.test_path must not be empty")
    table = Table(separator)
    for file_split, file in files.items():
        names = (image_column, labels_column, split_column)
        columns = find_columns(file, names, weight_column, one_file=set(files) == {"train"})
        table.add_file(file, file_split, columns, root)
    rows = table.select(split, val_fraction, split_seed)
    labels = table.train_labels() if labels is None else tuple(map(str, labels))
    images = table.existing_images(rows)
    targets = table.create_targets(rows, labels)
    table.raise_problems(", ".join(files.values()))
    weights = None if weight_column is None else np.asarray(table.weights, np.float32)[rows]
    return Manifest(labels, images, targets, groups=read_groups(groups), weights=weights)


def read_rows(file: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the cells of each row of a file, the header first, blank lines left out.

    A row of several lines (a quoted cell may hold line ends) has the number of its last one.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            delimiter = "\t" if file.endswith((".tsv", ".tab")) else ","
            reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; correct its path in data or restore it") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 below line {reader.line_num}; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{file} line {reader.line_num} is not CSV: {error}; correct the quotes") from error


def find_columns(
    file: str, names: tuple[str, str, str | None], weight_column: str | None, one_file: bool
) -> dict[str, int]:
    """Returns where the image and labels columns are, and the split and weight columns if the file has them."""
    first_rows = [cells for _, cells in islice(read_rows(file), 2)]
    if len(first_rows) < 2:
        raise InputError(f"{file} is empty: its first line must name the columns, and each line below it an image")
    header = [cell.strip() for cell in first_rows[0]]
    columns = f"its columns are: {', '.join(header)}"
    for name, setting in zip(names, ("image_column", "labels_column"), strict=False):
        if header.count(name) != 1:
            raise InputError(f"{file} must have one column {name!r}; {columns}. Choose one by data.{setting}")
    split_column = names[2]
    if split_column in header and not one_file:
        divided = f"{file} has a column {split_column!r}, and data.val_path or data.test_path is given too"
        raise InputError(f"{divided}: set data.split_column or these paths to null")
    if weight_column not in (None, *header):
        raise InputError(
            f"{file} has no column {weight_column!r}; {columns}. Choose one by data.weight_column, or null"
        )
    num_others = 2 + (weight_column is not None)
    if split_column not in (None, *header) and one_file and len(header) > num_others:
        raise InputError(f"{file} has no column {split_column!r}; {columns}. Choose one by data.split_column, or null")
    places = zip(("image", "labels", "split", "weight"), (*names, weight_column), strict=True)
    return {part: header.index(name) for part, name in places if name in header}


class Table:
    """The rows of all files, and what is wrong with them.

    The labels are in flat arrays, because lists of strings would fill the memory: the k-th label in the files belongs
    to row `label_rows[k]` and is label number `label_ids[k]`.
    """

    def __init__(self, separator: str):
        self.separator = separator
        self.row_of: dict[str, int] = {}  # image -> row
        self.id_of: dict[str, int] = {}  # label -> number, in the order of appearance
        self.places: list[str] = []  # file and line of each row
        self.split_ids, self.label_rows, self.label_ids = array("b"), array("i"), array("i")
        self.weights = array("f")
        self.problems: dict[str, list[str]] = defaultdict(list)  # what is wrong -> where

    def add_file(self, file: str, file_split: str, columns: dict[str, int], root: str | None) -> None:
        """Adds the rows of a file; those that do not name a split belong to `file_split`."""
        root = os.path.abspath(os.path.dirname(file) if root is None else root)
        rows = read_rows(file)
        num_cells = len(next(rows)[1])
        for line, cells in rows:
            place = f"{file} line {line}"
            if len(cells) != num_cells:
                self.problems["rows of the wrong length"].append(f"{place}: {len(cells)} cells instead of {num_cells}")
                continue
            row = {"split": file_split, "weight": "1"} | {part: cells[k].strip() for part, k in columns.items()}
            image, split = row["image"], row["split"]
            if not image:
                self.problems["rows without an image"].append(place)
            elif split not in SPLITS:
                self.problems[f"splits other than {', '.join(SPLITS)}"].append(f"{place}: {split!r}")
            elif not is_weight(row["weight"]):
                self.problems["weights that are no number from 0 up"].append(f"{place}: {row['weight']!r}")
            else:
                image = os.path.normpath(os.path.join(root, image))
                self.add_row(place, image, row["labels"], split, float(row["weight"]))

    def add_row(self, place: str, image: str, cell: str, split: str, weight: float) -> None:
        """Adds one row, unless its image is in the table already."""
        row = len(self.places)
        first = self.row_of.setdefault(image, row)
        if first != row:
            twice = "images that have a row already; in two splits they make scores too good (keep one row)"
            self.problems[twice].append(f"{place}: {image}, as in {self.places[first]}")
            return
        labels = [label for part in cell.split(self.separator) if (label := part.strip())]
        if len(set(labels)) < len(labels):
            self.problems["cells with a repeated label"].append(f"{place}: {cell!r}")
        self.places.append(place)
        self.split_ids.append(SPLITS.index(split))
        self.weights.append(weight)
        self.label_rows.extend([row] * len(labels))
        self.label_ids.extend([self.id_of.setdefault(label, len(self.id_of)) for label in labels])

    def raise_problems(self, files: str) -> None:
        """Raises InputError with the first places of each kind of problem, if there is any."""
        if self.problems:
            kinds = [f"{len(places)} {problem}:\n{list_first(places)}" for problem, places in self.problems.items()]
            raise InputError(f"{files} cannot be used. There are\n" + "\n".join(kinds))

    def select(self, split: str, val_fraction: float, split_seed: int) -> np.ndarray:
        """Returns the rows of a split; without rows for validation, train and val divide the train rows."""
        split_ids = np.asarray(self.split_ids)
        parts = {name: np.flatnonzero(split_ids == number) for number, name in enumerate(SPLITS)}
        train_rows = parts["train"]
        if split != "test" and len(train_rows) and not len(parts["val"]):
            parts = divide(train_rows, val_fraction, split_seed)
            if not 0 < val_fraction < 1 or not len(parts["train"]):
                self.problems["unusable data.val_fraction"].append(
                    f"{val_fraction} of {len(train_rows)} train rows leaves none for val or none for train; choose "
                    "another, write val into the split column or give data.val_path"
                )
        elif not len(parts[split]):
            self.problems["splits without rows"].append(
                f"{split}: write it into the split column, or give each split a file of its own (data.path for train, "
                "data.val_path, data.test_path)"
            )
        return parts[split]

    def train_labels(self) -> tuple[str, ...]:
        """Returns the labels of the train rows, sorted."""
        in_train = np.asarray(self.split_ids)[np.asarray(self.label_rows)] == SPLITS.index("train")
        found = set(np.asarray(self.label_ids)[in_train].tolist())
        return tuple(sorted(label for label, number in self.id_of.items() if number in found))

    def existing_images(self, rows: np.ndarray) -> list[str]:
        """Returns the paths of the images of rows, and notes those where no file is."""
        paths = list(self.row_of)
        missing = "images that do not exist (restore them, remove their rows, or correct data.root)"
        for row in rows:
            if not os.path.isfile(paths[row]):
                self.problems[missing].append(f"{self.places[row]}: {paths[row]}")
        return [paths[row] for row in rows]

    def create_targets(self, rows: np.ndarray, labels: tuple[str, ...]) -> csr_array:
        """Returns the targets of rows, int8 (N, C), and notes the labels that are not in the list."""
        found = list(self.id_of)
        column_of = {label: column for column, label in enumerate(labels)}
        columns = np.array([column_of.get(label, -1) for label in found], np.int32)[np.asarray(self.label_ids)]
        target_rows = np.full(len(self.places), -1, np.int32)
        target_rows[rows] = np.arange(len(rows))
        target_rows = target_rows[np.asarray(self.label_rows)]
        unlisted = f"labels that are not in the list (correct them, data.labels or data.separator={self.separator!r})"
        for k in np.flatnonzero((target_rows >= 0) & (columns < 0)):
            self.problems[unlisted].append(f"{self.places[self.label_rows[k]]}: {found[self.label_ids[k]]!r}")
        known = (target_rows >= 0) & (columns >= 0)
        ones = np.ones(known.sum(), np.int8)
        return csr_array((ones, (target_rows[known], columns[known])), shape=(len(rows), len(labels)))


def is_weight(text: str) -> bool:
    """Returns whether a text is a finite number from 0 up.

    >>> is_weight("0.5"), is_weight("-1"), is_weight("nan"), is_weight("much")
    (True, False, False, False)
    """
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def divide(rows: np.ndarray, val_fraction: float, split_seed: int) -> dict[str, np.ndarray]:
    """Returns the rows in two parts, "train" and "val", each in their order."""
    num_val = max(1, round(val_fraction * len(rows)))
    # RandomState, because numpy keeps its stream for ever: the validation part must outlive an update of numpy.
    shuffled = np.random.RandomState(split_seed).permutation(rows)
    return {"train": np.sort(shuffled[num_val:]), "val": np.sort(shuffled[:num_val])}
