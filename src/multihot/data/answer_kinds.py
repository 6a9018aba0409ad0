"""The kinds of answers of a split: a label can be learnt and ranked where some images have it and others lack it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from multihot.data.manifest import Manifest
from multihot.data.unknown import UnknownStrategy
from multihot.labels import LabelSpace

MANY_LISTED = 0.25  # unknown answers to a present one, where what is not listed is absent
CHANCE = 1e-3  # that any label is lacking in a split by bad luck; what is less likely is told


class Kinds(NamedTuple):
    """How many of the images of a split are known to have each label, and how many to be without it, int64 (C,)."""

    num_images: int
    present: np.ndarray
    absent: np.ndarray

    @property
    def unanswered(self) -> np.ndarray:
        """The labels of which nothing is known, bool (C,)."""
        return (self.present == 0) & (self.absent == 0)

    @property
    def only_present(self) -> np.ndarray:
        """The labels that no image is known to be without, bool (C,)."""
        return (self.present > 0) & (self.absent == 0)

    @property
    def only_absent(self) -> np.ndarray:
        """The labels that no image is known to have, bool (C,)."""
        return (self.present == 0) & (self.absent > 0)

    @property
    def both(self) -> np.ndarray:
        """The labels of which there is something to learn and to rank, bool (C,)."""
        return (self.present > 0) & (self.absent > 0)


def count_kinds(data: Manifest, *, soft_is_both: bool = False) -> Kinds:
    """Returns the kinds of answers of a split; a soft answer is present from 0.5 up, else absent, or both.

    >>> from scipy.sparse import csr_array
    >>> data = Manifest(("cat", "dog"), ["a.jpg", "b.jpg"], csr_array(np.int8([[1, -1], [0, 1]])))
    >>> kinds = count_kinds(data)
    >>> kinds.both.tolist(), kinds.only_present.tolist()
    ([True, False], [False, True])
    """
    values = data.targets.data
    some, whole = (values > 0, values == 1) if soft_is_both else (values >= 0.5, values >= 0.5)
    present, all_of_it = (np.bincount(data.targets.indices[part], minlength=len(data.labels)) for part in (some, whole))
    return Kinds(len(data), present, data.num_known() - all_of_it)


def count_trained(data: Manifest, space: LabelSpace, unknown: UnknownStrategy, *, soft_is_both: bool = False) -> Kinds:
    """Returns the kinds of answers that the loss is given: an unknown one may be absent to it, and in an exclusive
    group a label is absent where another is present. Images of weight 0 are left out.
    """
    if data.weights is not None:
        data = data.subset(np.flatnonzero(data.weights > 0))
    kinds = count_kinds(data, soft_is_both=soft_is_both)
    absent = kinds.absent.copy()
    if unknown.element_weight > 0:
        absent[space.independent] += (len(data) - data.num_known())[space.independent]
    for columns in space.columns:
        absent[columns] = np.maximum(absent[columns], kinds.present[columns].sum() - kinds.present[columns])
    return kinds._replace(absent=absent)


def mostly_unknown(data: Manifest, settings: Mapping) -> bool:
    """Returns whether a source that codes answers by numbers lists many unknown ones, and fewer absent than present:
    most likely its -1, or an empty cell, means absent (VOC codes so), unless `data.answers` says what it does.
    """
    if "answers" not in settings or settings["answers"] or settings.get("unknown_column") or data.unlisted != 0:
        return False
    kinds = count_kinds(data)
    present, unknown = kinds.present.sum(), num_unknown(data)
    if settings.get("layout") in ("pairs", "cell") or "labels_key" in settings:  # what is not listed is absent
        return bool(unknown > MANY_LISTED * present > 0 and unknown > data.num_listed_absent)
    return bool(unknown > present > kinds.absent.sum())


def num_unknown(data: Manifest) -> int:
    """Returns how many answers are unknown."""
    return int((len(data) - data.num_known()).sum())


def unlike_train(train: Manifest, other: Manifest) -> dict[str, np.ndarray]:
    """Returns the labels (C,) that no image of another split is known to have ("with them"), or to be without
    ("without them"), though train has so many that chance does not explain it.

    If a share p of the train images has what none of N images has, the chance of that is (1 - p)^N.
    """
    if not len(other) or not len(train):
        return {}
    trained, measured, found = count_kinds(train), count_kinds(other), {}
    for name, kind in (("with them", "present"), ("known to be without them", "absent")):
        share = getattr(trained, kind) / len(train)
        lacking = (getattr(measured, kind) == 0) & ((1 - share) ** len(other) < CHANCE / len(train.labels))
        if lacking.any():
            found[name] = lacking
    return found
