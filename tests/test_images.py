"""Every kind of file comes out as the RGB picture that a person sees, or as an error that names the file."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from multihot.data.images import TURN_OF_ORIENTATION, decode_image, read_image
from multihot.errors import InputError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
FORMATS = ["jpg", "png", "webp", "gif", "bmp", "tif", *(["avif"] if ".avif" in Image.registered_extensions() else [])]


def save(image: Image.Image, path, **settings) -> str:
    image.save(path, **settings)
    return str(path)


def draw_halves(mode: str, left, right) -> Image.Image:
    """Returns a picture of 16 x 16 pixels with two colours."""
    image = Image.new(mode, (16, 16), left)
    image.paste(right, (8, 0, 16, 16))
    return image


def stored_mode(path: str) -> str:
    with Image.open(path) as image:
        return image.mode


def colours(image: Image.Image) -> list:
    """Returns the colours in the middle of the left and the right half."""
    return [image.getpixel((4, 8)), image.getpixel((12, 8))]


def draw_photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_an_rgb_jpeg_has_the_pixels_that_pillow_decodes(tmp_path):
    path = save(draw_photo(), tmp_path / "photo.jpg")
    image = read_image(path)
    assert image.mode == "RGB"
    assert image.size == (24, 32)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(stored))


@pytest.mark.parametrize(
    ("mode", "left", "right", "expected"),
    [
        ("L", 0, 200, [(0, 0, 0), (200, 200, 200)]),
        ("1", 0, 1, [(0, 0, 0), WHITE]),
        ("LA", (90, 255), (90, 0), [(90, 90, 90), WHITE]),
        ("RGBA", (255, 0, 0, 255), (0, 255, 0, 0), [RED, WHITE]),
        ("RGBA", (255, 0, 0, 128), (0, 0, 0, 128), [(255, 127, 127), (127, 127, 127)]),
    ],
)
def test_grey_and_transparent_pictures_are_shown_on_white(tmp_path, mode, left, right, expected):
    path = save(draw_halves(mode, left, right), tmp_path / "picture.png")
    image = read_image(path)
    assert image.mode == "RGB"
    assert colours(image) == expected


@pytest.mark.parametrize("settings", [{}, {"transparency": 1}, {"transparency": b"\xff\x00"}])
def test_a_palette_picture_has_its_colours_and_white_where_it_is_transparent(tmp_path, settings):
    picture = draw_halves("P", 0, 1)
    picture.putpalette([*RED, *GREEN])
    path = save(picture, tmp_path / "palette.png", **settings)
    assert colours(read_image(path)) == [RED, WHITE if settings else GREEN]


def test_a_colour_that_a_png_declares_transparent_is_white(tmp_path):
    path = save(draw_halves("RGB", RED, GREEN), tmp_path / "key.png", transparency=GREEN)
    assert colours(read_image(path)) == [RED, WHITE]


def test_cmyk_red_is_red_in_tiff_and_in_the_inverted_jpeg_of_adobe(tmp_path):
    picture = draw_halves("CMYK", (0, 255, 255, 0), (0, 0, 0, 0))
    for name in ("print.tif", "print.jpg"):
        path = save(picture, tmp_path / name)
        assert stored_mode(path) == "CMYK"
        np.testing.assert_allclose(colours(read_image(path)), [RED, WHITE], atol=4)
    assert b"Adobe" in (tmp_path / "print.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "dtype"), [("x-ray.png", np.uint16), ("x-ray.tif", np.uint16), ("x-ray.tif", np.int32)]
)
def test_a_16_bit_gradient_keeps_black_middle_and_white(tmp_path, name, dtype):
    gradient = np.linspace(0, 65535, 33).astype(dtype)[None].repeat(4, axis=0)
    image = read_image(save(Image.fromarray(gradient), tmp_path / name))
    assert image.mode == "RGB"
    assert [image.getpixel((column, 2))[0] for column in (0, 16, 32)] == [0, 127, 255]


def test_16_bits_in_the_other_byte_order_are_the_same_picture(tmp_path):
    picture = Image.frombytes("I;16B", (4, 4), np.full((4, 4), 40000, ">u2").tobytes())
    path = save(picture, tmp_path / "motorola.tif")
    assert stored_mode(path) == "I;16B"
    assert read_image(path).getpixel((1, 1)) == (156, 156, 156)  # 40000 / 256 = 156.25


@pytest.mark.parametrize("values", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70000, np.int32)])
def test_grey_values_without_a_known_white_are_an_error(tmp_path, values):
    path = save(Image.fromarray(values), tmp_path / "depth.tif")
    with pytest.raises(InputError, match=r"depth\.tif.*nothing tells which of them is black.*data\.value_range=\["):
        read_image(path)


def test_orientation_6_turns_the_picture_clockwise(tmp_path):
    # The camera stored red left and green right; held upright, red is at the top.
    path = save(draw_halves("RGB", RED, GREEN), tmp_path / "phone.png", exif=exif_with(6))
    image = read_image(path)
    assert [image.getpixel((8, 4)), image.getpixel((8, 12))] == [RED, GREEN]


@pytest.mark.parametrize("orientation", [1, *TURN_OF_ORIENTATION])
def test_every_orientation_is_shown_as_pillow_shows_it(tmp_path, orientation):
    path = save(draw_photo(), tmp_path / "photo.jpg", exif=exif_with(orientation))
    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(ImageOps.exif_transpose(stored)))


def test_an_exif_block_that_is_none_leaves_the_picture_as_stored(tmp_path):
    path = save(draw_halves("RGB", RED, GREEN), tmp_path / "odd.png", exif=b"no exif at all")
    assert colours(read_image(path)) == [RED, GREEN]


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_without_its_last_quarter_is_an_error_with_its_name(tmp_path, extension):
    path = save(draw_photo(), tmp_path / f"cut.{extension}")
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(InputError, match=rf"cut\.{extension}: .+\. Restore the file or remove its row"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty. Restore the file or remove its row"),
        (b"<html>404</html>", "it is not an image but a web page: download or copy it again, or remove its row"),
        (None, "No such file or directory. Restore the file or remove its row"),
    ],
)
def test_empty_foreign_and_missing_files_are_errors_that_say_so(tmp_path, content, reason):
    path = tmp_path / "image.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"image\.jpg: {reason}"):
        read_image(str(path))


def test_a_damaged_png_is_an_error_with_its_name(tmp_path):
    path = save(draw_photo(), tmp_path / "damaged.png")
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path(path).write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.png: .*Restore the file"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "limit", [500, 300]
)  # Pillow warns above the limit and fails above its double; here are 768 pixels
def test_a_picture_too_large_to_decode_safely_is_an_error(tmp_path, monkeypatch, limit):
    path = save(draw_photo(), tmp_path / "poster.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError, match=rf"poster\.png: it has more than the {limit} pixels.*make it smaller"):
        read_image(path)


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((1600, 1200), None, (1600, 1200)),
        ((1600, 1200), 301, (1600, 1200)),  # a half has 600, less than 2 x 301
        ((1600, 1200), 300, (800, 600)),
        ((1600, 1200), 150, (400, 300)),
        ((1600, 1200), 20, (200, 150)),
        ((160, 120), 60, (160, 120)),
    ],
)
def test_a_jpeg_decodes_at_the_smallest_scale_with_twice_the_pixels_needed(tmp_path, size, min_side, expected):
    Image.linear_gradient("L").resize(size).convert("RGB").save(tmp_path / "photo.jpg")
    assert read_image(str(tmp_path / "photo.jpg"), min_side).size == expected


def test_other_formats_and_turned_photos_decode_at_their_scale(tmp_path):
    Image.new("RGB", (1600, 1200)).save(tmp_path / "photo.png")
    assert read_image(str(tmp_path / "photo.png"), 100).size == (1600, 1200)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (1600, 1200)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(str(tmp_path / "turned.jpg"), 300).size == (600, 800)


def test_a_resize_from_the_reduced_scale_is_close_to_one_from_the_full_size(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg", quality=95)
    full, reduced = (read_image(str(tmp_path / "photo.jpg"), side).resize((300, 225)) for side in (None, 225))
    assert np.abs(np.asarray(full, int) - np.asarray(reduced, int)).max() <= 4


def test_bytes_decode_as_their_file_does(tmp_path):
    Image.linear_gradient("L").save(tmp_path / "photo.png")
    content = (tmp_path / "photo.png").read_bytes()
    assert decode_image(BytesIO(content), "photo").tobytes() == read_image(str(tmp_path / "photo.png")).tobytes()
    with pytest.raises(InputError, match="cannot read the image row 7: the file is empty"):
        decode_image(BytesIO(b""), "row 7")
