"""Values with more than 8 bits, and floats, are shown as data.value_range says, or refused with what to set."""

import pickle
import tarfile
from io import BytesIO

import numpy as np
import pytest
from picture_files import BAND_AFTER_BAND, write_png, write_tiff
from PIL import Image
from scipy.sparse import csr_array
from torchvision.transforms import InterpolationMode

from multihot.data.image_cache import DiskCache
from multihot.data.images import decode_image, read_image
from multihot.data.manifest import Manifest
from multihot.data.readers.web_dataset import ShardImages
from multihot.data.value_range import RangedReader, read_value_range
from multihot.errors import InputError
from multihot.files import file_stamp
from multihot.settings.saved import read_config

GREY = np.array([[0, 2048, 4095]] * 2, np.uint16)  # 12 bits in 16
COLOUR = np.stack([GREY, GREY // 2, GREY // 4], axis=2)
OPAQUE = np.full_like(GREY, 65535)
RANGE = (0, 4095)
FILES_OF_GREY = {
    "PNG": write_png(GREY, 0),
    "PNG with alpha": write_png(np.dstack([GREY, OPAQUE]), 4),
    "TIFF": write_tiff(GREY, 1),
    "TIFF, other byte order": write_tiff(GREY, 1, order=">"),
    "TIFF, signed": write_tiff(GREY.astype(np.int16), 1),
    "TIFF, 32 bits": write_tiff(GREY.astype(np.int32), 1),
    "TIFF, 32 bits unsigned": write_tiff(GREY.astype(np.uint32), 1),
}
FILES_OF_COLOUR = {
    "PNG": write_png(COLOUR, 2),
    "PNG with alpha": write_png(np.dstack([COLOUR, OPAQUE]), 6),
    "TIFF": write_tiff(COLOUR, 2),
    "TIFF, other byte order": write_tiff(COLOUR, 2, order=">"),
    "TIFF, band after band": write_tiff(COLOUR, 2, planes=BAND_AFTER_BAND),
    "TIFF, band after band in the other order": write_tiff(COLOUR, 2, planes=BAND_AFTER_BAND, order=">"),
    "TIFF with alpha": write_tiff(np.dstack([COLOUR, OPAQUE]), 2, extra=[2]),
}


def decode(content: bytes, value_range=None) -> Image.Image:
    return decode_image(BytesIO(content), "picture", value_range=value_range)


def first_row(content: bytes, value_range=None) -> list:
    """Returns the red of the three pixels of the first row."""
    return np.asarray(decode(content, value_range))[0, :, 0].tolist()


def save_again(content: bytes, compression: str) -> bytes:
    """Returns a TIFF of the same pixels, compressed by libtiff."""
    file = BytesIO()
    Image.open(BytesIO(content)).save(file, "TIFF", compression=compression)
    return file.getvalue()


@pytest.mark.parametrize("kind", FILES_OF_GREY)
def test_12_bits_in_16_are_dark_by_their_type_and_right_by_the_setting(kind):
    assert first_row(FILES_OF_GREY[kind]) == [0, 8, 15]  # 2048 / 256, 4095 / 256
    assert first_row(FILES_OF_GREY[kind], RANGE) == [0, 128, 255]
    assert decode(FILES_OF_GREY[kind]).info["stored_range"] == (0, 4095)


@pytest.mark.parametrize("kind", FILES_OF_COLOUR)
def test_16_bit_colours_that_pillow_cuts_to_their_upper_byte_keep_all_by_the_setting(kind):
    np.testing.assert_array_equal(np.asarray(decode(FILES_OF_COLOUR[kind])), COLOUR >> 8)
    np.testing.assert_array_equal(np.asarray(decode(FILES_OF_COLOUR[kind], RANGE)), COLOUR >> 4)
    assert decode(FILES_OF_COLOUR[kind]).info["stored_range"] == (0, 4095)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_16_bit_tiff_is_the_same_picture(compression):
    assert first_row(save_again(write_tiff(GREY, 1), compression), RANGE) == [0, 128, 255]


@pytest.mark.parametrize("values", [GREY, GREY.astype(np.float32)])
def test_where_zero_is_white_the_picture_is_no_negative(values):
    assert first_row(write_tiff(values, 0), RANGE) == [255, 127, 0]


def test_12_packed_bits_have_their_own_white():
    packed = np.array([[0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00]], np.uint8)  # 0, 0x800, 0xfff, 0
    assert first_row(write_tiff(packed, 1, bits=12)) == [0, 128, 255, 0]


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ([0, 0.5, 1], "[0,1]"),
        ([0, 128, 255], "[0,255]"),
        ([-1000, 40, 3000], "[-1000,3000]"),
        ([np.nan, 0.5, np.inf], "[0,1]"),
    ],
)
def test_floats_are_refused_with_the_setting_that_shows_them(values, setting):
    content = write_tiff(np.float32([values]), 1)
    with pytest.raises(InputError) as caught:
        first_row(content)
    assert "nothing tells which of them is black" in str(caught.value)
    assert str(caught.value).endswith(f"for example data.value_range={setting}")
    assert first_row(content, (0, 1))[1] in (128, 255)


def test_hounsfield_values_are_refused_and_right_by_the_setting():
    content = write_tiff(np.int16([[-1000, 0, 1000]]), 1)
    with pytest.raises(InputError, match=r"from -1000 to 1000.*data\.value_range=\[-1000,1000\]"):
        first_row(content)
    assert first_row(content, (-1000, 1000)) == [0, 127, 255]
    assert first_row(content, (0, 400)) == [0, 0, 255]  # a window


def test_what_is_no_number_is_black():
    content = write_tiff(np.float32([[np.nan, 0.5, np.inf]]), 1)
    assert first_row(content, (0, 1)) == [0, 128, 255]
    with pytest.raises(InputError, match="none of its values is a number"):
        first_row(write_tiff(np.float32([[np.nan] * 3]), 1))


def test_a_declared_transparent_value_is_white():
    assert first_row(write_png(GREY, 0, (2048,)), RANGE) == [0, 255, 255]
    assert first_row(write_png(COLOUR, 2, (2048, 1024, 512))) == [0, 255, 15]


def test_8_bits_are_the_same_under_any_range(tmp_path):
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
    assert decode(file.getvalue(), (0, 4095)).tobytes() == decode(file.getvalue()).tobytes()


def test_bands_that_are_no_colours_are_refused():
    pixels = np.random.default_rng(0).integers(1, 255, (4, 4, 5), np.uint8)
    for content, words in (
        (write_tiff(pixels[..., :4], 2, extra=[2]), "it may be infrared. Save the three bands"),
        (write_tiff(pixels[..., :4], 2), "it may be infrared"),
        (write_tiff(pixels, 2, extra=[0, 0]), "it has 5 bands"),
        (
            write_tiff(pixels[..., :4], 1, extra=[0, 0, 0]),
            "4 bands of 8 bits|a TIFF of a kind that Pillow does not read",
        ),
        (write_tiff(pixels[..., 0].astype(np.int8), 1), "its values are signed"),
    ):
        with pytest.raises(InputError, match=words):
            decode(content)


def test_true_transparency_of_a_tiff_is_white():
    pixels = np.dstack([np.zeros((4, 4, 3), np.uint8), np.array([[255, 255, 0, 255]] * 4, np.uint8)])
    assert first_row(write_tiff(pixels, 2, extra=[2])) == [0, 0, 255, 0]


def test_images_in_shards_have_the_range_too(tmp_path):
    content = FILES_OF_GREY["PNG"]
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        entry = tarfile.TarInfo("a.png")
        entry.size = len(content)
        shard.addfile(entry, BytesIO(content))
    read = RangedReader(ShardImages({f"{tmp_path}/a.tar": file_stamp(tmp_path / "a.tar")}), RANGE)
    picture = read(f"{tmp_path}/a.tar#512+{len(content)}#a.png", 8)
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 128, 255]
    assert pickle.loads(pickle.dumps(read)) == read


def test_a_copy_on_disk_is_that_of_its_range(tmp_path):
    (tmp_path / "a.png").write_bytes(FILES_OF_GREY["PNG"])
    for value_range, white in ((None, 15), (RANGE, 255), (None, 15)):
        read = read_image if value_range is None else RangedReader(read_image, value_range)
        cache = DiskCache(read, tmp_path / "cache", 8, InterpolationMode.BICUBIC)
        for _ in range(2):
            assert cache(str(tmp_path / "a.png")).max() == white


def test_a_run_from_before_has_the_range_of_the_type(tmp_path):
    (tmp_path / "config.yaml").write_text("data:\n  path: a.csv\n")
    assert read_config(tmp_path / "config.yaml").data.value_range == "auto"
    (tmp_path / "config.yaml").write_text("data:\n  value_range: [0, 4095]\n")
    settings = read_config(tmp_path / "config.yaml").data
    assert settings.window == "file"
    assert read_value_range(settings.value_range, settings.window) == RANGE


def test_what_is_kept_of_images_changes_with_the_range(tmp_path):
    manifest = Manifest(("cat",), ["a.png"], csr_array(np.int8([[1]])))
    states = {tuple(manifest.with_value_range(value_range).image_states()) for value_range in (None, (0, 1), (0, 2))}
    assert len(states) == 3
