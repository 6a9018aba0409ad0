"""Pictures that Pillow does not read, and the packages that do: those of the extra `pictures`."""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO

from PIL import Image

from multihot.data.not_images import DEEP_JPEG_2000, DICOM, HEIC, JPEG_XL, LOST_PLANES, RARE_TIFF
from multihot.data.value_range import ValueRange

VARIES = 255  # the depth of a JPEG 2000 file whose bands have others each
DECODERS = {  # by kind: the package, and our module with `decode` that knows it
    HEIC: ("pillow_heif", "multihot.data.other_kinds.heif"),
    JPEG_XL: ("imagecodecs", "multihot.data.other_kinds.jpeg_xl"),
    DEEP_JPEG_2000: ("imagecodecs", "multihot.data.other_kinds.jpeg_2000"),
    DICOM: ("pydicom", "multihot.data.other_kinds.dicom"),
    LOST_PLANES: ("tifffile", "multihot.data.other_kinds.rare_tiff"),
    RARE_TIFF: ("tifffile", "multihot.data.other_kinds.rare_tiff"),
}
ENDINGS = {
    "pillow_heif": (".heic", ".heif", ".hif"),
    "imagecodecs": (".jxl",),
    "pydicom": (".dcm", ".dicom"),
    "tifffile": (),
}

Decoder = Callable[[str | BytesIO, ValueRange], Image.Image]


def find_decoder(kind: str) -> Decoder | None:
    """Returns what decodes files of a kind; None if nothing that is installed does."""
    package, module = DECODERS.get(kind, (None, None))
    return import_module(module).decode if package and find_spec(package) else None


def installed_packages() -> Iterator[str]:
    """Yields the packages that can be used: with others more images can be decoded."""
    return (package for package in ENDINGS if find_spec(package))


def other_endings() -> Iterator[str]:
    """Yields the endings of the files that can be decoded by what is installed."""
    for package in installed_packages():
        yield from ENDINGS[package]


def check_size(width: int, height: int) -> None:
    """Raises an error where Pillow only warns: decoding an image that large may exhaust the memory."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise Image.DecompressionBombError


def rewind(source: str | BytesIO) -> None:
    """Has bytes read from their begin again."""
    if isinstance(source, BytesIO):
        source.seek(0)


def read_start(source: str | BytesIO) -> bytes:
    """Returns the first bytes of a file or of bytes, as many as tell what it is."""
    if isinstance(source, BytesIO):
        return source.getvalue()[:1024]
    with open(source, "rb") as file:
        return file.read(1024)


def read_all(source: str | BytesIO) -> bytes:
    """Returns all bytes of a file."""
    if isinstance(source, BytesIO):
        return source.getvalue()
    with open(source, "rb") as file:
        return file.read()


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


def has_lost_white(image: Image.Image, source: str | BytesIO) -> bool:
    """Returns whether an open file is a JPEG 2000 picture of deep colours or signed values: Pillow errs there."""
    if image.format != "JPEG2000" or image.mode == "P":
        return False
    num_bits, is_signed = jpeg_2000_depth(read_start(source)) or (0, False)
    return num_bits > 8 and (is_signed or image.mode != "I;16")
