"""Pictures that Pillow does not read, and the packages that do: those of the extra `pictures`."""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO

from PIL import Image

from multihot.data.not_images import DICOM, HEIC, JPEG_XL, RARE_TIFF, name_content
from multihot.data.value_range import ValueRange

DECODERS = {  # by kind: the package, and our module with `decode` that knows it
    HEIC: ("pillow_heif", "multihot.data.other_kinds.heif"),
    JPEG_XL: ("imagecodecs", "multihot.data.other_kinds.jpeg_xl"),
    DICOM: ("pydicom", "multihot.data.other_kinds.dicom"),
    RARE_TIFF: ("tifffile", "multihot.data.other_kinds.rare_tiff"),
}
ENDINGS = {
    "pillow_heif": (".heic", ".heif", ".hif"),
    "imagecodecs": (".jxl",),
    "pydicom": (".dcm", ".dicom"),
    "tifffile": (),
}

Decoder = Callable[[str | BytesIO, ValueRange], Image.Image]


def find_decoder(start: bytes) -> Decoder | None:
    """Returns what decodes a file that begins with these bytes; None if nothing that is installed does."""
    package, module = DECODERS.get(name_content(start)[0], (None, None))
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
