"""The embedded data: scenes of several handwritten digits among clutter, drawn from scikit-learn's bundled images.

The source are 1,797 digits of 8 x 8 pixels (UCI "Optical Recognition of Handwritten Digits", test part,
https://archive.ics.uci.edu/dataset/80). Train, val and test scenes are drawn from disjoint sets of them.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.data.value_range import ValueRange
from multihot.errors import InputError

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}  # share of the source digits
GRID = 3  # a scene has 3 x 3 cells, each empty or with one digit
CELL = 12  # pixels
SCENE_SIZE = GRID * CELL
STAMP_SIZE = 14  # pixels; a digit may reach a little into the next cell
NUM_VARIANTS = 8  # sizes and turns of each source digit
EMPTY = -1


def create_digits(
    split: str,
    *,
    num_images: dict[str, int],
    max_digits: int,
    num_clutter: int,
    single_label: bool,
    hidden_fraction: float,
    seed: int,
    labels=None,
    must_exist: bool = True,
) -> Manifest:
    """Returns the scenes of a split, the same for the same seed.

    A scene shows 1 to `max_digits` digits, and its target says which of the ten occur. With `single_label` it shows
    exactly one, so that the only 1 of its target is the class index. `hidden_fraction` of the answers of the train
    split are unknown.
    """
    if split not in SPLITS:
        raise InputError(f"data=digits has no split {split!r}; choose from {', '.join(SPLITS)}")
    if labels is not None and tuple(labels) != LABELS:
        raise InputError(f"data=digits has the labels {', '.join(LABELS)}, not {', '.join(labels)}")
    _, digits = source_digits(split)
    scene_seed = (seed, list(SPLITS).index(split))
    count = num_images[split]
    cells = place_digits(np.random.default_rng(scene_seed), count, len(digits), 1 if single_label else max_digits)
    rows, places = np.nonzero(cells != EMPTY)
    present = np.zeros((count, len(LABELS)), np.int8)
    present[rows, digits[cells[rows, places]]] = 1
    draw = SceneReader(create_stamps(split), digits, cells, num_clutter, scene_seed)
    scenes = Manifest(LABELS, [f"digits/{split}/{row}" for row in range(count)], csr_array(present), draw)
    return scenes.hide(hidden_fraction, seed) if split == "train" else scenes


@cache
def source_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels (M, 8, 8) uint8 and the digits (M,) 0 to 9 that the scenes of a split are drawn from.

    They do not depend on the seed of the scenes: the shipped weights must never have seen a test digit.
    """
    images, target = load_digits()
    order = np.random.default_rng(0).permutation(len(target))
    ends = np.round(np.cumsum(list(SPLITS.values())) * len(order)).astype(int)
    part = np.split(order, ends[:-1])[list(SPLITS).index(split)]
    return (images[part] * 255 / 16).astype(np.uint8), target[part]


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns what sklearn.datasets.load_digits does: images float64 (1797, 8, 8), 0 to 16, and their digits (1797,).

    They are read from the file in its package: importing sklearn.datasets takes a third as long as importing torch.
    """
    file = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)


@dataclass(frozen=True)
class Stamps:
    """Each source digit in several sizes (11 to 13) and turns (up to 12 degrees), drawn when it is first asked for."""

    digits: np.ndarray  # (M, 8, 8) uint8
    sizes: np.ndarray  # (M, V), pixels
    turns: np.ndarray  # (M, V), degrees
    drawn: dict[tuple[int, int], np.ndarray]

    def __len__(self) -> int:
        return len(self.digits)

    def draw(self, digit: int, variant: int) -> np.ndarray:
        """Returns a stamp (14, 14) uint8, which no one may write to."""
        key = int(digit), int(variant)
        if key not in self.drawn:
            size, pixels = self.sizes[key], np.zeros((STAMP_SIZE, STAMP_SIZE), np.uint8)
            image = Image.fromarray(self.digits[digit]).resize((size, size), Image.Resampling.BICUBIC)
            pixels[:size, :size] = image.rotate(self.turns[key], Image.Resampling.BILINEAR)
            pixels.flags.writeable = False
            self.drawn[key] = pixels
        return self.drawn[key]


@cache
def create_stamps(split: str) -> Stamps:
    """Returns the stamps of a split, which all its scenes in this process share."""
    digits, _ = source_digits(split)
    rng = np.random.default_rng(0)
    sizes, turns = np.empty((len(digits), NUM_VARIANTS), int), np.empty((len(digits), NUM_VARIANTS))
    for place in np.ndindex(sizes.shape):
        sizes[place], turns[place] = rng.integers(11, 14), rng.uniform(-12, 12)
    return Stamps(digits, sizes, turns, {})


def place_digits(rng: np.random.Generator, count: int, num_sources: int, max_digits: int) -> np.ndarray:
    """Returns which source digit stands in which cell of each scene, int64 (count, 9), -1 where the cell is empty."""
    num_digits = rng.integers(1, max_digits, size=(count, 1), endpoint=True)
    rank = rng.permuted(np.tile(np.arange(GRID * GRID), (count, 1)), axis=1)
    return np.where(rank < num_digits, rng.integers(num_sources, size=rank.shape), EMPTY)


class Place(NamedTuple):
    """A digit, and the rows and columns of pixels that its ink is on; `bottom` and `right` are the first below and
    beside it.
    """

    digit: int
    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class SceneReader:
    """Draws a scene from its locator `digits/<split>/<row>`; the same locator always gives the same picture."""

    stamps: Stamps
    digits: np.ndarray  # (M,)
    cells: np.ndarray  # (N, 9) int64
    num_clutter: int
    seed: tuple[int, int]

    def __call__(self, locator: str, min_side: int | None = None, value_range: ValueRange = None) -> Image.Image:
        """Returns the scene as an RGB image of 36 x 36 pixels: noise, pieces of digits, and the digits over them."""
        return Image.fromarray(self.draw(locator)[0]).convert("RGB")

    def find_places(self, locator: str) -> list[Place]:
        """Returns where the digits of a scene stand; a digit may cover a little of the one before it."""
        return self.draw(locator)[1]

    def draw(self, locator: str) -> tuple[np.ndarray, list[Place]]:
        """Returns the pixels (36, 36) uint8 of a scene and where its digits stand."""
        row = int(locator.rsplit("/", 1)[1])
        rng = np.random.default_rng([*self.seed, row])
        scene, places = rng.integers(0, 40, (SCENE_SIZE, SCENE_SIZE), dtype=np.uint8), []
        for _ in range(self.num_clutter):
            (height, width), (top, left) = rng.integers(3, 7, size=2), rng.integers(0, 6, size=2)
            piece = self.pick(rng, rng.integers(len(self.stamps)))[top : top + height, left : left + width]
            stamp(scene, piece, rng.integers(0, SCENE_SIZE - 6, size=2), rng.uniform(0.5, 0.9))
        for place, digit in enumerate(self.cells[row]):
            if digit != EMPTY:
                corner = CELL * np.array(divmod(place, GRID)) + rng.integers(0, 2, size=2)
                pixels = self.pick(rng, digit)
                stamp(scene, pixels, corner, rng.uniform(0.6, 1.0))
                places.append(Place(int(self.digits[digit]), *find_ink(pixels, corner)))
        return scene, places

    def pick(self, rng: np.random.Generator, digit: int) -> np.ndarray:
        """Returns one of the stamps (14, 14) of a source digit."""
        return self.stamps.draw(digit, rng.integers(NUM_VARIANTS))


def find_ink(pixels: np.ndarray, corner: np.ndarray) -> tuple[int, int, int, int]:
    """Returns top, left, bottom and right of the ink of pixels (h, w) that are drawn onto a scene from a corner.

    >>> find_ink(np.array([[0, 9, 0], [0, 9, 0], [0, 0, 0]]), np.array([10, 20]))
    (10, 21, 12, 22)
    """
    ends = [np.flatnonzero(pixels.any(axis=axis))[[0, -1]] + place for axis, place in zip((1, 0), corner, strict=True)]
    (top, bottom), (left, right) = np.minimum(ends, SCENE_SIZE - 1).tolist()
    return top, left, bottom + 1, right + 1


def stamp(scene: np.ndarray, pixels: np.ndarray, corner: np.ndarray, brightness: float) -> None:
    """Draws pixels (h, w) onto the scene (H, W) from a corner (top, left); what sticks out is cut off."""
    top, left = corner
    window = scene[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    ink = pixels[: window.shape[0], : window.shape[1]] * brightness
    np.maximum(window, ink.astype(np.uint8), out=window)
