"""One epoch of training under Accelerate."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.utils import get_total_norm

from multihot.data.loader import Batches, seeded
from multihot.data.mixup import MultiLabelMixup
from multihot.errors import InputError
from multihot.failures import explaining_failures
from multihot.loss import FactoredLogits, MultiLabelLoss
from multihot.progress import Progress
from multihot.run.checkpoint import Checkpoints, TrainingState
from multihot.tracking.tracker import Tracker
from multihot.training.ledger import Ledger

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)  # a process has a part of the gradients


@dataclass(kw_only=True)
class Trainer:
    """All that takes part in an optimizer update."""

    accelerator: Accelerator
    model: nn.Module  # prepared by the accelerator
    loss: MultiLabelLoss
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    ema: ModelEmaV3 | None
    state: TrainingState
    checkpoints: Checkpoints
    mix: MultiLabelMixup | None
    seed: int  # of the mixing
    accumulate_steps: int
    clip_norm: float | None
    log_every: int  # updates
    tracker: Tracker = field(default_factory=Tracker)

    def place(self, update: int | None = None) -> str:
        """Returns where the training stands, or stood at an update of this epoch, in words."""
        return f"at update {update or self.state.update + 1} (epoch {self.state.epoch + 1})"

    def advice(self) -> str:
        """Returns what to do where the memory is full."""
        size = self.checkpoints.global_batch_size // self.accelerator.num_processes
        return (
            "The last checkpoint is whole: the same command goes on from it with grad_checkpointing=true, or in more "
            f"processes, which share its batches. Or begin anew, under another name, with batch_size={size} lower and "
            "accumulate_steps higher by the same factor, mixed_precision=bf16 or a smaller model.image_size."
        )


def train_one_epoch(trainer: Trainer, batches: Batches) -> float:
    """Returns the mean loss over the images of all processes; the model, its EMA and the state are advanced.

    It begins with the batch at which the state stands.

    Raises:
        InputError: the loss is not finite, the memory is full, or a process that decodes images was killed.
    """
    with explaining_failures(trainer.place, trainer.advice()):
        return train_batches(trainer, batches)


def train_batches(trainer: Trainer, batches: Batches) -> float:
    """Returns the mean loss over the images of an epoch.

    Every image weighs the same in its update: an update takes the mean over all images of its `accumulate_steps`
    batches in all processes, however many the last one has.
    """
    trainer.model.train()
    state = trainer.state
    batches.begin(state.epoch, state.batch)
    is_sum = trainer.loss.reduction == "sum"
    sizes = batches.sizes
    num_processes = trainer.accelerator.num_processes
    ledger = Ledger(trainer.accelerator.device, state.own_loss_sum)
    progress = Progress(batches, f"epoch {state.epoch + 1}", start=state.batch)
    for number, batch in enumerate(progress, start=state.batch):
        first = number - number % trainer.accumulate_steps
        update_size = sum(sizes[first : first + trainer.accumulate_steps])
        is_last = number + 1 == min(first + trainer.accumulate_steps, len(sizes))
        # what the batch's loss counts in its update: a mean its share of the images, a sum itself
        share, num_images = (1, 1) if is_sum else (len(batch["index"]) / update_size, len(batch["index"]))
        mix_images(trainer, batch, number)
        with nullcontext() if is_last else trainer.accelerator.no_sync(trainer.model):
            loss = compute_loss(trainer, batch)
            # processes average their gradients, hence the factor of their number
            trainer.accelerator.backward(loss * (share * num_processes))
        ledger.add_loss(loss, num_images, state.update + 1)
        if is_last:
            update(trainer, ledger)
            state.batch, state.num_images = number + 1, state.num_images + update_size
            if state.update % trainer.log_every == 0:
                progress.loss = settle(trainer, ledger)
                rate = max(group["lr"] for group in trainer.optimizer.param_groups)
                trainer.tracker.log({"train/batch_loss": progress.loss, "train/lr": rate}, state.update)
            trainer.checkpoints.after_update(partial(settle, trainer, ledger))
    settle(trainer, ledger)
    own = torch.tensor(state.own_loss_sum, dtype=torch.float32, device=trainer.accelerator.device)
    return trainer.accelerator.reduce(own, reduction="sum").item() / state.num_images


def num_updates(num_batches: int, accumulate_steps: int, epochs: int) -> int:
    """Returns the number of optimizer updates of a whole training.

    >>> num_updates(num_batches=10, accumulate_steps=4, epochs=2)
    6
    """
    return math.ceil(num_batches / accumulate_steps) * epochs


def mix_images(trainer: Trainer, batch: dict[str, torch.Tensor], number: int) -> None:
    """Mixes images, targets and weights of a batch, if that is wanted, by its place in the training alone."""
    if trainer.mix is not None:
        with seeded(trainer.seed, trainer.state.epoch, number, trainer.accelerator.process_index):
            batch["image"], batch["target"], batch["weight"] = trainer.mix(
                batch["image"], batch["target"], batch.get("weight")
            )


def compute_loss(trainer: Trainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the loss of a batch."""
    with trainer.accelerator.autocast():  # Accelerate casts in a model that it has wrapped, and FSDP2 wraps none
        logits = trainer.model(batch["image"])
    # A head that hands out its factors leaves the matrix product, and so its precision, to the loss.
    with trainer.accelerator.autocast() if isinstance(logits, FactoredLogits) else nullcontext():
        return trainer.loss(logits, batch["target"], batch.get("weight"))


def settle(trainer: Trainer, ledger: Ledger) -> float:
    """Returns the last loss and notes the sum of all; waits for the device.

    Raises:
        InputError: a loss, or the norm of a gradient, was not finite. No such update has reached the weights.
    """
    trainer.state.own_loss_sum, last_loss, bad = ledger.read()
    if bad is not None:
        raise InputError(
            f"the {bad.name} is {bad.value} {trainer.place(bad.update)}. Begin anew, under another name, with "
            "optimizer.lr 10 times smaller, a longer schedule.warmup_fraction, clip_norm=1.0 or mixed_precision=no. "
            "The last checkpoint is whole: model.weights=<run folder> begins with the best model so far."
        )
    return last_loss


def update(trainer: Trainer, ledger: Ledger) -> None:
    """Makes one optimizer update from the gradients, then moves the EMA and the learning rate.

    One whose loss or gradient is not finite, and all after it, leave the weights as they are: a fused optimizer of
    whole weights sees that on the device; before the step of another it is asked for.
    """
    norm = measure_norm(trainer)
    if norm is not None:
        ledger.add_norm(norm, trainer.state.update + 1)
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)  # what Accelerate has wrapped
    if trainer.accelerator.scaler is None:  # which skips such updates itself, and lowers its scale
        is_fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        if is_fused and trainer.accelerator.distributed_type not in SHARDED:
            optimizer.found_inf = ledger.is_bad
        else:
            settle(trainer, ledger)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.state.update += 1
    trainer.schedule.step_update(trainer.state.update)
    if trainer.ema is not None:
        trainer.ema.update(trainer.accelerator.unwrap_model(trainer.model), step=trainer.state.update)


def measure_norm(trainer: Trainer) -> torch.Tensor | None:
    """Returns the norm of the gradients, before they are clipped if they are; None where others look after it."""
    accelerator = trainer.accelerator
    if trainer.clip_norm is not None:
        norm = accelerator.clip_grad_norm_(trainer.model.parameters(), trainer.clip_norm)
        if norm is None or accelerator.scaler is not None:
            return None
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of FSDP2, whose class is slow to import
    if accelerator.scaler is not None or accelerator.distributed_type in SHARDED:
        return None
    gradients = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
    return get_total_norm(gradients)
