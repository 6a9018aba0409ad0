"""How often each label is present, as log-odds: what a head knows before it has seen an image."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.labels import LabelSpace
from multihot.loss import UnknownStrategy
from multihot.model.logistic import IGNORE


def prior_log_odds(space: LabelSpace, data: Manifest, unknown: UnknownStrategy = IGNORE) -> torch.Tensor:
    """Returns the logits (C,) that give every label its frequency among its answers as probability.

    A label on none of the images with an answer for it, or on all, counts as half an image away from that, so that its
    logit is finite; one without any answer has the mean logit of the others, 0 if there are none. Inside an exclusive
    group they are log frequencies, with "none" less that of none; 0 if no image has an answer for the group.
    """
    present, answers = map(torch.from_numpy, count_answers(space, data, unknown))
    margin = 0.5 / answers.clamp(min=1)
    frequency = (present / answers.where(answers > 0, 1)).clamp(margin, 1 - margin)
    log_odds, has_answers = torch.logit(frequency), answers > 0
    others = log_odds[[column for column in space.independent if has_answers[column]]]
    log_odds[~has_answers] = others.mean() if len(others) else 0.0
    for group, columns in zip(space.groups, space.columns, strict=True):
        if not has_answers[columns[0]]:
            log_odds[columns] = 0.0
            continue
        rest = (1 - frequency[columns].sum()).clamp(margin[columns[0]]) if group.none else torch.ones(())
        log_odds[columns] = torch.log(frequency[columns]) - torch.log(rest)
    return log_odds.float()


def count_answers(space: LabelSpace, data: Manifest, unknown: UnknownStrategy) -> tuple[np.ndarray, np.ndarray]:
    """Returns how often each label is present and how many answers it has, as the loss is given them, float64 (C,).

    An image counts its weight, where 1 is the mean of those above 0, and an unknown answer what `unknown` makes of it.
    In an exclusive group, of which only known answers count, all labels have the images of which the outcome is known.
    """
    weight = np.ones(len(data)) if data.weights is None else mean_one(data.weights)
    values, columns = data.targets.data, data.targets.indices
    stored, num_labels = weight[rows_of(data.targets)], len(space.labels)
    present = np.bincount(columns, values.clip(0) * stored, num_labels)
    known = np.bincount(columns, (values != -1) * stored, num_labels)
    if data.unlisted == 0:
        known = weight.sum() - np.bincount(columns, (values == -1) * stored, num_labels)
    answers = known + unknown.element_weight * (weight.sum() - known)
    for members in space.columns:
        answers[members] = (known_outcomes(data, members) * weight).sum()
    return present, answers


def known_outcomes(data: Manifest, members: Sequence[int]) -> np.ndarray:
    """Returns how much is known of each image's outcome in an exclusive group, float64 (N,) from 0 to 1.

    All is, if every member has an answer, or if one is present, which rules the others out.
    """
    targets = data.targets[:, list(members)]
    rows, num_images, is_unknown = rows_of(targets), len(data), targets.data == -1
    num_unknown = np.bincount(rows, is_unknown, num_images)
    if data.unlisted == -1:
        num_unknown = len(members) - np.bincount(rows, ~is_unknown, num_images)
    return np.where(num_unknown == 0, 1, np.bincount(rows, targets.data.clip(0), num_images))


def rows_of(targets: csr_array) -> np.ndarray:
    """Returns the row of each stored value."""
    return np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr))


def mean_one(weights: np.ndarray) -> np.ndarray:
    """Returns weights from 0 up as float64, so scaled that those above 0 have the mean 1.

    >>> mean_one(np.float32([0, 2, 6]))
    array([0. , 0.5, 1.5])
    """
    weights = weights.astype(np.float64)
    return weights / weights[weights > 0].mean() if weights.any() else weights
