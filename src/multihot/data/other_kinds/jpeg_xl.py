"""JPEG XL pictures, by imagecodecs; of what it does not tell, size and bits, the file's head is read (ISO 18181-1)."""

from io import BytesIO
from typing import NamedTuple

import imagecodecs
from PIL import Image

from multihot.data.image_source import check_size, read_all
from multihot.data.value_range import UnusableImageError, ValueRange, picture_of_bands

CODESTREAM = b"\xff\x0a"
RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))  # bits of a number and what is added, by the two bits before them
DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1))
FLOAT_DEPTHS = ((0, 32), (0, 16), (0, 24), (6, 1))
TICKS, TICK_PARTS = ((0, 100), (0, 1000), (10, 1), (30, 1)), ((0, 1), (0, 1001), (8, 1), (10, 1))
LOOPS = ((0, 0), (3, 0), (16, 0), (32, 0))


def decode(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the picture of a JPEG XL file with 8 bits, upright; of several frames the first.

    Floats go from 0, black, to 1, white, as the format says.
    """
    content = read_all(source)
    head = Head.read(content)
    check_size(head.width, head.height)
    pixels = imagecodecs.jpegxl_decode(content, index=0 if head.is_animated else None)
    white = 1 if pixels.dtype.kind == "f" else 2**head.num_bits - 1
    return picture_of_bands(pixels, (0, white), value_range)


class Bits:
    """Reads numbers of some bits each from bytes, the lowest bit first."""

    def __init__(self, content: bytes):
        self.number, self.place, self.length = int.from_bytes(content, "little"), 0, 8 * len(content)

    def read(self, num_bits: int) -> int:
        if self.place + num_bits > self.length:
            raise UnusableImageError("its head is cut short. Restore the file or remove its row from the data")
        value = self.number >> self.place & (1 << num_bits) - 1
        self.place += num_bits
        return value

    def choose(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Returns a number of as many bits as the next two say, and what they add."""
        num_bits, added = choices[self.read(2)]
        return self.read(num_bits) + added


class Head(NamedTuple):
    """What the begin of a codestream says."""

    width: int  # pixels, as stored
    height: int
    num_bits: int  # of each value
    is_animated: bool

    @classmethod
    def read(cls, content: bytes) -> "Head":
        """Returns the head of a file.

        >>> Head.read(bytes.fromhex("ff0a016150b408080401002401"))
        Head(width=12, height=8, num_bits=12, is_animated=False)
        """
        bits = Bits(codestream_of(content)[2:66])
        width, height = read_size(bits)
        if bits.read(1):  # all else is usual
            return cls(width, height, 8, False)
        is_animated = bool(bits.read(1)) and read_extra_fields(bits)
        is_float = bits.read(1)
        return cls(width, height, bits.choose(FLOAT_DEPTHS if is_float else DEPTHS), is_animated)


def codestream_of(content: bytes) -> bytes:
    """Returns the begin of the codestream of a file, which may stand in a box."""
    place = 0
    while not content.startswith(CODESTREAM, place):
        size, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        start = place + 8
        if size == 1:
            size, start = int.from_bytes(content[start : start + 8], "big"), start + 8
        if name in (b"jxlc", b"jxlp"):
            start += 4 * (name == b"jxlp")
            return content[start : start + 66]
        if size < 8:
            raise UnusableImageError("it holds no picture. Restore the file or remove its row from the data")
        place += size
    return content[place : place + 66]


def read_size(bits: Bits) -> tuple[int, int]:
    """Returns width and height."""
    is_small = bits.read(1)

    def read_side() -> int:
        return 8 * (bits.read(5) + 1) if is_small else bits.choose(SIDES)

    height = read_side()
    ratio = RATIOS[bits.read(3)]
    return (read_side() if ratio is None else height * ratio[0] // ratio[1]), height


def read_extra_fields(bits: Bits) -> bool:
    """Returns whether the picture moves; reads over what stands between the size and the bits of a value."""
    bits.read(3)  # orientation, which the decoder heeds
    if bits.read(1):
        read_size(bits)
    if bits.read(1):
        raise UnusableImageError("it holds a preview, which is not read. Convert it to PNG")
    is_animated = bool(bits.read(1))
    if is_animated:
        for choices in (TICKS, TICK_PARTS, LOOPS):
            bits.choose(choices)
        bits.read(1)
    return is_animated
