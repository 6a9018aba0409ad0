"""JPEG 2000 pictures of more than 8 bits that Pillow does not show right, by imagecodecs.

Pillow 13.0.0 rounds colours of more than 8 bits up to 256, which it shows as 0: white is black. Signed values it moves.
"""

from io import BytesIO

import imagecodecs
from PIL import Image

from multihot.data.depth import jpeg_2000_depth
from multihot.data.image_source import read_all
from multihot.data.value_range import UnusableImageError, ValueRange, picture_of_bands

SYCC = b"colr\1\0\0\0\0\0\x12"  # the box that says so
END = b"\xff\xd9"  # marker


def decode(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the picture of a JPEG 2000 file with 8 bits, whose size has been looked at."""
    content = read_all(source)
    if SYCC in content:
        raise UnusableImageError("its colours are sYCC of more than 8 bits, which is not read. Convert it to PNG")
    if not content.rstrip(b"\0").endswith(END):
        raise OSError("the file is truncated")
    num_bits, is_signed = jpeg_2000_depth(content)
    known = None if is_signed else (0, 2**num_bits - 1)
    return picture_of_bands(imagecodecs.jpeg2k_decode(content), known, value_range)
