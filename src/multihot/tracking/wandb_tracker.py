"""W&B: online where there is a key and a server that answers, else in files of the run folder."""

import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import wandb
from accelerate.tracking import WandBTracker

from multihot.data.manifest import Manifest
from multihot.errors import check_choice
from multihot.files import read_json, write_json
from multihot.interrupt import CTRL_C, REQUEUE
from multihot.json_shapes import HISTORY
from multihot.labels import show_label
from multihot.metrics import Evaluation
from multihot.monitor import is_better
from multihot.network import answers
from multihot.run.folder import HISTORY_FILE, TRACKER_FILE
from multihot.tracking.tracker import Decide, RunTracker, read_told, survives

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0  # how much of W&B's local file a kill of the whole machine may cost
NUM_EXAMPLES = 16
SYNC = "W&B works offline; to upload later: wandb sync %s/wandb/offline-run-*"
MODES = ("auto", "online", "offline", "disabled")


class WandbRun(RunTracker):
    """A run of W&B, which also gets the best epoch, a table of labels, pictures and, if wanted, the model."""

    shows_examples = True

    @property
    def run(self) -> wandb.Run:
        """What wandb.init has returned."""
        return self.backend.run

    @property
    def seconds(self) -> float:
        """How long the end may wait for the server."""
        return self.run.settings.finish_timeout

    def pass_on(self, values: Mapping[str, object], step: int) -> None:
        """Gives W&B a row, and the best epoch so far as well."""
        # W&B ends a row when a run stops, and takes no more for it
        self.backend.log(values, step=max(step, self.run.starting_step))
        if "epoch" in values:
            self.note_best()

    def note_best(self) -> dict:
        """Returns the best epoch's row, {} if nothing was measured, and puts it into the summary as `best/<name>`."""
        monitor, best = self.run.config["monitor"], {}
        for row in read_json(self.folder / HISTORY_FILE, HISTORY):
            score = row.get(monitor)
            if score is not None and is_better(score, best.get(monitor), monitor):
                best = row
        self.run.summary.update({f"best/{name}": value for name, value in best.items()})
        return best

    def log_report(self, file: Path, step: int) -> None:
        """Shows the page about the best model, as it is."""
        if not self.is_lost:
            self.log({"val/report": wandb.Html(str(file), inject=False)}, step)

    def log_best(self) -> None:
        """Uploads the best model, if `tracker.artifacts` says so."""
        if not self.is_lost and self.run.config["tracker.artifacts"]:
            within(self.seconds, self.upload_best)

    def upload_best(self) -> None:
        """Gives W&B the folder best/ as an artifact, which it uploads in the background; nothing is copied."""
        artifact = wandb.Artifact(f"best-{self.run.id}", type="model", metadata=self.note_best())
        artifact.add_dir(str(self.folder / "best"), policy="immutable", skip_cache=True)
        self.run.log_artifact(artifact, aliases=["best"])

    def log_examples(self, evaluation: Evaluation, manifest: Manifest, decide: Decide, step: int) -> None:
        """Shows the table and the pictures, unless that was done before the run was stopped."""
        if self.is_lost or self.told.get("wandb", {}).get("val/examples", -1) >= step:
            return
        survives(partial(self.log_pictures, manifest, decide, step))
        # for a table W&B asks its server whether the key is good
        within(self.seconds, partial(self.log_labels, evaluation))

    def log_pictures(self, manifest: Manifest, decide: Decide, step: int) -> None:
        """Shows pictures, evenly spread over the split, with their true and their predicted labels."""
        rows = np.unique(np.linspace(0, len(manifest) - 1, NUM_EXAMPLES).round().astype(int))
        examples = [
            wandb.Image(manifest.read(manifest.images[row]), caption=caption(manifest, row, predicted))
            for row, predicted in zip(rows, decide(rows).numpy(), strict=True)
        ]
        self.log({"val/examples": examples}, step)

    def log_labels(self, evaluation: Evaluation) -> None:
        """Shows the table of labels."""
        columns = list(evaluation.table[0])
        table = wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in evaluation.table])
        self.run.log({"val/labels": table})

    def finish(self, exit_code: int) -> bool:
        """Returns whether W&B has ended the run."""
        return survives(partial(finish_run, self.run, exit_code))

    def forget(self) -> None:
        """Lets the next job of a sweep not meet a broken run."""
        forget_wandb()


def start_wandb(folder: Path, settings: Mapping, config: Mapping, group: str, tags: list[str]) -> WandbRun:
    """Returns a run of W&B; where the server does not answer or refuses the key it is offline, and says so.

    Args:
        folder: of the run.
        settings: of the tracker.
        config: all settings, flat.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it may wait ten seconds at the end of the process
    arguments = wandb_arguments(folder, group, tags, settings["mode"])
    arguments["settings"].init_timeout = settings["start_seconds"]
    arguments["settings"].finish_timeout = settings["finish_seconds"]
    backend = WandBTracker(settings["project"], **arguments)
    try:
        backend.start()
    except wandb.Error as error:
        log.warning("W&B did not start (%s)", str(error).splitlines()[0])
        log.info(SYNC, folder)
        forget_wandb()  # its service still holds the run id
        backend = WandBTracker(settings["project"], **arguments | {"mode": "offline"})
        backend.start()
    backend.store_init_configuration(config)
    return WandbRun(backend, folder)


def wandb_arguments(folder: Path, group: str, tags: list[str], mode: str) -> dict:
    """Returns the arguments of wandb.init. The run id is kept in the run folder, so that a run that goes on is one run.

    It never asks for a key: without one, W&B works offline.
    """
    check_choice("tracker.mode", mode, MODES)
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode == "online" and not answers(wandb.setup().settings.base_url):
        log.warning("W&B did not start: %s does not answer", wandb.setup().settings.base_url)
        mode = "offline"
    if mode == "offline":
        log.info(SYNC, folder)
    told = read_told(folder)
    if "wandb_run_id" not in told:
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        told["wandb_run_id"] = of_agent or secrets.token_hex(4)
        write_json(folder / TRACKER_FILE, told)
    return {
        "id": told["wandb_run_id"],
        "resume": "allow",
        "name": folder.name,
        "group": group,
        "job_type": "train",
        "tags": tags,
        "dir": str(folder),
        "mode": mode,
        "settings": wandb.Settings(
            finish_timeout_raises=True,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
            console="off",
            silent=True,
        ),
    }


def has_key() -> bool:
    """Returns whether W&B has an API key of the right form; it is not tried, and nobody is asked for one."""
    wandb.setup(wandb.Settings(x_disable_viewer=True))  # else it asks the server for the user's name, up to 5 seconds
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        log.warning("W&B: %s", error)
        return False


def finish_run(run: wandb.Run, exit_code: int) -> None:
    """Ends the W&B run; says how to upload what W&B did not take in time."""
    if exit_code in (REQUEUE, CTRL_C):
        run.mark_preempting()
    try:
        run.finish(exit_code=exit_code)
    except TimeoutError:
        seconds, folder = run.settings.finish_timeout, Path(run.dir).parent
        log.warning("W&B did not take all within %g s; to upload it: wandb sync --include-online %s", seconds, folder)


def forget_wandb() -> None:
    """Ends what is left of W&B, or the next job of a sweep would meet the broken run."""
    with suppress(Exception, SystemExit):  # the code of a service that was killed becomes an exit
        wandb.teardown()


def within(seconds: float, action: Callable[[], object]) -> None:
    """Calls what may wait for a server, and goes on after so many seconds, whatever comes of it."""
    thread = Thread(target=survives, args=(action,), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("W&B did not answer within %g s", seconds)


def caption(manifest: Manifest, row: int, predicted: np.ndarray) -> str:
    """Returns the true and the predicted (C,) labels of an image in words."""
    true, guessed = (
        ", ".join(show_label(label) for label, is_there in zip(manifest.labels, there, strict=True) if is_there)
        or "none"
        for there in (manifest.target(row) >= 0.5, predicted)
    )
    return f"true: {true}\npredicted: {guessed}"
