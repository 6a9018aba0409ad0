"""Batches side by side on the cores of a CPU: each thread reads and computes its own, and none waits for another."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")

MOST_LANES = 8  # each holds a batch in memory


@contextmanager
def open_lanes(device: torch.device) -> Iterator[Callable[[Iterable[Callable[[], Result]]], Iterator[Result]]]:
    """Gives what runs jobs and yields their results in their order, no more than a few ahead.

    On a CPU there are as many threads as torch would divide one operation among, and each computes alone, so that one
    decodes while another runs the model. Elsewhere there is one, ahead of what becomes of the results.
    """
    num_threads = torch.get_num_threads()
    num_lanes = min(num_threads, MOST_LANES) if device.type == "cpu" else 1
    each = num_threads // num_lanes
    with ThreadPoolExecutor(num_lanes, "lane", torch.set_num_threads, (each,)) as lanes:

        def run(jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
            running = deque()
            try:
                for job in jobs:
                    running.append(lanes.submit(job))
                    if len(running) > num_lanes:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:  # an error, or nobody wants the rest
                for future in running:
                    future.cancel()

        try:
            yield run
        finally:
            torch.set_num_threads(num_threads)  # which a lane can set for all
