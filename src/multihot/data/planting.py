"""Known answers made wrong on purpose, to measure how well errors are found."""

import numpy as np

from multihot.data.corrections import correct
from multihot.data.manifest import Manifest
from multihot.labels import LabelSpace


def plant_errors(data: Manifest, space: LabelSpace, fraction: float, seed: int) -> tuple[Manifest, np.ndarray]:
    """Returns the manifest with a random part of the known answers made wrong, and which they are, bool (N, C).

    Of an independent label a present answer becomes absent and any other present. Of a group the outcome is the answer:
    another label, or none where the group allows it, takes the place of the one that is given; all labels are marked.

    >>> from scipy.sparse import csr_array
    >>> one = Manifest(("cat", "dog"), list("abcdefghij"), csr_array(np.int8([[1, 0]] * 10)))
    >>> planted, is_planted = plant_errors(one, LabelSpace(one.labels), 0.25, seed=0)
    >>> int(is_planted.sum()), bool((planted.dense_targets() == (one.dense_targets() ^ is_planted)).all())
    (5, True)
    """
    generator, target = np.random.RandomState(seed), data.dense_targets()
    wrong, is_planted = target.copy(), np.zeros(target.shape, bool)
    own = np.zeros(target.shape, bool)
    own[:, space.independent] = target[:, space.independent] != -1
    chosen = choose(np.flatnonzero(own), fraction, generator)
    wrong.flat[chosen], is_planted.flat[chosen] = target.flat[chosen] < 0.5, True
    for group, members in zip(space.groups, space.columns, strict=True):
        answers = target[:, members]
        outcome = np.where((answers >= 0.5).any(axis=1), answers.argmax(axis=1), len(members))
        is_known = (outcome < len(members)) | ((answers != -1).all(axis=1) & group.none)
        rows = choose(np.flatnonzero(is_known), fraction, generator)
        num_outcomes = len(members) + group.none
        other = (outcome[rows] + generator.randint(1, num_outcomes, len(rows))) % num_outcomes
        wrong[np.ix_(rows, members)] = other[:, None] == np.arange(len(members))
        is_planted[np.ix_(rows, members)] = True
    rows, columns = np.nonzero(wrong != target)
    return correct(data, rows, columns, wrong[rows, columns])[0], is_planted


def choose(places: np.ndarray, fraction: float, generator: np.random.RandomState) -> np.ndarray:
    """Returns a random part of places (K,)."""
    return generator.permutation(places)[: round(fraction * len(places))]
