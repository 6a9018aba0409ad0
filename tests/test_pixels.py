"""Pixels that are read without a Pillow picture are those of the picture to the bit, and so are the errors."""

import random
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import ExifTags, Image
from scipy.sparse import csr_array
from test_broken_images import damage
from timm.data import create_transform

from multihot.data import image_cache
from multihot.data.images import TURN_OF_ORIENTATION, decode_image, read_image
from multihot.data.loader import create_evaluation_batches, create_training_batches
from multihot.data.manifest import Manifest
from multihot.data.pixels import PixelReader, decode_pixels, decode_plain_jpeg, read_pixels, reader_for
from multihot.data.resize import to_pixels, use_tensor_resize
from multihot.data.sampling import TrainingOrder
from multihot.data.value_range import RangedReader
from multihot.errors import InputError

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
PREPROCESSING = {"input_size": (3, 32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}


def draw_photo(width: int = 203, height: int = 155) -> Image.Image:
    """A picture with edges and noise, of odd sides."""
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 5)
    noise = np.random.default_rng(0).integers(0, 90, (height, width, 3))
    return Image.fromarray(((ramp[..., None] + noise) % 256).astype(np.uint8))


def encode(picture: Image.Image | None = None, format: str = "JPEG", **settings) -> bytes:
    file = BytesIO()
    (picture or draw_photo()).save(file, format, **settings)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "maker"
    return encode(exif=exif)


PLAIN = {  # decoded without Pillow's decoder
    "4:2:0": encode(),
    "4:2:2": encode(subsampling=1),
    "4:4:4": encode(subsampling=0),
    "quality 10": encode(quality=10),
    "progressive": encode(progressive=True),
    "restarts": encode(restart_marker_rows=1),
    "colours as they are": encode(keep_rgb=True),
    "grey": encode(draw_photo().convert("L")),
    "a comment": encode(comment=b"\xff\xd8\xff" * 9),
    "a colour profile": encode(icc_profile=bytes(900)),
    "XMP turns it": encode(xmp=XMP),
    "two pictures": encode(format="MPO", save_all=True, append_images=[draw_photo(99, 99)]),
    "bytes behind it": encode() + bytes(99),
    **{f"turn {orientation}": turned(orientation) for orientation in (1, *TURN_OF_ORIENTATION)},
}
OTHERS = {
    "CMYK": encode(draw_photo().convert("CMYK")),
    "small": encode(draw_photo(30, 15)),
    "PNG": encode(format="PNG"),
    "PNG with transparency": encode(draw_photo().convert("RGBA"), "PNG"),
    "cut": encode()[:-99],
    "without its end": encode()[:-2],
    "a byte before a marker": encode().replace(b"\xff\xc4", b"\0\xff\xc4", 1),
}


def decode(content: bytes, min_side: int | None = None) -> torch.Tensor:
    return to_pixels(decode_image(BytesIO(content), "photo", min_side))


def result_of(function, *arguments) -> torch.Tensor | str:
    try:
        return function(*arguments)
    except InputError as error:
        return str(error)


def assert_same(one: torch.Tensor | str, other: torch.Tensor | str) -> None:
    assert type(one) is type(other)
    assert one == other if isinstance(one, str) else torch.equal(one, other)


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("min_side", [None, 78, 38, 19, 9])  # scales 1, 1, 2, 4, 8
def test_a_whole_jpeg_has_the_pixels_of_pillow_to_the_bit(tmp_path, kind, min_side):
    (tmp_path / "photo.jpg").write_bytes(PLAIN[kind])
    pixels = decode_plain_jpeg(str(tmp_path / "photo.jpg"), min_side)
    expected = to_pixels(read_image(str(tmp_path / "photo.jpg"), min_side))
    assert torch.equal(pixels, expected)
    assert pixels.stride() == expected.stride()  # so that what follows takes the same way
    assert torch.equal(read_pixels(str(tmp_path / "photo.jpg"), min_side), expected)
    assert torch.equal(decode_pixels(BytesIO(PLAIN[kind]), "photo", min_side), expected)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_else_there_is_is_left_to_pillow(kind):
    with suppress(ValueError):  # of simplejpeg, for what it takes for damaged
        assert decode_plain_jpeg(BytesIO(OTHERS[kind]), None) is None
    source = BytesIO(OTHERS[kind])
    assert_same(result_of(decode_pixels, source, "photo"), result_of(decode, OTHERS[kind]))


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 23), (31, 33), (64, 200), (129, 127)])
def test_sizes_of_all_remainders_are_reduced_alike(size):
    content = encode(draw_photo(*size))
    for min_side in (1, 2, 4, 8, 16):
        assert torch.equal(decode_plain_jpeg(BytesIO(content), min_side), decode(content, min_side))


@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "turn 6", "XMP turns it", "colours as they are"])
def test_a_damaged_file_has_the_same_pixels_or_the_same_error(kind):
    rng = random.Random(0)
    for _ in range(40):
        content = damage(PLAIN[kind], rng)
        assert_same(result_of(decode_pixels, BytesIO(content), "photo"), result_of(decode, content))


@pytest.mark.parametrize("what", ["missing", "a folder", "empty", "text"])
def test_what_is_no_picture_is_the_error_of_the_picture(tmp_path, what):
    path = tmp_path / "photo.jpg"
    if what == "a folder":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(b"" if what == "empty" else b"<html>")
    message = result_of(read_pixels, str(path))
    assert message == result_of(read_image, str(path))
    assert "photo.jpg: " in message


def test_a_picture_too_large_to_decode_safely_is_the_same_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 203 * 155 - 1)
    with pytest.raises(InputError, match="it has more than the 31464 pixels"):
        decode_pixels(BytesIO(PLAIN["4:2:0"]), "photo")


def test_a_file_too_large_to_be_held_is_left_to_pillow(tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(PLAIN["4:2:0"])
    monkeypatch.setattr("multihot.data.pixels.MOST_BYTES", len(PLAIN["4:2:0"]) - 1)
    assert decode_plain_jpeg(str(tmp_path / "photo.jpg"), None) is None
    assert torch.equal(read_pixels(str(tmp_path / "photo.jpg")), decode(PLAIN["4:2:0"]))


class Shard:
    """Reads pictures that are no files."""

    def __call__(self, image, min_side=None, value_range=None):
        return decode_image(*self.source_of(image), min_side, value_range)

    def source_of(self, image):
        return BytesIO({**PLAIN, "deep": DEEP}[image]), f"row {image}"


DEEP = encode(Image.fromarray(np.full((40, 40), 3000, np.uint16)), "PNG")


def test_readers_of_bytes_and_of_anything_else_are_read_as_pixels():
    for read in (Shard(), lambda image, min_side=None: Shard()(image, min_side)):
        pixels = PixelReader(read)("turn 8", 19)
        assert torch.equal(pixels, to_pixels(Shard()("turn 8", 19)))
    ranged = PixelReader(RangedReader(Shard(), (0.0, 4095.0)))
    assert ranged("deep")[0, 0, 0] == 187  # 3000 / 4096 x 256 = 187.5
    assert torch.equal(ranged("grey"), to_pixels(Shard()("grey")))


def test_a_transform_that_needs_a_picture_is_given_one():
    transform = use_tensor_resize(create_transform(**PREPROCESSING))
    assert reader_for(transform, read_image) == PixelReader(read_image)
    border = create_transform(**PREPROCESSING, crop_mode="border")
    assert reader_for(border, read_image) is read_image
    assert reader_for(lambda picture: picture, read_image) is read_image


@pytest.fixture
def manifest(tmp_path):
    contents = {**PLAIN, **{kind: OTHERS[kind] for kind in ("CMYK", "small", "PNG with transparency")}}
    images = [str(tmp_path / f"{number}.jpg") for number in range(len(contents))]
    for image, content in zip(images, contents.values(), strict=True):
        with open(image, "wb") as file:
            file.write(content)
    return Manifest(("a",), images, csr_array(np.ones((len(images), 1), np.int8)))


def augment(**settings):
    return create_transform(is_training=True, scale=(0.2, 1), color_jitter=0.4, **settings)


@pytest.mark.parametrize("cache", ["none", "resized"])
def test_batches_are_those_of_pictures_to_the_bit(manifest, tmp_path, monkeypatch, cache):
    def batches(folder):
        shared = {"accelerator": Accelerator(cpu=True), "preprocessing": PREPROCESSING, "num_workers": 0}
        shared |= {"cache": cache, "cache_folder": tmp_path / folder, "seed": 0}
        order = TrainingOrder(len(manifest), 8, seed=0)
        yield from create_training_batches(manifest, augment, order=order, **shared)
        yield from create_evaluation_batches(manifest, batch_size=8, **shared)

    found = list(batches("pixels"))
    monkeypatch.setattr(image_cache, "reader_for", lambda transform, read: read)
    monkeypatch.setattr(
        image_cache, "PixelReader", lambda read: lambda image, min_side=None: to_pixels(read(image, min_side))
    )
    for batch, expected in zip(found, batches("pictures"), strict=True):
        assert torch.equal(batch["image"], expected["image"])
