"""docs/pictures.md: what Pillow alone and we make of each kind of picture; its table is made here.

To write it anew after a change: MULTIHOT_WRITE_DOCS=1 pytest tests/test_picture_kinds.py
"""

import os
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import PIL
import pytest
from conftest import REPO
from picture_files import BAND_AFTER_BAND, write_dicom, write_heic, write_png, write_table, write_tiff
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import AppendingTiffWriter

from multihot.data.images import decode_image
from multihot.data.value_range import read_value_range
from multihot.errors import InputError

PAGE = REPO / "docs/pictures.md"
BEGIN, END = "<!-- made by tests/test_picture_kinds.py -->\n", "<!-- end -->\n"
GREY = np.array([[0, 128, 255]] * 4, np.uint8)  # black, middle, white
RED = np.array([[[0, 0, 0], [200, 40, 40], [255, 255, 255]]] * 4, np.uint8)
LARGE_RED = RED.repeat(16, axis=0).repeat(16, axis=1)
INKS = Image.fromarray(LARGE_RED).convert("CMYK")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
DEEP = np.array([[0, 32896, 65535]] * 4, np.uint16)
TWELVE = np.array([[0, 2048, 4095]] * 4, np.uint16)
TWELVE_RGB = TWELVE[..., None].repeat(3, axis=2)
OPAQUE = np.full_like(TWELVE, 65535)
TEN_PACKED = np.uint8([[0x00, 0x20, 0x0F, 0xFC]] * 4)  # 0, 512, 1023
CT = np.int16([[-1000, 40, 3000]] * 4)  # Hounsfield units
WINDOW = {"window": [40, 80]}
PACKAGES = ("pillow_heif", "imagecodecs", "tifffile", "pydicom")
INFRARED = np.array([[60, 128, 200]] * 4, np.uint8)


def save(picture, format: str, **settings) -> bytes:
    file = BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, format, **settings)
    return file.getvalue()


def save_frames(pixels: np.ndarray, format: str) -> bytes:
    return save(pixels, format, save_all=True, append_images=[Image.fromarray(255 - pixels)])


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


def palette(**settings) -> bytes:
    picture = Image.new("P", (3, 4))
    picture.frombytes(bytes([0, 1, 2] * 4))
    picture.putpalette([0, 0, 0, 200, 40, 40, 255, 255, 255])
    return save(picture, "PNG", **settings)


def cmyk_without_mark() -> bytes:
    """Returns a CMYK JPEG as others than Adobe write it: not inverted, without Adobe's mark."""
    bands = [band.point(lambda level: 255 - level) for band in INKS.split()]
    content = save(Image.merge("CMYK", bands), "JPEG", quality=100)
    start = content.index(b"\xff\xee")
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]


def pack_tiff(values: np.ndarray, **settings) -> bytes:
    """Returns a TIFF written by tifffile."""
    import tifffile

    file = BytesIO()
    tifffile.imwrite(file, values, **settings)
    return file.getvalue()


def encode(codec: str, values: np.ndarray, **settings) -> bytes:
    """Returns what a codec of imagecodecs writes."""
    import imagecodecs

    head, _, tail = codec.partition("_")
    return getattr(imagecodecs, f"{head}_encode_{tail}".removesuffix("_"))(values, **settings)


def avif(num_bits: int) -> bytes:
    top = 2**num_bits - 1
    values = (LARGE_RED * (top / 255)).round().astype(np.uint16)
    return encode("avif", values, level=100, bitspersample=num_bits, pixelformat="444")


def jpeg_2000(values: np.ndarray, num_bits: int | None = None) -> bytes:
    return encode("jpeg2k", values.repeat(8, axis=0).repeat(8, axis=1), level=0, bitspersample=num_bits)


def write_fits(values: np.ndarray) -> bytes:
    height, width = values.shape
    cards = {"SIMPLE": "T", "BITPIX": 8 * values.itemsize, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height}
    head = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END"
    return head.encode().ljust(2880) + values.tobytes().ljust(2880, b"\0")


def jpeg_xl(values: np.ndarray, num_bits: int | None = None) -> bytes:
    return encode("jpegxl", values, lossless=True, bitspersample=num_bits)


def compressed_dicom(codec: str, syntax: str, values: np.ndarray, **elements) -> bytes:
    settings = {"lossless": True} if codec == "jpeg" else {}
    return write_dicom(values, encode(codec, values, **settings), f"1.2.840.10008.1.2.{syntax}", **elements)


def palette_dicom() -> bytes:
    tables = dict(
        zip(("Red", "Green", "Blue"), np.uint8([[0, 200, 255, 0], [0, 40, 255, 0], [0, 40, 255, 0]]), strict=True)
    )
    return write_dicom(
        np.uint8([[0, 1, 2]] * 4),
        PhotometricInterpretation="PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": [4, 0, 8] for name in tables},
        **{f"{name}PaletteColorLookupTableData": table.tobytes() for name, table in tables.items()},
    )


def write_complex_tiff() -> bytes:
    return pack_tiff(np.complex64([[0, 0.5, 1]] * 4))


def thumbnail_first() -> bytes:
    file = BytesIO()
    with AppendingTiffWriter(file, new=True) as pages:
        Image.new("RGB", (2, 2), (9, 9, 9)).save(pages, "TIFF", tiffinfo={254: 1})
        pages.newFrame()
        Image.fromarray(RED).save(pages, "TIFF")
        pages.newFrame()
    return file.getvalue()


KINDS = {
    "8 bits: grey": (lambda: save(GREY, "PNG"), None),
    "8 bits: RGB": (lambda: save(RED, "PNG"), None),
    "8 bits: grey, zero is white (TIFF)": (lambda: write_tiff(255 - GREY, 0), None),
    "8 bits: signed (TIFF)": (lambda: write_tiff((GREY // 2).astype(np.int8), 1), None),
    "1 bit": (lambda: save(Image.fromarray(GREY).convert("1", dither=0), "PNG"), None),
    "palette": (lambda: palette(), None),
    "palette, its red transparent": (lambda: palette(transparency=1), None),
    "grey and alpha": (lambda: save(np.dstack([GREY, [[255, 0, 255]] * 4]).astype(np.uint8), "PNG"), None),
    "RGB and alpha": (lambda: save(np.dstack([RED, [[255, 0, 255]] * 4]).astype(np.uint8), "PNG"), None),
    "RGB, turned by EXIF by 180 degrees": (lambda: save(RED[:, ::-1].copy(), "PNG", exif=exif(3)), None),
    "RGB with a colour profile": (lambda: save(RED, "PNG", icc_profile=PROFILE), None),
    "CMYK (JPEG of Adobe, inverted)": (lambda: save(INKS, "JPEG", quality=100), None),
    "CMYK (JPEG without Adobe's mark)": (cmyk_without_mark, None),
    "CMYK (TIFF)": (lambda: save(Image.fromarray(RED).convert("CMYK"), "TIFF"), None),
    "LAB (TIFF)": (lambda: write_tiff(np.uint8([[[0, 0, 0], [128, 60, 40], [255, 0, 0]]] * 4), 8), None),
    "YCbCr (TIFF)": (lambda: write_tiff(np.asarray(Image.fromarray(RED).convert("YCbCr")), 6), None),
    "RGB, band after band (TIFF)": (lambda: write_tiff(RED, 2, planes=BAND_AFTER_BAND), None),
    "RGB and infrared, called alpha (TIFF)": (lambda: write_tiff(np.dstack([RED, INFRARED]), 2, extra=[2]), None),
    "RGB and infrared, called nothing (TIFF)": (lambda: write_tiff(np.dstack([RED, INFRARED]), 2), None),
    "RGB and infrared, called unknown (TIFF)": (lambda: write_tiff(np.dstack([RED, INFRARED]), 2, extra=[0]), None),
    "5 bands (TIFF)": (lambda: write_tiff(np.dstack([RED, INFRARED, INFRARED]), 2, extra=[0, 0]), None),
    "4 bands of grey (TIFF)": (lambda: write_tiff(np.dstack([RED, INFRARED]), 1, extra=[0, 0, 0]), None),
    "several frames (GIF)": (lambda: save_frames(GREY, "GIF"), None),
    "several frames (APNG)": (lambda: save_frames(RED, "PNG"), None),
    "several pages (TIFF)": (lambda: save_frames(RED, "TIFF"), None),
    "a thumbnail as first page (TIFF)": (thumbnail_first, None),
    "JPEG in TIFF": (lambda: save(LARGE_RED, "TIFF", compression="jpeg"), None),
    "16 bits: grey (PNG)": (lambda: write_png(DEEP, 0), None),
    "16 bits: grey (TIFF)": (lambda: write_tiff(DEEP, 1), None),
    "16 bits: grey, zero is white (TIFF)": (lambda: write_tiff(65535 - DEEP, 0), None),
    "16 bits: RGB (PNG)": (lambda: write_png(DEEP[..., None].repeat(3, axis=2), 2), None),
    "16 bits: RGB, band after band (TIFF)": (
        lambda: write_tiff(DEEP[..., None].repeat(3, axis=2), 2, planes=BAND_AFTER_BAND), None,
    ),
    "12 bits in 16: grey (PNG)": (lambda: write_png(TWELVE, 0), (0, 4095)),
    "12 bits in 16: grey and alpha (PNG)": (lambda: write_png(np.dstack([TWELVE, OPAQUE]), 4), (0, 4095)),
    "12 bits in 16: RGB (PNG)": (lambda: write_png(TWELVE_RGB, 2), (0, 4095)),
    "12 bits in 16: RGB (TIFF)": (lambda: write_tiff(TWELVE_RGB, 2), (0, 4095)),
    "12 bits in 16: grey and alpha (TIFF)": (lambda: write_tiff(np.dstack([TWELVE, OPAQUE]), 1, extra=[2]), (0, 4095)),
    "12 bits in 16, maximum declared (PGM)": (lambda: b"P5 3 4 4095\n" + TWELVE.astype(">u2").tobytes(), None),
    "12 bits packed (TIFF)": (
        lambda: write_tiff(np.uint8([[0x00, 0x08, 0x00, 0x80, 0x0F, 0xFF]] * 4), 1, bits=12), None,
    ),
    "16 bits signed, -1000 to 1000 (TIFF)": (lambda: write_tiff(np.int16([[-1000, 0, 1000]] * 4), 1), (-1000, 1000)),
    "32 bits: 0 to 100,000 (TIFF)": (lambda: write_tiff(np.int32([[0, 50_000, 100_000]] * 4), 1), (0, 100_000)),
    "floats: 0 to 1 (TIFF)": (lambda: write_tiff(np.float32([[0, 0.5, 1]] * 4), 1), (0, 1)),
    "floats: 0 to 255 (TIFF)": (lambda: write_tiff(np.float32([[0, 128, 255]] * 4), 1), (0, 255)),
    "floats of 64 bits (TIFF)": (lambda: write_tiff(np.float64([[0, 0.5, 1]] * 4), 1), (0, 1)),
    "10 bits packed (TIFF)": (lambda: write_tiff(TEN_PACKED, 1, bits=10), None),
    "16 bits: deflated with a predictor (TIFF)": (lambda: pack_tiff(DEEP, compression="zlib", predictor=True), None),
    "16 bits: grey, ZSTD (TIFF)": (lambda: pack_tiff(DEEP, compression="zstd"), None),
    "16 bits: grey, JPEG XL (TIFF)": (lambda: pack_tiff(DEEP, compression="jpegxl"), None),
    "16 bits: grey (BigTIFF)": (lambda: pack_tiff(DEEP, bigtiff=True), None),
    "16 bits signed, big-endian, deflated (TIFF)": (
        lambda: pack_tiff(np.int16([[-1000, 0, 1000]] * 4), byteorder=">", compression="zlib"), (-1000, 1000),
    ),
    "floats, big-endian, deflated (TIFF)": (
        lambda: pack_tiff(np.float32([[0, 0.5, 1]] * 4), byteorder=">", compression="zlib"), (0, 1),
    ),
    "12 bits in 16: RGB, band after band, deflated (TIFF)": (
        lambda: pack_tiff(
            np.moveaxis(TWELVE_RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate", compression="zlib"
        ), (0, 4095),
    ),
    "16 bits: RGB and unknown, band after band (TIFF)": (
        lambda: pack_tiff(
            np.stack([DEEP] * 4), photometric="rgb", planarconfig="separate", extrasamples=["unspecified"]
        ), None,
    ),
    "16 bits: LAB (TIFF)": (lambda: write_tiff(np.uint16([[[0, 0, 0], [32768, 60, 40], [65535, 0, 0]]] * 4), 8), None),
    "floats of 16 bits (TIFF)": (lambda: write_tiff(np.float16([[0, 0.5, 1]] * 4), 1), (0, 1)),
    "floats, LERC (TIFF)": (lambda: pack_tiff(np.float32([[0, 0.5, 1]] * 4), compression="lerc"), (0, 1)),
    "floats: RGB (TIFF)": (lambda: pack_tiff(np.float32(RED / 255), photometric="rgb"), (0, 1)),
    "complex numbers (TIFF)": (lambda: write_complex_tiff(), (0, 1)),
    "16 bits: grey (JPEG 2000)": (lambda: save(DEEP, "JPEG2000"), None),
    "12 bits: RGB (JPEG 2000)": (lambda: jpeg_2000(TWELVE_RGB, 12), None),
    "12 bits in 16: RGB (JPEG 2000)": (lambda: jpeg_2000(TWELVE_RGB), (0, 4095)),
    "16 bits signed, -1000 to 1000 (JPEG 2000)": (lambda: jpeg_2000(np.int16([[-1000, 0, 1000]] * 4)), (-1000, 1000)),
    "16 bits signed (FITS)": (lambda: write_fits(np.array([[-1000, 0, 1000]] * 4, ">i2")), None),
    "16 bits: RGB (PPM)": (lambda: b"P6 3 4 65535\n" + DEEP[..., None].repeat(3, axis=2).astype(">u2").tobytes(), None),
    "8 bits: RGB (AVIF)": (lambda: save(LARGE_RED, "AVIF", quality=100, subsampling="4:4:4"), None),
    "10 bits: RGB (AVIF)": (lambda: avif(10), None),
    "12 bits: RGB (AVIF)": (lambda: avif(12), None),
    "8 bits: RGB (HEIC)": (lambda: write_heic(LARGE_RED), None),
    "10 bits: RGB (HEIC)": (lambda: write_heic(LARGE_RED * np.uint16(257), 10), None),
    "12 bits: RGB (HEIC)": (lambda: write_heic(LARGE_RED * np.uint16(257), 12), None),
    "8 bits: RGB (JPEG XL)": (lambda: jpeg_xl(RED), None),
    "RGB and alpha (JPEG XL)": (lambda: jpeg_xl(np.dstack([RED, [[255, 0, 255]] * 4]).astype(np.uint8)), None),
    "a JPEG packed without loss (JPEG XL)": (lambda: encode("jpegxl_jpeg", save(LARGE_RED, "JPEG", quality=100)), None),
    "several frames (JPEG XL)": (lambda: jpeg_xl(np.stack([RED, 255 - RED])), None),
    "12 bits: grey (JPEG XL)": (lambda: jpeg_xl(TWELVE, 12), None),
    "16 bits: grey (JPEG XL)": (lambda: jpeg_xl(DEEP), None),
    "12 bits in 16: RGB (JPEG XL)": (lambda: jpeg_xl(TWELVE_RGB), (0, 4095)),
    "floats: 0 to 1 (JPEG XL)": (lambda: jpeg_xl(np.float32([[0, 0.5, 1]] * 4)), None),
    "8 bits: grey (DICOM)": (lambda: write_dicom(GREY), None),
    "8 bits: RGB (DICOM)": (lambda: write_dicom(RED), None),
    "palette (DICOM)": (lambda: palette_dicom(), None),
    "12 bits: grey (DICOM)": (lambda: write_dicom(TWELVE, BitsStored=12), None),
    "12 bits in 16: grey (DICOM)": (lambda: write_dicom(TWELVE), (0, 4095)),
    "12 bits: zero is white (DICOM, MONOCHROME1)": (
        lambda: write_dicom(4095 - TWELVE, BitsStored=12, PhotometricInterpretation="MONOCHROME1"), None,
    ),
    "the same, with PresentationLUTShape too (DICOM)": (
        lambda: write_dicom(
            4095 - TWELVE, BitsStored=12, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"
        ), None,
    ),
    "12 bits, through the first of two windows (DICOM)": (
        lambda: write_dicom(TWELVE, WindowCenter=[2048, 40], WindowWidth=[4096, 80]), WINDOW,
    ),
    "12 bits, through a table of 8 bits (DICOM)": (
        lambda: write_dicom(TWELVE, VOILUTSequence=write_table((np.arange(4096) >> 4).astype(np.uint8), 0, 8)), None,
    ),
    "CT, Hounsfield units without a window (DICOM)": (lambda: write_dicom(CT), (-1000, 3000)),
    "CT, unsigned and rescaled, with a window (DICOM)": (
        lambda: write_dicom(
            np.uint16(CT + 1024), RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400
        ), {"window": [1000, 4000]},
    ),
    "CT, through three windows (DICOM)": (
        lambda: write_dicom(np.int16([[-20, 40, 200]] * 4), WindowCenter=90, WindowWidth=221),
        {"window": [[40, 80], [90, 221], [600, 2800]]},
    ),
    "16 bits: lossless JPEG (DICOM)": (lambda: compressed_dicom("jpeg", "4.70", DEEP), None),
    "16 bits: JPEG-LS (DICOM)": (lambda: compressed_dicom("jpegls", "4.80", DEEP), None),
    "16 bits: JPEG 2000 (DICOM)": (lambda: compressed_dicom("jpeg2k", "4.90", DEEP.repeat(8, 0).repeat(8, 1)), None),
    "8 bits: JPEG (DICOM)": (
        lambda: write_dicom(
            LARGE_RED, save(LARGE_RED, "JPEG", quality=100, subsampling=0), "1.2.840.10008.1.2.4.50",
            PhotometricInterpretation="YBR_FULL",
        ), None,
    ),
    "several frames (DICOM)": (lambda: write_dicom(np.stack([GREY, 255 - GREY]), NumberOfFrames=2), None),
    "no picture (DICOM)": (lambda: write_dicom(GREY, Rows=None), None),
}  # fmt: skip


def show(picture: Image.Image) -> str:
    """Returns what the left, the middle and the right of a picture are: grey levels, or red, green, blue."""
    width, height = picture.size
    pixels = [picture.getpixel((int((k + 0.5) * width / 3), height // 2)) for k in range(3)]
    return ", ".join(str(pixel[0]) if len(set(pixel)) == 1 else "/".join(map(str, pixel)) for pixel in pixels)


def show_of_pillow(content: bytes) -> str:
    """Returns what `Image.open(file).convert("RGB")` shows."""
    try:
        with Image.open(BytesIO(content)) as picture:
            return show(picture.convert("RGB"))
    except PIL.UnidentifiedImageError:
        return "cannot identify it"
    except ValueError:
        return "cannot load it"


def show_of_ours(content: bytes, value_range) -> str:
    """Returns what we show; "refused" of what we refuse with the way out."""
    try:
        return show(decode_image(BytesIO(content), "it", value_range=value_range))
    except InputError:
        return "refused"


def create_table() -> str:
    """Returns the table of the page."""
    lines = [
        "| kind | Pillow 13 alone | with `auto` | with a `data.value_range` or `data.window` |",
        "|---|---|---|---|",
    ]
    for kind, (write, value_range) in KINDS.items():
        content = write()
        ranged = ""
        if value_range is not None:
            settings = {"value_range": "auto", "window": "file"}
            settings |= value_range if isinstance(value_range, dict) else {"value_range": value_range}
            [words] = [f"{name}={list(value)}" for name, value in settings.items() if not isinstance(value, str)]
            words = words.replace(" ", "").removeprefix("value_range=")
            ranged = f"{show_of_ours(content, read_value_range(**settings))} (`{words}`)"
        lines.append(f"| {kind} | {show_of_pillow(content)} | {show_of_ours(content, None)} | {ranged} |")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(not all(map(find_spec, PACKAGES)), reason='needs pip install -e ".[pictures]"')
@pytest.mark.skipif(not PIL.__version__.startswith("13."), reason="the table is that of Pillow 13")
def test_the_table_of_the_page_is_what_pillow_and_we_make_of_each_kind():
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    made = create_table()
    if os.environ.get("MULTIHOT_WRITE_DOCS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{made}{END}{after}")
        return
    assert table == made
