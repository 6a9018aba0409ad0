"""Which images the page shows: the most suspect, the worst and the surest, and of each label those that tell most."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest

import numpy as np

from multihot.metrics.blocks import harden
from multihot.report.numbers import LabelNumbers, Numbers, as_array
from multihot.report.result import Result

DOUBT_SHARE, IMAGE_SHARE = 0.2, 0.1  # of all pictures: of suspected label errors, of the worst and of the surest images


def pick(numbers: Numbers, num_pictures: int, others: Sequence[int] = ()) -> tuple[list[int], dict[str, list]]:
    """Returns the rows of at most `num_pictures` images, and lists of what is shown of them beside the labels.

    The lists: `doubts` of (row, label), `worst` and `surest` of rows.

    Args:
        others: rows that are shown too.
    """
    num_doubts, num_images = int(DOUBT_SHARE * num_pictures), int(IMAGE_SHARE * num_pictures)
    doubts = list(zip(numbers.doubts.row.tolist(), numbers.doubts.label.tolist(), strict=True))[:num_doubts]
    worst, surest = order_images(numbers)
    lists = {"doubts": doubts, "worst": worst[:num_images].tolist(), "surest": surest[:num_images].tolist()}
    rows = chain([row for row, _ in doubts], lists["worst"], lists["surest"], others, rows_of_labels(numbers.labels))
    return list(islice(unique(rows), num_pictures)), lists


def find_worst_labels(result: Result, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Returns each row with the label whose known answer differs most from its probability there."""
    if not rows:
        return []
    logits, target = (part[list(rows)] for part in (result.predictions.logits, result.predictions.target))
    target = harden(target).numpy()
    difference = np.abs((target == 1) - as_array(result.decisions.probability(logits.float())))
    labels = np.where(target >= 0, difference, -1).argmax(axis=1)
    return list(zip(rows, labels.tolist(), strict=True))


def unique(rows: Iterable[int]) -> Iterator[int]:
    """Yields each of the rows once.

    >>> list(unique([3, 1, 3]))
    [3, 1]
    """
    seen = set()
    for row in rows:
        if row not in seen:
            seen.add(row)
            yield row


def order_images(numbers: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of images with a wrong decision, those of the largest loss first, and of those with a label and
    all decisions right, those of the smallest first.
    """
    images = numbers.images
    wrong, right = images.num_wrong > 0, (images.num_wrong == 0) & (images.num_present > 0)
    order = np.argsort(images.loss, kind="stable")
    return order[::-1][wrong[order[::-1]]], order[right[order]]


def rows_of_labels(labels: Sequence[LabelNumbers]) -> Iterator[int]:
    """Yields rows of the examples of labels: of each label one, the most frequent label first, then the next ones."""
    frequent_first = sorted(labels, key=lambda label: -label.support)
    for examples in zip_longest(*(take_turns(label.examples) for label in frequent_first)):
        yield from (row for row in examples if row is not None)


def take_turns(lists: Sequence[np.ndarray]) -> Iterator[int]:
    """Yields the first of each list, then the second of each.

    >>> list(take_turns([[1, 2], [], [3]]))
    [1, 3, 2]
    """
    for turn in zip_longest(*lists):
        yield from (int(row) for row in turn if row is not None)
