"""Reads PA-100K (arxiv.org/abs/1709.09930): pedestrians and 26 attributes, in one MATLAB file."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from multihot.data.manifest import SPLITS
from multihot.data.table.reader import TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError
from multihot.files import reading

NAMES, ANSWERS = "{}_images_name", "{}_label"  # of each split
DAMAGED = (ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, MemoryError, struct.error, zlib.error)


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


def read_matlab(file: str) -> dict[str, np.ndarray]:
    """Returns the variables of a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with reading(file), open(file, "rb") as content:
        try:
            return loadmat(content)
        except (NotImplementedError, MatReadError, *DAMAGED) as error:
            raise InputError(f"{file} cannot be read as a MATLAB file (before version 7.3): {error}") from error


def read_texts(file: str, content: dict[str, np.ndarray], name: str) -> list[str]:
    """Returns a column of texts, each in a cell of its own."""
    cells = [np.asarray(cell) for cell in np.ravel(content.get(name, ()))]
    texts = [str(cell.item()) for cell in cells if cell.dtype.kind == "U" and cell.size == 1]
    if not texts or len(texts) < len(cells):
        raise InputError(f"{file} has no texts {name}: it is not the annotation.mat of PA-100K, or damaged")
    return texts


def read_answers(file: str, content: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns the answers of a split (N, C), 0 or 1."""
    answers = content.get(name)
    if not isinstance(answers, np.ndarray) or answers.shape != shape or not np.isin(answers, [0, 1]).all():
        raise InputError(f"{file}: {name} must have 0 or 1 for {shape[0]} images and {shape[1]} attributes; restore it")
    return answers
