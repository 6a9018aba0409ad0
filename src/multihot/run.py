"""The run folder: everything about one run in one place, named by process 0, and known by its path alone."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import IO

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from omegaconf import DictConfig, OmegaConf

from multihot.checkpoint import list_checkpoints
from multihot.errors import InputError, check_choice, list_first
from multihot.files import recover_folder, write_json, write_text
from multihot.seal import read_seal
from multihot.settings import DECIDED, check_same_config, hash_config, with_absolute_paths
from multihot.sweep import name_job

try:
    import fcntl
except ImportError:  # Windows has no flock: two trainings in one folder are not noticed there
    fcntl = None

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The paths of one run's files."""

    folder: Path
    goes_on: bool = False  # from a checkpoint
    config_sha256: str = ""  # of the settings as they were asked for

    @property
    def config(self) -> Path:
        """All settings, resolved."""
        return self.folder / "config.yaml"

    @property
    def labels(self) -> Path:
        """The label list: the columns of every (.., C) tensor in their order."""
        return self.folder / "labels.json"

    @property
    def counts(self) -> Path:
        """Label counts of the train split, which weights of the loss may follow."""
        return self.folder / "train_counts.json"

    @property
    def manifests(self) -> Path:
        """Size and hash of each split that the run has seen."""
        return self.folder / "manifests.json"

    @property
    def head_start(self) -> Path:
        """Where each label's first weights come from."""
        return self.folder / "head_start.csv"

    @property
    def history(self) -> Path:
        """One row of scores an epoch."""
        return self.folder / "history.json"

    @property
    def finished(self) -> Path:
        """Score and settings of a training that has come to its end."""
        return self.folder / "finished.json"

    @property
    def tracker(self) -> Path:
        """The id under which the tracker knows the run."""
        return self.folder / "tracker.json"

    @property
    def best(self) -> Path:
        """The model of the best epoch, as a timm folder."""
        return self.folder / "best"

    @property
    def last(self) -> Path:
        """The newest checkpoint: the whole state."""
        return self.folder / "last"

    def dropped(self, split: str) -> Path:
        """The listed images of a split that could not be used."""
        return self.folder / f"bad_images_{split}.csv"

    def split(self, split: str) -> Path:
        """Predictions and scores of a split."""
        return self.folder / split

    def recover(self) -> None:
        """Puts back what a kill in the middle of a replacement has moved away."""
        for old in self.folder.glob(".*.old"):
            recover_folder(self.folder / old.name.removeprefix(".").removesuffix(".old"))

    def save(self, cfg: DictConfig, labels: tuple[str, ...], counts: Mapping) -> None:
        """Writes config, label list and counts; raises InputError if a run that goes on had other labels."""
        if self.goes_on and json.loads(self.labels.read_text()) != list(labels):
            raise InputError(f"the data has other labels than {self.labels}; a new name starts a new run")
        write_json(self.labels, list(labels))
        write_json(self.counts, counts)
        write_text(self.config, OmegaConf.to_yaml(cfg, resolve=True))

    def read_finished(self) -> dict | None:
        """Returns score and epoch of a training of the same settings that has come to its end, else None."""
        finished = json.loads(self.finished.read_text()) if self.finished.exists() else None
        return finished if finished and finished["config_sha256"] == self.config_sha256 else None

    def finish(self, score: float | None, epoch: int) -> None:
        """Notes that the training has come to its end, and with what."""
        write_json(self.finished, {"score": score, "epoch": epoch, "config_sha256": self.config_sha256})

    def note_split(self, split: str, num_images: int, num_dropped: int, fingerprint: str) -> None:
        """Writes down what a split is, and warns if it is not what the run has seen before."""
        manifests = json.loads(self.manifests.read_text()) if self.manifests.exists() else {}
        now = {"num_images": num_images, "num_dropped": num_dropped, "sha256": fingerprint}
        before = manifests.get(split, now)
        if before != now:
            log.warning(
                "the %s split is not the one that this run has seen: %d images then, %d now; their names, answers or "
                "labels differ, and scores cannot be compared (%s)",
                split, before["num_images"], num_images, self.manifests,
            )  # fmt: skip
        write_json(self.manifests, {**manifests, split: before})


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
    slug = re.sub(r"[^\w.-]+", "_", short)[:80].strip("-_")
    if name is not None and job is None:
        return name
    parts = [
        name or name_of_job() or datetime.now().strftime("%Y%m%d-%H%M%S"),
        str(job) if job is not None else "",
        slug,
    ]
    return "-".join(part for part in parts if part)


def choose_name(cfg: DictConfig, overrides: list[str], job: int | None, config_sha256: str) -> str:
    """Returns the run's name; in a sweep with a name the one that a job of these settings had when it first began."""
    sweep = cfg.name or name_of_job()
    if job is None or sweep is None:
        return name_run(cfg.name, overrides, job)
    return name_job(Path(cfg.runs_folder) / ".sweep" / sweep, config_sha256, partial(name_run, cfg.name, overrides))


def name_of_job() -> str | None:
    """Returns a name for the SLURM job that this is, the same when it is requeued; None outside of one."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}" if job else None


@contextmanager
def open_run(cfg: DictConfig, overrides: list[str], job: int | None) -> Iterator[tuple[Run, DictConfig]]:
    """Gives the run that all processes share and its settings, and keeps other trainings out of its folder.

    What an earlier start decided stays decided.

    Args:
        job: number in a sweep, None outside of one.

    Raises:
        InputError: the folder holds a run and `resume` is false, that run began with other settings, or another
            process is at work in it.
    """
    check_choice("resume", str(cfg.resume).lower(), ("auto", "true", "false"))
    if cfg.resume is True and cfg.name is None:
        raise InputError("resume=true needs name=<name of the run>")
    cfg = with_absolute_paths(cfg)
    config_sha256 = hash_config(cfg)
    if cfg.name is not None:
        cfg.name = str(cfg.name)  # 2024 came as a number
    name = choose_name(cfg, overrides, job, config_sha256) if PartialState().is_main_process else None
    folder = Path(cfg.runs_folder) / broadcast_object_list([name])[0]
    with closing(lock_folder(folder)):
        yield enter_run(Run(folder, config_sha256=config_sha256), cfg)


def enter_run(run: Run, cfg: DictConfig) -> tuple[Run, DictConfig]:
    """Returns whether the run goes on, and the settings with which it does."""
    if PartialState().is_main_process:
        run.recover()
    PartialState().wait_for_everyone()
    goes_on = bool(list_checkpoints(run.last))  # a start that failed before its first one has left nothing to lose
    if goes_on and cfg.resume is False:
        raise InputError(
            f"{run.folder} holds a run already: resume=auto goes on with it, another name starts a new one"
        )
    if goes_on:
        saved = OmegaConf.load(run.config)
        for key in DECIDED:
            cfg[key] = saved[key] if cfg[key] in ("auto", "default") else cfg[key]
        keep_global_batch(cfg, saved, run)
        check_same_config(saved, cfg)
    PartialState().wait_for_everyone()  # none may see what another has begun to write
    return replace(run, goes_on=goes_on), cfg


def lock_folder(folder: Path) -> IO:
    """Returns process 0's hold on a run folder, which ends with the process however it ends; the others hold nothing.

    Raises:
        InputError: another training has it, or the folder cannot be written.
    """
    lock, fault = StringIO(), None
    if PartialState().is_main_process:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".lock").open("a+")
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    log.info("batch_size=%d: %d processes keep the batches of %d images", size, num_processes, size * num_processes)
    cfg.batch_size = saved.batch_size = size


def load_run(folder: str, changes: Mapping) -> tuple[Run, DictConfig, tuple[str, ...]]:
    """Returns a run, its settings with those changes that are not None, and its labels.

    Raises:
        InputError: the folder holds no run that has finished its first measurement, or its data has no such setting.
    """
    run = Run(Path(folder))
    if PartialState().is_main_process:
        run.recover()
    PartialState().wait_for_everyone()
    missing = [path.name for path in (run.config, run.labels, run.best) if not path.exists()]
    if missing:
        known = sorted(str(path.parent) for path in run.folder.parent.glob("*/config.yaml"))
        beside = f"; runs beside it:\n{list_first(known, limit=10)}" if known else ""
        raise InputError(f"run={folder} is no complete run: {', '.join(missing)} missing{beside}")
    saved = OmegaConf.load(run.config)
    for key in changes.get("data", {}):
        check_choice("a setting of data", key, [str(known) for known in saved.data if not known.startswith("_")])
    changes = OmegaConf.create({key: value for key, value in changes.items() if value is not None})
    cfg = with_absolute_paths(OmegaConf.merge(saved, changes))
    return run, cfg, tuple(json.loads(run.labels.read_text()))
