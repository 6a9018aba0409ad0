"""Where each row is in its file, and where each problem is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_NOTED = 100  # places of a problem; the others are counted


class Cases(Sequence):
    """The places of a problem: the first of them, and how many there are."""

    def __init__(self, first: Sequence[str] = (), count: int = 0):
        self.first, self.count = list(first), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | slice) -> str | list[str]:
        return self.first[key]

    def append(self, place: str) -> None:
        """Adds a place."""
        self.count += 1
        if len(self.first) < MOST_NOTED:
            self.first.append(place)

    def extend(self, other: "Cases") -> None:
        """Adds all places of another problem."""
        self.first = [*self.first, *other.first][:MOST_NOTED]
        self.count += other.count

    def copy(self) -> "Cases":
        """Returns the same places."""
        return Cases(self.first, self.count)


Problems = dict[str, Cases]  # what is wrong -> where


@dataclass(frozen=True)
class Places(Sequence):
    """Where each image is listed: "labels.csv line 12"."""

    files: Sequence[str]
    units: Sequence[str]
    file_ids: Sequence[int]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> str:
        file = self.file_ids[row]
        return f"{self.files[file]} {self.units[file]} {self.numbers[row]}"

    def take(self, rows: np.ndarray) -> "Places":
        """Returns the places of the given rows."""
        return Places(self.files, self.units, self.file_ids[rows], self.numbers[rows])
