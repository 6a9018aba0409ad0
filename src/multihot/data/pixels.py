"""A JPEG straight to the pixels that a transform begins with: no Pillow picture is made, and the bits are the same."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from simplejpeg import decode_jpeg
from torch import Tensor
from torchvision.transforms import Compose

from multihot.data.image_source import check_size
from multihot.data.images import DECODE_ERRORS, choose_scale, decode_image, find_turn, read_image
from multihot.data.resize import TensorRandomResizedCrop, TensorResize, to_pixels
from multihot.data.value_range import RangedReader, ValueRange
from multihot.files import name_irregular

START = b"\xff\xd8\xff"  # of every JPEG
FRAMES = (0xC0, 0xC1, 0xC2)  # markers of a header: baseline, extended, progressive
FRAME = struct.Struct(">BHHB")  # bits, height, width, bands
SCAN = 0xDA
PLAIN = {0xC4: b"", 0xDB: b"", 0xDD: b"", 0xFE: b"", 0xE0: b"\0\x10JFIF\0\1", 0xEE: b"\0\x0eAdobe\0"}  # and their start
MOST_BYTES = 1 << 28  # of a file that is held whole; Pillow reads a part at a time
LEAST_SIDE = 16  # pixels; of smaller pictures two scales have one size
SWAPPED = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
)
UPSIDE_DOWN = (
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)  # once rows and columns are swapped
MIRRORED = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)


def takes_pixels(transform: Callable) -> bool:
    """Returns whether a transform begins with a step that takes pixels in the place of a picture."""
    first = transform.transforms[0] if isinstance(transform, Compose) else None
    return isinstance(first, TensorResize | TensorRandomResizedCrop)


def reader_for(transform: Callable, read: Callable[..., Image.Image]) -> Callable[..., Image.Image | Tensor]:
    """Returns what reads images for a transform: pixels where it takes them, else `read`."""
    return PixelReader(read) if takes_pixels(transform) else read


@dataclass(frozen=True)
class PixelReader:
    """Reads the pixels uint8 (3, H, W) of the pictures that `read` makes, to the bit, and raises its errors."""

    read: Callable[..., Image.Image]

    def __call__(self, image: str, min_side: int | None = None) -> Tensor:
        """Returns the pixels of an image."""
        reader = self.read.read if isinstance(self.read, RangedReader) else self.read
        if reader is read_image:
            source, name = image, image
        elif hasattr(reader, "source_of"):
            source, name = reader.source_of(image)
        else:
            return to_pixels(self.read(image, min_side=min_side))
        return decode_pixels(source, name, min_side, getattr(self.read, "value_range", None))


def read_pixels(path: str, min_side: int | None = None) -> Tensor:
    """Returns the pixels uint8 (3, H, W) of the picture that `read_image` makes of a file; raises its errors."""
    return decode_pixels(path, path, min_side)


def decode_pixels(
    source: str | BytesIO, name: str, min_side: int | None = None, value_range: ValueRange = None
) -> Tensor:
    """Returns the pixels uint8 (3, H, W) of the picture that `decode_image` makes; raises its errors."""
    try:
        pixels = decode_plain_jpeg(source, min_side)
    except DECODE_ERRORS:  # which Pillow may decode around, or say in its words
        pixels = None
    return to_pixels(decode_image(source, name, min_side, value_range)) if pixels is None else pixels


def decode_plain_jpeg(source: str | BytesIO, min_side: int | None) -> Tensor | None:
    """Returns the pixels of a grey or coloured JPEG that is whole; None: it is no such file."""
    content = read_jpeg(source)
    shown = content and (find_plain_size(content) or ask_pillow(content))
    if not shown or min(shown[:2]) < LEAST_SIDE:
        return None
    width, height, turn = shown
    check_size(width, height)
    scale = choose_scale((width, height), min_side)
    width, height = -(-width // scale), -(-height // scale)
    pixels = decode_jpeg(content, min_width=width, min_height=height, min_factor=1)
    if pixels.shape != (height, width, 3):
        return None
    return torch.from_numpy(pixels if turn is None else turn_upright(pixels, turn)).permute(2, 0, 1)


def read_jpeg(source: str | BytesIO) -> bytes | None:
    """Returns all of a file that begins as a JPEG; None: it does not, or is too large to be held."""
    if isinstance(source, BytesIO):
        return source.getvalue() if source.getbuffer()[:3] == START else None
    if name_irregular(source):
        return None
    with open(source, "rb", buffering=0) as file:
        if file.read(3) != START or os.fstat(file.fileno()).st_size > MOST_BYTES:
            return None
        file.seek(0)
        return file.read()


def find_plain_size(content: bytes) -> tuple[int, int, None] | None:
    """Returns width and height of a JPEG by its header, and that it is not turned; None: the header holds more.

    More is what Pillow has to look at: EXIF, XMP, colour profiles, what programs add, colours other than three.

    >>> find_plain_size(START + bytes.fromhex("c0 0011 08 0003 0004 03 012200 021101 031101 ffda 000c"))
    (4, 3, None)
    """
    place, size = len(START) - 1, None
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, num_bytes = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == SCAN:
            return size
        if marker in FRAMES:
            num_bits, height, width, num_bands = FRAME.unpack_from(content, place + 4)
            if size or num_bits != 8 or num_bands not in (1, 3):
                return None
            size = width, height, None
        elif not content.startswith(PLAIN.get(marker, START), place + 2):
            return None
        place += 2 + num_bytes
    return None


def ask_pillow(content: bytes) -> tuple[int, int, Image.Transpose | None] | None:
    """Returns width and height of a JPEG by Pillow, and how it must be turned; None: it has neither 1 nor 3 bands."""
    with Image.open(BytesIO(content)) as image:
        if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
            return None
        return *image.size, find_turn(image)


def turn_upright(pixels: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """Returns pixels (H, W, 3) turned as Pillow's `transpose` does."""
    shown = pixels.swapaxes(0, 1) if turn in SWAPPED else pixels
    shown = shown[:: -1 if turn in UPSIDE_DOWN else 1, :: -1 if turn in MIRRORED else 1]
    turned = np.empty(shown.shape, np.uint8)
    for band in range(3):  # copied at once, it takes three times as long
        turned[..., band] = shown[..., band]
    return turned
