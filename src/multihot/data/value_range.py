"""Which values of a picture are black and which are white, and the 8 bits that come of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from multihot.errors import InputError

WHITE_OF_16_BITS = 65535
LEAST_WIDTH = 1e-9  # of a window that is a step: what is above it is white


class UnusableImageError(ValueError):
    """A file that can be decoded to nothing right; the words say the way out."""


@dataclass(frozen=True)
class Windows:
    """What is black and what is white, on a scale without steps: for all colours, or for red, green and blue each."""

    bounds: tuple[tuple[float, float], ...]

    @classmethod
    def around(cls, *windows: tuple[float, float]) -> "Windows":
        """Returns the windows of centers and widths, by DICOM's linear function (PS3.3 C.11.2.1.2.1).

        >>> Windows.around((40, 80)).bounds  # Hounsfield units of the brain
        ((0.0, 79.0),)
        """
        return cls(tuple((center - width / 2, center + width / 2 - 1) for center, width in windows))

    def shade(self, values: np.ndarray) -> np.ndarray:
        """Returns values (H, W) or (H, W, 3) as 8 bits; grey ones become (H, W, 3) by three windows."""
        if len(self.bounds) == 1:
            return stretch(values, *self.bounds[0])
        bands = [values] * len(self.bounds) if values.ndim == 2 else np.moveaxis(values, 2, 0)
        return np.dstack([stretch(band, *bounds) for band, bounds in zip(bands, self.bounds, strict=True)])


ValueRange = tuple[float, float] | Windows | None  # black and white; None: what the type of a file's values says


def read_value_range(value_range: object, window: object) -> ValueRange:
    """Returns what `data.value_range` and `data.window` say; None for auto and file.

    >>> read_value_range("auto", "file"), read_value_range([0, 4095], "file")
    (None, (0.0, 4095.0))
    >>> read_value_range("auto", [40, 80]) == read_value_range("auto", [[40, 80]]) == Windows.around((40, 80))
    True
    """
    if window == "file":
        return None if value_range == "auto" else tuple(map(float, value_range))
    if value_range != "auto":
        raise InputError(
            f"data.value_range={list(value_range)} and data.window={list(window)} both say what is black and what is "
            "white: set one of them"
        )
    return Windows.around(*([window] if isinstance(window[0], int | float) else window))


def suggest_range(low: float, high: float) -> str:
    """Returns the setting that shows values from `low` to `high`: whole bits from 0, where they begin near it.

    >>> suggest_range(0, 3071), suggest_range(0.1, 0.9), suggest_range(-1000, 2500.5)
    ('data.value_range=[0,4095]', 'data.value_range=[0,1]', 'data.value_range=[-1000,2500.5]')
    >>> suggest_range(32768, 36863)
    'data.value_range=[32768,36863]'
    """
    if low >= 0 and (low <= high / 2 or high <= 1 or low == high):
        low, high = 0, 1 if high <= 1 else 2 ** max(8, math.ceil(math.log2(high + 1))) - 1
    high += low == high  # of one value below 0
    return f"data.value_range=[{low:.6g},{high:.10g}]"


@dataclass(frozen=True)
class RangedReader:
    """Reads images as `read` does, with what is black and what is white of values of more than 8 bits."""

    read: Callable[..., Image.Image]
    value_range: ValueRange

    @property
    def stamp(self) -> str:
        """What changes whenever the pictures do."""
        return f"{getattr(self.read, 'stamp', '')} {self.value_range}"

    def __call__(self, image: str, min_side: int | None = None) -> Image.Image:
        return self.read(image, min_side, value_range=self.value_range)


def picture_of(
    values: np.ndarray,
    known: tuple[float, float] | Windows | None,
    value_range: ValueRange,
    alpha: np.ndarray | None = None,
    is_negative: bool = False,
) -> Image.Image:
    """Returns values (H, W) or (H, W, 3) as a picture with 8 bits.

    Its `info` says from where to where its values go, `stored_range`, and which are black and white, `shown_range`.

    Args:
        known: black and white by the type of the values; None: it does not tell.
        value_range: black and white that are asked for; None: those that are known.
        alpha: uint8 (H, W).
        is_negative: the largest value is black.
    """
    stored, shown = find_span(values), value_range or known
    if shown is None or (value_range is None and not spans(known, stored)):
        raise UnusableImageError(
            "its values go from {:.6g} to {:.6g}, and nothing tells which of them is black and which is white. Set it "
            "for all such pictures, for example {}".format(*stored, suggest_range(*stored))
        )
    pixels = shade(values, shown)
    if is_negative:
        pixels = 255 - pixels
    picture = Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
    picture.info |= {"stored_range": stored, "shown_range": outer_bounds(shown)}
    return picture


def picture_of_bands(values: np.ndarray, known: tuple[float, float] | None, value_range: ValueRange) -> Image.Image:
    """Returns (H, W) or (H, W, bands) as a picture with 8 bits; the last of two or four bands is alpha."""
    num_bands = values.shape[2] if values.ndim == 3 else 1
    if num_bands > 4:
        raise UnusableImageError(f"it has {num_bands} bands, which are no colours. Save the three that shall be seen")
    if values.dtype == np.uint8:
        return Image.fromarray(values)
    if num_bands in (1, 3):
        return picture_of(values, known, value_range)
    if known is None:
        raise UnusableImageError("the white of its transparency is not known. Save it without")
    colours = values[..., 0] if num_bands == 2 else values[..., :3]
    return picture_of(colours, known, value_range, shade(values[..., -1], known))


def find_span(values: np.ndarray) -> tuple[float, float]:
    """Returns the smallest and the largest of a picture's values that are numbers."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if not len(values):
            raise UnusableImageError("none of its values is a number. Remove its row from the data")
    return values.min().item(), values.max().item()


def outer_bounds(shown: tuple[float, float] | Windows) -> tuple[float, float]:
    """Returns what is black and what is white, of several windows the outermost."""
    if not isinstance(shown, Windows):
        return shown
    blacks, whites = zip(*shown.bounds, strict=True)
    return min(blacks), max(whites)


def spans(known: tuple[float, float] | Windows, stored: tuple[float, float]) -> bool:
    """Returns whether the values that are stored are such as their type has."""
    black, white = outer_bounds(known)
    return black <= stored[0] and stored[1] <= white


def shade(values: np.ndarray, shown: tuple[float, float] | Windows) -> np.ndarray:
    """Returns values (H, W) or (H, W, 3) as 8 bits."""
    return shown.shade(values) if isinstance(shown, Windows) else scale(values, *shown)


def stretch(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Returns values as 8 bits by a window, whose last value is white as all above it.

    >>> stretch(np.array([-9, 0, 40, 79, 99]), 0, 79).tolist(), stretch(np.array([0, 1]), 0, 0).tolist()
    ([0, 0, 129, 255, 255], [0, 255])
    """
    return to_levels(values, black, max(white - black, LEAST_WIDTH))


def scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Returns values as 8 bits: each grey level stands for as many values; NaN, which shows nothing, is black.

    >>> scale(np.array([0, 16, 4095], np.int32), 0, 4095).tolist(), scale(np.float32([0, 0.5, 1]), 0, 1).tolist()
    ([0, 1, 255], [0, 128, 255])
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return table_of(black, white)[values]
    return to_levels(values, black, white - black + (values.dtype.kind != "f"))


def to_levels(values: np.ndarray, black: float, steps: float) -> np.ndarray:
    """Returns values as 8 bits, of which each stands for a 256th of the steps from black on."""
    levels = np.clip((values.astype(np.float64) - black) * (256 / steps), 0, 255)
    return np.nan_to_num(levels, copy=False).astype(np.uint8)


@lru_cache(4)
def table_of(black: float, white: float) -> np.ndarray:
    """Returns the 8 bits of each 16-bit value."""
    return scale(np.arange(WHITE_OF_16_BITS + 1, dtype=np.int32), black, white)
