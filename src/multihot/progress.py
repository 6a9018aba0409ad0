"""What a person sees while it runs: a bar on a terminal, a line now and then elsewhere; on process 0 alone."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from accelerate import PartialState
from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BEFORE_BAR = 3.0


class Progress:
    """Passes batches on and shows images a second, and the loss if it is told one."""

    def __init__(self, batches: Iterable[dict], title: str, start: int = 0):
        self.batches = batches
        self.title = title
        self.start = start  # batches that were done before
        self.loss = None
        self.shown = PartialState().is_main_process
        self.num_processes = PartialState().num_processes

    def __iter__(self) -> Iterator[dict]:
        start = last_line = time.perf_counter()
        num_images = 0
        on_terminal = sys.stderr.isatty()
        with tqdm(
            total=len(self.batches),
            initial=self.start,
            desc=self.title,
            disable=not (self.shown and on_terminal),
            leave=False,
        ) as bar:
            for number, batch in enumerate(self.batches, start=self.start + 1):
                yield batch
                num_images += len(batch["index"]) * self.num_processes
                now = time.perf_counter()
                text = self.describe(num_images / (now - start))
                bar.set_postfix_str(text, refresh=False)
                bar.update()
                if self.shown and not on_terminal and now - last_line > SECONDS_BETWEEN_LINES:
                    log.info("%s %d/%d  %s", self.title, number, len(self.batches), text)
                    last_line = now

    def describe(self, images_per_second: float) -> str:
        """Returns speed and loss in words.

        >>> progress = Progress([], "epoch 1")
        >>> progress.loss = 0.5
        >>> progress.describe(123.4)
        '123 images/s, loss 0.5000'
        """
        return f"{images_per_second:.0f} images/s" + (f", loss {self.loss:.4f}" if self.loss is not None else "")


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """Gives what advances a bar on a terminal, which shows itself if the work takes longer than a moment."""
    with tqdm(total=total, desc=title, disable=None, delay=SECONDS_BEFORE_BAR, leave=False) as bar:
        yield bar.update
