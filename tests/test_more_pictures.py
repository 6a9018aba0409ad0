"""HEIC, JPEG XL and rare TIFF files by the packages of the extra `pictures`, and what is said without them."""

import importlib.util
from io import BytesIO

import numpy as np
import pytest
from picture_files import write_heic, write_tiff
from PIL import ExifTags, Image, ImageOps
from scipy.sparse import csr_array

import multihot.data.other_kinds
from multihot.data.bad_images import drop_bad_images
from multihot.data.checks.inspection import inspect_image
from multihot.data.images import DECODING, decode_image, decoding_of, read_image
from multihot.data.manifest import Manifest
from multihot.data.readers.folders import image_endings, is_image
from multihot.errors import InputError

imagecodecs = pytest.importorskip("imagecodecs", reason='needs pip install -e ".[pictures]"')
pytest.importorskip("pillow_heif", reason='needs pip install -e ".[pictures]"')
tifffile = pytest.importorskip("tifffile", reason='needs pip install -e ".[pictures]"')

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 72))
STARTS = {
    "a HEIC photo": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a JPEG XL picture": b"\xff\x0a\xfa\x7f\x01",
    "a DICOM file": bytes(128) + b"DICM\x02\0\0\0",
}


def decode(content: bytes, **settings) -> np.ndarray:
    return np.asarray(decode_image(BytesIO(content), "it", **settings))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


def jpeg(**settings) -> bytes:
    file = BytesIO()
    PHOTO.save(file, "JPEG", quality=95, **settings)
    return file.getvalue()


def pack_tiff(values: np.ndarray, **settings) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, values, **settings)
    return file.getvalue()


@pytest.fixture
def without_packages(monkeypatch):
    """As if none of the packages was installed."""
    find_spec = importlib.util.find_spec
    packages = multihot.data.other_kinds.ENDINGS
    monkeypatch.setattr(
        multihot.data.other_kinds, "find_spec", lambda name: None if name in packages else find_spec(name)
    )
    image_endings.cache_clear()
    yield
    image_endings.cache_clear()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright_from_heic_avif_and_jpeg_xl(orientation):
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(jpeg(exif=exif(orientation))))))
    heic = write_heic(np.asarray(PHOTO), exif=exif(orientation).tobytes())
    packed = imagecodecs.jpegxl_encode_jpeg(jpeg(exif=exif(orientation)))
    avif = BytesIO()
    PHOTO.save(avif, "AVIF", quality=95, exif=exif(orientation))
    for content, allowed in ((heic, 12), (packed, 2), (avif.getvalue(), 12)):  # grey levels: loss of the JPEG; rounding
        assert decode(content).shape == upright.shape
        assert np.abs(decode(content).astype(int) - upright).mean() < allowed


def test_heic_without_loss_keeps_each_pixel_whatever_the_brand_and_the_side_needed():
    content = write_heic(np.asarray(PHOTO))
    for brand in (b"heic", b"mif1", b"heix"):
        again = content.replace(b"ftypheic", b"ftyp" + brand, 1)
        np.testing.assert_array_equal(decode(again), np.asarray(PHOTO))
        np.testing.assert_array_equal(decode(again, min_side=8), np.asarray(PHOTO))


@pytest.mark.parametrize("num_bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("num_bands", [1, 3])
def test_jpeg_xl_of_any_depth_goes_from_black_to_white(num_bits, num_bands):
    values = np.linspace(0, 2**num_bits - 1, 12 * 9 * num_bands).astype(np.uint8 if num_bits == 8 else np.uint16)
    values = values.reshape((9, 12, num_bands) if num_bands > 1 else (9, 12))
    pixels = decode(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=num_bits))
    expected = values >> (num_bits - 8)
    np.testing.assert_array_equal(pixels, expected if num_bands > 1 else expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (8, 8), (64, 96), (256, 256), (7, 3000), (300, 5000), (1080, 1920)]
)
def test_the_head_of_a_jpeg_xl_file_says_its_size(height, width):
    from multihot.data.other_kinds.jpeg_xl import Head

    content = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), effort=1)
    assert Head.read(content)[:2] == (width, height)


def test_of_a_moving_jpeg_xl_the_first_frame_counts():
    frames = np.random.default_rng(0).integers(0, 256, (3, 9, 12, 3), np.uint8)
    np.testing.assert_array_equal(decode(imagecodecs.jpegxl_encode(frames, lossless=True)), frames[0])


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    files = imagecodecs.jpegxl_encode(np.zeros((99, 99), np.uint8)), write_tiff(np.zeros((99, 99)), 1)
    files += (write_heic(np.zeros((99, 99, 3), np.uint8)),)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99 * 99 - 1)
    for content in files:
        with pytest.raises(InputError, match="it has more than the 9800 pixels"):
            decode(content)


@pytest.mark.parametrize("kind", ["a HEIC photo", "a JPEG XL picture"])
def test_a_damaged_file_is_refused_as_what_it_is(kind):
    with pytest.raises(InputError, match=f"cannot read the image it: it is {kind}, damaged or of a kind"):
        decode(STARTS[kind])


@pytest.mark.parametrize("kind", STARTS)
def test_without_the_packages_it_is_said_what_to_install(kind, without_packages):
    with pytest.raises(InputError, match=rf'it is {kind}: .*pip install -e "\.\[pictures\]"'):
        decode(STARTS[kind])


def test_endings_are_those_of_what_can_be_decoded(without_packages):
    assert not is_image("a.heic")


def test_endings_of_the_extra_are_those_of_images():
    assert all(map(is_image, ("a.heic", "a.HEIF", "a.jxl", "a.dcm", "a.jpg")))


def test_images_that_were_left_out_are_tried_again_with_the_packages(tmp_path, without_packages, monkeypatch):
    PHOTO.save(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(write_heic(np.asarray(PHOTO)))
    images = [f"{tmp_path}/a.png", f"{tmp_path}/b.heic"]
    data = Manifest(("cat",), images, csr_array(np.ones((2, 1), np.int8)))
    assert drop_bad_images(data, tmp_path / "checked", 0).images == images[:1]
    monkeypatch.undo()
    assert drop_bad_images(data, tmp_path / "checked", 0).images == images


def test_the_doctor_looks_at_them_too(tmp_path):
    (tmp_path / "a.heic").write_bytes(write_heic(np.asarray(PHOTO)))
    facts = inspect_image(str(tmp_path / "a.heic"))
    assert (facts.status, facts.width, facts.height) == ("ok", *PHOTO.size)
    assert facts.pixel_hash == inspect_image(save_png(tmp_path)).pixel_hash


def save_png(folder) -> str:
    PHOTO.save(folder / "a.png")
    return str(folder / "a.png")


def test_pillow_itself_is_told_of_no_further_kind(tmp_path):
    before = dict(Image.OPEN), list(Image.ID), dict(Image.EXTENSION)
    (tmp_path / "a.heic").write_bytes(write_heic(np.asarray(PHOTO)))
    read_image(str(tmp_path / "a.heic"))
    assert (dict(Image.OPEN), list(Image.ID), dict(Image.EXTENSION)) == before


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_rare_tiff_is_upright(orientation):
    values = np.random.default_rng(0).random((4, 6))
    pixels = decode(write_tiff(values, 1, tags={ExifTags.Base.Orientation: orientation}), value_range=(0, 1))[..., 0]
    expected = np.rot90((values * 256).astype(np.uint8), {1: 0, 3: 2, 6: 3}[orientation])
    np.testing.assert_array_equal(pixels, expected)


def test_transparency_of_a_rare_tiff_is_white_and_infrared_is_refused():
    grey = np.full((4, 3), 1000, np.uint16)
    shown = decode(
        write_tiff(np.dstack([grey, np.uint16([[65535, 0, 65535]] * 4)]), 1, extra=[2]), value_range=(0, 999)
    )
    assert shown[0, :, 0].tolist() == [255, 255, 255]
    assert decode(write_tiff(np.dstack([grey, grey * 65]), 1, extra=[0]), value_range=(0, 4095))[0, 0, 0] == 62
    with pytest.raises(InputError, match="more than its colours"):
        decode(write_tiff(np.dstack([grey] * 3), 1, extra=[0, 0]))


@pytest.mark.parametrize("num_bits", [9, 10, 12, 16])
@pytest.mark.parametrize("num_bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_jpeg_2000_of_more_than_8_bits_keeps_its_white(num_bits, num_bands, kind):
    values = np.linspace(0, 2**num_bits - 1, 40).astype(np.uint16)[None, :, None].repeat(36, 0).repeat(num_bands, 2)
    if num_bands in (2, 4):
        values[..., -1] = 2**num_bits - 1
    content = imagecodecs.jpeg2k_encode(values.squeeze(), level=0, bitspersample=num_bits, codecformat=kind)
    np.testing.assert_array_equal(decode(content)[0, :, 0], values[0, :, 0] >> (num_bits - 8))


def test_pillow_alone_shows_the_white_of_such_colours_as_black():
    white = np.full((36, 36, 3), 4095, np.uint16)
    content = imagecodecs.jpeg2k_encode(white, level=0, bitspersample=12)
    with Image.open(BytesIO(content)) as image:
        assert image.getextrema() == ((0, 0),) * 3
    assert decode(content).min() == 255


def test_a_deep_jpeg_2000_without_its_package_is_refused(without_packages):
    content = imagecodecs.jpeg2k_encode(np.full((36, 36, 3), 4095, np.uint16), level=0, bitspersample=12)
    with pytest.raises(InputError, match=r'does not show right: .*pip install -e "\.\[pictures\]"'):
        decode(content)


def test_a_deep_jpeg_2000_cut_short_is_refused():
    content = imagecodecs.jpeg2k_encode(np.random.default_rng(0).integers(0, 4096, (36, 36, 3), np.uint16), level=0)
    with pytest.raises(InputError, match="the file is truncated"):
        decode(content[:-99])


def test_copies_of_what_decodes_otherwise_now_are_made_anew():
    assert decoding_of("a.png") == decoding_of(None) == DECODING
    assert decoding_of("a/b.JP2") == decoding_of("c.fits") == decoding_of("d.tif") == DECODING + 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_grey_of_a_tiff_is_the_same_in_either_order_of_bytes(kind, order, compression):
    values = np.random.default_rng(0).integers(0, 4096, (20, 24)).astype(kind)
    content = pack_tiff(values, byteorder=order, compression=compression)
    expected = (values * (256 / 4095)).clip(0, 255).astype(np.uint8) if kind[0] == "f" else values.astype(int) >> 4
    np.testing.assert_array_equal(decode(content, value_range=(0, 4095))[..., 0], expected)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [None, "unassalpha", "unspecified"])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_bands_of_a_tiff_one_after_the_other_are_those_beside_each_other(photometric, extra, order, compression):
    num_colours = 3 if photometric == "rgb" else 1
    values = np.random.default_rng(0).integers(0, 4096, (20, 24, num_colours + (extra is not None)), np.uint16)
    if extra == "unassalpha":
        values[..., -1] = 65535
    bands = np.moveaxis(values, 2, 0) if values.shape[2] > 1 else values[..., 0]
    settings = {"planarconfig": "separate"} if values.shape[2] > 1 else {}
    settings |= {"photometric": photometric, "byteorder": order, "compression": compression}
    content = pack_tiff(np.ascontiguousarray(bands), **settings, extrasamples=[extra] if extra else None)
    expected = np.broadcast_to(values[..., :num_colours], (20, 24, 3))
    np.testing.assert_array_equal(decode(content), expected >> 8)
    np.testing.assert_array_equal(decode(content, value_range=(0, 4095)), expected >> 4)


def test_grey_with_alpha_band_after_band_is_read_and_refused_without_the_package(without_packages, monkeypatch):
    grey, alpha = np.random.default_rng(0).integers(0, 256, (2, 20, 24), np.uint8)
    alpha = np.where(alpha > 127, 255, 0).astype(np.uint8)
    settings = {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    content = pack_tiff(np.stack([grey, alpha]), compression="zlib", **settings)
    with pytest.raises(InputError, match="a TIFF whose bands, one after the other, Pillow does not read: install"):
        decode(content)
    monkeypatch.undo()
    np.testing.assert_array_equal(decode(content)[..., 0], np.where(alpha, grey, 255))
    np.testing.assert_array_equal(decode(content, value_range=(0, 4095)), decode(content))
