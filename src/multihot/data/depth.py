"""Files with more than 8 bits, or of floats: what Pillow knows of their values, and what it loses."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from multihot.data.image_source import read_start
from multihot.data.value_range import WHITE_OF_16_BITS, UnusableImageError, ValueRange, picture_of

RAW_WHITE = {"I;12": 4095}  # of Pillow's raw modes with fewer bits than they are unpacked to
LOW_BYTE = {  # the other byte of each value: Pillow unpacks the upper one of 16-bit colours
    ";16B": ";16L",
    ";16L": ";16B",
    ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}
GREY_ALPHA = "LA;16B"
VARIES = 255  # the depth of a JPEG 2000 file whose bands have others each
ZERO_IS_WHITE = 0  # TIFF's photometric interpretation
ONE_BY_ONE = 2  # its planar configuration: band after band


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
        mend_order(image)
        raw_mode = raw_mode_of(image.tile[0]) if image.tile else ""
        is_colour = image.mode in ("RGB", "RGBA") and ";16" in raw_mode
        if not is_colour and image.mode != "F" and not image.mode.startswith("I"):
            return None
        white = None if image.mode == "F" else RAW_WHITE.get(raw_mode, WHITE_OF_16_BITS)
        tags = getattr(image, "tag_v2", {})
        is_negative = not is_colour and tags.get(Base.PhotometricInterpretation) == ZERO_IS_WHITE
        return cls(is_colour, white, is_negative, page=image.tell())

    def to_8_bits(self, image: Image.Image, source: str | BytesIO, value_range: ValueRange) -> Image.Image:
        """Returns the loaded image with 8 bits.

        Its `info` says from where to where its values go, `stored_range`, and which are black and white, `shown_range`.
        """
        if self.is_colour:
            return self.colour_to_8_bits(image, source, value_range)
        values = np.asarray(image)
        known = None if self.white is None else (0, self.white)
        transparent = image.info.get("transparency")
        alpha = np.uint8(255) * (values != transparent) if isinstance(transparent, int) else None
        return picture_of(values, known, value_range, alpha, self.is_negative)

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
        return picture_of(values, (0, WHITE_OF_16_BITS), value_range, alpha)


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
    bits = tags.get(Base.BitsPerSample, ())
    if set(bits) == {16} and tags.get(Base.PlanarConfiguration) == ONE_BY_ONE and len(raw_mode_of(image.tile[0])) == 1:
        change_raw_modes(image, lambda band: f"{band};16{'L' if tags.prefix == b'II' else 'B'}")


def mend_order(image: Image.Image) -> None:
    """Has signed, float and 32-bit values of a compressed big-endian TIFF read as libtiff gives them, in the machine's
    order: Pillow 13 turns the bytes once more.
    """
    if is_by_libtiff(image):
        change_raw_modes(image, lambda mode: re.sub(r"(;16|;32)B([SF]?)$", r"\1N\2", mode))


def is_by_libtiff(image: Image.Image) -> bool:
    """Returns whether an open file is a TIFF that is compressed."""
    return image.format == "TIFF" and any(tile.codec_name == "libtiff" for tile in image.tile)


def has_lost_planes(image: Image.Image, value_range: ValueRange) -> bool:
    """Returns whether an open TIFF keeps band after band in a way that Pillow 13 does not read.

    These are grey with alpha, more bands of 16 bits than colours, and, compressed, the lower bytes of 16-bit colours.
    """
    tags = getattr(image, "tag_v2", {})
    bits, num_bands = tags.get(Base.BitsPerSample, ()), len(image.getbands())
    if tags.get(Base.PlanarConfiguration) != ONE_BY_ONE or len(bits) < 2:
        return False
    if image.mode == "LA" or max(bits) <= 8:
        return image.mode == "LA"
    return (value_range is not None and num_bands > 1) if is_by_libtiff(image) else len(bits) > num_bands


def has_lost_white(image: Image.Image, source: str | BytesIO) -> bool:
    """Returns whether an open file is a JPEG 2000 picture of deep colours or signed values: Pillow errs there."""
    if image.format != "JPEG2000" or image.mode == "P":
        return False
    num_bits, is_signed = jpeg_2000_depth(read_start(source)) or (0, False)
    return num_bits > 8 and (is_signed or image.mode != "I;16")


def jpeg_2000_depth(start: bytes) -> tuple[int, bool] | None:
    """Returns the bits of each value of a JPEG 2000 file and whether they are signed, by its first bytes (ISO 15444-1).

    None: its bands are of several kinds, or these bytes do not say it.

    >>> jpeg_2000_depth(bytes(20) + b"ihdr" + bytes.fromhex("00000010 00000010 0003 0b 07 00 00"))
    (12, False)
    """
    head = start.find(b"ihdr")
    if head >= 0:
        depth = start[head + 14 : head + 15]
    elif start.startswith(b"\xff\x4f\xff\x51"):
        depth = start[42:43]
    else:
        return None
    return ((depth[0] & 127) + 1, depth[0] > 127) if depth and depth[0] != VARIES else None


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
