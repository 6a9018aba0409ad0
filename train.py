"""Fine-tunes a pretrained single-label vision transformer to give one image many labels.

python train.py                      the embedded digits, on any machine, in two minutes
python train.py --help               what can be set
accelerate launch train.py ...       one process a GPU
"""

import logging
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import hydra
from omegaconf import DictConfig, OmegaConf

from multihot.cli import run_script

log = logging.getLogger("multihot")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Returns the best value of the monitored score; None without a validation part."""
    from multihot.processes.cluster import requeued_by_submitit
    from multihot.processes.session import open_session, start_processes
    from multihot.run.enter import open_run
    from multihot.run.sweep import Job
    from multihot.training.build import check_finished  # imports torch, which --help need not wait for
    from multihot.training.compiling import choose_compile
    from multihot.training.recipe import read_recipe

    start_processes()
    job, told = Job.of_hydra(), cfg
    with requeued_by_submitit(), open_run(cfg, job) as (run, cfg):
        told.name = run.folder.name  # where a sweep looks for what the job came to
        finished = run.read_finished(cfg.epochs, cfg.patience)
        if finished is not None:
            check_finished(read_recipe(OmegaConf.to_container(cfg, resolve=True)), run)
            job.report(run.read_history(), cfg.monitor)
            best = f"best score {finished['score']} after epoch {finished['epoch']}"
            log.info("%s is complete: %s; nothing to do (another name trains again)", run.folder, best)
            return finished["score"]
        with open_session(cfg.mixed_precision, cfg.kernels, cfg.model, cfg.seed, cfg.data.cache_folder) as session:
            cfg.mixed_precision, cfg.kernels = session.compute.mixed_precision, session.compute.kernels
            cfg.compile = choose_compile(cfg.compile, session.accelerator)
            recipe = read_recipe(OmegaConf.to_container(cfg, resolve=True))
            return fine_tune(recipe, session.accelerator, run, job)


def fine_tune(recipe, accelerator, run, job) -> float | None:
    """Trains the model, measures it before the first epoch and after each, and keeps the best in the run folder."""
    from multihot.tracking.open import open_tracker
    from multihot.training.build import build

    trainer, batches, validator = build(recipe, accelerator, run)
    state = trainer.state
    tracking = open_tracker(
        recipe.settings,
        run.folder,
        overrides=job.overrides,
        is_sweep=job.number is not None,
        goes_on=run.goes_on,
        manifests=run.read_splits(),
        is_main_process=accelerator.is_main_process,
    )
    with tracking as tracker:
        trainer = replace(trainer, tracker=tracker)
        train(recipe, trainer, batches, validator, run, job)
    if state.best_score is not None and math.isnan(state.best_score):
        log.warning("%s was nan in all epochs: the model after epoch %d is kept", recipe.monitor, state.best_epoch)
    elif state.best_score is None:
        log.info("nothing was measured (data.val_fraction=0): the model after epoch %d is kept", state.best_epoch)
    else:
        log.info("best %s %.4f after epoch %d", recipe.monitor, state.best_score, state.best_epoch)
    log.info("run folder: %s\nevaluate it: python evaluate.py run=%s split=test", run.folder, run.folder)
    return state.best_score


def train(recipe, trainer, batches, validator, run, job) -> None:
    """Goes through the epochs that are left, and notes that the run has come to its end."""
    from multihot.interrupt import noting_signals
    from multihot.seal import check_model
    from multihot.training.epoch import train_one_epoch

    state, checkpoints = trainer.state, trainer.checkpoints
    pruned = False
    with noting_signals() as checkpoints.stop, telling_how_to_go_on(run, job):
        if run.goes_on:
            checkpoints.load()
            check_model(run.best)
            trainer.schedule.step_update(state.update)
            validator.warn_of_older_scores(state)
            log.info("going on after epoch %d and %d batches", state.epoch, state.batch)
        else:
            validator.measure(trainer, train_loss=None)
        while state.epoch < recipe.epochs and not validator.has_waited(state, recipe.patience):
            checkpoints.end_if_asked(is_saved=True)
            pruned = job.is_hopeless(state.history, recipe.monitor)
            if pruned:
                break
            train_loss = train_one_epoch(trainer, batches)
            validator.measure(trainer, train_loss)
        job.report(state.history, recipe.monitor)
    if trainer.accelerator.is_main_process:
        decide(recipe, validator)
        run.finish(
            score=state.best_score,
            epoch=state.best_epoch,
            last_epoch=state.epoch,
            pruned=pruned,
            global_batch_size=checkpoints.global_batch_size,
        )
        report(recipe, trainer, validator)
    validator.show_best(trainer)


def decide(recipe, validator) -> None:
    """Fits the decisions of the best model to the validation part; says why if that cannot be."""
    from multihot.errors import InputError
    from multihot.evaluation.decided import fit_run
    from multihot.evaluation.predictions import Predictions

    decisions = recipe.settings["decisions"]
    if decisions["aim"] is None or not len(validator.data):
        return
    try:
        predictions = Predictions.load(validator.run.split("val"), validator.space)
        fit_run(validator.run, "val", decisions, predictions, validator.decide)
    except InputError as error:
        log.warning("no decisions are fitted: %s", error)


def report(recipe, trainer, validator) -> None:
    """Writes the page about the best model on the validation part, and hands it to the tracker."""
    from multihot.files import prepare_file
    from multihot.report.page import MARK, MOST_ENTRIES, create_page, save_page
    from multihot.report.pictures import NUM_PICTURES, Album
    from multihot.report.result import name_file, read_result

    num_entries = len(validator.data) * len(validator.space.labels)
    if not recipe.settings["report"] or not 0 < num_entries <= MOST_ENTRIES:
        return
    file = name_file([validator.run], "val")
    try:
        prepare_file(file, MARK, "report=false makes none")
        result = read_result(validator.run, recipe.settings, validator.space, "val")
        save_page(file, create_page([result], Album(validator.data.read), num_pictures=NUM_PICTURES))
    except Exception as error:  # no page is worth a training that has come to its end
        log.warning("no report is written: %s: %s", type(error).__name__, error)
        return
    log.info("report: %s", file)
    trainer.tracker.log_report(file, trainer.state.update)


@contextmanager
def telling_how_to_go_on(run, job) -> Iterator[None]:
    """Says by which command a training that is stopped from outside goes on."""
    from multihot.interrupt import Interrupted

    try:
        yield
    except Interrupted:
        name = [] if any(told.startswith("name=") for told in job.overrides) else [f"name={run.folder.name}"]
        command = (
            f"python train.py {shlex.join([*job.overrides, *name])}"
            if job.number is None
            else "the command of the sweep"
        )
        log.warning("stopped and saved; to go on: %s", command)
        raise


if __name__ == "__main__":
    run_script(main)
