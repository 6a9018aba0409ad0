"""Reads PA-100K (arxiv.org/abs/1709.09930): pedestrians and 26 attributes, in one MATLAB file."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from multihot.data.manifest import SPLITS
from multihot.data.readers.matlab import read_matlab
from multihot.data.table.reader import TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError

NAMES, ANSWERS = "{}_images_name", "{}_label"  # of each split


@dataclass(kw_only=True)
class Pa100kReader(TableReader):
    """The images of `annotation.mat`, which says the split of each.

    Args:
        path: the file.
        root: folder of the images; None: that of the file.
    """

    path: str

    way_to_split = "PA-100K has its own split; data.path must be its annotation.mat"

    def fill(self, table: Table) -> None:
        """Adds the images of the file to the table."""
        content = read_matlab(self.path)
        table.begin(self.path, self.root, unit="image")
        table.list_labels(read_texts(self.path, content, "attributes"))
        number = 0
        for split in SPLITS:
            images = read_texts(self.path, content, NAMES.format(split))
            answers = read_answers(self.path, content, ANSWERS.format(split), (len(images), len(table.labels)))
            for image, row in zip(images, answers, strict=True):
                number += 1
                table.add(number, image, [table.labels[k] for k in np.flatnonzero(row)], split=split)


def read_texts(file: str, content: Mapping[str, object], name: str) -> list[str]:
    """Returns a column of texts, each in a cell of its own."""
    cells = content.get(name)
    if not isinstance(cells, list) or not cells or not all(isinstance(cell, str) and cell for cell in cells):
        raise InputError(f"{file} has no texts {name}: it is not the annotation.mat of PA-100K, or damaged")
    if len(set(cells)) < len(cells):
        twice = next(cell for cell in cells if cells.count(cell) > 1)
        raise InputError(f"{file} has {twice!r} twice in {name}; restore it")
    return cells


def read_answers(file: str, content: Mapping[str, object], name: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns the answers of a split (N, C), 0 or 1."""
    answers = content.get(name)
    if not isinstance(answers, np.ndarray) or answers.shape != shape or not np.isin(answers, [0, 1]).all():
        raise InputError(f"{file}: {name} must have 0 or 1 for {shape[0]} images and {shape[1]} attributes; restore it")
    return answers
