"""The whole training state, written so that nothing is lost: `last/` and the checkpoints before it."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, gather_object
from safetensors import SafetensorError

from multihot.errors import InputError, is_lost
from multihot.files import publish_folder, stage_folder
from multihot.interrupt import StopSignal
from multihot.seal import find_fault, read_seal, seal

log = logging.getLogger(__name__)

PLAIN = "plain"  # layout of a checkpoint that holds whole weights
LITTLE_SPACE = 1 << 26  # bytes; an error of writing with less free is told as a full disk


@dataclass
class TrainingState:
    """Where a training stands; saved with every checkpoint."""

    epoch: int = 0  # epochs done and measured
    batch: int = 0  # batches done of the next one
    num_images: int = 0  # in these batches, over all processes
    update: int = 0  # optimizer updates done
    loss_sums: list[float] = field(default_factory=list)  # over the images of these batches, one a process
    best_score: float | None = None
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch; row 0 is before training

    def loss_sum(self, process_index: int, num_processes: int) -> float:
        """Returns this process's part of the sum; with another number of processes the first takes all of it."""
        if len(self.loss_sums) == num_processes:
            return self.loss_sums[process_index]
        return sum(self.loss_sums) if process_index == 0 else 0.0

    def finish_epoch(self) -> None:
        """Goes on to the first batch of the next epoch."""
        self.epoch, self.batch, self.num_images, self.loss_sums = self.epoch + 1, 0, 0, []

    def state_dict(self) -> dict:
        """Returns all fields."""
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        """Takes over all fields."""
        for item in fields(self):
            setattr(self, item.name, state[item.name])


@dataclass
class Checkpoints:
    """Saves the whole training state as `last/`, keeps the ones before as `last.1/`, `last.2/`, and loads the newest
    that is whole.
    """

    accelerator: Accelerator
    optimizer: torch.optim.Optimizer
    folder: Path  # last/
    state: TrainingState
    global_batch_size: int  # images of a batch in all processes
    keep: int
    every_updates: int | None
    every_minutes: float | None
    stop: StopSignal = field(default_factory=StopSignal)
    saved_at: float = field(default_factory=time.monotonic)  # which no change of the clock moves

    def __post_init__(self):
        if self.keep < 1:
            raise InputError(f"checkpoint.keep={self.keep}: at least the last one must be kept")

    def after_update(self, loss_sum: float) -> None:
        """Saves if it is time, or if a process has been asked to stop; then it ends this process.

        Args:
            loss_sum: over the images of this epoch that this process has seen.
        """
        is_asked, is_due = self.agree(self.stop.number is not None, self.is_due())
        if is_asked or is_due:
            self.save(loss_sum)
        if is_asked:
            self.stop.raise_interrupted()

    def end_if_asked(self) -> None:
        """Ends this process if any has been asked to stop; everything must be saved."""
        if self.agree(self.stop.number is not None, False)[0]:
            self.stop.raise_interrupted()

    def is_due(self) -> bool:
        """Returns whether this process finds that it is time to save."""
        minutes = (time.monotonic() - self.saved_at) / 60
        by_updates = self.every_updates is not None and self.state.update % self.every_updates == 0
        return by_updates or (self.every_minutes is not None and minutes >= self.every_minutes)

    def agree(self, is_asked: bool, is_due: bool) -> tuple[bool, bool]:
        """Returns what is true in any process, for all to do the same."""
        if self.accelerator.num_processes == 1:
            return is_asked, is_due
        flags = torch.tensor([is_asked, is_due], dtype=torch.float32, device=self.accelerator.device)
        asked, due = self.accelerator.reduce(flags, reduction="sum").tolist()
        return asked > 0, due > 0

    def save(self, loss_sum: float = 0.0) -> None:
        """Writes model, optimizer, scaler, random states and everything registered. All processes must call it."""
        self.state.loss_sums = gather_object([loss_sum])
        new = self.folder.with_name(f".{self.folder.name}.new")
        if self.accelerator.is_main_process:
            stage_folder(self.folder)
        self.accelerator.wait_for_everyone()
        with explaining_full_disk(new):
            self.accelerator.save_state(str(new))
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                layout = name_layout(self.accelerator)
                seal(new, {**self.place(), "global_batch_size": self.global_batch_size, "layout": layout})
                self.publish(new)
        self.accelerator.wait_for_everyone()
        self.forget_empty_step()
        self.saved_at = time.monotonic()

    def place(self) -> dict[str, int]:
        """Returns where the training stands."""
        return {"epoch": self.state.epoch, "batch": self.state.batch, "update": self.state.update}

    def publish(self, new: Path) -> None:
        """Moves a new checkpoint into place; at any moment one that is whole has its name."""
        if self.keep == 1:
            publish_folder(self.folder)
            return
        names = [self.folder, *(older(self.folder, number) for number in range(1, self.keep))]
        shutil.rmtree(names[-1], ignore_errors=True)
        for source, target in reversed(list(pairwise(names))):
            if source.exists():
                os.replace(source, target)
        os.replace(new, self.folder)

    def load(self) -> None:
        """Loads the newest checkpoint that is whole, and says which were not. All processes must call it."""
        chosen = find_whole(self.folder) if self.accelerator.is_main_process else None
        chosen = broadcast_object_list([chosen])[0]
        if chosen is None:
            raise InputError(f"no checkpoint of {self.folder.parent} is whole; a new name starts a new run")
        began, now = read_seal(chosen).get("layout", PLAIN), name_layout(self.accelerator)
        if began != now:
            raise InputError(
                f"{self.folder.parent} began as {began} and cannot go on as {now}: launch it as before "
                "(conf/accelerate has files for FSDP and DeepSpeed), or give the run a new name"
            )
        self.accelerator.load_state(str(chosen))
        self.forget_empty_step()

    def forget_empty_step(self) -> None:
        """Takes back the step without gradients that torch makes to save or load a sharded optimizer before its first.

        Adam counts it: left in, all later updates differed from those of a model that is not sharded.
        """
        if self.accelerator.is_fsdp2 and self.state.update == 0:
            self.optimizer.state.clear()


def name_layout(accelerator: Accelerator) -> str:
    """Returns how weights and states lie in a checkpoint: "plain", "FSDP" or "DEEPSPEED"."""
    kind = accelerator.distributed_type
    return kind.value if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED) else PLAIN


def older(folder: Path, number: int) -> Path:
    """Returns the folder of the checkpoint `number` before the last."""
    return folder.with_name(f"{folder.name}.{number}")


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints that are there, the newest first."""
    before = sorted(folder.parent.glob(f"{folder.name}.[0-9]*"), key=lambda path: int(path.suffix[1:]))
    return [path for path in (folder, *before) if path.exists()]


def find_whole(folder: Path) -> Path | None:
    """Returns the newest checkpoint that is as it was written; those that are not are named in a warning."""
    for path in list_checkpoints(folder):
        fault = find_fault(path)
        if fault is None:
            return path
        log.warning("the checkpoint %s is damaged (%s); going on from the one before it", path, fault)
    return None


@contextmanager
def explaining_full_disk(folder: Path) -> Iterator[None]:
    """Turns an error of writing into one that says whether the disk is full; the checkpoint before is whole."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_lost(error):
            raise
        free = shutil.disk_usage(folder.parent).free
        shutil.rmtree(folder, ignore_errors=True)
        why = f"{free / 1e6:.0f} MB free on its disk" if free < LITTLE_SPACE else str(error).splitlines()[0]
        raise InputError(
            f"the checkpoint {folder.parent} could not be written ({why}). The one before it is whole: make space, for "
            "instance by checkpoint.keep=1, and start the same command again"
        ) from error
