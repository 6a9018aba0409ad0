"""The whole training state, written so that nothing is lost: `last/` and the checkpoints before it."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, gather_object
from safetensors import safe_open

from multihot.errors import InputError
from multihot.files import follow_umask, publish_folder, remove_folder, retire, set_aside, stage_folder, writing
from multihot.interrupt import StopSignal
from multihot.ownership import CHECKPOINT
from multihot.seal import find_fault, read_seal, seal

log = logging.getLogger(__name__)

MOST_UPDATES, AGREE_SECONDS = 20, 5.0  # between two agreements of all processes, whichever is shorter
PLAIN = "plain"  # layout of a checkpoint that holds whole weights


@dataclass
class TrainingState:
    """Where a training stands; saved with every checkpoint."""

    epoch: int = 0  # epochs done and measured
    batch: int = 0  # batches done of the next one
    num_images: int = 0  # in these batches, over all processes
    update: int = 0  # optimizer updates done
    own_loss_sum: float = 0.0  # over those of these images that this process has seen
    loss_sums: list[float] = field(default_factory=list)  # the same of each process, when it was saved
    best_score: float | None = None
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch; row 0 is before training

    def share_loss_sums(self, process_index: int, num_processes: int) -> None:
        """Gives this process its part of the saved sums; of another number of processes the first takes all."""
        if len(self.loss_sums) == num_processes:
            self.own_loss_sum = self.loss_sums[process_index]
        else:
            self.own_loss_sum = sum(self.loss_sums) if process_index == 0 else 0.0

    def finish_epoch(self) -> None:
        """Goes on to the first batch of the next epoch."""
        self.epoch, self.batch, self.num_images, self.own_loss_sum = self.epoch + 1, 0, 0, 0.0

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
    every_minutes: float | None
    frozen_weights: str | None = None  # their hash, where a checkpoint is without them
    stop: StopSignal = field(default_factory=StopSignal)
    saved_at: float = field(default_factory=time.monotonic)  # which no change of the clock moves
    agreed_at: float = field(default_factory=time.monotonic)  # when all processes did on stopping and saving
    num_updates: int = 0  # since then
    agree_every: int = 1  # updates

    def after_update(self, settle: Callable[[], object]) -> None:
        """Saves if it is time, or if a process has been asked to stop; then it ends this process.

        Several processes agree on that after so many updates as take a few seconds, MOST_UPDATES at most.

        Args:
            settle: waits for the device, and raises if there is nothing that may be saved.
        """
        is_asked, is_due = self.stop.number is not None, self.is_due()
        self.num_updates += 1
        is_alone = self.accelerator.num_processes == 1
        if self.num_updates < self.agree_every and not (is_alone and (is_asked or is_due)):
            return
        settle()
        seconds = (time.monotonic() - self.agreed_at) / self.num_updates
        is_asked, is_due, seconds = self.agree(is_asked, is_due, seconds)
        self.agree_every = max(1, min(MOST_UPDATES, int(AGREE_SECONDS / max(seconds, 1e-6))))
        if is_asked or is_due:
            self.save()
        if is_asked:
            self.stop.raise_interrupted()
        self.agreed_at, self.num_updates = time.monotonic(), 0

    def end_if_asked(self, is_saved: bool) -> None:
        """Ends this process if any has been asked to stop, after saving what is not.

        Before the first measurement there is nothing to save: the training then begins again.
        """
        if self.agree(self.stop.number is not None)[0]:
            if self.state.history and not is_saved:
                self.save()
            self.stop.raise_interrupted()

    def is_due(self) -> bool:
        """Returns whether this process finds that it is time to save."""
        minutes = (time.monotonic() - self.saved_at) / 60
        return self.every_minutes is not None and minutes >= self.every_minutes

    def agree(self, is_asked: bool, is_due: bool = False, seconds: float = 0.0) -> tuple[bool, bool, float]:
        """Returns what is true in any process, and the mean of seconds, for all to do the same."""
        num_processes = self.accelerator.num_processes
        if num_processes == 1:
            return is_asked, is_due, seconds
        told = torch.tensor([is_asked, is_due, seconds], dtype=torch.float32, device=self.accelerator.device)
        asked, due, total = self.accelerator.reduce(told, reduction="sum").tolist()
        return asked > 0, due > 0, total / num_processes

    def save(self) -> None:
        """Writes model, optimizer, scaler, random states and everything registered. All processes must call it."""
        self.state.loss_sums = gather_object([self.state.own_loss_sum])
        new = self.folder.with_name(f".{self.folder.name}.new")
        with removing_unfinished(new), writing(self.folder.parent, self.way_out()):
            if self.accelerator.is_main_process:
                stage_folder(self.folder)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(new))
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                layout = name_layout(self.accelerator)
                kind = {"layout": layout, "frozen_weights": self.frozen_weights}
                seal(new, {**self.place(), "global_batch_size": self.global_batch_size, **kind})
                self.publish(new)
        self.accelerator.wait_for_everyone()
        self.forget_empty_step()
        self.saved_at = time.monotonic()

    def way_out(self) -> str:
        """Returns what to do where a checkpoint cannot be written."""
        fewer = ", for instance by checkpoint.keep=1," if self.keep > 1 else ""
        whole = "The last checkpoint is whole: make" if list_checkpoints(self.folder) else "Make"
        return f"{whole} space{fewer} or set that right, and start the same command again"

    def place(self) -> dict[str, int]:
        """Returns where the training stands."""
        return {"epoch": self.state.epoch, "batch": self.state.batch, "update": self.state.update}

    def publish(self, new: Path) -> None:
        """Moves a new checkpoint into place; at any moment one that is whole has its name."""
        if self.keep == 1:
            publish_folder(self.folder, CHECKPOINT)
            return
        names = [self.folder, *(older(self.folder, number) for number in range(1, self.keep))]
        follow_umask(new)
        oldest = set_aside(names[-1], CHECKPOINT)
        for source, target in reversed(list(pairwise(names))):
            if source.exists():
                os.replace(source, target)
        os.replace(new, self.folder)
        retire(oldest, self.folder, CHECKPOINT)

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
        if read_seal(chosen).get("frozen_weights", self.frozen_weights) != self.frozen_weights:
            raise InputError(
                f"{self.folder.parent} trains a head on a frozen backbone, which is now another than it began with: "
                "bring back what was in model.weights, or give the run a new name"
            )
        self.accelerator.load_state(str(chosen))
        self.state.share_loss_sums(self.accelerator.process_index, self.accelerator.num_processes)
        self.forget_empty_step()
        if self.accelerator.is_main_process:
            self.remove_older(chosen)

    def remove_older(self, chosen: Path) -> None:
        """Deletes the checkpoints before the one that is gone on from that are more than `keep`, as it may be less."""
        kept = list_checkpoints(self.folder)
        for path in kept[max(self.keep, kept.index(chosen) + 1) :]:
            remove_folder(path)

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
    numbered = re.compile(rf"{re.escape(folder.name)}\.\d+")
    before = [path for path in folder.parent.glob(f"{folder.name}.*") if numbered.fullmatch(path.name)]
    before.sort(key=lambda path: int(path.suffix[1:]))
    return [path for path in (folder, *before) if path.exists()]


def find_whole(folder: Path) -> Path | None:
    """Returns the newest checkpoint that is as it was written; those that are not are named in a warning."""
    for path in list_checkpoints(folder):
        fault = find_fault(path) or find_nan(path)
        if fault is None:
            return path
        log.warning("the checkpoint %s is damaged (%s); going on from the one before it", path, fault)
    return None


def find_nan(folder: Path) -> str | None:
    """Returns the first tensor of a checkpoint's whole weights that is not finite, with its file; None if all are."""
    from multihot.model.state import is_finite  # which imports timm

    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                if not is_finite(name, file.get_tensor(name)):
                    return f"{path.name}: {name} holds NaN or infinite numbers"
    return None


@contextmanager
def removing_unfinished(folder: Path) -> Iterator[None]:
    """Deletes a folder that could not be completed, so that it does not fill the disk."""
    try:
        yield
    except InputError:
        remove_folder(folder)
        raise
