"""Decodes one image file to RGB as a person would see it, or says which file cannot be read and why."""

import os
import struct
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from multihot.errors import InputError

# Pillow's ImageOps.exif_transpose does the same, but also rewrites the EXIF block, which fails on odd cameras' blocks.
TURN_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SPARE_SCALE = 2  # times the pixels needed: a resize from there is close to one from the full size
# What Pillow's decoders raise for broken files of one format or another.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(path: str, min_side: int | None = None) -> Image.Image:
    """Returns the first frame of an image file, RGB, 8 bits, upright, any transparency on white.

    Raises InputError with the file's name if it is missing, broken, cut short, too large or has no clear brightness
    scale. There is never another image in its place.

    Args:
        min_side: pixels that the shorter side must have for what follows; a JPEG at least SPARE_SCALE times as large is
            decoded at a half, a quarter or an eighth of its size. None: decoded as it is.
    """
    return decode_image(path, path, min_side)


def decode_image(source: str | BytesIO, name: str, min_side: int | None = None) -> Image.Image:
    """Returns what `read_image` does, of a path or of bytes that errors call by `name`."""
    try:
        with Image.open(source) as image:
            check_size(image)
            if min_side is not None:
                reduce_scale(image, min_side)
            image.load()
            return to_rgb(turn_upright(image))
    except DECODE_ERRORS as error:
        why = explain(error, source)
        raise InputError(
            f"cannot read the image {name}: {why}. Restore the file or remove its row from the data"
        ) from error


def reduce_scale(image: Image.Image, min_side: int) -> None:
    """Lets a JPEG decode at the smallest scale that leaves the shorter side SPARE_SCALE times `min_side`."""
    shorter = min(image.size)
    scale = next((scale for scale in (8, 4, 2) if shorter // scale >= SPARE_SCALE * min_side), None)
    if scale is not None:
        image.draft(None, (image.width // scale, image.height // scale))  # other formats do nothing


def check_size(image: Image.Image) -> None:
    """Raises an error where Pillow only warns: decoding an image that large may exhaust the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError


def turn_upright(image: Image.Image) -> Image.Image:
    """Returns the image as its EXIF orientation wants it shown; the same object if nothing is to be done."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except SyntaxError:  # The block is not EXIF at all. Viewers show such a picture as it is stored.
        return image
    turn = TURN_OF_ORIENTATION.get(orientation)
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns the image as RGB; the same object if it already is."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def to_8_bits(image: Image.Image) -> Image.Image:
    """Returns the upper byte of 16-bit grey values; Pillow's own conversion clips them to a white picture."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F" or low < 0 or high > 65535:
        raise ValueError(
            f"its grey values are not of 8 or 16 bits but go from {low:g} to {high:g}, and nothing tells which of them "
            "is white; save it with 8 bits"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def explain(error: Exception, source: str | BytesIO) -> str:
    """Returns what is wrong with the file, without the words that only a Pillow developer needs."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has more than the {Image.MAX_IMAGE_PIXELS} pixels that Pillow takes for safe; make it smaller"
    if source.getbuffer().nbytes == 0 if isinstance(source, BytesIO) else is_empty(source):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or of a format that Pillow does not know"
    return getattr(error, "strerror", None) or str(error)


def file_of(image: str) -> str | None:
    """Returns the file that an image is, or is in ("shard.tar#..."); None if there is none."""
    return next((file for file in (image, image.split("#")[0]) if os.path.isfile(file)), None)


def is_empty(path: str) -> bool:
    """Returns whether a path is a file of 0 bytes."""
    return os.path.isfile(path) and os.path.getsize(path) == 0
