"""One epoch of training under Accelerate."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from multihot.checkpoint import Checkpoints, TrainingState
from multihot.data.loader import Batches, seeded
from multihot.data.mixup import MultiLabelMixup
from multihot.errors import InputError
from multihot.loss import FactoredLogits, MultiLabelLoss
from multihot.progress import Progress
from multihot.tracker import log_scores


@dataclass
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


def train_one_epoch(trainer: Trainer, batches: Batches) -> float:
    """Returns the mean loss over the images of all processes; the model, its EMA and the state are advanced.

    It begins with the batch at which the state stands.

    Raises:
        InputError: the loss is not finite, the memory is full, or a process that decodes images was killed.
    """
    with explaining_failures(trainer):
        return train_batches(trainer, batches)


def train_batches(trainer: Trainer, batches: Batches) -> float:
    """Returns the mean loss over the images of an epoch.

    Every image weighs the same in its update: an update takes the mean over all images of its `accumulate_steps`
    batches in all processes, however many the last one has.
    """
    trainer.model.train()
    state = trainer.state
    batches.order.epoch = trainer.loss.epoch = state.epoch
    batches.order.start = state.batch
    is_sum = trainer.loss.reduction == "sum"
    sizes = batches.order.batch_sizes()
    num_processes = trainer.accelerator.num_processes
    loss_sum = state.loss_sum(trainer.accelerator.process_index, num_processes)
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
        progress.loss = loss.item()
        check_finite(progress.loss, trainer)
        loss_sum += progress.loss * num_images
        if is_last:
            update(trainer)
            state.batch, state.num_images = number + 1, state.num_images + update_size
            if state.update % trainer.log_every == 0:
                rate = max(group["lr"] for group in trainer.optimizer.param_groups)
                log_scores(trainer.accelerator, {"train/batch_loss": progress.loss, "train/lr": rate}, state.update)
            trainer.checkpoints.after_update(loss_sum)
    own = torch.tensor(loss_sum, dtype=torch.float32, device=trainer.accelerator.device)
    return trainer.accelerator.reduce(own, reduction="sum").item() / state.num_images


@contextmanager
def explaining_failures(trainer: Trainer) -> Iterator[None]:
    """Turns what a machine can run out of into an error that says which setting to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        place = f"at update {trainer.state.update + 1} (epoch {trainer.state.epoch + 1})"
        if is_out_of_memory(error):
            size = trainer.checkpoints.global_batch_size // trainer.accelerator.num_processes
            raise InputError(
                f"the memory is full {place}. Lower batch_size={size} and raise accumulate_steps by the same factor, "
                "or try grad_checkpointing=true, mixed_precision=bf16 or a smaller model.image_size. The last "
                "checkpoint is whole."
            ) from error
        if "DataLoader worker" in str(error):
            raise InputError(
                f"a process that decodes images was killed {place}, most often because the memory was full. Lower "
                "num_workers and start the same command again: the last checkpoint is whole."
            ) from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that no memory was left, on a GPU or in the machine."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def num_updates(num_batches: int, accumulate_steps: int, epochs: int) -> int:
    """Returns the number of optimizer updates of a whole training.

    >>> num_updates(num_batches=10, accumulate_steps=4, epochs=2)
    6
    """
    return math.ceil(num_batches / accumulate_steps) * epochs


def mix_images(trainer: Trainer, batch: dict[str, torch.Tensor], number: int) -> None:
    """Mixes the images and targets of a batch, if that is wanted, by its place in the training alone."""
    if trainer.mix is not None:
        with seeded(trainer.seed, trainer.state.epoch, number, trainer.accelerator.process_index):
            batch["image"], batch["target"] = trainer.mix(batch["image"], batch["target"])


def compute_loss(trainer: Trainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the loss of a batch."""
    with trainer.accelerator.autocast():  # Accelerate casts in a model that it has wrapped, and FSDP2 wraps none
        logits = trainer.model(batch["image"])
    # A head that hands out its factors leaves the matrix product, and so its precision, to the loss.
    with trainer.accelerator.autocast() if isinstance(logits, FactoredLogits) else nullcontext():
        return trainer.loss(logits, batch["target"], batch.get("weight"))


def check_finite(loss: float, trainer: Trainer) -> None:
    """Raises InputError with the step and what to try unless the loss is finite."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} at update {trainer.state.update + 1} (epoch {trainer.state.epoch + 1}). Try "
            "optimizer.lr 10 times smaller, a longer schedule.warmup_fraction, clip_norm=1.0 or mixed_precision=no. "
            "The last checkpoint is whole."
        )


def update(trainer: Trainer) -> None:
    """Makes one optimizer update from the gradients, then moves the EMA and the learning rate."""
    if trainer.clip_norm is not None:
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), trainer.clip_norm)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.state.update += 1
    trainer.schedule.step_update(trainer.state.update)
    if trainer.ema is not None:
        trainer.ema.update(trainer.accelerator.unwrap_model(trainer.model), step=trainer.state.update)
