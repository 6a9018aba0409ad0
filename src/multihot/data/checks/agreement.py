"""How far several people agree about the same images, label by label."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from multihot.data.table.table import Table

STEPS = 10  # soft answers are compared to a tenth
NO_ALPHA = 'there is no Krippendorff\'s alpha without its package: pip install -e ".[agreement]"'


class Votes(NamedTuple):
    """The answers about one label of all images that two people or more have answered."""

    label: str
    counts: np.ndarray  # int64 (N, 11), how many people gave each answer, 0 to 1 by tenths, about an image
    num_unnamed: int  # images beside these N of which all readings leave the label out: it is absent to all
    num_absent: int  # readings of these images

    @property
    def num_images(self) -> int:
        """The number of images."""
        return len(self.counts) + self.num_unnamed


def measure_agreement(table: Table | None) -> list[dict]:
    """Returns label, num_images, agreement and alpha of each label about which two people or more have answered.

    num_images is the number of such images; agreement the share of pairs of answers about one image that are equal, the
    mean of the images; alpha is Krippendorff's (interval, which for yes and no is nominal), None where all answers are
    the same, or without the package. Unknown is no answer. A label that a reading of the whole image does not name is
    absent to it.
    """
    return [
        {
            "label": votes.label,
            "num_images": votes.num_images,
            "agreement": find_share(votes),
            "alpha": find_alpha(votes) if has_alpha() else None,
        }
        for votes in (count_votes(table) if table is not None else ())
    ]


def has_alpha() -> bool:
    """Returns whether there is the package that knows Krippendorff's alpha."""
    return find_spec("krippendorff") is not None


def count_votes(table: Table) -> Iterator[Votes]:
    """Yields the answers about each label that several people have answered about an image."""
    if table.agree is None or not len(table):
        return
    rows, label_ids, values = (np.asarray(part) for part in (table.answer_rows, table.label_ids, table.values))
    num_readings = np.asarray(table.num_readings) if table.num_readings else np.zeros(len(table), int)
    order = np.argsort(label_ids, kind="stable")
    starts = np.searchsorted(label_ids[order], np.arange(len(table.id_of) + 1))
    for number, label in enumerate(table.id_of):
        own = order[starts[number] : starts[number + 1]]
        votes = count_answers(label, rows[own], values[own], num_readings)
        if label not in table.none_labels and votes.num_images:
            yield votes


def count_answers(label: str, rows: np.ndarray, values: np.ndarray, num_readings: np.ndarray) -> Votes:
    """Returns the answers about one label.

    Args:
        rows: of the images, int (A,), with values (A,).
        num_readings: of each row, int (R,): those that do not name the label say absent.

    >>> votes = count_answers("cat", np.array([0, 0, 1]), np.array([1, -1, 0.5]), np.array([3, 0, 4]))
    >>> votes.counts.tolist(), votes.num_unnamed, votes.num_absent
    ([[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]], 1, 4)
    """
    named, places = np.unique(rows, return_inverse=True)
    is_known = values >= 0
    cells = places[is_known] * (STEPS + 1) + np.rint(values[is_known] * STEPS).astype(np.int64)
    counts = np.bincount(cells, minlength=len(named) * (STEPS + 1)).reshape(-1, STEPS + 1)
    counts[:, 0] += np.maximum(num_readings[named] - np.bincount(places, minlength=len(named)), 0)
    others = np.where(num_readings > 1, num_readings, 0)
    others[named] = 0
    return Votes(label, counts[counts.sum(axis=1) > 1], int(np.count_nonzero(others)), int(others.sum()))


def find_share(votes: Votes) -> float:
    """Returns the share of pairs of answers about an image that are equal, the mean of the images.

    >>> round(find_share(Votes("cat", np.array([[2, 0], [1, 1], [1, 2]]), 1, 2)), 4)  # of 1, 0, 1/3 and 1
    0.5833
    """
    counts = votes.counts
    num_people = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1) / (num_people * (num_people - 1))
    return float((equal.sum() + votes.num_unnamed) / votes.num_images)


def find_alpha(votes: Votes) -> float | None:
    """Returns Krippendorff's alpha of the answers about one label; None: all are the same, and it is not defined.

    Images about which all say the same are joined to one for each answer, which counts as much and takes no time.
    """
    from krippendorff import alpha

    is_same = (votes.counts > 0).sum(axis=1) == 1
    same = votes.counts[is_same].sum(axis=0)
    same[0] += votes.num_absent
    joined = np.concatenate([votes.counts[~is_same], np.diag(same)])
    used = joined.any(axis=0)
    if used.sum() < 2:
        return None
    domain = np.flatnonzero(used) / STEPS
    return float(alpha(value_counts=joined[:, used], value_domain=domain, level_of_measurement="interval"))
