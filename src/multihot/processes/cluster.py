"""SLURM: the tasks of one srun find each other, and a job that submitit started goes back into the queue."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from multihot.errors import InputError
from multihot.interrupt import REQUEUE, Interrupted

FIRST_PORT, NUM_PORTS = 12_000, 16_000  # below those that the system gives away by itself


def join_slurm() -> None:
    """Tells this process its place among the tasks of its srun, in the variables that torchrun would set.

    Nothing changes outside of srun, with one task, and where another launcher has set them.

    Raises:
        InputError: the task has no GPU of its own, or the first node cannot be found in the network.
    """
    if "RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
        return
    place = find_place(os.environ)
    check_devices(int(place["LOCAL_RANK"]), torch.accelerator.device_count())
    if "MASTER_ADDR" not in os.environ:
        place["MASTER_ADDR"] = find_address(first_node(os.environ["SLURM_STEP_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", choose_port(os.environ))
    os.environ.update(place)


def find_place(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns this task's number in its srun and on its node, and how many there are.

    A batch script itself has SLURM_NTASKS and SLURM_PROCID too, though it runs alone: hence the numbers of the step.

    >>> step = {"SLURM_STEP_NUM_TASKS": "5", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_NODEID": "1"}
    >>> find_place({**step, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"})
    {'RANK': '3', 'WORLD_SIZE': '5', 'LOCAL_RANK': '1', 'LOCAL_WORLD_SIZE': '2'}
    """
    num_local_tasks = read_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])[int(environment["SLURM_NODEID"])]
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(num_local_tasks),
    }


def read_tasks_per_node(text: str) -> list[int]:
    """Returns the number of tasks of each node.

    >>> read_tasks_per_node("4(x2),3")
    [4, 4, 3]
    """
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(size) for size, times in groups for _ in range(int(times or 1))]


def first_node(node_list: str) -> str:
    """Returns the first name of a list of nodes.

    >>> first_node("gpu[007-009,12],login"), first_node("r[1,3]n[04-06]-ib"), first_node("one,two")
    ('gpu007', 'r1n04-ib', 'one')
    """
    group = re.match(r"(?:[^,\[]|\[[^\]]*\])+", node_list).group()
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", group)


def find_address(node: str) -> str:
    """Returns the name under which the network knows a node, or the address that SLURM has for it."""
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        shown = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, check=False).stdout
    address = re.search(r"NodeAddr=(\S+)", shown)
    if address is None:
        raise InputError(f"the node {node} is not known in this network; set MASTER_ADDR to the first node's address")
    return address.group(1)


def choose_port(environment: Mapping[str, str]) -> str:
    """Returns a port that all tasks of a step arrive at and other jobs on the node do not."""
    step = int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    return str(FIRST_PORT + step % NUM_PORTS)


def check_devices(local_rank: int, num_devices: int) -> None:
    """Raises InputError if this task's GPU is not among those that it sees; without any GPU there is nothing to see."""
    if 0 < num_devices <= local_rank:
        raise InputError(
            f"task {local_rank} of this node sees {num_devices} of its GPUs, but each task must see all and takes its "
            "own: ask for --gpus-per-node (not --gpus-per-task or --gpu-bind) and as many tasks a node"
        )


def signal_of_submitit() -> int | None:
    """Returns the signal by which SLURM tells a job of submitit that its time is over; None if this is none."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return None
    return getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")


@contextmanager
def requeued_by_submitit() -> Iterator[None]:
    """Has submitit start a job again that was stopped from outside and is saved; exit code 75 says nothing to it.

    Its handler, which process 0 alone follows, writes the job down once more, asks SLURM to requeue it, and exits.
    """
    try:
        yield
    except Interrupted as stopped:
        number = signal_of_submitit()
        if stopped.code == REQUEUE and number is not None and is_still_wanted():
            signal.getsignal(number)(number, None)
        raise


def is_still_wanted() -> bool:
    """Returns whether this SLURM job runs on: one that was cancelled would come back to life with a requeue."""
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job_number(os.environ)}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "RUNNING"


def job_number(environment: Mapping[str, str]) -> str:
    """Returns the number under which SLURM knows this job alone: SLURM_JOB_ID may stand for a whole array of jobs.

    >>> job_number({"SLURM_JOB_ID": "62", "SLURM_ARRAY_JOB_ID": "62", "SLURM_ARRAY_TASK_ID": "1"})
    '62_1'
    """
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]
