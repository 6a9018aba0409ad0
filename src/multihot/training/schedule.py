"""The learning rate, update by update."""

from collections.abc import Callable

import torch
from timm.scheduler.scheduler import Scheduler


def create_schedule(
    optimizer: torch.optim.Optimizer, factory: Callable[..., Scheduler], num_updates: int, warmup_fraction: float
) -> Scheduler:
    """Returns timm's scheduler over `num_updates` optimizer updates, the first `warmup_fraction` of them rising.

    timm's and not torch's, because only timm's apply the `lr_scale` of layer decay. It is not handed to
    `accelerator.prepare`, which would step it once for each process.
    """
    num_updates = max(num_updates, 2)  # timm warns of a schedule of a single update
    warmup_updates = round(warmup_fraction * num_updates)
    schedule = factory(optimizer, t_initial=num_updates, warmup_t=warmup_updates, t_in_epochs=False)
    schedule.step_update(0)
    return schedule
