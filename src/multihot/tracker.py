"""What is told to W&B or TensorBoard, through Accelerate's trackers."""

import hashlib
import json
import logging
import os
import secrets
import socket
from datetime import datetime
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from accelerate import Accelerator

from multihot.data.manifest import Manifest
from multihot.errors import InputError, check_choice
from multihot.metrics import Evaluation
from multihot.run import Run, write_json

log = logging.getLogger(__name__)

ONLINE_SECONDS = 30.0  # how long W&B may take to answer before the run goes on offline
CONNECT_SECONDS = 5.0
NUM_EXAMPLES = 16
GROUP_LENGTH = 128  # characters that W&B allows
SYNC = "W&B works offline; to upload later: wandb sync %s/wandb/offline-run-*"
MODES = ("auto", "online", "offline", "disabled")


def start_tracker(accelerator: Accelerator, run: Run, config: dict, overrides: list[str], job: int | None) -> None:
    """Starts the tracker of the config; process 0 alone speaks to it."""
    kind, settings = config["tracker"]["kind"], config["tracker"]
    if kind is None:
        return
    if kind not in [str(tracker.value) for tracker in accelerator.log_with]:
        raise InputError(f"tracker={kind}: the package {kind} is not installed; pip install {kind}, or tracker=none")
    flat = flat_values(config)
    if kind != "wandb":
        accelerator.init_trackers(settings["project"], config=flat)
    else:
        group = settings["group"] or group_name(config["name"], overrides, job is not None)
        arguments = (
            wandb_arguments(run, group, settings["tags"], settings["mode"]) if accelerator.is_main_process else {}
        )
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
    if not run.tracker.exists():
        write_json(run.tracker, {"wandb_run_id": secrets.token_hex(4)})
    return {
        "id": json.loads(run.tracker.read_text())["wandb_run_id"],
        "resume": "allow",
        "name": run.folder.name,
        "group": group,
        "tags": tags,
        "dir": str(run.folder),
        "mode": mode,
        "settings": wandb.Settings(init_timeout=ONLINE_SECONDS, console="off", silent=True),
    }


def has_key() -> bool:
    """Returns whether W&B has an API key of the right form; it is not tried, and nobody is asked for one."""
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        log.warning("W&B: %s", error)
        return False


def answers(url: str) -> bool:
    """Returns whether a server takes a connection; behind a proxy it is taken for granted."""
    address = urlsplit(url)
    try:
        if not getproxies():
            socket.create_connection((address.hostname, address.port or 443), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def start_wandb(accelerator: Accelerator, project: str, config: dict, arguments: dict) -> None:
    """Starts W&B; where it does not answer or refuses the key, offline, and says so."""
    import wandb

    try:
        accelerator.init_trackers(project, config=config, init_kwargs={"wandb": arguments})
    except wandb.Error as error:
        log.warning("W&B did not start (%s)", str(error).splitlines()[0])
        log.info(SYNC, arguments["dir"])
        accelerator.trackers.clear()  # or the next call would start the failed one again
        wandb.teardown()  # its service still holds the run id
        accelerator.init_trackers(project, config=config, init_kwargs={"wandb": arguments | {"mode": "offline"}})


def end_tracker(accelerator: Accelerator, failed: bool) -> None:
    """Closes what was started, in W&B as failed or finished; a run left open would swallow the next job of a sweep."""
    for tracker in accelerator.trackers:
        if tracker.name == "wandb" and accelerator.is_main_process:
            tracker.tracker.finish(exit_code=int(failed))
        else:
            tracker.finish()


def flat_values(config: dict) -> dict:
    """Returns the config with only what every tracker can store: numbers, words and truth values.

    >>> flat_values({"model": {"name": "vit", "kwargs": {}}, "seed": 0, "scale": [0.5, 1.0]})
    {'model.name': 'vit', 'model.kwargs': '{}', 'seed': 0, 'scale': '[0.5, 1.0]'}
    """
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{inner}": item for inner, item in flat_values(value).items()}
        else:
            flat[key] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat


def log_examples(
    accelerator: Accelerator,
    evaluation: Evaluation,
    manifest: Manifest,
    decisions: torch.Tensor,
    update: int,
) -> None:
    """Logs one table of all labels and a panel of example images with their true and predicted labels, to W&B."""
    if "wandb" not in [tracker.name for tracker in accelerator.trackers]:
        return
    import wandb

    columns = list(evaluation.table[0])
    table = wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in evaluation.table])
    rows = np.unique(np.linspace(0, len(manifest) - 1, NUM_EXAMPLES).round().astype(int))
    examples = [
        wandb.Image(manifest.read(manifest.images[row]), caption=caption(manifest, row, decisions[row].numpy()))
        for row in rows
    ]
    accelerator.log({"val/labels": table, "val/examples": examples}, step=update)


def caption(manifest: Manifest, row: int, predicted: np.ndarray) -> str:
    """Returns the true and the predicted (C,) labels of an image in words."""
    true, guessed = (
        ", ".join(label for label, is_there in zip(manifest.labels, there, strict=True) if is_there) or "none"
        for there in (manifest.target(row) >= 0.5, predicted)
    )
    return f"true: {true}\npredicted: {guessed}"


@cache
def sweep_name() -> str:
    """Returns one name for all jobs that this process runs."""
    return datetime.now().strftime("sweep-%Y%m%d-%H%M%S")


def group_name(name: str | None, overrides: list[str], is_sweep: bool) -> str:
    """Returns the W&B group: the sweep, or the overrides without those that only repeat a run.

    >>> group_name(None, ["loss=asymmetric", "seed=3", "name=x"], is_sweep=False)
    'loss=asymmetric'
    >>> group_name("losses", ["loss=asymmetric"], is_sweep=True)
    'losses'
    """
    if is_sweep:
        return name or sweep_name()
    told = [
        override
        for override in overrides
        if not override.startswith(("seed=", "name=", "resume=", "tracker", "runs_folder="))
    ]
    group = " ".join(told) or "default"
    if len(group) <= GROUP_LENGTH:
        return group
    return f"{group[: GROUP_LENGTH - 9]} {hashlib.sha256(group.encode()).hexdigest()[:8]}"
