"""HEIC photos, by pillow-heif."""

from io import BytesIO

from PIL import Image
from pillow_heif import HeifImageFile

from multihot.data.value_range import ValueRange


def decode(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the open file; more than 8 bits are shown by their type, as HEIC itself says what is white.

    Pillow is not told of the kind: what it opened before, it opens as before.
    """
    return HeifImageFile(source)
