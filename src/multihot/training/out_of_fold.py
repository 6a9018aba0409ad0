"""What is said of images by a model that has not learned from them, to be compared with their answers."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import OmegaConf
from torch import Tensor

from multihot.data.clusters import join_clusters, read_clusters
from multihot.data.manifest import Manifest, target_of
from multihot.data.planting import plant_errors
from multihot.data.splitting import k_folds
from multihot.decisions.suspects import cross_calibrate
from multihot.errors import InputError
from multihot.evaluation.predictions import MATRICES, Predictions
from multihot.labels import LabelSpace
from multihot.model.out_of_fold import predict_out_of_fold
from multihot.model.start import FreshHead
from multihot.ownership import find_run_around
from multihot.processes.session import open_session
from multihot.run.folder import Run, load_run
from multihot.training.build import create_cache
from multihot.training.recipe import Recipe, read_recipe

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """A run, what it was trained with, and the images whose answers are doubted."""

    run: Run
    recipe: Recipe
    data: Manifest
    space: LabelSpace
    folds: np.ndarray  # int64 (N,)
    is_planted: np.ndarray | None  # answers that were made wrong first, bool (N, C)


class Unseen(NamedTuple):
    """Logits (N, C) by what has not learned from the images, and calibrated probabilities float32 (N, C)."""

    logits: Tensor
    probability: np.ndarray


def open_source(
    folder: str, split: str, changes: Mapping, *, num_folds: int, seed: int, clusters: str | None, plant: float
) -> Source:
    """Returns the data of a run's split and its folds.

    Args:
        changes: of the run's settings, see `load_run`.
        clusters: a file of images that belong into one fold.
        plant: fraction of the known answers that are made wrong.
    """
    run, trained, labels = load_run(folder, changes)
    recipe = read_recipe(OmegaConf.to_container(trained, resolve=True))
    data, is_planted = recipe.read(split, labels), None
    space = data.label_space(recipe.single_label, recipe.activation)
    if plant:
        data, is_planted = plant_errors(data, space, plant, seed)
    together = join_clusters(data.clusters, read_clusters(clusters, data.images, trained.data.get("root")))
    return Source(run, recipe, data, space, k_folds(data.targets, num_folds, seed, together), is_planted)


def fit_heads(source: Source) -> Unseen:
    """Returns what heads say that are fitted to all folds but an image's own, on features of the pretrained backbone.

    The weights of the run are not used: they have learned the answers, wrong ones too.
    """
    recipe, data, space = source.recipe, source.data, source.space
    settings = recipe.settings
    warn_of_backbone(settings["model"])
    computing = recipe.mixed_precision, settings["kernels"], settings["model"], recipe.seed, recipe.cache_folder
    with open_session(*computing) as session:
        model = recipe.create_model(num_labels=len(space.labels)).to(session.accelerator.device)
        cache = create_cache(recipe, session.accelerator, model)
        features = FreshHead(model, space, data, recipe.read_classifier, lambda: cache.read_pooled(data)).features
    return calibrated(source, predict_out_of_fold(features, data, space, source.folds))


def load_saved(source: Source, split: str) -> Unseen:
    """Returns what the run has predicted of a split that it has not learned from; raises InputError if it has not."""
    folder = source.run.split(split)
    way_out = f"first: python evaluate.py run={source.run.folder} split={split}"
    if not (folder / MATRICES).exists():
        raise InputError(f"{folder} has no predictions, with which the answers are compared; {way_out}")
    saved = Predictions.load(folder, source.space)
    if list(saved.images) != list(source.data.images):
        raise InputError(f"the predictions in {folder} are of other images than the data has now; {way_out}")
    return calibrated(source, saved.logits.clone())


def calibrated(source: Source, logits: Tensor) -> Unseen:
    """Returns logits (N, C) with their probabilities, those of each fold calibrated by the others."""
    return Unseen(logits, cross_calibrate(logits, target_of(source.data), source.space, source.folds).numpy())


def warn_of_backbone(model: Mapping) -> None:
    """Warns if the features are those of random weights, or of weights that may have seen the answers."""
    if not model["pretrained"] and model["weights"] is None:
        log.warning("the run began with random weights: their features find little; take a run with pretrained ones")
    around = find_run_around(Path(model["weights"])) if model["weights"] else None
    if around is not None:
        log.warning("the run began with the weights of %s: if they have seen these answers, errors look right", around)
