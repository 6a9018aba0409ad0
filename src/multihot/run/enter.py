"""A training enters its run folder: what it is called, who is at work in it, and whether it goes on."""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import IO

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from omegaconf import DictConfig

from multihot.errors import InputError, plural
from multihot.files import writing
from multihot.ownership import check_name, find_run_around
from multihot.run.checkpoint import list_checkpoints
from multihot.run.folder import LOCK, Run, in_process_0
from multihot.run.sweep import Job, name_job
from multihot.seal import read_seal
from multihot.settings.check import check_settings
from multihot.settings.saved import DECIDED, check_same_config, hash_config, with_absolute_paths

log = logging.getLogger(__name__)


def name_run(name: str | None, overrides: list[str], job: int | None) -> str:
    """Returns the run's name: `name`, or the time and the overrides; in a sweep, job by job.

    >>> name_run("baseline", ["loss=bce", "seed=1"], job=None)
    'baseline'
    >>> name_run("sweep", ["name=sweep", "loss=bce", "optimizer.lr=1e-4"], job=3)
    'sweep-3-loss_bce-lr_1e-4'
    """
    told = [override for override in overrides if not override.startswith(("name=", "resume=", "runs_folder="))]
    # of a dotted key the last word; of a path the last part; nothing that a command line would take apart
    short = "-".join(re.sub(r"^[+~]*([\w/]+\.)*", "", override).split("/")[-1] for override in told)
    slug = os.fsencode(re.sub(r"[^\w.-]+", "_", short))[:80].decode(errors="ignore").strip("-_")
    if name is not None and job is None:
        return name
    parts = [
        name or name_of_job() or datetime.now().strftime("%Y%m%d-%H%M%S"),
        str(job) if job is not None else "",
        slug,
    ]
    return "-".join(part for part in parts if part)


def choose_name(cfg: DictConfig, job: Job, config_sha256: str) -> str:
    """Returns the run's name; in a sweep with a name the one that a job of these settings had when it first began."""
    sweep = cfg.name or name_of_job()
    if sweep is not None:
        check_name(sweep)
    if job.number is None or sweep is None:
        return name_run(cfg.name, job.overrides, job.number)
    records = Path(cfg.runs_folder) / ".sweep" / sweep
    return name_job(records, config_sha256, partial(name_run, cfg.name, job.overrides))


def name_of_job() -> str | None:
    """Returns a name for the SLURM job that this is, the same when it is requeued; None outside of one."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}" if job else None


@contextmanager
def open_run(cfg: DictConfig, job: Job) -> Iterator[tuple[Run, DictConfig]]:
    """Gives the run that all processes share and its settings, and keeps other trainings out of its folder.

    What an earlier start decided stays decided.

    Raises:
        InputError: a setting is wrong, the folder holds a run and `resume` is false, that run began with other
            settings, or another process is at work in it.
    """
    check_settings(cfg, "train")
    if cfg.resume is True and cfg.name is None:
        raise InputError("resume=true needs name=<name of the run>")
    cfg = with_absolute_paths(cfg)
    config_sha256 = hash_config(cfg)
    if cfg.name is not None:
        cfg.name = str(cfg.name)  # 2024 came as a number
    name = in_process_0(partial(choose_name, cfg, job, config_sha256))
    folder = Path(cfg.runs_folder) / name
    in_process_0(partial(check_folder, folder, name))
    with closing(lock_folder(folder)):
        yield enter_run(Run(folder, config_sha256=config_sha256, is_trial=job.trial is not None), cfg, job.overrides)


def check_folder(folder: Path, name: str) -> None:
    """Raises InputError unless a folder may be, or become, that of the run of this name."""
    check_name(name, most=250)
    with writing(folder, "Set runs_folder to another"):
        around = find_run_around(folder.parent)
        if around is not None:
            raise InputError(f"{folder} would be inside the run {around}: set runs_folder to another")
        if folder.is_file():
            raise InputError(f"{folder} is a file: give the run another name")
        Run(folder).check_unused()


def enter_run(run: Run, cfg: DictConfig, overrides: list[str]) -> tuple[Run, DictConfig]:
    """Returns whether the run goes on, and the settings with which it does."""
    in_process_0(run.recover)
    goes_on = bool(list_checkpoints(run.last))  # a start that failed before its first one has left nothing to lose
    if cfg.resume is False and (goes_on or run.has_ended()):
        raise InputError(
            f"{run.folder} holds a run already: resume=auto goes on with it, another name starts a new one"
        )
    if not goes_on and run.has_ended() and run.read_finished(cfg.epochs, cfg.patience) is None:
        raise InputError(
            f"{run.folder} holds a finished run of other settings and no checkpoint to go on from: give this a new name"
        )
    if run.read_finished(cfg.epochs, cfg.patience) is None:
        in_process_0(run.check_parts)
    run = replace(run, goes_on=goes_on, batch_size=cfg.batch_size)
    if goes_on:
        saved = run.read_config()
        for key in DECIDED:
            cfg[key] = saved[key] if cfg[key] in ("auto", "default") and key in saved else cfg[key]
        keep_global_batch(cfg, saved, run)
        check_same_config(saved, cfg, overrides, run.has_other_code())
    PartialState().wait_for_everyone()  # none may see what another has begun to write
    return run, cfg


def lock_folder(folder: Path) -> IO:
    """Returns process 0's hold on a run folder, which ends with the process however it ends; the others hold nothing.

    Raises:
        InputError: another training has it, or the folder cannot be written.
    """
    lock, fault = StringIO(), None
    if PartialState().is_main_process:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("a+")
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, it is not passed on to forked processes
        except BlockingIOError:
            fault = f"another training is at work in {folder}: wait for it, or give this one another name"
        except OSError as error:
            fault = f"cannot write to the run folder {folder}: {error.strerror}; set runs_folder to another"
    fault = broadcast_object_list([fault])[0]
    if fault is not None:
        lock.close()
        raise InputError(fault)
    return lock


def keep_global_batch(cfg: DictConfig, saved: DictConfig, run: Run) -> None:
    """Gives each process so many images that a batch of all processes has as many as when the run began.

    Raises:
        InputError: that number of images cannot be divided by the number of processes.
    """
    num_processes = PartialState().num_processes
    place = next(filter(None, map(read_seal, list_checkpoints(run.last))), None)
    if place is None or place["global_batch_size"] == cfg.batch_size * num_processes:
        saved.batch_size = cfg.batch_size
        return
    if cfg.batch_size != saved.batch_size:
        return  # a changed setting, which is refused
    size, rest = divmod(place["global_batch_size"], num_processes)
    if rest:
        raise InputError(
            f"the run began with batches of {place['global_batch_size']} images in all processes, which "
            f"{num_processes} processes cannot share equally: start as many as divide it, or give the run a new name"
        )
    log.info(
        "batch_size=%d keeps the batches of %d images in %s",
        size,
        size * num_processes,
        plural(num_processes, "process"),
    )
    cfg.batch_size = saved.batch_size = size
