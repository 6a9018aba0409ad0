"""TIFF files whose bands, bits or compression Pillow does not know, by tifffile and imagecodecs."""

import logging
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image
from tifffile import PHOTOMETRIC, TiffFile, TiffPage

from multihot.data.image_source import check_size
from multihot.data.value_range import UnusableImageError, ValueRange, picture_of, shade

NUM_COLOURS = {PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
UNKNOWN, PREMULTIPLIED, ALPHA = 0, 1, 2  # what a band after the colours is
WAY_OUT = "Save it as grey or RGB with 8 or 16 bits a band"

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said in its error


def decode(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the first page of a TIFF that is no thumbnail, with 8 bits; a band more that is unknown is left out."""
    with TiffFile(source) as file:
        page = next((page for page in file.pages if not page.is_reduced), file.pages.first)
        check_size(page.imagewidth, page.imagelength)
        check_size(page.tilewidth, page.tilelength)  # 0 of a page in strips
        num_colours = check_bands(page)
        values = page.asarray()
        num_pages = len(file.pages)
    if page.axes.startswith("S"):
        values = np.moveaxis(values, 0, 2)
    colours = values if values.ndim == 2 else values[..., :num_colours].squeeze()
    white = 2**page.bitspersample - 1 if values.dtype.kind == "u" and page.bitspersample <= 16 else None
    alpha = None
    if ALPHA in page.extrasamples:
        if white is None:
            raise UnusableImageError(f"the white of its transparency is not known. {WAY_OUT}")
        alpha = shade(values[..., -1], (0, white))
    known = None if white is None else (0, white)
    value_range = None if values.dtype == np.uint8 else value_range
    picture = picture_of(colours, known, value_range, alpha, page.photometric == PHOTOMETRIC.MINISWHITE)
    picture.getexif()[ExifTags.Base.Orientation] = int(page.tags.valueof(ExifTags.Base.Orientation, 1))
    picture.info["num_frames"] = num_pages
    return picture


def check_bands(page: TiffPage) -> int:
    """Returns the number of colours of a page; raises UnusableImageError if its bands are no picture."""
    num_colours = NUM_COLOURS.get(page.photometric)
    bands = f"{page.samplesperpixel} bands of {page.bitspersample} bits (photometric {int(page.photometric)})"
    if num_colours is None or page.imagedepth != 1 or page.dtype is None or page.dtype.kind not in "uif":
        raise UnusableImageError(
            f"it is a TIFF of a kind that Pillow does not read, and neither do we: {bands}. {WAY_OUT}"
        )
    more = page.samplesperpixel - num_colours
    if more > 1 or (more and page.extrasamples[:1] == (PREMULTIPLIED,)):
        raise UnusableImageError(f"it has {bands}, which are more than its colours. Save those that shall be seen")
    return num_colours
