"""Images of many requests become batches of one model, which runs in one thread or, on a CPU, in several."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

from multihot.errors import first_line

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class ModelError(Exception):
    """A batch could not be computed; why is in the log."""


class Batcher(Generic[Item, Result]):
    """Computes what is waiting, as one batch, whenever a thread is free: nobody waits for a batch to fill.

    While one batch is computed the next one gathers, so that batches are as large as the load is, `batch_size` at most.
    """

    def __init__(self, compute: Callable[[list[Item], int], Sequence[Result]], batch_size: int, num_threads: int = 1):
        """Starts the threads.

        Args:
            compute: returns the results of a batch; its second argument is the number of the thread that calls it.
        """
        self.compute = compute
        self.batch_size = batch_size
        self.waiting: deque[tuple[Item, Future[Result]]] = deque()
        self.threads = [ThreadPoolExecutor(1, "model") for _ in range(num_threads)]
        self.num_calls = [0] * num_threads  # that each has still to make
        self.taking = Lock()

    def submit(self, item: Item) -> "Future[Result]":
        """Returns the result to come; what is cancelled while it waits is left out."""
        future: Future[Result] = Future()
        self.waiting.append((item, future))
        with self.taking:  # the first of the idlest: for one client always the same
            thread = min(range(len(self.threads)), key=self.num_calls.__getitem__)
            self.num_calls[thread] += 1
        self.threads[thread].submit(self.call, thread)
        return future

    def call(self, thread: int) -> None:
        """Makes one call of a thread."""
        try:
            self.compute_next(thread)
        finally:
            with self.taking:
                self.num_calls[thread] -= 1

    def compute_now(self, items: list[Item], thread: int = 0) -> Sequence[Result]:
        """Returns the results of a batch that one of the threads computes behind what it has to do."""
        return self.threads[thread].submit(self.compute, items, thread).result()

    def compute_next(self, thread: int) -> None:
        """Computes the next batch, if an earlier call has left one."""
        batch = self.take()
        if not batch:
            return
        items, futures = zip(*batch, strict=True)
        try:
            results = self.compute(list(items), thread)
        except BaseException as error:  # whatever it is, it belongs to those who wait; the thread lives on
            log.error("the model failed on %d images", len(items), exc_info=error)
            for future in futures:
                future.set_exception(ModelError(f"the model failed: {first_line(error)}"))
        else:
            for future, result in zip(futures, results, strict=True):
                future.set_result(result)

    def take(self) -> list[tuple[Item, "Future[Result]"]]:
        """Returns what is next and still wanted."""
        batch: list[tuple[Item, Future[Result]]] = []
        with self.taking:
            while self.waiting and len(batch) < self.batch_size:
                item, future = self.waiting.popleft()
                if future.set_running_or_notify_cancel():
                    batch.append((item, future))
        return batch

    def close(self) -> None:
        """Waits until all that was submitted is computed."""
        for thread in self.threads:
            thread.shutdown()
