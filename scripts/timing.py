"""Measures time and memory: seconds of actions in turn, what a process has computed and held at most."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil


def in_turn(num_rounds: int, *actions: Callable, clock: Callable[[], float] = time.perf_counter) -> list[list[float]]:
    """Returns the seconds of each action in each round, after one round that is not counted."""
    times = [[] for _ in actions]
    for number in range(num_rounds + 1):
        for seconds, action in zip(times, actions, strict=True):
            start = clock()
            action()
            if number:
                seconds.append(clock() - start)
    return times


def process_seconds() -> float:
    """Returns how long this process has computed, which others that are busy change little."""
    return time.process_time()


def report(title: str, images: int, times: list[float], reference: str, reference_times: list[float]) -> None:
    """Prints images a second of both and the ratio: the median over rounds, with the smallest and largest."""
    ratios = sorted(other / own for own, other in zip(times, reference_times, strict=True))
    print(
        f"{title}: {images / median(times):.1f} images/s; {reference}: {images / median(reference_times):.1f}; "
        f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def wait_for(command: list[str], words: str) -> None:
    """Starts a command and stops it when it prints the words."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        found = any(words in line for line in process.stdout)
        process.kill()
    assert found, f"{' '.join(command)} never printed {words!r}"


def cpu_seconds(process: psutil.Process) -> float:
    """Returns how long a process has computed."""
    times = process.cpu_times()
    return times.user + times.system


def children_seconds() -> float:
    """Returns how long the processes that this one has started, and that have ended, have computed."""
    times = os.times()
    return times.children_user + times.children_system


def restart_peak() -> int:
    """Lets the peak of this process's memory begin anew where Linux allows it; returns it in KB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Returns the peak of this process's memory in KB since it was last begun anew."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
