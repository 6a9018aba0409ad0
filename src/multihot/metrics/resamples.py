"""Resamples of a split: how often each has each image, and sums over images by these weights."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

WEIGHTS_AT_ONCE = 1 << 20  # of all images: they stay in the processor's cache
MOST_AT_ONCE = 256  # resamples


def draw_weights(
    num_images: int, num_resamples: int, clusters: Tensor | np.ndarray | None = None, seed: int = 0
) -> Tensor:
    """Returns how often each resample has each image, uint8 (R, N); the same for the same arguments.

    Args:
        clusters: numbers (N,) of images that belong together and are drawn together; None: each is drawn for itself.

    >>> draw_weights(4, 2).sum(dim=1).tolist(), draw_weights(3, 1, np.array([7, 7, 7])).tolist()
    ([4, 4], [[1, 1, 1]])
    """
    rng = np.random.default_rng(seed)
    numbers = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    num_units = num_images if numbers is None else int(numbers.max()) + 1
    weights = torch.empty(num_resamples, num_images, dtype=torch.uint8)
    for row in weights.numpy():
        drawn = np.bincount(rng.integers(num_units, size=num_units), minlength=num_units)
        row[:] = drawn if numbers is None else drawn[numbers]
    return weights


def weigh_images(values: Sequence[np.ndarray], weights: Tensor) -> np.ndarray:
    """Returns the weighted sum over the images of each of the values (N,), float64 (K, R)."""
    columns = torch.from_numpy(np.stack(values, axis=1).astype(np.float64))
    return torch.cat(in_threads(lambda some: weights[some].double() @ columns, split(weights))).T.numpy()


def split(weights: Tensor) -> list[slice]:
    """Returns which resamples are taken at once: so few that their weights stay in the cache."""
    step = max(32, min(MOST_AT_ONCE, WEIGHTS_AT_ONCE // weights.shape[1] // 32 * 32))
    return [slice(start, min(start + step, len(weights))) for start in range(0, len(weights), step)]


def in_columns(weights: Tensor) -> Tensor:
    """Returns weights uint8 (r, N) as float32 (N, r)."""
    return weights.T.contiguous().float()


def in_threads(work: Callable, items: Sequence) -> list:
    """Returns work(item) of each item, computed in as many threads as torch has.

    Torch would divide each of the many small steps, and wait after each for the slowest of its threads.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(num_threads)


def divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns sums / counts, NaN where there is nothing."""
    return sums / np.where(counts > 0, counts, np.nan)
