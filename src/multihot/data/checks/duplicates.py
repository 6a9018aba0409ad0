"""Copies among the images of a data set: equal pixels, and pictures that look the same."""

import logging
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from multihot.data.checks.inspection import SMALL_SIDE, ImageFacts
from multihot.data.clusters import join

log = logging.getLogger(__name__)

EQUAL_BANDS = 3  # of the bands of two close hashes
PAIRS_AT_ONCE = 1 << 16  # compared in one array
MAX_AFTER = 64  # hashes with an equal key that each is compared with; more are the frames of one film
MAX_COMPARED = 10_000  # hashes with which each is compared, whatever max_distance
MAX_PAIRS = 1 << 22  # whose small copies are compared; what a set of equal-looking pictures has more is left out
ONES_OF_16_BITS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def exact_groups(facts: Sequence[ImageFacts]) -> np.ndarray:
    """Returns a number for each image, int64 (N,), the same for equal pixels; an unreadable image equals none."""
    keys = [fact.pixel_hash or row.to_bytes(8, "big") for row, fact in enumerate(facts)]
    number_of = {}
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], np.int64)


def near_clusters(
    facts: Sequence[ImageFacts], max_distance: int, min_similarity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns two numbers for each image, int64 (N,): the same for pictures that look the same; then also if mirrored.

    Two pictures look the same if at most `max_distance` bits of their perceptual hashes differ and their small grey
    copies correlate by `min_similarity` or more; if A looks like B and B like C, all three are one cluster. Images too
    flat for a perceptual hash, and unreadable ones, have exact copies alone.
    """
    num_images, groups = len(facts), exact_groups(facts)
    edges, mirrored = [(np.arange(num_images), num_images + groups)], []  # to a node for each exact group
    rows = np.array([row for row, fact in enumerate(facts) if fact.perceptual_hash is not None], np.int64)
    hashes = np.array([facts[row].perceptual_hash for row in rows], np.uint64)
    small = np.frombuffer(b"".join(facts[row].small for row in rows), np.uint8).reshape(-1, SMALL_SIDE, SMALL_SIDE)
    representatives, rest = [np.empty(0, np.int64)], np.arange(len(rows))
    for _ in range(MAX_AFTER):  # thousands may have one hash: each is compared with the first of them, not with all
        _, first, number = np.unique(hashes[rest], return_index=True, return_inverse=True)
        nearest = rest[first][number]
        same = are_similar(small, small, rest, nearest, min_similarity) | (rest == nearest)
        edges.append((rows[rest[same]], rows[nearest[same]]))
        representatives.append(rest[first])
        rest = rest[~same]
        if not len(rest):
            break
    chosen = np.concatenate([*representatives, rest])
    mirrored_hashes = np.array([facts[row].mirrored_hash for row in rows[chosen]], np.uint64)
    clusters = [join(edges, num_images), join(edges, num_images)]
    num_pairs = 0
    for first, second in close_pairs(np.concatenate([hashes[chosen], mirrored_hashes]), max_distance):
        first, second = np.minimum(first, second), np.maximum(first, second)
        is_mirrored = (first < len(chosen)) & (second >= len(chosen))
        ways = (small, second < len(chosen)), (small[:, :, ::-1], is_mirrored)
        for way, (others, kept) in enumerate(ways):
            one, other = chosen[first[kept]], chosen[second[kept] % len(chosen)]
            apart = clusters[way][rows[one]] != clusters[way][rows[other]]  # what is together need not be compared
            one, other = one[apart], other[apart]
            same = are_similar(small, others, one, other, min_similarity)
            num_pairs += len(one)
            if same.any():
                (mirrored if way else edges).append((rows[one[same]], rows[other[same]]))
                clusters[1] = join(edges + mirrored, num_images)
                clusters[0] = clusters[0] if way else join(edges, num_images)
        if num_pairs > MAX_PAIRS:
            warn_of_many()
            break
    return clusters[0], clusters[1]


def warn_of_many() -> None:
    """Says that not all pairs of pictures were compared."""
    log.warning(
        "so many images look alike that the search for near-duplicates was cut short: the clusters that are found are "
        "right, more may be there. A smaller max_distance finds copies alone"
    )


def are_similar(
    pictures: np.ndarray, others: np.ndarray, first: np.ndarray, second: np.ndarray, min_similarity: float
) -> np.ndarray:
    """Returns whether the correlation of `pictures` (N, H, W) and `others` (N, H, W) in these rows is large enough."""
    result = np.empty(len(first), bool)
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        one = pictures[first[part]].astype(np.float32)
        other = others[second[part]].astype(np.float32)
        one -= one.mean(axis=(1, 2), keepdims=True)
        other -= other.mean(axis=(1, 2), keepdims=True)
        norm = np.linalg.norm(one, axis=(1, 2)) * np.linalg.norm(other, axis=(1, 2))
        result[part] = (one * other).sum(axis=(1, 2)) >= min_similarity * norm
    return result


def close_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the positions of all pairs of uint64 hashes (N,) that differ in at most `max_distance` bits.

    Cut into `max_distance + 3` bands, two such hashes agree in at least three of them (the pigeonhole principle); so
    only hashes with three equal bands are compared, far fewer than all pairs. A pair may come more than once. Of more
    than MAX_AFTER hashes with the same bands, each is compared with the next ones alone: the time grows as N does.
    """
    num_bands = max_distance + EQUAL_BANDS
    bands = [np.uint64(sum(1 << bit for bit in bits.tolist())) for bits in np.array_split(np.arange(64), num_bands)]
    num_left = MAX_COMPARED * len(hashes)
    for chosen in combinations(bands, EQUAL_BANDS):
        if num_left < 0:
            warn_of_many()
            break
        keys = hashes & np.bitwise_or.reduce(chosen)
        order = np.argsort(keys)
        keys, ordered = keys[order], hashes[order]
        # The k-th round compares each hash with the k-th one after it, as long as their keys agree.
        starts = np.flatnonzero(keys[:-1] == keys[1:])
        for step in range(1, MAX_AFTER + 1):
            if not len(starts):
                break
            num_left -= len(starts)
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
