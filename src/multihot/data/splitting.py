"""Divides images with many labels into parts that all have the same label frequencies, without a dense target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from scipy.sparse import csc_array, csr_array

from multihot.errors import InputError

UNIT = 1_000_000  # wishes are counted in millionths of an image: whole numbers, so that equal wishes are equal


def stratify(
    targets: csr_array, fractions: Sequence[float], seed: int, clusters: np.ndarray | None = None
) -> np.ndarray:
    """Returns the part of each image, int64 (N,), so that each part has its fraction of each label's positives.

    Iterative stratification (Sechidis et al. 2011, doi.org/10.1007/978-3-642-23808-6_10): the label with the fewest
    positives left comes first, and each of its images goes to the part that wishes most of that label. Two things are
    added. The parts have exactly their numbers of images: a full part takes no more. And where rare labels have
    filled one part too fast, all later labels give way in equal measure: a label that r of the R images that are left
    have wishes r * (room / R - fraction) more of a part, in whole images. Images without any label come last.

    Only targets of at least 0.5 are positives; unknown ones (-1) are not.

    Args:
        fractions: of the images, one a part, which sum up to 1.
        seed: decides between equal wishes and which images go where; the same in every version of numpy.
        clusters: int64 (N,), images of one number go to the same part. Sizes are then as near as whole clusters allow.

    >>> targets = csr_array(np.array([[1, 0], [1, 0], [1, 1], [1, 1], [0, 0], [0, 0]], np.int8))
    >>> parts = stratify(targets, (0.5, 0.5), seed=0)
    >>> [targets[parts == part].sum(axis=0).tolist() for part in (0, 1)], np.bincount(parts).tolist()
    ([[2, 1], [2, 1]], [3, 3])
    """
    check_fractions(fractions)
    generator = np.random.RandomState(seed)  # not default_rng: numpy keeps this stream for ever
    items = Items.create(targets, clusters, generator)
    return items.to_images(Distribution(items, np.asarray(fractions, np.float64), generator).run())


def k_folds(targets: csr_array, num_folds: int, seed: int, clusters: np.ndarray | None = None) -> np.ndarray:
    """Returns the fold of each image, int64 (N,), from 0 up; see `stratify`."""
    if not 2 <= num_folds <= targets.shape[0]:
        raise InputError(f"num_folds={num_folds}: choose from 2 to the number of images, {targets.shape[0]}")
    return stratify(targets, [1 / num_folds] * num_folds, seed, clusters)


def few_shot(targets: csr_array, num_shots: int, seed: int, clusters: np.ndarray | None = None) -> np.ndarray:
    """Returns rows, int64 and sorted, in which each label has `num_shots` positives or more, or all that it has.

    The rarest label chooses first, and prefers images with most labels that still lack some, so that few images do.
    Of `clusters` all images are chosen or none.

    >>> targets = csr_array(np.array([[1, 0], [1, 0], [1, 1], [1, 0], [0, 0]], np.int8))
    >>> few_shot(targets, num_shots=1, seed=0).tolist()
    [2]
    """
    items = Items.create(targets, clusters, np.random.RandomState(seed))
    counts, by_label = items.counts, items.counts.tocsc()
    num_positives = counts.sum(axis=0)
    lacks = np.minimum(num_positives, num_shots)
    is_left = np.ones(len(items.sizes), bool)
    for label in np.argsort(num_positives, kind="stable"):
        if lacks[label] <= 0:
            continue
        members, given = column(by_label, label, is_left)
        places, lengths = places_of(counts.indptr, members)
        helped = np.add.reduceat(lacks[counts.indices[places]] > 0, np.cumsum(lengths) - lengths, dtype=np.int64)
        order = np.argsort(-helped, kind="stable")
        members = members[order[: np.searchsorted(np.cumsum(given[order]), lacks[label]) + 1]]
        places, _ = places_of(counts.indptr, members)
        np.subtract.at(lacks, counts.indices[places], counts.data[places])
        is_left[members] = False
    return np.flatnonzero(items.to_images(~is_left))


@dataclass(frozen=True)
class Shares:
    """How the positives of C labels are divided between P parts."""

    wished: np.ndarray  # (P,) share of each part
    num_positives: np.ndarray  # int64 (C, P)

    @property
    def actual(self) -> np.ndarray:
        """The share of each label's positives that each part has, (C, P); 0 for a label without any."""
        return self.num_positives / np.maximum(self.num_positives.sum(axis=1, keepdims=True), 1)

    @property
    def difference(self) -> np.ndarray:
        """The largest difference between actual and wished share of each label, (C,); 0 for a label without any."""
        has_any = self.num_positives.any(axis=1)
        return np.abs(self.actual - self.wished).max(axis=1) * has_any

    @property
    def images_off(self) -> np.ndarray:
        """The largest difference in images, (C,); below 1 no other whole numbers are all nearer to the wish."""
        return self.difference * self.num_positives.sum(axis=1)

    def worst(self, limit: int) -> np.ndarray:
        """Returns the labels that are furthest from the wish; first of all those that a part has an image off."""
        return np.lexsort((-self.difference, self.images_off < 1))[:limit]


def describe_split(targets: csr_array, parts: np.ndarray, fractions: Sequence[float]) -> Shares:
    """Returns how each label's positives are divided between the parts, and the fractions that were wished.

    >>> targets = csr_array(np.array([[1, 0], [1, 0], [1, 1], [1, 1]], np.int8))
    >>> describe_split(targets, np.array([0, 0, 0, 1]), (0.5, 0.5)).actual.tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    positives = positives_of(targets)
    num_parts, num_labels = len(fractions), targets.shape[1]
    places = positives.indices.astype(np.int64) * num_parts + np.repeat(parts, np.diff(positives.indptr))
    counts = np.bincount(places, minlength=num_labels * num_parts)
    return Shares(np.asarray(fractions, np.float64), counts.reshape(num_labels, num_parts))


def check_fractions(fractions: Sequence[float]) -> None:
    """Raises InputError unless the fractions are from 0 to 1 and sum up to 1."""
    if not all(0 <= fraction <= 1 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions must be from 0 to 1 and sum up to 1, not {', '.join(map(str, fractions))}")


def whole_numbers(fractions: np.ndarray, total: int) -> np.ndarray:
    """Returns whole numbers, int64 (P,), with the given sum and as near to the fractions of it as can be.

    >>> whole_numbers(np.array([0.5, 0.25, 0.25]), 7).tolist()
    [3, 2, 2]
    """
    wished = np.round(fractions / fractions.sum() * total, 6)
    numbers = np.floor(wished).astype(np.int64)
    numbers[np.argsort(numbers - wished, kind="stable")[: total - numbers.sum()]] += 1
    return numbers


def positives_of(targets: csr_array) -> csr_array:
    """Returns the answers of at least 0.5 as ones, int32 (N, C), and nothing else."""
    present = targets.data >= 0.5
    indptr = np.concatenate([[0], np.cumsum(present)])[targets.indptr]
    return csr_array((np.ones(indptr[-1], np.int32), targets.indices[present], indptr), shape=targets.shape)


def places_of(indptr: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the entries of rows stand in the arrays of a sparse array, and how many each row has."""
    starts, lengths = indptr[rows], indptr[rows + 1] - indptr[rows]
    return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum()), lengths


def column(by_label: csc_array, label: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the wanted items of a label, and how many positives each of them has; `wanted` is bool (M,)."""
    entries = slice(by_label.indptr[label], by_label.indptr[label + 1])
    keep = wanted[by_label.indices[entries]]
    return by_label.indices[entries][keep], by_label.data[entries][keep]


@dataclass(frozen=True)
class Items:
    """What is distributed: M images, or clusters of images, in random order, the largest first."""

    counts: csr_array  # int32 (M, C), positives of each item
    sizes: np.ndarray  # int64 (M,), images of each item
    item_of: np.ndarray  # int64 (N,), the item of each image

    @classmethod
    def create(cls, targets: csr_array, clusters: np.ndarray | None, generator: np.random.RandomState) -> "Items":
        """Returns the images of a split as items, or its clusters."""
        positives, num_images = positives_of(targets), targets.shape[0]
        item_of = np.arange(num_images) if clusters is None else np.unique(clusters, return_inverse=True)[1].ravel()
        sizes = np.bincount(item_of)
        order = generator.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        item_of = place[item_of]
        ones = np.ones(num_images, np.int32)
        gather = csr_array((ones, (item_of, np.arange(num_images))), shape=(len(sizes), num_images))
        return cls(gather @ positives, sizes[order], item_of)

    def to_images(self, of_items: np.ndarray) -> np.ndarray:
        """Returns what each image has, (N,), from what each item has, (M,)."""
        return of_items[self.item_of]


class Distribution:
    """The state of an iterative stratification of M items to P parts."""

    def __init__(self, items: Items, fractions: np.ndarray, generator: np.random.RandomState):
        self.items, self.fractions, self.generator = items, fractions, generator
        self.remaining = items.counts.sum(axis=0, dtype=np.int64)  # positives of each label not yet distributed
        self.wishes = np.rint(np.outer(self.remaining, fractions) * UNIT).astype(np.int64)  # (C, P)
        self.room = whole_numbers(fractions, int(items.sizes.sum())).tolist()  # images that each part still takes
        self.part_of = np.full(len(items.sizes), -1)
        self.is_left = np.ones(len(items.sizes), bool)

    def run(self) -> np.ndarray:
        """Returns the part of each item, int64 (M,)."""
        by_label = self.items.counts.tocsc()
        for label in self.rarest_first():
            members, counts = column(by_label, label, self.is_left)
            self.place(members, self.choose(label, members, counts))
        unlabelled = np.flatnonzero(self.is_left)
        self.part_of[unlabelled] = self.fill([0] * len(self.room), unlabelled, np.zeros(len(unlabelled), np.int64))
        return self.part_of

    def rarest_first(self) -> Iterator[int]:
        """Yields the label with the fewest positives left, of several any, until none is left."""
        self.labels_with: dict[int, list[int]] = {}  # positives left -> labels; also labels that have fewer by now
        self.smallest: list[int] = []  # a heap of these numbers
        present = self.generator.permutation(np.flatnonzero(self.remaining))
        self.enqueue(present)
        while self.smallest:
            count = self.smallest[0]
            if not self.labels_with[count]:
                del self.labels_with[heappop(self.smallest)]
                continue
            label = self.labels_with[count].pop()
            if self.remaining[label] == count:
                yield label

    def enqueue(self, labels: np.ndarray) -> None:
        """Notes how many positives of labels are left."""
        for label, count in zip(labels.tolist(), self.remaining[labels].tolist(), strict=True):
            if count not in self.labels_with:
                self.labels_with[count] = []
                heappush(self.smallest, count)
            self.labels_with[count].append(label)

    def choose(self, label: int, members: np.ndarray, counts: np.ndarray) -> list[int]:
        """Returns the parts for the items of a label that are left."""
        room = np.array(self.room)
        give_way = np.trunc(self.remaining[label] * (room / room.sum() - self.fractions)).astype(np.int64)
        return self.fill((self.wishes[label] + give_way * UNIT).tolist(), members, counts)

    def fill(self, wishes: list[int], members: np.ndarray, counts: np.ndarray) -> list[int]:
        """Returns the part for each item: of those with room the one that wishes most, then the one with most room."""
        room, chosen = self.room, []
        priority = self.generator.permutation(len(room)).tolist()
        everywhere = range(len(room))
        for size, count in zip(self.items.sizes[members].tolist(), counts.tolist(), strict=True):
            fitting = [part for part in everywhere if room[part] >= size]
            if fitting:
                part = max(fitting, key=lambda part: (wishes[part], room[part], priority[part]))
            else:
                part = max(everywhere, key=lambda part: (room[part], wishes[part], priority[part]))
            wishes[part] -= count * UNIT
            room[part] -= size
            chosen.append(part)
        return chosen

    def place(self, members: np.ndarray, parts: list[int]) -> None:
        """Puts items into their parts, so that fewer positives of all their labels are left and wished."""
        self.part_of[members], self.is_left[members] = parts, False
        counts = self.items.counts
        places, lengths = places_of(counts.indptr, members)
        labels, values = counts.indices[places], counts.data[places]
        np.subtract.at(self.remaining, labels, values)
        np.subtract.at(self.wishes, (labels, np.repeat(parts, lengths)), values.astype(np.int64) * UNIT)
        changed = np.unique(labels)
        self.enqueue(changed[self.remaining[changed] > 0])
