"""The Manifest: what every data source becomes, and all that the rest of the program knows of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image
from scipy.sparse import csr_array

from multihot.data.images import read_image
from multihot.errors import InputError, list_first


@dataclass(frozen=True)
class Manifest:
    """One split of a data set: N images and which of C labels each of them has.

    `targets` is sparse, int8 (N, C): 1 present, -1 unknown, nothing stored = absent.
    `images` holds paths, or whatever else `read` turns into a picture.
    """

    labels: tuple[str, ...]
    images: Sequence[str]
    targets: csr_array
    read: Callable[[str], Image.Image] = field(default=read_image, repr=False)

    def __post_init__(self):
        check_labels(self.labels)
        if self.targets.shape != (len(self.images), len(self.labels)):
            raise InputError(
                f"targets have shape {self.targets.shape}, but there are {len(self.images)} images "
                f"and {len(self.labels)} labels"
            )
        if self.targets.dtype != np.int8 or not np.isin(self.targets.data, (-1, 1)).all():
            raise InputError("targets must be int8 and hold only 1 (present) and -1 (unknown)")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: np.ndarray) -> "Manifest":
        """Returns the manifest of the given rows, in their order."""
        return replace(self, images=[self.images[row] for row in rows], targets=self.targets[rows])

    def thin_out(self, max_images: int | None) -> "Manifest":
        """Returns at most `max_images` images, evenly spread over all; None: all."""
        if max_images is None or max_images >= len(self):
            return self
        return self.subset(np.linspace(0, len(self) - 1, max_images).round().astype(int))

    def target(self, row: int) -> np.ndarray:
        """Returns the dense target of one image, float32 (C,)."""
        start, stop = self.targets.indptr[row : row + 2]
        target = np.zeros(len(self.labels), np.float32)
        target[self.targets.indices[start:stop]] = self.targets.data[start:stop]
        return target

    def check_one_label(self) -> None:
        """Raises InputError with the first images that have no label or several."""
        counts = (self.targets == 1).sum(axis=1)
        wrong = [f"{self.images[row]}: {counts[row]} labels" for row in np.flatnonzero(counts != 1)]
        if wrong:
            raise InputError(
                f"single_label=true, but {len(wrong)} images have not exactly one label:\n{list_first(wrong)}"
            )

    def label_frequency(self) -> np.ndarray:
        """Returns the share of the images with a known answer that have each label, float64 (C,)."""
        present = (self.targets == 1).sum(axis=0)
        known = len(self) - (self.targets == -1).sum(axis=0)
        return np.asarray(present / np.maximum(known, 1), np.float64)


def check_labels(labels: Sequence[str]) -> None:
    """Raises InputError unless there is at least one label and no label occurs twice or is empty."""
    if not labels:
        raise InputError("there are no labels: a model needs at least one")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError(f"labels must differ from each other; these occur twice:\n{list_first(twice)}")
    if "" in labels:
        raise InputError(f"a label is empty (number {list(labels).index('') + 1} of {len(labels)})")
