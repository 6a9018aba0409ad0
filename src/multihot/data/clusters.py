"""Images that belong together: a patient, a scene, copies of one picture; and the file that says so, clusters.csv."""

import csv
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from multihot.errors import InputError
from multihot.files import name_irregular

log = logging.getLogger(__name__)


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


def read_clusters(file: str | None, images: Sequence[str], root: str | None) -> np.ndarray | None:
    """Returns the cluster of each image by a CSV file, int64 (N,); an image that it does not list is alone.

    A file with its header alone is that of data without copies: all images are alone.
    """
    if file is None:
        return None
    root = os.path.abspath(os.path.dirname(file) if root is None else root)
    row_of = {image: row for row, image in enumerate(images)}
    clusters, numbers, num_listed = np.arange(len(images)), {}, 0
    try:
        if what := name_irregular(file):
            raise InputError(f"clusters={file} is {what} and no file")
        with open(file, encoding="utf-8-sig", newline="", errors="surrogateescape") as text:
            lines = csv.DictReader(text, strict=True)
            is_empty = {"image", "cluster"} <= {*(lines.fieldnames or ())}  # the doctor's, where all are alone
            for line in lines:
                is_empty = False
                if line.get("image") is None or line.get("cluster") is None:
                    raise InputError(f"{file} must have the columns image and cluster in every row, not {line}")
                row = row_of.get(os.path.normpath(os.path.join(root, line["image"].strip())))
                if row is not None:
                    clusters[row] = len(images) + numbers.setdefault(line["cluster"].strip(), len(numbers))
                    num_listed += 1
    except OSError as error:
        raise InputError(f"cannot read clusters={file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"clusters={file} is not CSV in UTF-8: {error}") from error
    if not num_listed and not is_empty:
        raise InputError(f"{file} lists none of the images; its paths start from {root} (see data.root)")
    log.info(
        "%s: %s clusters with %s of the %s images; each other one is alone\n",
        file, *(f"{count:,}" for count in (len(numbers), num_listed, len(images))),
    )  # fmt: skip
    return clusters


def join_clusters(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """Returns clusters of images that are together in the first or in the second, also by way of a third image.

    >>> join_clusters(np.array([0, 0, 1, 2]), np.array([7, 8, 8, 9])).tolist()
    [0, 0, 0, 1]
    """
    if first is None or second is None:
        return second if first is None else first
    images, num_images = np.arange(len(first)), len(first)
    first, second = (np.unique(numbers, return_inverse=True)[1].ravel() for numbers in (first, second))
    return join([(images, num_images + first), (images, num_images + first.max() + 1 + second)], num_images)


def join(edges: Sequence[tuple[np.ndarray, np.ndarray]], num_images: int) -> np.ndarray:
    """Returns a number for each image, int64 (N,), the same for all that edges connect, also by way of others.

    Args:
        edges: pairs of arrays (E,) of nodes; nodes from N up stand for what images have in common.

    >>> join([(np.array([0, 3]), np.array([4, 4])), (np.array([1]), np.array([2]))], num_images=4).tolist()
    [0, 1, 1, 0]
    """
    sources, targets = (np.concatenate(side) for side in zip(*edges, strict=True))
    size = 1 + max(sources.max(initial=-1), targets.max(initial=-1), num_images - 1)
    graph = coo_array((np.ones(len(sources), bool), (sources, targets)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:num_images].astype(np.int64)
