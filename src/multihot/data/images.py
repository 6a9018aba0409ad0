"""Decodes one image file to RGB as a person would see it, or says which file cannot be read and why."""

import os
import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from multihot.data.depth import Depth, change_raw_modes, has_lost_planes, has_lost_white
from multihot.data.image_source import check_size, read_start, rewind
from multihot.data.not_images import DEEP_JPEG_2000, INSTALL, LOST_PLANES, name_content
from multihot.data.other_kinds import find_decoder
from multihot.data.value_range import UnusableImageError, ValueRange
from multihot.errors import InputError
from multihot.files import name_irregular

DECODING = 2  # raised whenever pictures of some kind decode otherwise: copies, features and lists are made anew
DECODED_ANEW = (
    ".jp2",
    ".j2k",
    ".j2c",
    ".jpc",
    ".jpf",
    ".jpx",
    ".fit",
    ".fits",
    ".tif",
    ".tiff",
)  # since the last raise
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
# What Pillow's decoders raise for broken files of one format or another; a warning is raised where warnings are errors.
DECODE_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    BufferError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
OF_PILLOW = (TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, BufferError)  # say nothing alone
MOST_WORDS = 300  # letters of what a decoder says
WAY_OUT = "Restore the file or remove its row from the data"
SUB_FILE_TYPE, SAMPLE_FORMAT, SUB_IMAGES, DNG_VERSION = 254, 339, 330, 50706  # tags of TIFF
SIGNED = 2  # sample format
PARTLY_TRANSPARENT = 0.5  # share of a TIFF's pixels above which its fourth band is no transparency

# What a picture's metadata lacks is not worth a line for each of a million files: its pixels decode or they do not.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: str, min_side: int | None = None, value_range: ValueRange = None) -> Image.Image:
    """Returns the picture in a file, RGB, 8 bits, upright, any transparency on white; of several frames the first.

    Raises InputError with the file's name if it is missing, no regular file, broken, cut short, too large, or cannot be
    shown right: unknown black and white, bands that are no colours. There is never another image in its place.

    Args:
        min_side: pixels that the shorter side must have for what follows; a JPEG at least SPARE_SCALE times as large is
            decoded at a half, a quarter or an eighth of its size. None: decoded as it is.
        value_range: what is black and what is white, of values with more than 8 bits; None: what their type says.
    """
    return decode_image(path, path, min_side, value_range)


def decode_image(
    source: str | BytesIO, name: str, min_side: int | None = None, value_range: ValueRange = None
) -> Image.Image:
    """Returns what `read_image` does, of a path or of bytes that errors call by `name`."""
    try:
        if isinstance(source, str) and (what := name_irregular(source)):
            raise UnusableImageError(f"it is {what} and no file. Remove its row from the data")
        with open_image(source, value_range) as image:
            if image.format is None:  # all of it is decoded
                return to_rgb(image, image)
            choose_page(image)
            check_size(*image.size)
            check_bands(image)
            if has_lost_white(image, source):
                return to_rgb(picture := decode_other(DEEP_JPEG_2000, source, value_range), picture)
            if has_lost_planes(image, value_range):
                return to_rgb(picture := decode_other(LOST_PLANES, source, value_range), picture)
            mend_inks(image)
            depth = Depth.of(image)
            reduce_scale(image, min_side)
            image.load()
            if depth is not None:
                return to_rgb(depth.to_8_bits(image, source, value_range), image)
            return to_rgb(image, image)
    except DECODE_ERRORS as error:
        raise InputError(f"cannot read the image {name}: {explain_with_way_out(error, source)}") from error


def open_image(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns an open file; of a kind that Pillow does not know, the decoded picture, whose `format` is None."""
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        kind = name_content(read_start(source))[0]
        if find_decoder(kind) is None:
            raise
    return decode_other(kind, source, value_range)


def decode_other(kind: str, source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the decoded picture of a kind that is left to other packages."""
    decode = find_decoder(kind)
    if decode is None:
        raise UnusableImageError(f"it is {kind}: {INSTALL}")
    rewind(source)
    try:
        return decode(source, value_range)
    except (UnusableImageError, MemoryError, Image.DecompressionBombError):
        raise
    except DECODE_ERRORS as error:
        words = " ".join(str(error).split())[:MOST_WORDS]
        raise OSError(f"it is {kind}, damaged or of a kind that is not read ({words})") from error


def choose_page(image: Image.Image) -> None:
    """Goes to the first page of a TIFF that is not marked as a thumbnail of another."""
    if image.format != "TIFF" or not is_thumbnail(image):
        return
    for page in range(1, image.n_frames):
        image.seek(page)
        if not is_thumbnail(image):
            return
    image.seek(0)
    if SUB_IMAGES in image.tag_v2 or DNG_VERSION in image.tag_v2:
        raise UnusableImageError("it shows a thumbnail alone, as a camera's raw file does. Convert it to PNG or JPEG")


def is_thumbnail(image: Image.Image) -> bool:
    """Returns whether the page that is open is a reduced copy of another."""
    kind = image.tag_v2.get(SUB_FILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & 1)


def mend_inks(image: Image.Image) -> None:
    """Has a CMYK JPEG without Adobe's mark read as it stands: Pillow takes every one for inverted, as Adobe's are."""
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        change_raw_modes(image, lambda mode: "CMYK")


def check_bands(image: Image.Image) -> None:
    """Raises UnusableImageError for an EPS drawing, and TIFF or FITS files that Pillow decodes otherwise than meant."""
    if image.format == "EPS":  # Pillow would run Ghostscript, on whatever the file says
        raise UnusableImageError("it is a PostScript drawing. Convert it to PNG or JPEG")
    if image.format == "FITS" and image.mode.startswith("I"):
        raise UnusableImageError(
            "it is a FITS file of whole numbers of more than 8 bits, whose order and zero Pillow does not read. Save "
            "it as TIFF"
        )
    if image.format != "TIFF":
        return
    bits, formats = (image.tag_v2.get(tag, ()) for tag in (ExifTags.Base.BitsPerSample, SAMPLE_FORMAT))
    if image.mode.startswith("RGB") and len(bits) > 4:
        raise UnusableImageError(
            f"it has {len(bits)} bands, and a picture has red, green, blue and perhaps transparency. Save the three "
            "that shall be seen as RGB"
        )
    if SIGNED in formats and set(bits) == {8}:
        raise UnusableImageError(
            "its values are signed, -128 to 127, which Pillow takes for 0 to 255. Save it as unsigned"
        )


def reduce_scale(image: Image.Image, min_side: int | None) -> None:
    """Lets a JPEG decode at the scale that is chosen for it."""
    scale = choose_scale(image.size, min_side)
    if scale > 1 and image.format != "HEIF":  # which would give a thumbnail
        image.draft(None, (image.width // scale, image.height // scale))  # other formats do nothing


def choose_scale(size: tuple[int, int], min_side: int | None) -> int:
    """Returns by what a JPEG of a size is divided, 8, 4, 2 or 1, so that its shorter side has SPARE_SCALE x `min_side`.

    >>> choose_scale((4000, 3000), 248), choose_scale((4000, 3000), None), choose_scale((500, 375), 248)
    (4, 1, 1)
    """
    if min_side is None:
        return 1
    return next((scale for scale in (8, 4, 2) if min(size) // scale >= SPARE_SCALE * min_side), 1)


def find_turn(image: Image.Image) -> Image.Transpose | None:
    """Returns how the image must be turned to be as its EXIF orientation wants it shown; None: not at all."""
    try:
        return TURN_OF_ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation))
    except DECODE_ERRORS:  # The block is not EXIF at all. Viewers show such a picture as it is stored.
        return None


def to_rgb(picture: Image.Image, image: Image.Image) -> Image.Image:
    """Returns a picture as RGB and upright; the same object if it already is.

    Args:
        image: the loaded file that the picture is of.
    """
    turn = find_turn(image)
    if turn is not None:
        picture = picture.transpose(turn)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if image.format == "TIFF":
            check_transparency(picture)
        white = Image.new("RGBA", picture.size, "white")
        white.info = picture.info
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def check_transparency(picture: Image.Image) -> None:
    """Raises UnusableImageError if the fourth band looks like a picture: infrared is often called so."""
    alpha = np.asarray(picture.getchannel("A"))
    partly = np.mean((alpha > 0) & (alpha < 255))
    if partly > PARTLY_TRANSPARENT:
        raise UnusableImageError(
            f"its last band is called transparency and is that of {100 * partly:.0f}% of the pixels, neither none nor "
            "all: it may be infrared. Save the three bands that shall be seen as RGB, or as PNG if it is transparency"
        )


def explain_with_way_out(error: Exception, source: str | BytesIO) -> str:
    """Returns what is wrong with the file and what to do about it."""
    why = cause_in_words(error, source)
    if isinstance(error, UnidentifiedImageError) and not is_empty(source):
        return f"{why}, or remove its row from the data"
    return why if isinstance(error, UnusableImageError) else f"{why}. {WAY_OUT}"


def cause_in_words(error: Exception, source: str | BytesIO) -> str:
    """Returns what is wrong with the file, without the words that only a Pillow developer needs."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has more than the {Image.MAX_IMAGE_PIXELS} pixels that Pillow takes for safe; make it smaller"
    if is_empty(source):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is {}: {}".format(*name_content(read_start(source)))
    if isinstance(error, MemoryError):
        return "decoding it takes more memory than there is"
    if isinstance(error, OF_PILLOW) or not str(error):
        return f"it is damaged (Pillow says {type(error).__name__}: {error})"
    return getattr(error, "strerror", None) or str(error)


def decoding_of(file: str | None) -> int:
    """Returns what changes whenever files of the ending of this one decode otherwise."""
    return DECODING + (file is not None and file.lower().endswith(DECODED_ANEW))


def file_of(image: str) -> str | None:
    """Returns the file that an image is, or is in ("shard.tar#..."); None if there is none."""
    return next((file for file in (image, image.split("#")[0]) if os.path.isfile(file)), None)


def is_empty(source: str | BytesIO) -> bool:
    """Returns whether a file or its bytes are none."""
    if isinstance(source, BytesIO):
        return source.getbuffer().nbytes == 0
    return os.path.isfile(source) and os.path.getsize(source) == 0
