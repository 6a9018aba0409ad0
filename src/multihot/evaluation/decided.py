"""The decisions of a run: fitted to the predictions of a split, kept with its model, and what they come to."""

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from multihot.decisions import Decisions, fit_decisions
from multihot.decisions.cross_fit import MOST_ENTRIES, Gain, cross_fit
from multihot.decisions.decisions import DECISIONS_FILE
from multihot.decisions.reliability import Reliability, measure_reliability
from multihot.errors import InputError, list_first, plural
from multihot.evaluation.predictions import ORIGIN, Predictions, hash_model
from multihot.evaluation.scores import FITTED, in_one_thread
from multihot.files import write_text, writing
from multihot.known_classes import create
from multihot.labels import LabelSpace, read_groups
from multihot.metrics import Evaluation
from multihot.metrics.bootstrap import DECISION_SCORES
from multihot.metrics.decisions import measure_decisions
from multihot.model.stored import save_decisions
from multihot.run.folder import Run
from multihot.seal import find_fault, read_seal
from multihot.settings.saved import to_plain

log = logging.getLogger(__name__)

MEASURES = (
    "ratio",
    "slope",
    "intercept",
    "log_loss",
    "brier",
    "ece",
    "ece_expected",
)  # of calibration, see Reliability
MANY = 1 << 25  # entries
MOST_MEASURED = 1 << 26  # entries; of more, calibration.csv would take minutes


def fit_run(run: Run, split: str, settings: Mapping, predictions: Predictions, decide) -> None:
    """Fits decisions to the predictions of a split, prints what they bring, and keeps them in best/.

    Args:
        settings: decisions of conf/.
        decide: by the run's own threshold.

    Raises:
        InputError: nothing can be fitted, or promised.
    """
    aim = create("decisions.aim", settings["aim"])
    options = {name: settings[name] for name in ("per_label", "calibration")}
    num_own = len(predictions.space.independent)
    own = "one threshold a label" if options["per_label"] else "one threshold"
    origin = read_seal(run.split(split), ORIGIN) or {}
    fitted = {
        "description": f"{aim}, {own}, {options['calibration']}, {split}" if num_own else f"largest logit, {split}",
        "aim": {"name": type(aim).__name__, **asdict(aim)},
        "split": split,
        "num_images": len(predictions),
        "data": origin.get("data"),
        "model": (model := hash_model(run.best)),
    }
    if predictions.logits.numel() > MANY:
        log.info("decisions are fitted to %d images x %d labels: this takes minutes", *predictions.logits.shape)
    with in_one_thread():
        decisions = fit_decisions(predictions, predictions.space, aim, **options)
        gains = {}
        if predictions.logits.numel() <= MOST_ENTRIES and predictions.space.independent:
            fit = partial(fit_decisions, space=predictions.space, aim=aim, **options)
            gains = try_cross_fit(predictions, fit, decide)
    cross_fitted = {name: gain._asdict() for name, gain in gains.items()}
    decisions = replace(decisions, fitted={**fitted, "cross_fitted": cross_fitted})
    with writing(run.best, "Make space or set that right"):
        save_decisions(run.best, decisions, model)
    log.info("%s", describe(decisions, gains))


def try_cross_fit(predictions: Predictions, fit, decide) -> dict[str, Gain]:
    """Returns the gains on images that were not fitted to; none where a part of the images is too little to fit."""
    try:
        return cross_fit(predictions, fit, decide, predictions.cluster)
    except InputError as error:
        log.info("what that brings on other images is not known, a part of these is too little: %s", error)
        return {}


def describe(decisions: Decisions, gains: Mapping[str, Gain]) -> str:
    """Returns decisions and gains in words."""
    lines = [f"decisions: {decisions.description} ({plural(decisions.fitted['num_images'], 'image')})"]
    num_common = len(decisions.space.independent) - len(decisions.own)
    if num_common:
        lines.append(f"  {plural(num_common, 'label')}: predicted from probability {decisions.common:.4f} on")
    if decisions.own:
        thresholds = decisions.thresholds()
        low, high = np.quantile([thresholds[column] for column in decisions.own], (0, 1))
        lines.append(f"  {plural(len(decisions.own), 'label')}: each from its own on, {low:.4f} to {high:.4f}")
    for group, temperature in zip(decisions.space.groups, decisions.calibration.temperatures, strict=True):
        lines.append(f"  {group.name}: the largest logit decides; temperature {temperature:.4f}")
    if decisions.kept:
        reasons = [f"{label}: {reason}" for label, reason in decisions.kept.items()]
        lines.append(
            f"  the common threshold is kept by {plural(len(reasons), 'label')}:\n{list_first(reasons, limit=5)}"
        )
    if gains:
        lines.append("  fitted to four fifths of these images, on the last fifth      own   fitted  difference (95%)")
        lines += [
            f"    {name:<52} {gain.before:9.4f}{gain.after:9.4f}  {gain.after - gain.before:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f})"
            for name, gain in gains.items()
        ]
    return "\n".join(lines)


def read_space(settings: DictConfig, labels: tuple[str, ...]) -> LabelSpace:
    """Returns the label space of a run, from its settings."""
    groups = read_groups(settings.data.groups) if "groups" in settings.data else ()
    several = LabelSpace(labels, groups, activation=settings.activation)
    return LabelSpace.single_label(labels) if settings.single_label else several


def read_fitted(run: Run, split: str, space: LabelSpace) -> Predictions:
    """Returns the predictions of a split that decisions can be fitted to.

    Args:
        space: of predictions that do not say it.

    Raises:
        InputError: there are none, or they are of another model.
    """
    folder = run.split(split)
    command = f"python evaluate.py run={run.folder} split={split}"
    if split == "test":
        raise InputError(
            "thresholds that are fitted to the test split say nothing about new images, and its scores by them are too "
            "good: take split=val"
        )
    if not (folder / "metrics.json").exists():
        raise InputError(f"{folder} has no predictions; this makes them: {command}")
    origin = read_seal(folder, ORIGIN)
    fault = None if origin is None else find_fault(folder, ORIGIN)
    if fault is not None:
        raise InputError(f"the predictions in {folder} are damaged ({fault}); {command} predict=again makes them anew")
    if origin is not None and origin.get("model") not in (None, hash_model(run.best)):
        raise InputError(f"the predictions in {folder} are of another model than {run.best}; {command} makes them anew")
    return Predictions.load(folder, space)


def read_decisions(run: Run, space: LabelSpace) -> Decisions | None:
    """Returns the decisions that were fitted for the model of a run; None if none were, or for other labels or groups.

    Raises:
        InputError: their file is damaged.
    """
    try:
        decisions = run.read_decisions()
    except InputError as error:
        raise InputError(f"{error}; or fit anew: python scripts/fit_decisions.py run={run.folder}") from error
    if decisions is not None and decisions.space != space:
        log.warning(
            "%s is of other labels or groups and is not used: fit_decisions.py fits anew", run.best / DECISIONS_FILE
        )
        return None
    return decisions


def settle_decisions(run: Run, trained: DictConfig, space: LabelSpace) -> Decisions:
    """Returns by what new images are decided: the decisions that were fitted for the model, else the run's threshold.

    Args:
        trained: the settings of the run.
    """
    fitted = read_decisions(run, space)
    return Decisions.by_threshold(space, to_plain(trained.threshold)) if fitted is None else fitted


def add_decisions(
    evaluation: Evaluation,
    predictions: Predictions,
    decisions: Decisions | None,
    folder: Path,
    split: str,
    origin: Mapping,
) -> None:
    """Adds scores and columns by the fitted decisions to an evaluation, and writes calibration.csv into its folder.

    Images that the decisions were fitted to are not scored by them: the scores would be too good.

    Args:
        origin: what the predictions depend on.
    """
    if decisions is not None and is_fitted_to(decisions, split, origin["data"]):
        log.info(
            "the decisions were fitted to these images, and are not scored on them: decisions.json has what they bring "
            "(cross_fitted)"
        )
        decisions = None
    if decisions is not None:
        evaluation.decided_by.update(description=decisions.description, sha256=decisions.sha256)
        if predictions.space.independent:
            add_fitted(evaluation, predictions, decisions)
    if predictions.logits.numel() > MOST_MEASURED:
        log.info("calibration.csv is left out: for so many answers it would take minutes (see measure_calibration)")
        return
    measured = measure_calibration(predictions, decisions)
    if decisions is not None:
        for prefix, measures in measured.items():
            evaluation.scores[f"{prefix}log_loss"] = measures.overall()["log_loss"]
    write_text(folder / "calibration.csv", format_calibration(measured, predictions.space.labels))


def is_fitted_to(decisions: Decisions, split: str, data: str) -> bool:
    """Returns whether decisions were fitted to these images; where their hash is not known, to a split of that name."""
    fitted = decisions.fitted
    return fitted["data"] == data if fitted.get("data") else fitted.get("split") == split


def add_fitted(evaluation: Evaluation, predictions: Predictions, decisions: Decisions) -> None:
    """Adds scores and columns by the fitted decisions to an evaluation."""
    with in_one_thread():
        measured = measure_decisions(predictions, decisions.decide)
    evaluation.scores.update({f"{FITTED}{name}": measured[name].item() for name in DECISION_SCORES})
    columns = {
        f"{FITTED}{name}": measured[f"label_{name}"].tolist() for name in ("predicted", "precision", "recall", "f1")
    }
    columns[f"{FITTED}threshold"] = decisions.thresholds()
    for name, values in columns.items():
        for row, value in zip(evaluation.table, values, strict=True):
            row[name] = value


def measure_calibration(predictions: Predictions, decisions: Decisions | None) -> dict[str, Reliability]:
    """Returns the measures of calibration by the logits themselves, "", and by the fitted calibration, FITTED."""
    scales = {"": predictions.space} | ({} if decisions is None else {FITTED: decisions.calibration})
    return {
        name: Reliability.join(
            [
                measure_reliability(log_odds.T.numpy(), target.T.numpy())
                for log_odds, target in predictions.label_chunks(scale, torch.float64)
            ]
        )
        for name, scale in scales.items()
    }


def format_calibration(measured: Mapping[str, Reliability], labels: tuple[str, ...]) -> str:
    """Returns a table in CSV with a row a label."""
    first = measured[""]
    columns = {"label": labels, "num_known": first.num_known.astype(int), "support": first.num_positives.astype(int)}
    for prefix, measures in measured.items():
        columns |= {f"{prefix}{name}": getattr(measures, name) for name in MEASURES}
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(
        zip(*(values if isinstance(values, tuple) else values.tolist() for values in columns.values()), strict=True)
    )
    return text.getvalue()
