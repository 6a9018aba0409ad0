"""Average precision and area under the ROC curve of rankings in many resamples of their images.

A ranking is sorted once. Of a resample only the weights between one positive and the next are needed, which
`embedding_bag` gathers and sums for some resamples at once. Sums of weights are whole numbers below 2^24 and so exact
in float32: the result does not depend on how the work is divided.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget, harden
from multihot.metrics.resamples import divide, in_columns, in_threads, split, weigh_images
from multihot.progress import show_progress

PLACES_AT_ONCE = 1 << 11  # their sums stay in the cache as well
ENTRIES_AT_ONCE = 1 << 22
MOST_ENTRIES = 1 << 28  # in the one ranking of micro_ap: 4 bytes each


class Places(NamedTuple):
    """Where the positives of rankings stand, the best first, the rankings one after the other. At each of K places are
    the positives of one score; two bags of negatives belong to it, those between it and the place before, and those of
    its own score. Images and starts are int32.
    """

    positive: np.ndarray  # images
    positive_starts: np.ndarray  # (K,)
    negative: np.ndarray  # images
    negative_starts: np.ndarray  # (2 K,)


def find_places(scores: np.ndarray, target: np.ndarray) -> Places:
    """Returns the places of a label: scores (N,), target (N,) of 1, 0 and -1; it has a positive."""
    positive, values, positive_starts = sort_positives(scores, target)
    negative, ends = cut_negatives(scores, target, values, ("left", "right"))
    return Places(positive, positive_starts, negative, np.concatenate([[0], ends.ravel()[:-1]]).astype(np.int32))


def sort_positives(scores: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the entries int32 (P,) of the positives, the best first, each of their scores once and negated (K,), and
    where its entries start (K,).
    """
    positive = np.flatnonzero(target == 1).astype(np.int32)
    lowered = -scores[positive]
    order = lowered.argsort()
    lowered = lowered[order]
    starts = np.flatnonzero(np.concatenate([[True], lowered[1:] != lowered[:-1]])).astype(np.int32)
    return positive[order], lowered[starts], starts


def cut_negatives(
    scores: np.ndarray, target: np.ndarray, values: np.ndarray, sides: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the entries int32 (M,) of the negatives, the best first and none below all positives, and where they end
    (K, sides): "left" of the negated score of a place those above it end, "right" of it those that score as much too.
    """
    negative = np.flatnonzero((target == 0) & (-scores <= values[-1])).astype(np.int32)
    lowered = -scores[negative]
    order = lowered.argsort()
    lowered = lowered[order]
    return negative[order], np.stack([lowered.searchsorted(values, side) for side in sides], axis=1)


def sum_bags(images: np.ndarray, starts: np.ndarray, weights: Tensor) -> Tensor:
    """Returns the sums of the weights (N, r) of the images from each start to the next, float64 (K, r)."""
    if not len(images):
        return torch.zeros(len(starts), weights.shape[1], dtype=torch.float64)
    return embedding_bag(torch.from_numpy(images), weights, torch.from_numpy(starts), mode="sum").double()


def resample_labels(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> np.ndarray:
    """Returns average precision and area under the ROC curve of each label, float64 (2, C, R); NaN where a resample
    has no positive or no negative of it.
    """
    result, start = np.full((2, matrices.logits.shape[1], len(weights)), np.nan), 0
    with show_progress("intervals", result[0].size) as advance:
        for log_odds, target in matrices.label_chunks(space):
            end = start + len(target)
            rank_chunk(log_odds.numpy(), target.numpy(), weights, result[:, start:end], advance)
            start = end
    return result


def rank_chunk(
    log_odds: np.ndarray, target: np.ndarray, weights: Tensor, result: np.ndarray, advance: Callable[[int], object]
) -> None:
    """Puts what `resample_labels` returns for some labels into the result (2, c, R): log_odds and target (c, N)."""
    ranked = np.flatnonzero((target == 1).any(axis=1) & (target == 0).any(axis=1))
    places = in_threads(lambda label: find_places(log_odds[label], target[label]), ranked)
    groups = [(ranked[group], *join_places([places[number] for number in group])) for group in group_places(places)]
    del places

    def rank_part(some: slice) -> None:
        of_some = in_columns(weights[some])
        for labels, together, sizes in groups:
            is_negative = torch.from_numpy(target[labels] == 0).float()
            result[:, labels, some] = rank_resamples(together, sizes, is_negative, of_some)
        advance(len(target) * of_some.shape[1])

    in_threads(rank_part, split(weights))


def group_places(places: Sequence[Places]) -> list[np.ndarray]:
    """Returns which labels are taken at once: so many that the sums of some resamples stay in the cache."""
    ends = np.cumsum([len(label.positive_starts) for label in places]) // PLACES_AT_ONCE
    return np.split(np.arange(len(places)), np.flatnonzero(np.diff(ends)) + 1) if places else []


def join_places(labels: Sequence[Places]) -> tuple[Places, np.ndarray]:
    """Returns the places of c labels one after the other, and how many each has (c,)."""
    parts = []
    for images, starts in (("positive", "positive_starts"), ("negative", "negative_starts")):
        each = [getattr(label, images) for label in labels]
        before = np.cumsum([0, *map(len, each[:-1])], dtype=np.int32)
        shifted = [getattr(label, starts) + base for label, base in zip(labels, before, strict=True)]
        parts += [np.concatenate(each), np.concatenate(shifted)]
    return Places(*parts), np.array([len(label.positive_starts) for label in labels])


def rank_resamples(places: Places, sizes: np.ndarray, is_negative: Tensor, weights: Tensor) -> np.ndarray:
    """Returns average precision and area under the ROC curve of c labels, float64 (2, c, r).

    Args:
        sizes: number of places of each label (c,).
        is_negative: float32 (c, N).
        weights: float32 (N, r).
    """
    first = sizes.cumsum() - sizes
    hits = sum_bags(places.positive, places.positive_starts, weights)
    negatives = sum_bags(places.negative, places.negative_starts, weights).view(len(hits), 2, -1)
    num_hits, num_wrong = (count_down(values, first, sizes) for values in (hits, negatives.sum(dim=1)))
    precision = hits * num_hits / (num_hits + num_wrong).clamp(min=1)
    behind = hits * (num_wrong - negatives[:, 1] / 2)  # pairs in the wrong order; a tie is one half
    num_positive, num_negative = num_hits[first + sizes - 1].numpy(), (is_negative @ weights).double().numpy()
    num_positive = np.where(num_negative > 0, num_positive, 0)
    precision, behind = (np.add.reduceat(values.numpy(), first, axis=0) for values in (precision, behind))
    return np.stack([divide(precision, num_positive), 1 - divide(behind, num_positive * num_negative)])


def count_down(values: Tensor, first: np.ndarray, sizes: np.ndarray) -> Tensor:
    """Returns the running sums (K, r) of whole numbers (K, r), of each ranking from its first place on."""
    sums = values.cumsum(dim=0)
    before = sums[first] - values[first]
    return sums - before.repeat_interleave(torch.from_numpy(sizes), dim=0)


def resample_pooled(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> dict[str, np.ndarray]:
    """Returns the values (R,) of `micro_ap`, unless there are too many entries to rank at once."""
    return {} if matrices.logits.numel() > MOST_ENTRIES else {"micro_ap": rank_entries(matrices, space, weights)}


def rank_entries(matrices: LogitsAndTarget, space: LabelSpace, weights: Tensor) -> np.ndarray:
    """Returns the values (R,) of the average precision of the one ranking of all entries."""
    found = [(scores[target == 1], images[target == 1]) for scores, target, images in entries(matrices, space)]
    scores, images = map(np.concatenate, zip(*found, strict=True))
    result = np.full(len(weights), np.nan)
    if not scores.size:
        return result
    order, values, starts = sort_positives(scores, np.ones(scores.size))
    blocks, num_negative = [], np.zeros(len(matrices))
    for block_scores, target, block_images in entries(matrices, space):
        negative, ends = cut_negatives(block_scores, target, values, ("right",))
        blocks.append((block_images[negative], np.diff(ends[:, 0], prepend=0)))
        num_negative += np.bincount(block_images[target == 0], minlength=len(matrices))
    places = Places(images[order], starts, *merge_blocks(blocks))
    with show_progress("intervals", len(weights)) as advance:

        def rank_part(some: slice) -> None:
            result[some] = rank_pooled(places, in_columns(weights[some]))
            advance(some.stop - some.start)

        in_threads(rank_part, split(weights))
    return np.where(weigh_images([num_negative], weights)[0] > 0, result, np.nan)


def merge_blocks(blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images int32 (M,) of all blocks, by place, and where each place starts int32 (K,); empties the list.

    Args:
        blocks: images by place, and how many each place has (K,).

    >>> [part.tolist() for part in merge_blocks([([7, 8], [1, 1]), ([5, 6], [2, 0])])]
    [[7, 5, 6, 8], [0, 3]]
    """
    sizes = np.array([counts for _, counts in blocks])
    starts = sizes.sum(axis=0).cumsum() - sizes.sum(axis=0)
    images = np.empty(sizes.sum(), np.int32)
    first = starts + sizes.cumsum(axis=0) - sizes  # where each block's share of each place starts
    for own, counts in zip(first, sizes, strict=True):
        part, _ = blocks.pop(0)
        images[np.arange(len(part)) + np.repeat(own - (counts.cumsum() - counts), counts)] = part
    return images, starts.astype(np.int32)


def entries(matrices: LogitsAndTarget, space: LabelSpace) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields log-odds, hard target and image, all (B x C,), of the entries of some images after the others."""
    for rows, logits, target in matrices.blocks(ENTRIES_AT_ONCE):
        images = np.arange(rows.start, rows.stop, dtype=np.int32).repeat(logits.shape[1])
        yield space.log_odds(logits).numpy().ravel(), harden(target).numpy().ravel(), images


def rank_pooled(places: Places, weights: Tensor) -> np.ndarray:
    """Returns the average precision (r,) of one ranking, whose places are taken part after part: weights (N, r).

    Args:
        places: with one bag of negatives each, those between it and the place before and those of its score.
    """
    total, num_hits, num_wrong = (torch.zeros(weights.shape[1], dtype=torch.float64) for _ in range(3))
    for start in range(0, len(places.positive_starts), PLACES_AT_ONCE):
        part = slice(start, start + PLACES_AT_ONCE)
        hits = sum_part(places.positive, places.positive_starts, part, weights)
        hits_so_far = num_hits + hits.cumsum(dim=0)
        wrong_so_far = num_wrong + sum_part(places.negative, places.negative_starts, part, weights).cumsum(dim=0)
        total += (hits * hits_so_far / (hits_so_far + wrong_so_far).clamp(min=1)).sum(dim=0)
        num_hits, num_wrong = hits_so_far[-1], wrong_so_far[-1]
    return divide(total.numpy(), num_hits.numpy())


def sum_part(images: np.ndarray, starts: np.ndarray, part: slice, weights: Tensor) -> Tensor:
    """Returns what `sum_bags` does for some of the places."""
    end = starts[part.stop] if part.stop < len(starts) else len(images)
    own = starts[part]
    return sum_bags(images[own[0] : end], own - own[0], weights)
