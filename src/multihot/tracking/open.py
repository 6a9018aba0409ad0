"""Opens the tracker that the settings name, and closes it however the training ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from accelerate.tracking import TensorBoardTracker

from multihot.errors import InputError
from multihot.interrupt import Interrupted
from multihot.run.code import code_version
from multihot.tracking.filing import flat_values, group_name, tags_of
from multihot.tracking.tracker import RunTracker, Tracker


@contextmanager
def open_tracker(
    config: Mapping,
    folder: Path,
    *,
    overrides: list[str],
    is_sweep: bool,
    goes_on: bool,
    manifests: Mapping,
    is_main_process: bool,
) -> Iterator[Tracker]:
    """Gives the tracker of a run, and closes it: as finished, as failed or, where the run goes on later, as preempted.

    Args:
        config: all settings; those of `tracker` say which one it is.
        folder: of the run.
        goes_on: the tracker has been told the settings before.
        manifests: what identifies the splits.

    Raises:
        InputError: the tracker's package is not installed, or a setting is wrong.
    """
    settings = config["tracker"]
    kind = settings["kind"]
    if kind is not None and find_spec(kind) is None:
        raise InputError(f"tracker={kind}: the package {kind} is not installed; pip install {kind}, or tracker=none")
    flat = flat_values({**config, "manifests": manifests, "code": code_version()})
    if kind is None or not is_main_process:
        tracker = Tracker()
    elif kind == "wandb":
        from multihot.tracking.wandb_tracker import start_wandb

        group = settings["group"] or group_name(config["name"], overrides, is_sweep)
        tracker = start_wandb(folder, settings, flat, group, [*settings["tags"], *tags_of(overrides, config)])
    else:
        tracker = start_tensorboard(folder, settings["project"], None if goes_on else flat)
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    except Interrupted as stopped:
        exit_code = stopped.code
        raise
    finally:
        tracker.end(exit_code)


def start_tensorboard(folder: Path, project: str, config: Mapping | None) -> RunTracker:
    """Returns a tracker that writes TensorBoard's files into the run folder.

    Args:
        config: the settings, None if they are written already.
    """
    backend = TensorBoardTracker(project, logging_dir=folder)
    backend.start()
    if config is not None:
        backend.store_init_configuration(config)
    return RunTracker(backend, folder)
