"""Pictures that Pillow does not read, and the packages that do: those of the extra `pictures`."""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO

from PIL import Image

from multihot.data.not_images import DEEP_JPEG_2000, DICOM, HEIC, JPEG_XL, LOST_PLANES, RARE_TIFF
from multihot.data.value_range import ValueRange

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
