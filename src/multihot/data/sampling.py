"""Which images a process sees, how often and in which order."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from multihot.data.manifest import Manifest
from multihot.errors import InputError


class TrainingOrder(Sampler):
    """This process's batches of (epoch, row): each epoch a new order, the same images for any number of processes.

    Process p takes every P-th image of each global batch of `batch_size` x P images, so that the same images make the
    same step however many processes share them. The last global batch is smaller; only if it holds fewer images than
    there are processes is it left out.

    Args:
        repeats: how often an epoch shows each image on average (N,), see `image_repeats`; None: each exactly once.
        shards: the file of each image (N,), and `window`: the images among which a file after the other is shuffled;
            None: all images are shuffled.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        num_processes: int = 1,
        *,
        repeats: np.ndarray | None = None,
        shards: np.ndarray | None = None,
        window: int | None = None,
    ):
        if num_images < num_processes:
            raise InputError(f"{num_images} training images cannot be shared by {num_processes} processes")
        check_window(window, shards)
        self.num_rows = num_images
        self.num_images = num_images if repeats is None else round(repeats.sum())
        self.global_batch_size = batch_size * num_processes
        self.seed = seed
        self.process_index = process_index
        self.num_processes = num_processes
        self.repeats, self.shards, self.window = repeats, shards, window
        self.epoch = 0
        self.start = 0  # batches of the epoch that are left out: a run goes on behind them

    def batch_sizes(self) -> list[int]:
        """Returns the number of images in each global batch, over all processes."""
        full, rest = divmod(self.num_images, self.global_batch_size)
        return [self.global_batch_size] * full + [rest] * (rest >= self.num_processes)

    def __len__(self) -> int:
        return len(self.batch_sizes())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = order_rows(draw_rows(self.repeats, self.num_rows, rng), self.shards, self.window, rng)
        for number in range(self.start, len(self)):
            start = number * self.global_batch_size
            rows = order[start : start + self.global_batch_size][self.process_index :: self.num_processes]
            yield [(self.epoch, int(row)) for row in rows]


class EvaluationOrder(Sampler):
    """This process's batches of (epoch, row): the batches that one process would make, dealt out in turn.

    A batch holds the same images in any number of processes, so that the logits are the same to the bit. All processes
    have as many batches, as a sharded model needs: behind the `num_own` that are its own, one may see the first again.
    Batches whose images are all done (`is_done`, bool (N,)) are left out.
    """

    def __init__(self, num_images: int, batch_size: int, process_index: int = 0, num_processes: int = 1):
        starts = range(0, num_images, batch_size)
        own, most = starts[process_index::num_processes], starts[::num_processes]
        batches = [*own, *starts[: len(most) - len(own)]]
        self.rows = [range(start, min(start + batch_size, num_images)) for start in batches]
        self.num_own = len(own)
        self.epoch = 0
        self.is_done = np.zeros(num_images, bool)

    def list_rows(self) -> list[range]:
        """Returns the rows of each batch that is not done."""
        return [rows for rows in self.rows if not self.is_done[rows.start : rows.stop].all()]

    def __len__(self) -> int:
        return len(self.list_rows())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for rows in self.list_rows():
            yield [(self.epoch, row) for row in rows]


def image_repeats(manifest: Manifest, strategy: str, threshold: float) -> np.ndarray | None:
    """Returns how often an epoch shows each image on average, float64 (N,); None: each once.

    "class_balanced" shows as many images as there are, each drawn by a label, all equally likely, and then one of its
    images; having no label counts as one more. Labels that occur together are shown more often, each by the other's
    draws too. "repeat_factor" (arxiv.org/abs/1908.03195) shows an image max(1, sqrt(threshold / f)) times, f the
    frequency of its rarest label.

    >>> from scipy.sparse import csr_array
    >>> data = Manifest(("a", "b"), list("wxyz"), csr_array(np.int8([[1, 0], [1, 0], [1, 1], [0, 0]])))
    >>> image_repeats(data, "class_balanced", 0.0).round(3)  # drawn by a: 1/3 each, by b: y, by none: z; of 3, times 4
    array([0.444, 0.444, 1.778, 1.333])
    >>> image_repeats(data, "repeat_factor", 1.0).round(3)  # 1.155, 1.155, 2, 1, the additions scaled to a sum of 1
    array([1.118, 1.118, 1.764, 1.   ])
    """
    if strategy == "uniform":
        return None
    present = manifest.targets.data >= 0.5
    rows = np.repeat(np.arange(len(manifest)), np.diff(manifest.targets.indptr))[present]
    columns = manifest.targets.indices[present]
    count = np.bincount(columns, minlength=len(manifest.labels))
    if strategy == "repeat_factor":
        repeats = np.ones(len(manifest))
        np.maximum.at(repeats, rows, np.sqrt(threshold * len(manifest) / count[columns]))
        extra = repeats - 1
        whole = round(extra.sum())
        return 1 + extra * (whole / extra.sum()) if whole else None
    share = np.bincount(rows, 1 / count[columns], minlength=len(manifest)).astype(float)  # of no row: whole numbers
    without = np.bincount(rows, minlength=len(manifest)) == 0
    share[without] = 1 / max(without.sum(), 1)
    return share * (len(manifest) / share.sum())


def draw_rows(repeats: np.ndarray | None, num_images: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the rows of an epoch, unordered: each image its number of times, rounded up or down by chance.

    The sum of the repeats is a whole number, and each epoch has as many images.

    >>> draw_rows(np.array([0.5, 2.0, 0.5]), 3, np.random.default_rng(0)).tolist()
    [1, 1, 2]
    """
    if repeats is None:
        return np.arange(num_images)
    ends = np.cumsum(repeats)
    ends[-1] = round(ends[-1])  # free of rounding
    points = np.arange(round(ends[-1])) + rng.random()
    return np.searchsorted(ends, points, side="right")


def order_rows(rows: np.ndarray, shards: np.ndarray | None, window: int | None, rng: np.random.Generator) -> np.ndarray:
    """Returns the rows in random order: of all of them, or shard by shard within a window of so many images."""
    if window is None:
        return rows[rng.permutation(len(rows))]
    shuffled = rng.permutation(shards.max() + 1)  # the new number of each shard
    rows = rows[np.argsort(shuffled[shards[rows]], kind="stable")]
    return rows[np.argsort(np.arange(len(rows)) + rng.random(len(rows)) * window, kind="stable")]


def check_window(window: int | None, shards: Sequence | None) -> None:
    """Raises InputError if images are to be shuffled shard by shard and have no shards."""
    if window is not None and shards is None:
        raise InputError(
            f"data.shuffle_window={window} goes through the images shard by shard, which needs a source with shards "
            "(data=webdataset): set it to null to shuffle all images"
        )
