"""The tracker of a run: what it is told and when, and that it is told nothing twice."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate.tracking import GeneralTracker

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.files import read_json
from multihot.json_shapes import TOLD
from multihot.metrics import Evaluation
from multihot.run.folder import TRACKER_FILE

log = logging.getLogger(__name__)

Decide = Callable[[np.ndarray], torch.Tensor]  # rows (K,) -> which labels are predicted there, bool (K, C)


class Tracker:
    """Nobody listens: the tracker of a run without one, and of every process but the first."""

    shows_examples = False

    def log(self, values: Mapping[str, object], step: int) -> None:
        """Tells the values of an update. With `epoch` among them they are a row of the history."""

    def log_examples(self, evaluation: Evaluation, manifest: Manifest, decide: Decide, step: int) -> None:
        """Shows one table of all labels, and example images with their true and predicted labels."""

    def log_report(self, file: Path, step: int) -> None:
        """Shows the page about the best model."""

    def log_best(self) -> None:
        """Uploads the best model, if that is wanted."""

    def end(self, exit_code: int) -> None:
        """Closes what was started: a run left open would swallow the next job of a sweep."""


class RunTracker(Tracker):
    """Passes on what its backend has not been told before the run was stopped, and goes silent if that fails.

    What the backend has been told stands in the run folder: for each value the last update.
    """

    def __init__(self, backend: GeneralTracker, folder: Path):
        self.backend, self.folder, self.told = backend, folder, read_told(folder)
        self.is_lost = False

    def log(self, values: Mapping[str, object], step: int) -> None:
        """Tells the values that are new to the backend."""
        steps = self.told.setdefault(self.backend.name, {})
        new = {name: value for name, value in values.items() if steps.get(name, -1) < step}
        if not new or self.is_lost:
            return
        if survives(partial(self.pass_on, new, step)):
            steps |= dict.fromkeys(new, step)
        else:
            log.warning("the run goes on without %s", self.backend.name)
            self.is_lost = True
            self.forget()
        survives(partial(overwrite, self.folder / TRACKER_FILE, json.dumps(self.told)))

    def pass_on(self, values: Mapping[str, object], step: int) -> None:
        """Gives the backend values that are new to it."""
        self.backend.log(values, step=step)

    def end(self, exit_code: int) -> None:
        """Closes the backend."""
        if not self.is_lost and not self.finish(exit_code):
            self.forget()

    def finish(self, exit_code: int) -> bool:
        """Returns whether the backend has been closed."""
        return survives(self.backend.finish)

    def forget(self) -> None:
        """Ends what a backend that failed has left in this process."""


def survives(action: Callable[[], object]) -> bool:
    """Returns whether a tracker took what it was told; if not, training goes on all the same."""
    try:
        action()
    except Exception as error:  # W&B alone raises six families of them, and none is worth a training
        log.warning("the tracker failed: %s: %s", type(error).__name__, str(error).partition("\n")[0])
        return False
    return True


def read_told(folder: Path) -> dict:
    """Returns the id of the W&B run and, for each backend, the last update at which it was told each value."""
    path = folder / TRACKER_FILE
    try:
        return read_json(path, TOLD) if path.exists() else {}
    except InputError:
        log.warning("%s is damaged: the tracker begins a new run", path)
        return {}


def overwrite(path: Path, text: str) -> None:
    """Writes over a file in place, 25 times faster than a new file, and whole as long as it fits into one write."""
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()
