"""Many strings in two arrays: a list of a million paths would be copied into every worker, object by object."""

from collections.abc import Iterable, Sequence

import numpy as np


class PackedStrings(Sequence):
    """An immutable sequence of strings, as UTF-8 bytes one after the other.

    >>> images = PackedStrings.pack(["a.jpg", "ü.jpg", ""])
    >>> images[1], list(images.take(np.array([2, 0]))), len(images), images == ["a.jpg", "ü.jpg", ""]
    ('ü.jpg', ['', 'a.jpg'], 3, True)
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self.text = text  # uint8
        self.ends = ends  # int64 (N,)

    @classmethod
    def pack(cls, strings: Iterable[str]) -> "PackedStrings":
        """Returns the strings, packed."""
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]  # as file names may be
        ends = np.cumsum([len(string) for string in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> str:
        row = range(len(self))[row]
        start = self.ends[row - 1] if row else 0
        return self.text[start : self.ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"PackedStrings of {len(self)}"

    def take(self, rows: np.ndarray) -> "PackedStrings":
        """Returns the strings of the given rows, in their order."""
        return PackedStrings.pack(self[row] for row in rows)
