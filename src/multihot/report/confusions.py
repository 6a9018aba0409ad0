"""Which labels are confused: said together more often than they are together, or one in the place of another.

Only answers that are known count. Of many labels, those with most answers and decisions are compared.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import gammaincinv, ndtri
from torch import Tensor

from multihot.metrics.blocks import LogitsAndTarget, harden

MOST_LABELS = 2000  # that are compared with each other
DENSE = 0.05  # share of all pairs of labels and images, from which on a product of dense matrices is faster
ERROR_RATE = 0.05

Decide = Callable[[Tensor], Tensor]  # logits (N, C) -> which labels are predicted, bool (N, C)


class Together(NamedTuple):
    """Two labels, and how many images have both, are said to have both, and are rightly said to.

    `z` is McNemar's: of the images on which answer and decision differ, how far from half are wrongly said to have
    both, in standard deviations. Above 0 the two are said together too often.
    """

    first: int
    second: int
    num_true: int
    num_said: int
    num_right: int
    z: float


class Swap(NamedTuple):
    """Two labels, and on how many images one was missed and the other said though it is absent.

    `expected` is that number if the second were said of these images as of any other without it; `surplus`, how many
    more there surely are: the lower end of the 95% interval of a Poisson count, less what is expected.
    """

    missed: int
    said: int
    count: int
    expected: float
    surplus: float
    rows: tuple[int, ...]  # of the first such images


class Confusions(NamedTuple):
    """Pairs of labels, by their columns, those that differ most first."""

    too_often: list[Together]
    too_rarely: list[Together]
    swaps: list[Swap]
    z_limit: float  # if no two labels were said together too often, all |z| would be below in 19 of 20 data sets
    num_labels: int  # that were compared


class Counts(NamedTuple):
    """On how many images each two of c labels are so, (c, c)."""

    true: np.ndarray  # both present
    said: np.ndarray  # both predicted
    right: np.ndarray  # both present and predicted
    swapped: np.ndarray  # one missed, the other predicted though absent
    missed: np.ndarray  # one missed, the other absent
    false: np.ndarray  # (c,), predicted though absent
    absent: np.ndarray  # (c,)


def find_confusions(
    matrices: LogitsAndTarget, decide: Decide, *, num_pairs: int = 50, num_images: int = 4
) -> Confusions:
    """Returns the labels that are confused most.

    Args:
        num_pairs: of each kind.
        num_images: rows of each swap.
    """
    labels = find_active(matrices, decide)
    counts = sum_blocks(count_block(*block) for _, *block in read_blocks(matrices, decide, labels))
    swaps = choose_swaps(counts, labels, num_pairs)
    rows = find_rows(matrices, decide, swaps, num_images)
    num_compared = max(1, len(labels) * (len(labels) - 1) // 2)
    return Confusions(
        *choose_together(counts, labels, num_pairs),
        [swap._replace(rows=tuple(own)) for swap, own in zip(swaps, rows, strict=True)],
        float(-ndtri(ERROR_RATE / 2 / num_compared)),
        len(labels),
    )


def read_blocks(
    matrices: LogitsAndTarget, decide: Decide, labels: np.ndarray | slice
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yields rows, decisions on known answers bool (B, c) and hard target (B, c) of some labels."""
    for rows, logits, target in matrices.blocks():
        target = harden(target).numpy()[:, labels]
        yield rows, np.asarray(decide(logits))[:, labels] & (target >= 0), target


def find_active(matrices: LogitsAndTarget, decide: Decide) -> np.ndarray:
    """Returns the columns of the labels that are compared: all, or those that are most often present or predicted."""
    num_labels = matrices.logits.shape[1]
    if num_labels <= MOST_LABELS:
        return np.arange(num_labels)
    activity = sum((decision | (target == 1)).sum(axis=0) for _, decision, target in read_blocks(matrices, decide, ...))
    return np.sort(np.argsort(-activity, kind="stable")[:MOST_LABELS])


def sum_blocks(parts: Iterator[Counts]) -> Counts:
    """Returns the counts of all blocks."""
    total = next(parts)
    for part in parts:
        for whole, more in zip(total, part, strict=True):
            whole += more
    return total


def count_block(decision: np.ndarray, target: np.ndarray) -> Counts:
    """Returns the counts of some images: decision on known answers bool (B, c), target (B, c) of 1, 0 and -1."""
    present, absent = target == 1, target == 0
    right, missed, false = present & decision, present & ~decision, absent & decision
    return Counts(
        true=count_together(present, present),
        said=count_together(decision, decision),
        right=count_together(right, right),
        swapped=count_together(missed, false),
        missed=count_together(missed, absent),
        false=false.sum(axis=0),
        absent=absent.sum(axis=0),
    )


def count_together(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns on how many images each two labels are true, int64 (c, c): bool (B, c), bool (B, c).

    >>> count_together(np.array([[True, False], [True, True]]), np.array([[True, False], [True, False]])).tolist()
    [[2, 0], [1, 0]]
    """
    if second.mean() > 0.5:
        return first.sum(axis=0)[:, None] - count_together(first, ~second)
    num_pairs = first.sum(axis=1) @ second.sum(axis=1)
    if num_pairs > DENSE * first.size * first.shape[1]:
        return np.rint(first.T.astype(np.float32) @ second.astype(np.float32)).astype(np.int64)
    return (csr_array(first).astype(np.int64).T @ csr_array(second).astype(np.int64)).toarray()


def choose_together(counts: Counts, labels: np.ndarray, num_pairs: int) -> tuple[list[Together], list[Together]]:
    """Returns the pairs with the largest z and those with the smallest, without those of which no image differs."""
    num_wrong, num_missed = counts.said - counts.right, counts.true - counts.right
    z = np.triu((num_wrong - num_missed) / np.sqrt(np.maximum(num_wrong + num_missed, 1)), k=1)
    return tuple(
        [
            Together(*labels[list(pair)].tolist(), *(int(part[pair]) for part in counts[:3]), z[pair].item())
            for pair in list_largest(sign * z, num_pairs)
        ]
        for sign in (1, -1)
    )


def choose_swaps(counts: Counts, labels: np.ndarray, num_pairs: int) -> list[Swap]:
    """Returns the swaps with the largest surplus, without those that chance explains."""
    expected = counts.missed * (counts.false / np.maximum(counts.absent, 1))
    surplus = gammaincinv(counts.swapped, ERROR_RATE / 2) - expected
    return [
        Swap(*labels[list(pair)].tolist(), int(counts.swapped[pair]), expected[pair].item(), surplus[pair].item(), ())
        for pair in list_largest(surplus, num_pairs)
    ]


def list_largest(values: np.ndarray, num: int) -> list[tuple[int, int]]:
    """Returns the places of the largest of the values above 0, (c, c), the largest first.

    >>> list_largest(np.array([[0, 3], [5, 2]]), 2)
    [(1, 0), (0, 1)]
    """
    flat = values.ravel()
    places = np.flatnonzero(flat > 0)
    if len(places) > num:
        least = np.partition(flat[places], -num)[-num]
        places = places[flat[places] >= least]
    places = places[np.argsort(-flat[places], kind="stable")][:num]
    return [tuple(pair) for pair in np.stack(np.divmod(places, values.shape[1]), axis=1).tolist()]


def find_rows(matrices: LogitsAndTarget, decide: Decide, swaps: list[Swap], num_images: int) -> list[list[int]]:
    """Returns the first images of each swap."""
    result = [[] for _ in swaps]
    labels = np.unique([label for swap in swaps for label in swap[:2]]).astype(int)
    for rows, decision, target in read_blocks(matrices, decide, labels):
        missed, false = (target == 1) & ~decision, (target == 0) & decision
        for swap, found in zip(swaps, result, strict=True):
            place = np.searchsorted(labels, swap[:2])
            found += (rows.start + np.flatnonzero(missed[:, place[0]] & false[:, place[1]])).tolist()
            del found[num_images:]
    return result
