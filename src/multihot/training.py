"""One epoch of training under Accelerate."""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from multihot.checkpoint import TrainingState
from multihot.data.loader import Batches, seeded
from multihot.data.mixup import MultiLabelMixup
from multihot.errors import InputError
from multihot.loss import FactoredLogits, MultiLabelLoss
from multihot.progress import Progress


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
    mix: MultiLabelMixup | None
    seed: int  # of the mixing
    accumulate_steps: int
    clip_norm: float | None
    log_every: int  # updates


def train_one_epoch(trainer: Trainer, batches: Batches) -> float:
    """Returns the mean loss over the images of all processes; the model, its EMA and the state are advanced.

    Every image weighs the same in its update: an update takes the mean over all images of its `accumulate_steps`
    batches in all processes, however many the last one has.
    """
    trainer.model.train()
    batches.order.epoch = trainer.loss.epoch = trainer.state.epoch
    is_sum = trainer.loss.reduction == "sum"
    sizes = batches.order.batch_sizes()
    num_processes = trainer.accelerator.num_processes
    loss_sum = torch.zeros((), dtype=torch.float64)
    progress = Progress(batches, f"epoch {trainer.state.epoch + 1}")
    for number, batch in enumerate(progress):
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
            if trainer.state.update % trainer.log_every == 0:
                rate = max(group["lr"] for group in trainer.optimizer.param_groups)
                trainer.accelerator.log(
                    {"train/batch_loss": progress.loss, "train/lr": rate}, step=trainer.state.update
                )
    total = trainer.accelerator.reduce(loss_sum.to(trainer.accelerator.device, torch.float32), reduction="sum")
    trainer.state.epoch += 1
    return total.item() / sum(sizes)


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
            "The checkpoint of the epoch before is whole."
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
