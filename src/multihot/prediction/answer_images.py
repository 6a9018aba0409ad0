"""Answers all images of a manifest, part by part, this process its share of the parts."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from accelerate import PartialState
from torch import Tensor
from tqdm import tqdm

from multihot.data.manifest import Manifest
from multihot.files import writing
from multihot.prediction.answers import Describer, refuse
from multihot.prediction.lanes import open_lanes
from multihot.prediction.parts import WAY_OUT, Output
from multihot.prediction.pictures import Pictures, Pixels, read_batches
from multihot.prediction.predictor import Predictor
from multihot.progress import SECONDS_BETWEEN_LINES

log = logging.getLogger("multihot")

ENTRIES_AT_ONCE = 1 << 18  # logits that are described at once
MOST_REASONS = 5  # why images could not be read, that are kept of a part


class ImageProgress:
    """Shows on process 0 how many images are done, how many a second, and how long the rest takes."""

    def __init__(self, total: int, first: int):
        self.total, self.first, self.num_done = total, first, 0
        self.start = self.last_line = time.perf_counter()
        self.shown, self.num_processes = PartialState().is_main_process, PartialState().num_processes
        self.has_bar = self.shown and sys.stderr.isatty()
        self.bar = tqdm(
            total=total, initial=first, desc="predict", unit="images", disable=not self.has_bar, leave=False
        )

    def update(self, num_images: int) -> None:
        """Adds images of this process; the others are taken to be as fast."""
        self.num_done += num_images
        self.bar.update(min(num_images * self.num_processes, self.total - self.bar.n))
        now = time.perf_counter()
        if self.shown and not self.has_bar and now - self.last_line > SECONDS_BETWEEN_LINES:
            log.info("%s", self.describe(now - self.start))
            self.last_line = now

    def describe(self, seconds: float) -> str:
        """Returns where it is after so many seconds, in words."""
        num_done = min(self.first + self.num_done * self.num_processes, self.total)
        speed = self.num_done * self.num_processes / seconds
        left = tqdm.format_interval((self.total - num_done) / speed)
        return f"predict {num_done:,}/{self.total:,} images  {speed:.1f} images/s, {left} left"


def cut(rows: range, size: int) -> list[range]:
    """Returns the rows in pieces of a size; the last may be smaller.

    >>> cut(range(10, 15), 2)
    [range(10, 12), range(12, 14), range(14, 15)]
    """
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def cut_parts(num_images: int, batch_size: int, part_images: int) -> list[range]:
    """Returns the rows of each part: whole batches, so that an image is always in the same one.

    >>> cut_parts(10, batch_size=2, part_images=5)
    [range(0, 4), range(4, 8), range(8, 10)]
    """
    return cut(range(num_images), max(1, part_images // batch_size) * batch_size)


def answer_images(
    manifest: Manifest,
    predictor: Predictor,
    output: Output,
    missing: Sequence[int],
    parts: Sequence[range],
    *,
    batch_size: int,
    num_workers: int,
    top_k: int | None,
    min_probability: float,
) -> None:
    """Writes the parts that are missing, this process every P-th of them.

    Args:
        missing: the numbers of the parts.
        parts: the rows of every part.
        num_workers: processes that decode images; 0: the threads that run the model do.
    """
    state = PartialState()
    own = missing[state.process_index :: state.num_processes]
    batches = {number: cut(parts[number], batch_size) for number in own}
    describer = Describer(predictor.decisions)
    progress = ImageProgress(len(manifest), len(manifest) - sum(len(parts[number]) for number in missing))
    reads = read_batches(Pictures(manifest, predictor), list(chain(*batches.values())), num_workers)
    with open_lanes(predictor.accelerator.device) as run:
        results = run(partial(compute, predictor, read) for read in reads)
        for number, rows_of_batches in batches.items():
            total = Total()
            with writing(output.part(number), WAY_OUT), output.writer.open(output.part(number)) as write:
                for rows, (batch, logits) in zip(rows_of_batches, results, strict=False):
                    names = [manifest.images[row] for row in rows]
                    for piece in cut(range(len(rows)), max(1, ENTRIES_AT_ONCE // logits.shape[1])):
                        part = slice(piece[0], piece[-1] + 1)
                        records = describer.describe(names[part], logits[part], top_k, min_probability)
                        records = list(map(refuse_unread, records, batch.reasons[part]))
                        total.add(records, write(records) or 0)
                    progress.update(len(rows))
            with writing(output.part(number), WAY_OUT):
                output.save(number, total.to_config())
    progress.bar.close()


def compute(predictor: Predictor, read: Callable[[], Pixels]) -> tuple[Pixels, Tensor]:
    """Returns a batch and its logits (B, C)."""
    batch = read()
    return batch, predictor.logits(batch.pixels)


def refuse_unread(record: dict, reason: str | None) -> dict:
    """Returns the record of an image, or, with a reason why it was not read, that of such a one."""
    return record if reason is None else refuse(record["image"], reason)


class Total:
    """What the records of a part come to."""

    def __init__(self):
        self.num_images = self.num_unreadable = self.num_left_out = 0
        self.labels, self.reasons = Counter(), []

    def add(self, records: Sequence[dict], num_left_out: int) -> None:
        """Counts records, and how many of them are not in the file."""
        reasons = [record["error"] for record in records if record["error"] is not None]
        self.num_images += len(records)
        self.num_unreadable += len(reasons)
        self.num_left_out += num_left_out
        self.reasons += reasons[: MOST_REASONS - len(self.reasons)]
        for record in records:
            self.labels.update(record["labels"])

    def to_config(self) -> dict:
        """Returns it as JSON can hold it."""
        return vars(self)
