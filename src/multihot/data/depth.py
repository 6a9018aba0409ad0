"""Pictures with more than 8 bits, or of floats: which of their values is black, which is white, and their 8 bits."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

ValueRange = tuple[float, float] | None  # what is black and what is white; None: what the type of a file's values says
WHITE_OF_16_BITS = 65535
RAW_WHITE = {"I;12": 4095}  # of Pillow's raw modes with fewer bits than they are unpacked to
LOW_BYTE = {  # the other byte of each value: Pillow unpacks the upper one of 16-bit colours
    ";16B": ";16L",
    ";16L": ";16B",
    ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}
GREY_ALPHA = "LA;16B"
ZERO_IS_WHITE = 0  # TIFF's photometric interpretation
ONE_BY_ONE = 2  # its planar configuration: band after band
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES = 258, 262, 284  # tags of TIFF


class UnusableImageError(ValueError):
    """A file that can be decoded to nothing right; the words say the way out."""


def read_value_range(setting: object) -> ValueRange:
    """Returns what `data.value_range` says: (black, white), or None for auto.

    >>> read_value_range("auto"), read_value_range([0, 4095])
    (None, (0.0, 4095.0))
    """
    return None if setting == "auto" else tuple(map(float, setting))


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
    value_range: tuple[float, float]

    @property
    def stamp(self) -> str:
        """What changes whenever the pictures do."""
        return f"{getattr(self.read, 'stamp', '')} {self.value_range}"

    def __call__(self, image: str, min_side: int | None = None) -> Image.Image:
        return self.read(image, min_side, value_range=self.value_range)


@dataclass(frozen=True)
class Depth:
    """How a file stores values of more than 8 bits; known before its pixels are read, Pillow forgets it then."""

    is_colour: bool  # of 16 bits; else grey, of any
    white: int | None  # that the type has; None: it has none
    is_negative: bool  # the largest value is black
    page: int  # that is open

    @classmethod
    def of(cls, image: Image.Image) -> "Depth | None":
        """Returns the depth of an open file; None: 8 bits or fewer."""
        mend_planes(image)
        raw_mode = raw_mode_of(image.tile[0]) if image.tile else ""
        is_colour = image.mode in ("RGB", "RGBA") and ";16" in raw_mode
        if not is_colour and image.mode != "F" and not image.mode.startswith("I"):
            return None
        white = None if image.mode == "F" else RAW_WHITE.get(raw_mode, WHITE_OF_16_BITS)
        tags = getattr(image, "tag_v2", {})
        is_negative = not is_colour and tags.get(PHOTOMETRIC) == ZERO_IS_WHITE
        return cls(is_colour, white, is_negative, page=image.tell())

    def to_8_bits(self, image: Image.Image, source: str | BytesIO, value_range: ValueRange) -> Image.Image:
        """Returns the loaded image with 8 bits.

        Its `info` says from where to where its values go, `stored_range`, and which are black and white, `shown_range`.
        """
        if self.is_colour:
            return self.colour_to_8_bits(image, source, value_range)
        values = np.asarray(image)
        stored = find_span(values)
        black, white = value_range or self.known_range(*stored)
        grey = scale(values, black, white)
        if self.is_negative:
            grey = 255 - grey
        if isinstance(image.info.get("transparency"), int):
            grey[values == image.info["transparency"]] = 255
        picture = Image.fromarray(grey)
        picture.info |= {"stored_range": stored, "shown_range": (black, white)}
        return picture

    def known_range(self, low: float, high: float) -> tuple[float, float]:
        """Returns black and white of the type of the values; raises UnusableImageError if it does not tell."""
        if self.white is None or low < 0 or high > self.white:
            raise UnusableImageError(
                f"its values go from {low:.6g} to {high:.6g}, and nothing tells which of them is black and which is "
                f"white. Set it for all such pictures, for example {suggest_range(low, high)}"
            )
        return 0, self.white

    def colour_to_8_bits(self, image: Image.Image, source: str | BytesIO, value_range: ValueRange) -> Image.Image:
        """Returns 16-bit colours with 8 bits; transparency is none of the values that `value_range` is about."""
        upper = np.asarray(image)
        if value_range is None and "transparency" not in image.info:
            stored = int(upper[..., :3].min()) << 8, int(upper[..., :3].max()) << 8 | 255
            image.info |= {"stored_range": stored, "shown_range": (0, WHITE_OF_16_BITS)}
            return image
        lower, is_grey = read_other_bytes(source, self.page)
        if is_grey:  # bytes: upper and lower of grey, upper and lower of alpha
            values, alpha = (lower[..., :1].astype(np.uint16) << 8 | lower[..., 1:2]).repeat(3, axis=2), lower[..., 2]
        else:
            values = upper[..., :3].astype(np.uint16) << 8 | lower[..., :3]
            alpha = upper[..., 3] if upper.shape[2] == 4 else opaque_parts(values, image.info.get("transparency"))
        shown = value_range or (0, WHITE_OF_16_BITS)
        picture = Image.fromarray(np.dstack([scale(values, *shown), alpha]))
        picture.info |= {"stored_range": find_span(values), "shown_range": shown}
        return picture


def raw_mode_of(tile: object) -> str:
    """Returns in which of Pillow's raw modes the pixels of a tile are; "" where its decoder has none."""
    args = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
    return args if isinstance(args, str) else ""


def change_raw_modes(image: Image.Image, change: Callable[[str], str]) -> None:
    """Has the pixels of all tiles of an open image unpacked from other raw modes."""
    image.tile = [
        tile._replace(
            args=(change(raw_mode_of(tile)), *tile.args[1:]) if isinstance(tile.args, tuple) else change(tile.args)
        )
        for tile in image.tile
    ]


def mend_planes(image: Image.Image) -> None:
    """Has 16-bit bands of an uncompressed TIFF that stand one after the other read as such: Pillow 13 takes 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, ())
    if set(bits) == {16} and tags.get(PLANES) == ONE_BY_ONE and len(raw_mode_of(image.tile[0])) == 1:
        change_raw_modes(image, lambda band: f"{band};16{'L' if tags.prefix == b'II' else 'B'}")


def read_other_bytes(source: str | BytesIO, page: int) -> tuple[np.ndarray, bool]:
    """Returns the lower bytes of a file's 16-bit colours, uint8 (H, W, bands), and whether it is grey with alpha.

    Pillow has no mode for 16-bit colours. Told that the file is in the other byte order, it gives the bytes that it
    leaves out otherwise, whatever the compression; of grey with alpha all four bytes.
    """
    with Image.open(source) as image:
        image.seek(page)
        mend_planes(image)
        first = raw_mode_of(image.tile[0])
        if first.startswith("RGBa"):
            raise UnusableImageError(
                "its 16-bit colours are multiplied by their transparency, which data.value_range cannot undo. Save it "
                "without transparency"
            )
        change_raw_modes(image, lambda mode: "RGBA" if mode == GREY_ALPHA else mode[:-4] + LOW_BYTE[mode[-4:]])
        image.load()
        return np.asarray(image), first == GREY_ALPHA


def opaque_parts(values: np.ndarray, transparent: tuple[int, ...] | None) -> np.ndarray:
    """Returns alpha (H, W) of colours (H, W, 3) of which one may be declared transparent."""
    alpha = np.full(values.shape[:2], 255, np.uint8)
    if transparent is not None:
        alpha[(values == np.array(transparent)).all(axis=2)] = 0
    return alpha


def find_span(values: np.ndarray) -> tuple[float, float]:
    """Returns the smallest and the largest of a picture's values that are numbers."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if not len(values):
            raise UnusableImageError("none of its values is a number. Remove its row from the data")
    return values.min().item(), values.max().item()


def scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Returns values as 8 bits: each grey level stands for as many values; NaN, which shows nothing, is black.

    >>> scale(np.array([0, 16, 4095], np.int32), 0, 4095).tolist(), scale(np.float32([0, 0.5, 1]), 0, 1).tolist()
    ([0, 1, 255], [0, 128, 255])
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return table_of(black, white)[values]
    steps = white - black + (values.dtype.kind != "f")
    levels = np.clip((values.astype(np.float64) - black) * (256 / steps), 0, 255)
    return np.nan_to_num(levels, copy=False).astype(np.uint8)


@lru_cache(4)
def table_of(black: float, white: float) -> np.ndarray:
    """Returns the 8 bits of each 16-bit value."""
    return scale(np.arange(WHITE_OF_16_BITS + 1, dtype=np.int32), black, white)
