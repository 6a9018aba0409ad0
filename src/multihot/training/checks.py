"""What is looked at before training: is there something to learn, and something to choose the best epoch by?"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from multihot.data.answer_kinds import count_kinds, num_unknown
from multihot.data.manifest import Manifest, target_of
from multihot.data.unlearnable import check_learnable, describe_alike, describe_lacking, ways_to_absent
from multihot.errors import InputError, check_choice
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate_split, score_names
from multihot.labels import LabelSpace
from multihot.loss import MultiLabelLoss
from multihot.metrics import check_group_names
from multihot.metrics.checks import check_threshold
from multihot.run.folder import Run
from multihot.training.recipe import Recipe

FEW_IMAGES = 1000


def check_measured(monitor: str, threshold: object, space: LabelSpace) -> None:
    """Raises InputError if the settings name scores that there will not be, or thresholds that do not fit."""
    check_group_names(space.groups)
    names = [name for name in score_names(space) if not name.startswith("num_")]  # which no training changes
    check_choice("monitor", monitor, [f"val/{name}" for name in names])
    if not space.is_single_label:
        check_threshold(threshold, space)


def check_choosable(
    monitor: str, data: Manifest, space: LabelSpace, threshold: float | None, loss: MultiLabelLoss, settings: Mapping
) -> None:
    """Raises InputError if the monitored score is the same for the best and the worst predictions of the val images:
    the first epoch would stay the best, whatever is learnt.

    Args:
        settings: of the data, some of which say what an answer is.
    """
    if not len(data):
        return
    for part in (data.thin_out(FEW_IMAGES), data):  # where some images tell epochs apart, all do
        best, worst = (
            evaluate_split(predictions, threshold, loss, len(part.dropped)).scores[monitor.partition("/")[2]]
            for predictions in extreme_predictions(part, space, threshold)
        )
        if best != worst and not math.isnan(best + worst):
            return
    kinds = count_kinds(data)
    raise InputError(
        f"monitor={monitor} is {best:g} for the best and for the worst predictions of the {len(data)} val images: no "
        f"epoch can be chosen by it. {kinds.both.sum() or 'None'} of {len(space.labels)} labels are known to be on "
        f"some of them and not on others ({kinds.present.sum():,} answers are present, {kinds.absent.sum():,} absent, "
        f"{num_unknown(data):,} unknown). {ways_to_absent(settings, data)}Give more val images (data.val_fraction, or "
        "rows of their own) or another monitor (val/loss); data.val_fraction=0, without val rows, keeps the last epoch"
    )


def extreme_predictions(
    data: Manifest, space: LabelSpace, threshold: float | Sequence[float] | None
) -> tuple[Predictions, Predictions]:
    """Returns those of a model that is always right, on both sides of any threshold, and of one that never is."""
    size = 30 + np.abs(np.asarray(0 if threshold is None else threshold, np.float32)).max().item()
    target = target_of(data)
    right = torch.where(target >= 0.5, size, -size)
    return Predictions(right, target, space), Predictions(-right, target, space)


def no_warning(line: str) -> None:
    """Warns of nothing: the first process has."""


def check_answers(
    recipe: Recipe,
    run: Run,
    train_data: Manifest,
    val_data: Manifest,
    loss: MultiLabelLoss,
    warn: Callable[[str], None],
) -> None:
    """Warns of labels that cannot be learnt or measured; raises InputError where that leaves nothing to learn, or
    nothing to choose the best epoch by. A run that has begun so and goes on is only warned of.
    """
    settings, space = recipe.settings["data"], loss.space
    with warning_instead(run.goes_on, warn):
        check_learnable(train_data, space, loss.unknown, settings)
    is_cut = len(train_data) == recipe.max_images
    for line in describe_lacking(train_data, val_data, space, loss.unknown, settings, is_cut=is_cut):
        warn(line)
    with warning_instead(run.goes_on, warn):
        check_choosable(recipe.monitor, val_data, space, recipe.threshold, loss, settings)
    for line in describe_alike(val_data):
        warn(line)
    if run.is_trial and not len(val_data):
        raise InputError("a search compares scores, which need val images: data.val_fraction=0.1, or rows of their own")
    if recipe.patience is not None and not len(val_data):
        warn(f"patience={recipe.patience} never ends a training without val images (data.val_fraction=0)")


@contextmanager
def warning_instead(is_wanted: bool, warn: Callable[[str], None]) -> Iterator[None]:
    """Turns an InputError into a warning, if that is wanted."""
    try:
        yield
    except InputError as error:
        if not is_wanted:
            raise
        warn(str(error))
