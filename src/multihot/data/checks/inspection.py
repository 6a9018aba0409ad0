"""The facts of each image file: whether it can be read, how it is stored, and hashes by which copies are found."""

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from multiprocessing import get_context

import numpy as np
from PIL import ExifTags, Image, ImageCms
from scipy.fft import dctn

from multihot.data.checks.pictures import Look
from multihot.data.images import DECODE_ERRORS, TURN_OF_ORIENTATION, cause_in_words, choose_page, read_image
from multihot.errors import InputError
from multihot.files import name_irregular

IMAGES_PER_TASK = 32  # sent to a process at once
TASKS_AHEAD = 8  # that wait for each process
HASH_SIDE = 32  # pixels of the small grey picture that is hashed
SMALL_SIDE = 16  # pixels of the smaller one that is kept
SAME_COLOUR = 2  # largest difference of a channel's values in an image of one colour: what JPEG adds
PAGES_LOOKED_AT = 10
MIRROR = np.array([1, -1] * 4)  # a mirrored picture has the odd horizontal frequencies with the other sign
FLAT = 2.0  # smallest deviation of the small grey picture, of 255, whose perceptual hash says anything


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What one decoding of an image shows. Where a file cannot be opened, all but status and reason is unknown."""

    status: str  # ok | missing | unreadable | truncated | huge
    reason: str = ""  # why the status is not ok
    width: int | None = None  # pixels, as stored
    height: int | None = None
    mode: str | None = None  # Pillow's: RGB, L, P, CMYK, ...
    format: str | None = None  # Pillow's: JPEG, PNG, ...
    is_turned: bool = False  # by EXIF orientation
    num_frames: int = 1  # or pages; a camera's hidden previews (MPO) do not count
    largest_page: tuple[int, int] | None = None  # pixels, of a TIFF of several pages
    profile: str | None = None  # of its colours, "sRGB ..." or another
    is_constant: bool = False  # one colour all over
    pixel_hash: bytes | None = None  # equal for equal pixels, whatever the file format
    perceptual_hash: int | None = None  # 64 bits, few of which differ for similar pictures; None: too flat to tell
    mirrored_hash: int | None = None  # that of the picture with left and right exchanged
    small: bytes | None = None  # 16 x 16 grey values of 8 bits, if there is a perceptual hash
    look: Look | None = None


def inspect_images(
    images: Sequence[str], read: Callable[[str], Image.Image] = read_image, num_workers: int = 1
) -> Iterator[ImageFacts]:
    """Yields the facts of each image in their order; few images, or 0 or 1 workers: without other processes."""
    inspect = partial(inspect_image, read=read)
    num_workers = min(num_workers, math.ceil(len(images) / IMAGES_PER_TASK))
    if num_workers <= 1:
        yield from map(inspect, images)
        return
    images, waiting = iter(images), []
    # A forked process may hang in a lock that one of torch's threads held.
    with ProcessPoolExecutor(num_workers, get_context("spawn")) as pool:
        try:
            while True:
                room = num_workers * TASKS_AHEAD - len(waiting)
                batches = iter(lambda: list(islice(images, IMAGES_PER_TASK)), [])
                waiting += [pool.submit(inspect_all, inspect, batch) for batch in islice(batches, room)]
                if not waiting:
                    return
                yield from waiting.pop(0).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def inspect_all(inspect: Callable[[str], ImageFacts], images: list[str]) -> list[ImageFacts]:
    """Returns the facts of some images, in a process of its own."""
    return [inspect(image) for image in images]


def inspect_image(image: str, read: Callable[[str], Image.Image] = read_image) -> ImageFacts:
    """Returns the facts of one image; what `read` refuses has a status other than ok.

    Mode, orientation and frames are known of files alone: any other source gives pictures and not how they are stored.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large and odd files, which the facts tell
        is_file = getattr(read, "read", read) is read_image
        header = read_header(image) if is_file else {}
        try:
            picture = read(image)
        except InputError as error:
            cause = error.__cause__
            reason = cause_in_words(cause, image) if is_file and isinstance(cause, DECODE_ERRORS) else str(error)
            return ImageFacts(status_of(cause), reason, **header)
    header = header or {
        "width": picture.width,
        "height": picture.height,
        "num_frames": picture.info.get("num_frames", 1),
    }
    is_constant = all(high - low <= SAME_COLOUR for low, high in picture.getextrema())
    pixel_hash = hashlib.blake2b(np.asarray(picture), digest_size=16, key=repr(picture.size).encode()).digest()
    return ImageFacts(
        "ok",
        **header,
        **perceptual_hashes(picture),
        is_constant=is_constant,
        pixel_hash=pixel_hash,
        look=Look.at(picture),
    )


def read_header(path: str) -> dict:
    """Returns how a file stores its image; nothing if it cannot be opened."""
    try:
        if name_irregular(path):
            return {}
        with Image.open(path) as image:
            num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            largest = find_largest_page(image) if image.format == "TIFF" and num_frames > 1 else None
            choose_page(image)
            return {
                "width": image.width,
                "height": image.height,
                "mode": image.mode + describe_extra_bands(image),
                "format": image.format,
                "is_turned": image.getexif().get(ExifTags.Base.Orientation) in TURN_OF_ORIENTATION,
                "num_frames": num_frames,
                "largest_page": largest,
                "profile": name_profile(image.info.get("icc_profile")),
            }
    except DECODE_ERRORS:
        return {}


def find_largest_page(image: Image.Image) -> tuple[int, int]:
    """Returns the size of the largest of the first pages of an open TIFF, and goes back to its first."""
    sizes = []
    for page in range(min(image.n_frames, PAGES_LOOKED_AT)):
        image.seek(page)
        sizes.append(image.size)
    image.seek(0)
    return max(sizes, key=math.prod)


def describe_extra_bands(image: Image.Image) -> str:
    """Returns in words that an open file has bands that are not read; "" if it has none."""
    num_bands = len(getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, ()))
    return f" and {num_bands - len(image.getbands())} bands left out" if num_bands > len(image.getbands()) else ""


def name_profile(profile: bytes | None) -> str | None:
    """Returns what a colour profile calls itself; None where there is none."""
    if not profile:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))).strip() or "without a name"
    except (*DECODE_ERRORS, ImageCms.PyCMSError):
        return "damaged"


def status_of(cause: BaseException | None) -> str:
    """Returns in one word why an image was refused.

    >>> status_of(FileNotFoundError()), status_of(OSError("image file is truncated (7 bytes not processed)"))
    ('missing', 'truncated')
    """
    if isinstance(cause, FileNotFoundError):
        return "missing"
    if isinstance(cause, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "huge"
    return "truncated" if "truncated" in str(cause).lower() else "unreadable"


def perceptual_hashes(picture: Image.Image) -> dict[str, int | bytes]:
    """Returns `perceptual_hash`, `mirrored_hash` and `small` of the facts; nothing if the picture is too flat.

    The bits of a hash say which of the lowest frequencies are above their median (pHash, phash.org). With scipy at hand
    that is ten lines, for which no further package is needed.
    """
    small = picture.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0).convert("L")
    grey = np.asarray(small, np.float64)
    if grey.std() < FLAT:
        return {}
    frequencies = dctn(grey, norm="ortho")[:8, :8]
    blocks = grey.reshape(SMALL_SIDE, HASH_SIDE // SMALL_SIDE, SMALL_SIDE, HASH_SIDE // SMALL_SIDE)
    return {
        "perceptual_hash": above_median(frequencies),
        "mirrored_hash": above_median(frequencies * MIRROR),
        "small": blocks.mean(axis=(1, 3)).round().astype(np.uint8).tobytes(),
    }


def above_median(frequencies: np.ndarray) -> int:
    """Returns which of the frequencies (8, 8) are above the median of all but the first, the brightness, as 64 bits."""
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies.ravel()[1:])).tobytes(), "big")
