"""Copies among the images of a data set: equal pixels, and pictures that look the same."""

import csv
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from multihot.data.checks.inspection import SMALL_SIDE, ImageFacts

EQUAL_BANDS = 3  # of the bands of two close hashes
PAIRS_AT_ONCE = 1 << 16  # compared in one array
ONES_OF_16_BITS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def exact_groups(facts: Sequence[ImageFacts]) -> np.ndarray:
    """Returns a number for each image, int64 (N,), the same for equal pixels; an unreadable image equals none."""
    keys = [fact.pixel_hash or row.to_bytes(8, "big") for row, fact in enumerate(facts)]
    number_of = {}
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], np.int64)


def near_clusters(facts: Sequence[ImageFacts], max_distance: int, min_similarity: float) -> np.ndarray:
    """Returns a number for each image, int64 (N,), the same for equal pixels and for pictures that look the same.

    Two pictures look the same if at most `max_distance` bits of their perceptual hashes differ and their small grey
    copies correlate by `min_similarity` or more; if A looks like B and B like C, all three are one cluster. Images too
    flat for a perceptual hash, and unreadable ones, have exact copies alone.
    """
    num_images, groups = len(facts), exact_groups(facts)
    edges = [(np.arange(num_images), num_images + groups)]  # to a node for each exact group
    rows = np.array([row for row, fact in enumerate(facts) if fact.perceptual_hash is not None], np.int64)
    hashes = np.array([facts[row].perceptual_hash for row in rows], np.uint64)
    small = np.frombuffer(b"".join(facts[row].small for row in rows), np.uint8).reshape(-1, SMALL_SIDE**2)
    representatives, rest = [np.empty(0, np.int64)], np.arange(len(rows))
    while len(rest):  # thousands may have one hash: each is compared with the first of them, not with all
        _, first, number = np.unique(hashes[rest], return_index=True, return_inverse=True)
        nearest = rest[first][number]
        same = are_similar(small, rest, nearest, min_similarity) | (rest == nearest)
        edges.append((rows[rest[same]], rows[nearest[same]]))
        representatives.append(rest[first])
        rest = rest[~same]
    chosen = np.concatenate(representatives)
    for first, second in close_pairs(hashes[chosen], max_distance):
        same = are_similar(small, chosen[first], chosen[second], min_similarity)
        edges.append((rows[chosen[first[same]]], rows[chosen[second[same]]]))
    sources, targets = (np.concatenate(side) for side in zip(*edges, strict=True))
    size = num_images + groups.max(initial=-1) + 1
    graph = coo_array((np.ones(len(sources), bool), (sources, targets)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:num_images].astype(np.int64)


def are_similar(small: np.ndarray, first: np.ndarray, second: np.ndarray, min_similarity: float) -> np.ndarray:
    """Returns for each pair of rows of `small` (N, P) whether their correlation reaches `min_similarity`."""
    result = np.empty(len(first), bool)
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        one, other = (small[rows[part]].astype(np.float32) for rows in (first, second))
        one -= one.mean(axis=1, keepdims=True)
        other -= other.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        result[part] = (one * other).sum(axis=1) >= min_similarity * norm
    return result


def close_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the positions of all pairs of uint64 hashes (N,) that differ in at most `max_distance` bits.

    Cut into `max_distance + 3` bands, two such hashes agree in at least three of them (the pigeonhole principle); so
    only hashes with three equal bands are compared, far fewer than all pairs. A pair may come more than once.
    """
    num_bands = max_distance + EQUAL_BANDS
    bands = [np.uint64(sum(1 << bit for bit in bits.tolist())) for bits in np.array_split(np.arange(64), num_bands)]
    for chosen in combinations(bands, EQUAL_BANDS):
        keys = hashes & np.bitwise_or.reduce(chosen)
        order = np.argsort(keys)
        keys, ordered = keys[order], hashes[order]
        # The k-th round compares each hash with the k-th one after it, as long as their keys agree.
        starts = np.flatnonzero(keys[:-1] == keys[1:])
        for step in range(1, len(hashes)):
            if not len(starts):
                break
            close = count_ones(ordered[starts] ^ ordered[starts + step]) <= max_distance
            if close.any():
                yield order[starts[close]], order[starts[close] + step]
            starts = starts[starts + step + 1 < len(hashes)]
            starts = starts[keys[starts] == keys[starts + step + 1]]


def count_ones(numbers: np.ndarray) -> np.ndarray:
    """Returns how many bits of each uint64 (N,) are set; numpy has this from 2.0 on.

    >>> count_ones(np.array([0, 7, 2**64 - 1], np.uint64)).tolist()
    [0, 3, 64]
    """
    return ONES_OF_16_BITS[numbers.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64)


def members(numbers: np.ndarray) -> list[np.ndarray]:
    """Returns the rows of each number that occurs more than once, in the order of their first row.

    >>> [rows.tolist() for rows in members(np.array([5, 3, 5, 4, 3, 5]))]
    [[0, 2, 5], [1, 4]]
    """
    order = np.argsort(numbers, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted((rows for rows in runs if len(rows) > 1), key=lambda rows: rows[0])


def save_clusters(file: Path, images: Sequence[str], clusters: np.ndarray) -> None:
    """Writes the columns image and cluster, a row for each image that has a copy; the clusters count from 0."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        writer = csv.writer(text)
        writer.writerow(["image", "cluster"])
        for number, rows in enumerate(members(clusters)):
            writer.writerows([images[row], number] for row in rows.tolist())
