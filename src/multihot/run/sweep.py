"""What a sweep (`-m`) adds to its jobs: numbers that stay, failures that end only one, early ends, a table."""

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from multihot.cli import explain, fail
from multihot.errors import is_lost
from multihot.files import read_json, reading, write_json, writing
from multihot.json_shapes import FINISHED

if TYPE_CHECKING:
    from optuna import Trial

log = logging.getLogger(__name__)

WAIT = timedelta(seconds=10)  # for other processes to fail in a job in which one has failed


def name_job(records: Path, config_sha256: str, name_run: Callable[[int], str]) -> str:
    """Returns the name of a job's run folder: the one that these settings were given first in this sweep.

    New settings get the number after the highest. A number is taken by creating its file, so that jobs that start at
    the same time get different ones.

    Args:
        records: folder with a file for each job that was ever started, which holds hash and name.
        name_run: number -> name.
    """
    with writing(records, "Set runs_folder to another"):
        records.mkdir(parents=True, exist_ok=True)
    for number in count():
        record = records / str(number)
        with writing(record, "Set runs_folder to another"), suppress(FileExistsError), record.open("x") as file:
            file.write(f"{config_sha256}\n{name_run(number)}")
        with reading(str(record), "delete it"):
            taken_by, _, name = record.read_text(encoding="utf-8").partition("\n")
        if taken_by == config_sha256:
            return name


@dataclass
class Job:
    """What one call of a script was asked for: by the command line, and by the sweep or search that it is a part of."""

    overrides: list[str]
    number: int | None = None  # in a sweep
    trial: "Trial | None" = None  # that Optuna has proposed
    num_reported: int = 0  # rows of the history

    @classmethod
    def of_hydra(cls) -> "Job":
        """Returns the job that hydra has called this function in."""
        cfg = HydraConfig.get()
        number = cfg.job.num if cfg.mode == RunMode.MULTIRUN else None
        return cls(list(cfg.overrides.task), number, proposed.pop() if proposed else None)

    def is_hopeless(self, history: Sequence[Mapping], monitor: str) -> bool:
        """Returns whether Optuna would end the trial.

        It does from the sixth trial on, where the best score so far is worse than the median of the trials before
        after as many epochs.
        """
        if self.trial is None:
            return False
        self.report(history, monitor)
        hopeless = self.trial.should_prune()
        if hopeless:
            log.info("ended early: half of the trials before were better after epoch %d", history[-1]["epoch"])
        return hopeless

    def report(self, history: Sequence[Mapping], monitor: str) -> None:
        """Tells Optuna the scores of the epochs that it does not know yet."""
        if self.trial is None:
            return
        for row in history[self.num_reported :]:
            score = row.get(monitor)
            if row["epoch"] and score is not None and not math.isnan(score):
                self.trial.report(score, row["epoch"])
        self.num_reported = len(history)


proposed: "list[Trial]" = []  # of the next job: hydra asks Optuna, calls the job and hands over nothing but settings


def remember_trial(config: DictConfig, trial: "Trial") -> None:
    """Keeps the trial whose job comes next (`hydra.sweeper.custom_search_space`); of several at once, none."""
    proposed[:] = [trial] if config.hydra.sweeper.n_jobs == 1 else []


def find_folder(told: DictConfig, settings: DictConfig) -> Path | None:
    """Returns the run folder of a job, whose name the job has put into its settings; None if it came to none.

    Args:
        told: as hydra gave them to the job.
        settings: the same object that the job was given.
    """
    return None if settings.name in (None, told.name) else Path(settings.runs_folder) / settings.name


def read_given_up(folder: Path | None) -> int | None:
    """Returns the epoch after which a search gave the run up; None if it did not."""
    finished = folder / "finished.json" if folder else None
    end = read_json(finished, FINISHED) if finished is not None and finished.exists() else {}
    return end.get("last_epoch") if end.get("pruned") else None


class SweepCallback(Callback):
    """Called by hydra around the jobs of a sweep; what each came to is kept in files, as jobs may run elsewhere."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: object) -> None:
        """Writes down what the job came to; a failed one is taken from hydra, which would end the sweep.

        With the error goes its traceback, which would keep the job's model in memory.
        """
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        result = {"job": config.hydra.job.num, "overrides": list(job_return.overrides)}
        folder = find_folder(config, job_return.cfg)
        result |= {"folder": str(folder) if folder else None, "given_up": read_given_up(folder)}
        value = job_return._return_value  # the property raises the error
        if job_return.status == JobStatus.FAILED:
            result["error"] = describe_error(value)
            log.error("job failed: %s", result["error"], exc_info=None if explain(value) else value)
            if is_lost(value) or not all_failed(result["job"]):
                fail("not all processes failed in this job: the sweep ends; the same command goes on with it")
        score = value if isinstance(value, int | float) and not math.isnan(value) else None
        job_return.return_value, job_return.status = score, JobStatus.COMPLETED
        if is_main_process():
            path = Path(config.hydra.sweep.dir) / f"{result['job']}.json"
            with writing(path, "Set runs_folder to another"):
                write_json(path, {**result, "score": score})
        is_last_trial = config.hydra.job.num + 1 == OmegaConf.select(config, "hydra.sweeper.n_trials")
        if is_last_trial and all("error" in job for job in read_results(config)):
            self.on_multirun_end(config)  # Optuna would look for the best of none

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Prints the table of all jobs; ends the process with exit code 1 if any failed."""
        if not is_main_process():
            return
        jobs = read_results(config)
        print(f"\n{format_table(jobs)}")
        failed = [job for job in jobs if "error" in job]
        if failed:
            again = "the same command does only these again" if config.name else "name=<name> lets it be repeated"
            print("\n".join(["", *(f"job {job['job']} failed: {job['error']}" for job in failed)]))
            print(f"{len(failed)} of {len(jobs)} jobs failed; {again}")
            sys.exit(1)


def read_results(config: DictConfig) -> list[dict]:
    """Returns what each job of this sweep has come to, in their order."""
    results = [read_json(path, {"job": int}) for path in Path(config.hydra.sweep.dir).glob("*.json")]
    return sorted(results, key=lambda result: result["job"])


def is_main_process() -> bool:
    """Returns whether this is process 0, also where no job is open."""
    return os.environ.get("RANK", "0") == "0"


def all_failed(job: int) -> bool:
    """Returns whether all processes have failed in a job before the wait is over: else some wait for this one in it."""
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    if num_processes == 1:
        return True
    from torch.distributed import DistError, TCPStore

    try:
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=WAIT)
        store.set(f"failed/{job}/{os.environ['RANK']}", "")
        store.wait([f"failed/{job}/{rank}" for rank in range(num_processes)])
    except DistError:
        return False
    return True


def describe_error(error: Exception) -> str:
    """Returns the first line of what the user is told, or of a bug.

    >>> describe_error(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    """
    text = explain(error) or f"{type(error).__name__}: {error}"
    return text.splitlines()[0]


def format_table(jobs: Sequence[Mapping]) -> str:
    """Returns a line for each job: what its overrides do not share with the others, its score and its run folder.

    >>> print(format_table([
    ...     {"job": 0, "overrides": ["epochs=3", "seed=0"], "score": 0.5, "folder": "runs/s-0"},
    ...     {"job": 1, "overrides": ["epochs=3", "seed=1"], "score": None, "folder": None, "error": "no"},
    ...     {"job": 2, "overrides": ["epochs=3", "seed=2"], "score": 0.4, "folder": "runs/s-2", "given_up": 1},
    ... ]))
    job  overrides  score                            run folder
    0    seed=0     0.5000                           runs/s-0
    1    seed=1     failed                           -
    2    seed=2     0.4000 (given up after epoch 1)  runs/s-2
    """
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    rows = [("job", "overrides", "score", "run folder")]
    for job in jobs:
        own = " ".join(override for override in job["overrides"] if override not in shared)
        score = "-" if job["score"] is None else f"{job['score']:.4f}"
        score += f" (given up after epoch {job['given_up']})" if job.get("given_up") is not None else ""
        rows.append((str(job["job"]), own, "failed" if "error" in job else score, job["folder"] or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
