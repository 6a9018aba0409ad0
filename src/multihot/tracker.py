"""What is told to W&B or TensorBoard, through Accelerate's trackers."""

import json
import logging
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker

from multihot.data.manifest import Manifest
from multihot.errors import InputError, check_choice
from multihot.files import read_json, write_json
from multihot.interrupt import CTRL_C, REQUEUE
from multihot.json_shapes import HISTORY, TOLD
from multihot.labels import show_label
from multihot.metrics import Evaluation
from multihot.monitor import is_better
from multihot.network import answers
from multihot.run import Run
from multihot.tracker_config import code_version, flat_values, group_name, tags_of

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0  # how much of W&B's local file a kill of the whole machine may cost
NUM_EXAMPLES = 16
SYNC = "W&B works offline; to upload later: wandb sync %s/wandb/offline-run-*"
MODES = ("auto", "online", "offline", "disabled")


def start_tracker(accelerator: Accelerator, run: Run, config: dict, overrides: list[str], job: int | None) -> None:
    """Starts the tracker of the config; process 0 alone speaks to it."""
    settings = config["tracker"]
    kind = settings["kind"]
    if kind is None:
        return
    if kind not in [str(tracker.value) for tracker in accelerator.log_with]:
        raise InputError(f"tracker={kind}: the package {kind} is not installed; pip install {kind}, or tracker=none")
    flat = flat_values({**config, "manifests": run.read_splits(), "code": code_version()})
    if kind != "wandb":
        accelerator.init_trackers(settings["project"], config=None if run.goes_on else flat)
        return
    arguments = {}
    if accelerator.is_main_process:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it may wait ten seconds at the end of the process
        group = settings["group"] or group_name(config["name"], overrides, job is not None)
        tags = [*settings["tags"], *tags_of(overrides, config)]
        arguments = wandb_arguments(run, group, tags, settings["mode"])
        arguments["settings"].init_timeout = settings["start_seconds"]
        arguments["settings"].finish_timeout = settings["finish_seconds"]
    start_wandb(accelerator, settings["project"], flat, arguments)


def wandb_arguments(run: Run, group: str, tags: list[str], mode: str) -> dict:
    """Returns the arguments of wandb.init. The run id is kept in the run folder, so that a run that goes on is one run.

    It never asks for a key: without one, W&B works offline.
    """
    import wandb

    check_choice("tracker.mode", mode, MODES)
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode == "online" and not answers(wandb.setup().settings.base_url):
        log.warning("W&B did not start: %s does not answer", wandb.setup().settings.base_url)
        mode = "offline"
    if mode == "offline":
        log.info(SYNC, run.folder)
    told = read_told(run)
    if "wandb_run_id" not in told:
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        told["wandb_run_id"] = of_agent or secrets.token_hex(4)
        write_json(run.tracker, told)
    return {
        "id": told["wandb_run_id"],
        "resume": "allow",
        "name": run.folder.name,
        "group": group,
        "job_type": "train",
        "tags": tags,
        "dir": str(run.folder),
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
    import wandb

    wandb.setup(wandb.Settings(x_disable_viewer=True))  # else it asks the server for the user's name, up to 5 seconds
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        log.warning("W&B: %s", error)
        return False


def start_wandb(accelerator: Accelerator, project: str, config: dict, arguments: dict) -> None:
    """Starts W&B; where it does not answer or refuses the key, offline, and says so."""
    import wandb

    try:
        accelerator.init_trackers(project, config=config, init_kwargs={"wandb": arguments})
    except wandb.Error as error:
        log.warning("W&B did not start (%s)", str(error).splitlines()[0])
        log.info(SYNC, arguments["dir"])
        accelerator.trackers.clear()  # or the next call would start the failed one again
        forget_wandb()  # its service still holds the run id
        accelerator.init_trackers(project, config=config, init_kwargs={"wandb": arguments | {"mode": "offline"}})


def end_tracker(accelerator: Accelerator, exit_code: int) -> None:
    """Closes what was started, in W&B as finished, failed or, where it goes on later, preempted.

    A run left open would swallow the next job of a sweep.
    """
    for tracker in accelerator.trackers:
        if tracker.name != "wandb":
            survives(tracker.finish)
        elif hasattr(tracker, "run") and not survives(partial(finish_wandb, tracker.run, exit_code)):
            forget_wandb()


def finish_wandb(wandb_run, exit_code: int) -> None:
    """Ends the W&B run; says how to upload what W&B did not take in time."""
    if exit_code in (REQUEUE, CTRL_C):
        wandb_run.mark_preempting()
    try:
        wandb_run.finish(exit_code=exit_code)
    except TimeoutError:
        seconds, folder = wandb_run.settings.finish_timeout, Path(wandb_run.dir).parent
        log.warning("W&B did not take all within %g s; to upload it: wandb sync --include-online %s", seconds, folder)


def log_scores(accelerator: Accelerator, values: dict, step: int) -> None:
    """Tells the trackers the values of an update, except those that they were told before the run was stopped.

    What each has been told stands in the run folder. A row with `epoch` is one of the history.
    """
    if not (accelerator.trackers and accelerator.is_main_process):
        return
    run = Run(Path(accelerator.project_dir))
    told = read_told(run)
    for tracker in list(accelerator.trackers):
        steps = told.setdefault(tracker.name, {})
        new = {name: value for name, value in values.items() if steps.get(name, -1) < step}
        if not new:
            continue
        if survives(partial(log_new, tracker, run, new, step)):
            steps |= dict.fromkeys(new, step)
        else:
            log.warning("the run goes on without %s", tracker.name)
            accelerator.trackers.remove(tracker)
            forget_wandb()
    survives(partial(overwrite, run.tracker, json.dumps(told)))


def log_new(tracker: GeneralTracker, run: Run, values: dict, step: int) -> None:
    """Tells one tracker values that are new to it; W&B the best epoch so far as well."""
    if tracker.name != "wandb":
        tracker.log(values, step=step)
        return
    # W&B ends a row when a run stops, and takes no more for it
    tracker.log(values, step=max(step, tracker.run.starting_step))
    if "epoch" in values:
        note_best(tracker.run, run)


def survives(action: Callable[[], object]) -> bool:
    """Returns whether a tracker took what it was told; if not, training goes on all the same."""
    try:
        action()
    except Exception as error:  # W&B alone raises six families of them, and none is worth a training
        log.warning("the tracker failed: %s: %s", type(error).__name__, str(error).partition("\n")[0])
        return False
    return True


def forget_wandb() -> None:
    """Ends what is left of W&B, or the next job of a sweep would meet the broken run."""
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        with suppress(Exception, SystemExit):  # the code of a service that was killed becomes an exit
            wandb.teardown()


def within(seconds: float, action: Callable[[], object]) -> None:
    """Calls what may wait for a server, and goes on after so many seconds, whatever comes of it."""
    thread = Thread(target=survives, args=(action,), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("W&B did not answer within %g s", seconds)


def read_told(run: Run) -> dict:
    """Returns the id of the W&B run and, for each tracker, the last update at which it was told each value."""
    try:
        return read_json(run.tracker, TOLD) if run.tracker.exists() else {}
    except InputError:
        log.warning("%s is damaged: the tracker begins a new run", run.tracker)
        return {}


def overwrite(path: Path, text: str) -> None:
    """Writes over a file in place, 25 times faster than a new file, and whole as long as it fits into one write."""
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()


def note_best(wandb_run, run: Run) -> dict:
    """Returns the row of the best epoch and puts it into the summary as `best/<name>`; {} if nothing was measured."""
    monitor, best = wandb_run.config["monitor"], {}
    for row in read_json(run.history, HISTORY):
        score = row.get(monitor)
        if score is not None and is_better(score, best.get(monitor), monitor):
            best = row
    wandb_run.summary.update({f"best/{name}": value for name, value in best.items()})
    return best


def log_best(accelerator: Accelerator, run: Run) -> None:
    """Uploads the best model to W&B, if `tracker.artifacts` says so. Only process 0 may call it."""
    wandb_run = find_wandb(accelerator)
    if wandb_run is not None and wandb_run.config["tracker.artifacts"]:
        within(wandb_run.settings.finish_timeout, partial(upload_best, wandb_run, run))


def find_wandb(accelerator: Accelerator):
    """Returns the W&B run; None if there is none."""
    return next((tracker.run for tracker in accelerator.trackers if tracker.name == "wandb"), None)


def upload_best(wandb_run, run: Run) -> None:
    """Gives W&B the folder best/ as an artifact, which it uploads in the background; nothing is copied."""
    import wandb

    artifact = wandb.Artifact(f"best-{wandb_run.id}", type="model", metadata=note_best(wandb_run, run))
    artifact.add_dir(str(run.best), policy="immutable", skip_cache=True)
    wandb_run.log_artifact(artifact, aliases=["best"])


def log_examples(
    accelerator: Accelerator,
    evaluation: Evaluation,
    manifest: Manifest,
    decide: Callable[[np.ndarray], torch.Tensor],
    update: int,
) -> None:
    """Logs one table of all labels and a panel of example images with their true and predicted labels, to W&B."""
    wandb_run, told = find_wandb(accelerator), read_told(Run(Path(accelerator.project_dir)))
    if wandb_run is None or told.get("wandb", {}).get("val/examples", -1) >= update:
        return
    survives(partial(log_pictures, accelerator, manifest, decide, update))
    # for a table W&B asks its server whether the key is good
    within(wandb_run.settings.finish_timeout, partial(log_labels, wandb_run, evaluation))


def log_pictures(
    accelerator: Accelerator, manifest: Manifest, decide: Callable[[np.ndarray], torch.Tensor], update: int
) -> None:
    """Logs the panel of pictures, evenly spread over the split, with their labels.

    Args:
        decide: gives the decisions (K, C) about the images of K rows.
    """
    import wandb

    rows = np.unique(np.linspace(0, len(manifest) - 1, NUM_EXAMPLES).round().astype(int))
    examples = [
        wandb.Image(manifest.read(manifest.images[row]), caption=caption(manifest, row, decision))
        for row, decision in zip(rows, decide(rows).numpy(), strict=True)
    ]
    log_scores(accelerator, {"val/examples": examples}, update)


def log_labels(wandb_run, evaluation: Evaluation) -> None:
    """Logs the table of labels."""
    import wandb

    columns = list(evaluation.table[0])
    table = wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in evaluation.table])
    wandb_run.log({"val/labels": table})


def caption(manifest: Manifest, row: int, predicted: np.ndarray) -> str:
    """Returns the true and the predicted (C,) labels of an image in words."""
    true, guessed = (
        ", ".join(show_label(label) for label, is_there in zip(manifest.labels, there, strict=True) if is_there)
        or "none"
        for there in (manifest.target(row) >= 0.5, predicted)
    )
    return f"true: {true}\npredicted: {guessed}"
