"""Logits of images by heads that have not seen their answers: each fold by one that is fitted to all others."""

import logging

import numpy as np
import torch

from multihot.data.manifest import Manifest, target_of
from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.model.logistic import Answers, fit_best, fit_logistic
from multihot.model.prior import mean_one, prior_log_odds

log = logging.getLogger(__name__)


def predict_out_of_fold(features: torch.Tensor, data: Manifest, space: LabelSpace, folds: np.ndarray) -> torch.Tensor:
    """Returns the logits (N, C) of logistic regressions on frozen features (N, D), each fitted to the other folds.

    Unknown answers do not count. A label that the other folds do not have both answers of gets its prior there. The
    strength of the regularisation is chosen once, inside of the folds that the first head is fitted to.

    Args:
        folds: of each image, int64 (N,), from 0 up.

    Raises:
        InputError: no label is known to be on some images and not on others.
    """
    image_weight = None if data.weights is None else torch.from_numpy(mean_one(data.weights)).float()
    answers, l2 = Answers(space, target_of(data).float(), image_weight), None
    if not answers.find_fitted():
        raise InputError("no label is known to be on some of the images and not on others: there is nothing to learn")
    logits = torch.empty(len(data), len(space.labels))
    for fold in range(folds.max() + 1):
        held_out = torch.from_numpy(folds == fold)
        others = answers.of_images(~held_out)
        if l2 is None:
            weight, bias, l2 = fit_best(features[~held_out], others)
        else:
            weight, bias = fit_logistic(features[~held_out], others, l2)
        fitted = others.find_fitted()
        predicted = prior_log_odds(space, data.subset(np.flatnonzero(folds != fold))).repeat(int(held_out.sum()), 1)
        predicted[:, fitted] = features[held_out] @ weight[fitted].T + bias[fitted]
        logits[held_out] = predicted
        log.info("fold %d of %d: %d labels fitted, l2 %g", fold + 1, folds.max() + 1, len(fitted), l2)
    return logits
