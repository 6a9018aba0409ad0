"""Evaluates the best model of a run on a split, from nothing but the run folder.

python evaluate.py run=runs/<name> split=test
"""

import logging
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")

WAY_OUT = "Make space or set that right, or give another folder by out="


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Writes runs/<name>/<split>/: metrics.json, labels.csv and the predictions; prints a table."""
    from accelerate import PartialState  # what loads torch, --help need not wait for

    from multihot.evaluation.decided import read_decisions
    from multihot.evaluation.predict import staging
    from multihot.evaluation.predictions import take_over
    from multihot.files import absolute
    from multihot.processes.session import start_processes
    from multihot.run.folder import in_process_0, load_run
    from multihot.settings.check import check_settings
    from multihot.settings.saved import to_plain

    check_settings(cfg, "evaluate")
    start_processes()
    changes = ("data", "threshold", "batch_size", "num_workers", "mixed_precision")
    run, trained, labels = load_run(cfg.run, changes={key: cfg[key] for key in changes})
    check_threshold(trained, labels)
    own = run.split(cfg.split)
    folder = own if cfg.out is None or Path(absolute(cfg.out)) == own.absolute() else Path(absolute(cfg.out))
    in_process_0(partial(check_output, folder, run, folder == own))
    data = read_split(cfg.split, trained, labels)
    space = data.label_space(trained.single_label, trained.activation)
    origin, same = in_process_0(partial(find_predictions, cfg.predict, (folder, own), run, data, space, trained))
    with staging(folder) as new:
        if same is None:
            predict_split(cfg.split, data, run.best, labels, trained, new)
        if PartialState().is_main_process:
            if same is not None:
                log.info("the logits are those in %s: model, data and preprocessing are the same (predict=again)", same)
                take_over(same, new, WAY_OUT)
            if folder == own:
                run.note_split(cfg.split, data.identity())
            log.info("%s of %s", cfg.split, run.folder)
            tell_threshold(to_plain(trained.threshold), space, run, folder)
            decisions = read_decisions(run, space)
            counts = run.read_counts(len(labels))
            measure(cfg.split, new, data, space, trained, counts, folder, origin, decisions, cfg.resamples)


def find_predictions(predict: str, folders: tuple[Path, ...], run, data, space, trained: DictConfig):
    """Returns what predictions depend on, and the first of the folders that has them; None: none has, or another is
    not wanted.

    Args:
        predict: auto | again.
    """
    from multihot.evaluation.predictions import find_same, hash_model, identify
    from multihot.seal import check_model

    check_model(run.best)
    origin = identify(data, space, OmegaConf.to_container(trained)) | {"model": hash_model(run.best)}
    return origin, find_same(folders, origin) if predict == "auto" else None


def check_threshold(trained: DictConfig, labels: tuple[str, ...]) -> None:
    """Raises InputError for thresholds that do not fit the labels of a run, and for groups called as scores are."""
    from multihot.evaluation.decided import read_space
    from multihot.metrics import check_group_names
    from multihot.metrics.checks import check_decided
    from multihot.settings.saved import to_plain

    space = read_space(trained, labels)
    check_group_names(space.groups)
    check_decided(to_plain(trained.threshold), space)


def tell_threshold(threshold: object, space, run, folder: Path) -> None:
    """Says by which threshold labels are decided if it is not the run's own, and which one the folder has had."""
    from multihot.errors import InputError
    from multihot.files import read_json
    from multihot.json_shapes import METRICS
    from multihot.metrics import Evaluation
    from multihot.metrics.checks import list_thresholds
    from multihot.settings.saved import to_plain

    own = to_plain(run.read_config().threshold)
    is_own = list_thresholds(threshold, space) == list_thresholds(own, space)
    if not is_own:
        log.info("decided by threshold=%s, not by the run's own; metrics.json and labels.csv say so", threshold)
    now = Evaluation({}, [], list_thresholds(threshold, space)).threshold
    unknown = now if is_own else "that is not written down"
    try:
        earlier = read_json(folder / "metrics.json", METRICS).get("threshold", unknown)
    except InputError:  # there is none, or it is damaged and replaced
        return
    if earlier != now:
        log.warning(
            "%s was decided by threshold %s and is replaced by what %s decides; out=<another folder> would keep it",
            folder, earlier, now,
        )  # fmt: skip


def check_output(folder: Path, run, is_own: bool) -> None:
    """Raises InputError unless the evaluation of a split can be written to a folder, and replaces only another one.

    Args:
        is_own: it is the run's own folder for the split.
    """
    from multihot.errors import InputError
    from multihot.files import prepare_file, prepare_folder
    from multihot.ownership import EVALUATION, find_run_around

    way_out = "give another folder by out="
    around = find_run_around(folder)
    is_beside = folder.parent.resolve() == run.folder.resolve() and not run.owns(folder.name)
    if around is not None and not is_own and not is_beside:
        raise InputError(f"out={folder} is, or is in, the run {around}, and not what this would write there: {way_out}")
    prepare_folder(folder, EVALUATION, way_out)
    prepare_file(dropped_beside(folder), b"image,reason", way_out)


def dropped_beside(folder: Path) -> Path:
    """Returns the file, beside a folder, for the images that were left out."""
    return folder.with_name(f"bad_images_{folder.name}.csv")


def read_split(split: str, trained: DictConfig, labels: tuple[str, ...]):
    """Returns the images of a split as a Manifest; raises InputError if there is nothing to measure.

    Args:
        trained: the settings of the run.
    """
    from multihot.data import create_source
    from multihot.data.answer_kinds import count_kinds
    from multihot.data.unlearnable import describe_source, ways_to_absent
    from multihot.errors import InputError

    data = create_source(trained.data, trained.max_images, trained.num_workers)(split, labels)
    settings = OmegaConf.to_container(trained.data)
    if not data.label_count().any():
        raise InputError(
            f"none of the {len(data)} {split} images has a label: there is nothing to measure. Correct the file or "
            f"what is read of it ({describe_source(settings)}); images that nobody has labelled are predicted by "
            "scripts/predict.py"
        )
    if not count_kinds(data).both.any():
        way_out = ways_to_absent(settings, data).replace("data.", "+data.")
        log.warning(
            "no label is known to be on some %s images and not on others: there is no AP. %s", split, way_out.strip()
        )
    return data


def predict_split(split: str, data, best: Path, labels: tuple[str, ...], trained: DictConfig, folder: Path) -> None:
    """Writes the best model's logits of all images into an empty folder."""
    from timm.data import resolve_input_data_config

    from multihot.data.checks.pictures import warn_of_pictures
    from multihot.data.loader import create_evaluation_batches
    from multihot.evaluation.predict import predict
    from multihot.failures import explaining_failures
    from multihot.model.pieces import InPieces
    from multihot.model.rounded import round_weights
    from multihot.model.saved import load_model
    from multihot.processes.session import open_session

    computing = trained.mixed_precision, trained.kernels, trained.model, trained.seed, trained.data.get("cache_folder")
    with open_session(*computing) as session:
        model = round_weights(load_model(best, labels), session.compute.mixed_precision)
        model.to(session.accelerator.device)
        preprocessing = resolve_input_data_config(model)
        if session.accelerator.is_main_process:
            warn_of_pictures(data, preprocessing)
        batches = create_evaluation_batches(
            data,
            accelerator=session.accelerator,
            preprocessing=preprocessing,
            batch_size=trained.batch_size,
            num_workers=trained.num_workers,
        )
        advice = f"Lower batch_size={trained.batch_size}."
        with explaining_failures(lambda: f"while the {split} split is predicted", advice):
            predict(session.accelerator, InPieces(model), batches, folder, split, way_out=WAY_OUT)


def measure(
    split: str, new: Path, data, space, trained: DictConfig, counts: dict, folder: Path, origin: dict, decisions,
    num_resamples: int,
) -> None:  # fmt: skip
    """Adds what the predictions in a staged folder come to, moves it into place, and prints it.

    Args:
        counts: how often the train split has each label, which the loss may depend on.
        origin: what the predictions depend on.
        decisions: fitted ones, by which it is scored too; None: there are none.
        num_resamples: for the intervals of the scores; 0: no intervals.
    """
    from multihot.data.bad_images import save_dropped
    from multihot.evaluation.decided import add_decisions
    from multihot.evaluation.intervals import add_intervals, describe_intervals
    from multihot.evaluation.predict import save_evaluation, seal_predictions
    from multihot.evaluation.predictions import Predictions
    from multihot.evaluation.scores import evaluate_split, format_evaluation
    from multihot.files import writing
    from multihot.known_classes import create
    from multihot.loss import create_loss
    from multihot.settings.saved import to_plain

    loss = create_loss(**create("loss", trained.loss, _convert_="all"), space=space, **counts)
    predictions = Predictions.load(new, space)
    evaluation = evaluate_split(predictions, to_plain(trained.threshold), loss, len(data.dropped))
    with writing(folder, WAY_OUT):
        seal_predictions(new, origin)
        add_decisions(evaluation, predictions, decisions, new, split, origin)
        if num_resamples:
            add_intervals(evaluation, predictions, num_resamples, to_plain(trained.threshold), decisions)
        save_dropped(data, dropped_beside(folder))
        save_evaluation(folder, evaluation, origin)
    note = f"\n\n{describe_intervals(evaluation, predictions, num_resamples)}" if num_resamples else ""
    log.info("%s%s\n\nwritten to %s", format_evaluation(evaluation), note, folder)


if __name__ == "__main__":
    run_script(main)
