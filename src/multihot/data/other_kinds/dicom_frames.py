"""Frames of DICOM files that pydicom and Pillow do not decode, by imagecodecs: lossless JPEG, JPEG-LS, 12-bit JPEG."""

import numpy as np
from pydicom.pixels.decoders import (
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
    JPEGLSLosslessDecoder,
    JPEGLSNearLosslessDecoder,
)
from pydicom.pixels.decoders.base import DecodeRunner

NAME = "imagecodecs"
DECODERS = (
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
    JPEGLSLosslessDecoder,
    JPEGLSNearLosslessDecoder,
)


END, PADDING = b"\xff\xd9", b"\0\xff"  # a marker, and what old programs put behind it
HEADS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers of JPEG before the size of a frame


def is_available(transfer_syntax: str) -> bool:
    """Returns true: pydicom asks a plugin whether it can be used, and says what went wrong if it cannot."""
    return True


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Returns the values of a compressed frame, band beside band, in the type that the runner is told."""
    import imagecodecs

    size = find_size(frame)
    if size != (runner.rows, runner.columns):
        raise ValueError(f"the frame is of size {size}, and the file says {runner.rows} x {runner.columns}")
    if not frame.rstrip(PADDING).endswith(END):
        raise ValueError("the frame is truncated")
    is_jpeg_ls = runner.transfer_syntax in (JPEGLSLosslessDecoder.UID, JPEGLSNearLosslessDecoder.UID)
    values = (imagecodecs.jpegls_decode if is_jpeg_ls else imagecodecs.jpeg_decode)(frame)
    bands = (runner.samples_per_pixel,) if runner.samples_per_pixel > 1 else ()
    if values.shape != (runner.rows, runner.columns, *bands) or values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the frame holds {values.dtype} of shape {values.shape}, and the file says otherwise")
    runner.set_option("bits_allocated", 8 * values.itemsize)
    runner.set_option("planar_configuration", 0)
    return values.tobytes()


def find_size(frame: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG or JPEG-LS frame, before memory is taken for it; None: it has none.

    >>> find_size(bytes.fromhex("ffd8 ffe00004 0000 ffc3000b 0c0010 0020 01011100"))
    (16, 32)
    """
    place = 2
    while place + 9 <= len(frame):
        if frame[place + 1] in HEADS:
            return int.from_bytes(frame[place + 5 : place + 7], "big"), int.from_bytes(
                frame[place + 7 : place + 9], "big"
            )
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None


def add_decoders() -> None:
    """Has pydicom decode such frames, where nothing else that is installed can."""
    for decoder in DECODERS:
        if NAME not in decoder.available_plugins:
            decoder.add_plugin(NAME, (__name__, "decode_frame"))
