"""The Manifest: what every data source becomes, and all that the rest of the program knows of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array

from multihot.data.images import read_image
from multihot.errors import InputError, list_first
from multihot.labels import Group, LabelSpace


@dataclass(frozen=True)
class Manifest:
    """One split of a data set: N images and which of C labels each of them has.

    `targets` is sparse, int8 (N, C): 1 present, -1 unknown, nothing stored = absent.
    `images` holds paths, or whatever else `read` turns into a picture. Labels in one of the `groups` exclude each
    other.
    """

    labels: tuple[str, ...]
    images: Sequence[str]
    targets: csr_array
    read: Callable[[str], Image.Image] = field(default=read_image, repr=False)
    groups: tuple[Group, ...] = ()
    weights: np.ndarray | None = field(default=None, repr=False)  # float32 (N,), what each image counts in the loss

    def __post_init__(self):
        check_labels(self.labels)
        if self.targets.shape != (len(self.images), len(self.labels)):
            raise InputError(
                f"targets have shape {self.targets.shape}, but there are {len(self.images)} images "
                f"and {len(self.labels)} labels"
            )
        if self.targets.dtype != np.int8 or not np.isin(self.targets.data, (-1, 1)).all():
            raise InputError("targets must be int8 and hold only 1 (present) and -1 (unknown)")
        self.check_groups()

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: np.ndarray) -> "Manifest":
        """Returns the manifest of the given rows, in their order."""
        weights = None if self.weights is None else self.weights[rows]
        images = [self.images[row] for row in rows]
        return replace(self, images=images, targets=self.targets[rows], weights=weights)

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

    def sparse_target(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the labels of one image that are not absent: columns int64 (K,) and targets float32 (K,)."""
        start, stop = self.targets.indptr[row : row + 2]
        return self.targets.indices[start:stop].astype(np.int64), self.targets.data[start:stop].astype(np.float32)

    def check_groups(self) -> None:
        """Raises InputError with the first images that have several labels of a group, or none where one must be."""
        for group, columns in zip(self.groups, LabelSpace(self.labels, self.groups).columns, strict=True):
            name = f"of the group {group.name!r}"
            if group.none:
                self.check_one_label(columns, f"at most one label {name}", allow_none=True)
            else:
                self.check_one_label(columns, f"exactly one label {name} (none: true allows images without)")

    def check_one_label(self, columns: Sequence[int], wanted: str, allow_none: bool = False) -> None:
        """Raises InputError with the first images that have several labels of the columns, or without one."""
        members = self.targets[:, list(columns)]
        present, unknown = (np.asarray((members == value).sum(axis=1)) for value in (1, -1))
        lacks = (present == 0) & (unknown == 0) & (not allow_none)
        wrong = [f"{self.images[row]}: {present[row]} labels" for row in np.flatnonzero((present > 1) | lacks)]
        if wrong:
            raise InputError(f"{len(wrong)} images have not {wanted}:\n{list_first(wrong)}")

    def label_space(self, single_label: bool, activation: str) -> LabelSpace:
        """Returns the space of these labels; with `single_label` all of them exclude each other, and it is checked."""
        if not single_label:
            return LabelSpace(self.labels, self.groups, activation=activation)
        if self.groups:
            raise InputError("single_label=true is one group of all labels; take it or data.groups")
        self.check_one_label(range(len(self.labels)), "exactly one label, but single_label=true")
        return LabelSpace.single_label(self.labels)

    def hide(self, fraction: float, seed: int) -> "Manifest":
        """Returns the manifest with a random part of all answers made unknown."""
        if not 0 <= fraction < 1:
            raise InputError(f"the hidden part of the answers must be from 0 to below 1, not {fraction}")
        if fraction == 0:
            return self
        hidden = np.random.RandomState(seed).random_sample(self.targets.shape) < fraction
        targets = self.targets.toarray()
        targets[hidden] = -1
        return replace(self, targets=csr_array(targets))

    def label_frequency(self) -> np.ndarray:
        """Returns the share of the images with a known answer that have each label, float64 (C,)."""
        return self.label_count() / np.maximum(self.num_known(), 1)

    def counts(self) -> dict[str, int | list[int]]:
        """Returns what a loss must know of its train split: `label_count` (C,), `num_known` (C,), `num_images`."""
        label_count, num_known = self.label_count().tolist(), self.num_known().tolist()
        return {"label_count": label_count, "num_known": num_known, "num_images": len(self)}

    def label_count(self) -> np.ndarray:
        """Returns the number of images that have each label, int64 (C,)."""
        return np.asarray((self.targets == 1).sum(axis=0), np.int64)

    def num_known(self) -> np.ndarray:
        """Returns the number of images with a known answer for each label, int64 (C,)."""
        return np.asarray(len(self) - (self.targets == -1).sum(axis=0), np.int64)


def target_of(manifest: Manifest) -> torch.Tensor:
    """Returns all targets of a split, int8 (N, C)."""
    return torch.from_numpy(manifest.targets.toarray())


def check_labels(labels: Sequence[str]) -> None:
    """Raises InputError unless there is at least one label and no label occurs twice or is empty."""
    if not labels:
        raise InputError("there are no labels: a model needs at least one")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError(f"labels must differ from each other; these occur twice:\n{list_first(twice)}")
    if "" in labels:
        raise InputError(f"a label is empty (number {list(labels).index('') + 1} of {len(labels)})")
