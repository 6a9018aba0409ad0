"""One training or evaluation in this process, opened and closed so that the next one starts clean."""

import atexit
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import broadcast_object_list, parse_flag_from_env, set_seed

from multihot.errors import InputError
from multihot.files import absolute
from multihot.processes.cluster import join_slurm
from multihot.processes.environment import check_environment, check_group
from multihot.processes.zero import ZeroAccelerator, is_deepspeed

if TYPE_CHECKING:
    from multihot.model.kernels import Compute


@dataclass(frozen=True)
class Session:
    """What a script works with."""

    accelerator: Accelerator
    compute: "Compute"


def start_processes() -> PartialState:
    """Joins this process to the others that were launched with it, and lets only process 0 log what goes well.

    Raises:
        InputError: a variable of the launcher is wrong, or several processes were launched, but they do not know of
            each other and each would train alone.
    """
    check_environment(os.environ)
    join_slurm()
    check_group(os.environ)
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    is_first = not torch.distributed.is_initialized()
    # Told that it runs on CPUs, Accelerate would not start DeepSpeed.
    state = PartialState(backend="gloo") if cpu and is_deepspeed() else PartialState(cpu=cpu)
    if is_first and state.num_processes > 1:
        atexit.register(torch.distributed.destroy_process_group)
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if state.num_processes != launched:
        raise InputError(
            f"{launched} processes were launched, but Accelerate works with {state.num_processes}: each would train "
            "alone. Without a GPU: ACCELERATE_USE_CPU=1 torchrun --nproc_per_node 2 train.py ..."
        )
    logging.getLogger("multihot").setLevel(logging.INFO if state.is_main_process else logging.WARNING)
    return state


@contextmanager
def open_session(
    mixed_precision: str,
    kernels: str,
    model: Mapping,
    seed: int,
    cache_folder: str | Path | None = None,
) -> Iterator[Session]:
    """Gives the accelerator and what it computes with, decided by process 0 for all.

    Accelerate keeps its state in the process: without the reset the next job of a sweep could not change it.

    Args:
        model: settings of the timm model that is tried out where one of the first two is `auto`.
        seed: of torch, numpy and random, after the trial.
        cache_folder: keeps what trials have found on this machine; None: each process makes its own.
    """
    # These import timm, which processes that only join need not wait for.
    from multihot.model.kernels import choose_compute, pick_architecture, use_kernels
    from multihot.processes.fsdp import follow_fsdp

    state = start_processes()
    compute = None
    if state.is_main_process:
        memory = None if cache_folder is None else Path(absolute(cache_folder)) / "kernels.json"
        settings = pick_architecture(model)
        compute = choose_compute(mixed_precision, kernels, device=state.device, memory=memory, **settings)
    compute = broadcast_object_list([compute])[0]
    use_kernels(compute.kernels)
    set_seed(seed)
    precision, on_cpu = compute.mixed_precision, state.device.type == "cpu"
    accelerator = ZeroAccelerator(precision) if is_deepspeed() else Accelerator(cpu=on_cpu, mixed_precision=precision)
    follow_fsdp(accelerator)
    try:
        yield Session(accelerator, compute)
    finally:
        # The processes stay joined until they end: joined anew, they would find the addresses of the time before.
        AcceleratorState._reset_state(reset_partial_state=accelerator.num_processes == 1)
        GradientState._reset_state()
