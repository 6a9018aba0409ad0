"""The Manifest: what every data source becomes, and all that the rest of the program knows of it."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array, vstack

from multihot.data.images import DECODING, decoding_of, file_of, read_image
from multihot.data.value_range import RangedReader, ValueRange
from multihot.errors import InputError, list_first, plural
from multihot.labels import Group, LabelSpace

SPLITS = ("train", "val", "test")
NO_GROUPS = "with data.groups={} no labels exclude each other"


@dataclass(frozen=True)
class BadImage:
    """An image that is listed and cannot be used, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """One split of a data set: N images and which of C labels each of them has.

    `targets` is sparse (N, C): 1 present, 0 absent, -1 unknown, and, if it is float32 and not int8, anything from 0 to
    1 as a soft answer. What is not stored is absent, or unknown where `unlisted` is -1. `images` holds paths, or
    whatever else `read` turns into a picture. Labels in one of the `groups` exclude each other.
    """

    labels: tuple[str, ...]
    images: Sequence[str]
    targets: csr_array
    read: Callable[..., Image.Image] = field(default=read_image, repr=False)  # (image, min_side=None) -> picture
    groups: tuple[Group, ...] = ()
    unlisted: int = 0  # 0: what is not stored is absent; -1: unknown
    weights: np.ndarray | None = field(default=None, repr=False)  # float32 (N,), what each image counts in the loss
    clusters: np.ndarray | None = field(default=None, repr=False)  # int64 (N,), images of one number stay in one split
    shards: np.ndarray | None = field(default=None, repr=False)  # int64 (N,), in which file of many an image is
    places: Sequence[str] | None = field(default=None, repr=False)  # (N,), file and line that list each image
    dropped: tuple[BadImage, ...] = field(default=(), repr=False)  # listed, but left out by data.bad_images=skip
    num_listed_absent: int = field(default=0, repr=False)  # answers that the source itself gives as absent

    def __post_init__(self):
        check_labels(self.labels)
        if self.targets.shape != (len(self.images), len(self.labels)):
            raise InputError(
                f"targets have shape {self.targets.shape}, which is not that of {plural(len(self.images), 'image')} "
                f"and {plural(len(self.labels), 'label')}"
            )
        values = self.targets.data
        if values.dtype not in (np.int8, np.float32) or not ((values == -1) | ((values >= 0) & (values <= 1))).all():
            raise InputError(
                "targets must be int8 and hold only 1 (present), 0 (absent) and -1 (unknown), or float32 and hold -1 "
                "and values from 0 to 1"
            )
        self.check_groups()

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: np.ndarray) -> "Manifest":
        """Returns the manifest of the given rows, in their order."""
        parts = {name: take(getattr(self, name), rows) for name in ("images", *OF_EACH_IMAGE)}
        return replace(self, targets=self.targets[rows], **parts)

    @classmethod
    def concatenate(cls, manifests: Sequence["Manifest"]) -> "Manifest":
        """Returns the images of all splits of one reader as one; what some of them do not know, it does not know."""
        parts = {name: chain_values([getattr(part, name) for part in manifests]) for name in ("images", *OF_EACH_IMAGE)}
        parts["targets"] = vstack([part.targets for part in manifests], format="csr")
        parts["dropped"] = sum((part.dropped for part in manifests), ())
        parts["num_listed_absent"] = sum(part.num_listed_absent for part in manifests)
        return replace(manifests[0], **parts)

    def thin_out(self, max_images: int | None) -> "Manifest":
        """Returns at most `max_images` images, evenly spread over all; None: all."""
        if max_images is None or max_images >= len(self):
            return self
        return self.subset(np.linspace(0, len(self) - 1, max_images).round().astype(int))

    def with_value_range(self, value_range: ValueRange) -> "Manifest":
        """Returns the manifest whose images have this black and white, where they have more than 8 bits; None: auto."""
        return self if value_range is None else replace(self, read=RangedReader(self.read, value_range))

    @property
    def is_soft(self) -> bool:
        """Whether answers may lie between absent and present."""
        return self.targets.dtype == np.float32

    def target(self, row: int) -> np.ndarray:
        """Returns the dense target of one image, float32 (C,)."""
        start, stop = self.targets.indptr[row : row + 2]
        target = np.full(len(self.labels), self.unlisted, np.float32)
        target[self.targets.indices[start:stop]] = self.targets.data[start:stop]
        return target

    def sparse_target(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the stored answers of one image: columns int64 (K,) and targets float32 (K,)."""
        start, stop = self.targets.indptr[row : row + 2]
        return self.targets.indices[start:stop].astype(np.int64), self.targets.data[start:stop].astype(np.float32)

    def dense_targets(self, rows: slice = slice(None)) -> np.ndarray:
        """Returns the targets (N, C) of all or some images, int8, or float32 if there are soft ones."""
        targets = self.targets[rows]
        if self.unlisted == 0:
            return targets.toarray()
        dense = np.full(targets.shape, self.unlisted, targets.dtype)
        dense[np.repeat(np.arange(len(dense)), np.diff(targets.indptr)), targets.indices] = targets.data
        return dense

    def check_groups(self) -> None:
        """Raises InputError with the first images that have several labels of a group, or none where one must be."""
        for group, columns in zip(self.groups, LabelSpace(self.labels, self.groups).columns, strict=True):
            name = f"of the group {group.name!r}"
            if group.none:
                self.check_one_label(columns, f"at most one label {name} ({NO_GROUPS})", allow_none=True)
            else:
                self.check_one_label(
                    columns, f"exactly one label {name} (none: true allows images without; {NO_GROUPS})"
                )

    def check_one_label(self, columns: Sequence[int], wanted: str, allow_none: bool = False) -> None:
        """Raises InputError with the first images that have several labels of the columns, or without one."""
        members = self.targets[:, list(columns)]
        present = np.asarray((members >= 0.5).sum(axis=1))
        unknown = np.asarray((members == -1).sum(axis=1)) + bool(self.unlisted) * (
            np.diff(members.indptr) < len(columns)
        )
        lacks = (present == 0) & (unknown == 0) & (not allow_none)
        wrong = [
            f"{self.images[row]}: {plural(present[row], 'label')}" for row in np.flatnonzero((present > 1) | lacks)
        ]
        if wrong:
            have = "has" if len(wrong) == 1 else "have"
            raise InputError(f"{plural(len(wrong), 'image')} {have} not {wanted}:\n{list_first(wrong)}")

    def label_space(self, single_label: bool, activation: str) -> LabelSpace:
        """Returns the space of these labels; with `single_label` all of them exclude each other, and it is checked."""
        if not single_label:
            return LabelSpace(self.labels, self.groups, activation=activation)
        if self.groups:
            raise InputError("single_label=true is one group of all labels; take it or data.groups")
        if len(self.labels) == 1:
            raise InputError(
                f"single_label=true chooses between labels, but the data has only {self.labels[0]!r}; with "
                "single_label=false a label is there or not"
            )
        self.check_one_label(range(len(self.labels)), "exactly one label, but single_label=true")
        return LabelSpace.single_label(self.labels)

    def hide(self, fraction: float, seed: int) -> "Manifest":
        """Returns the manifest with a random part of all answers made unknown."""
        if fraction == 0:
            return self
        hidden = np.random.RandomState(seed).random_sample(self.targets.shape) < fraction
        targets = self.dense_targets()
        targets[hidden] = -1
        return replace(self, targets=csr_array(targets), unlisted=0)

    def identity(self) -> dict[str, int | str]:
        """Returns what tells this split from another: how many images it has, how many were left out, and its hash."""
        return {"num_images": len(self), "num_dropped": len(self.dropped), "sha256": self.fingerprint()}

    def fingerprint(self) -> str:
        """Returns a hash of labels, answers, weights and the names of the images from their common folder on."""
        digest = hashlib.sha256(json.dumps([self.labels, self.unlisted], ensure_ascii=False).encode())
        first, last = (min(self.images), max(self.images)) if len(self) else ("", "")
        common = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
        start = first.rfind("/", 0, common) + 1
        for image in self.images:
            digest.update(image[start:].encode("utf-8", "surrogateescape") + b"\n")
        targets = self.targets.sorted_indices()
        for part in (
            targets.indptr.astype(np.int64),
            targets.indices.astype(np.int64),
            targets.data.astype(np.float32),
            *([] if self.weights is None else [self.weights.astype(np.float32)]),
        ):
            digest.update(part)
        return digest.hexdigest()

    def image_states(self) -> Iterator[str]:
        """Yields what changes whenever an image does: its name, with size and time of the file that it is or is in."""
        yield f"{DECODING} {getattr(self.read, 'stamp', '')}"
        states = {}  # of files that hold many images
        for image in self.images:
            file = file_of(image)
            state = states.get(file) or describe_state(file)
            if file != image:
                states[file] = state
            yield f"{image} {state}"

    def label_frequency(self) -> np.ndarray:
        """Returns the share of the images with a known answer that have each label, float64 (C,)."""
        return self.label_count() / np.maximum(self.num_known(), 1)

    def counts(self) -> dict[str, int | list[int]]:
        """Returns what a loss must know of its train split: `label_count` (C,), `num_known` (C,), `num_images`."""
        label_count, num_known = self.label_count().tolist(), self.num_known().tolist()
        return {"label_count": label_count, "num_known": num_known, "num_images": len(self)}

    def label_count(self) -> np.ndarray:
        """Returns the number of images that have each label, int64 (C,); the sum of soft answers, float64 (C,)."""
        present = self.targets.data > 0
        values = self.targets.data[present] if self.is_soft else None
        return np.bincount(self.targets.indices[present], values, minlength=len(self.labels))

    def num_known(self) -> np.ndarray:
        """Returns the number of images with a known answer for each label, int64 (C,)."""
        is_unknown = self.targets.data == -1
        if self.unlisted == 0:
            return len(self) - np.bincount(self.targets.indices[is_unknown], minlength=len(self.labels))
        return np.bincount(self.targets.indices[~is_unknown], minlength=len(self.labels))


OF_EACH_IMAGE = ("weights", "clusters", "shards", "places")


def describe_state(file: str | None) -> str:
    """Returns the size and the time of a file, and how it is decoded if that has changed for files of its kind."""
    if file is None:
        return "no file"
    stat, decoding = os.stat(file), decoding_of(file)
    return f"{stat.st_size} {stat.st_mtime_ns}{f' decoded by {decoding}' * (decoding != DECODING)}"


def take(values: Sequence | np.ndarray | None, rows: np.ndarray) -> Sequence | np.ndarray | None:
    """Returns the values of the given rows; None stays None."""
    if values is None or isinstance(values, np.ndarray):
        return values if values is None else values[rows]
    return values.take(rows) if hasattr(values, "take") else [values[row] for row in rows]


def chain_values(parts: Sequence[Sequence | np.ndarray | None]) -> Sequence | np.ndarray | None:
    """Returns the values of all parts one after the other; None if one of them is None."""
    if any(part is None for part in parts):
        return None
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))


def target_of(manifest: Manifest) -> torch.Tensor:
    """Returns all targets of a split (N, C), int8, or float32 if there are soft ones."""
    return torch.from_numpy(manifest.dense_targets())


def check_labels(labels: Sequence[str]) -> None:
    """Raises InputError unless there is at least one label and no label occurs twice or is empty."""
    if not labels:
        raise InputError("there are no labels: a model needs at least one")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError(f"labels must differ from each other; these occur twice:\n{list_first(twice)}")
    if "" in labels:
        raise InputError(f"a label is empty (number {list(labels).index('') + 1} of {len(labels)})")
