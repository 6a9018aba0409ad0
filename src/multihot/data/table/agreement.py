"""What several answers about the same image and label come to."""

from typing import NamedTuple

import numpy as np

UNKNOWN = -1.0


class Settled(NamedTuple):
    """One answer an image and label: A of the answers that came in, in the order of rows and labels."""

    kept: np.ndarray  # int64 (A,), the first answer about each image and label
    values: np.ndarray  # float32 (A,)
    contradictions: np.ndarray  # int64 (K, 2), an answer and the first one about its image and label, which differs
    unshared: np.ndarray  # int64 (U,), answers to which a label that a reading does not list is a contradiction


def settle(
    rows: np.ndarray, label_ids: np.ndarray, values: np.ndarray, agree: str, num_readings: np.ndarray | None = None
) -> Settled:
    """Returns what all answers about an image and label come to. Unknown answers do not vote.

    Args:
        rows: of the images, int (N,), with label_ids (N,) and values (N,): 1, 0, -1 for unknown, or between 0 and 1.
        agree: "any" takes the largest answer, "all" the smallest, "mean" the mean, which is a soft answer, and
            "majority" what more than half of them say, of whom soft ones say present from 0.5 up; a tie is unknown.
            "error" takes the first, and the others must equal it.
        num_readings: how often each row has been read, int (R,), where a reading that does not list a label says
            absent; None: what is not listed is no vote.

    >>> rows, labels, values = np.zeros(3, int), np.array([5, 5, 5]), np.array([1, 0, 1], np.float32)
    >>> [settle(rows, labels, values, agree).values.tolist() for agree in ("majority", "any", "all")]
    [[1.0], [1.0], [0.0]]
    >>> settle(rows, labels, values, "error").contradictions.tolist()  # the second, and the first
    [[1, 0]]
    >>> settle(rows[:1], labels[:1], values[:1], "error", num_readings=np.array([2])).unshared.tolist()
    [0]
    """
    order = np.lexsort((label_ids, rows))  # stable: the answers of a group stay in their order
    changes = (np.diff(rows[order]) != 0) | (np.diff(label_ids[order]) != 0)
    starts = np.flatnonzero(np.r_[np.ones(min(1, len(order)), bool), changes])
    sizes = np.diff(np.r_[starts, len(order)])
    kept, values = order[starts], values[order].astype(np.float32)
    silent = np.zeros(len(kept), int) if num_readings is None else num_readings[rows[kept]] - sizes
    if agree == "error":
        first = np.repeat(starts, sizes)
        different = np.flatnonzero(values != values[first])
        contradictions = np.stack([order[different], order[first[different]]], axis=1)
        return Settled(kept, values[starts], contradictions, kept[(silent > 0) & (values[starts] != 0)])
    return Settled(kept, vote(values, starts, silent, agree), np.empty((0, 2), int), np.empty(0, int))


def vote(values: np.ndarray, starts: np.ndarray, silent: np.ndarray, agree: str) -> np.ndarray:
    """Returns the answer of each group of values, float32 (A,).

    Args:
        starts: where each group begins, int (A,).
        silent: how many absent answers each group has in addition, int (A,).
    """
    if not len(starts):
        return np.empty(0, np.float32)
    is_known = values >= 0
    num_known = np.add.reduceat(is_known, starts, dtype=int) + silent
    if agree == "any":
        result = np.maximum.reduceat(np.where(is_known, values, 0), starts)
    elif agree == "all":
        result = np.where(silent > 0, 0, np.minimum.reduceat(np.where(is_known, values, 1), starts))
    elif agree == "mean":
        result = np.add.reduceat(np.where(is_known, values, 0), starts) / np.maximum(num_known, 1)
    else:
        num_present = np.add.reduceat(values >= 0.5, starts, dtype=int)
        result = np.where(2 * num_present == num_known, UNKNOWN, 2 * num_present > num_known)
    return np.where(num_known > 0, result, UNKNOWN).astype(np.float32)


def clear_rows(
    none: np.ndarray, num_labels: int, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, value: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows, columns and values of answers, where the rows of `none` have none but absent ones.

    Args:
        num_labels: the absent answers that each of these rows gets.
        value: what they get instead: -1, unknown.

    >>> none, answers = np.array([1]), (np.array([0, 1]), np.array([0, 1]), np.array([1, -1]))
    >>> [part.tolist() for part in clear_rows(none, 2, *answers)]
    [[0, 1, 1], [0, 0, 1], [1, 0, 0]]
    """
    others = ~np.isin(rows, none)
    return (
        np.r_[rows[others], np.repeat(none, num_labels)].astype(rows.dtype),
        np.r_[columns[others], np.tile(np.arange(num_labels), len(none))].astype(columns.dtype),
        np.r_[values[others], np.full(num_labels * len(none), value)].astype(values.dtype),
    )
