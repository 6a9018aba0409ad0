"""What training and evaluation say of pictures on which little can be seen."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array

from multihot.data.checks.pictures import USUAL_CROP, lost_share, warn_of_pictures
from multihot.data.manifest import Manifest

NUM_IMAGES = 8
SQUASH = {**USUAL_CROP, "crop_pct": 1.0, "crop_mode": "squash"}


def create_manifest(folder, pictures) -> Manifest:
    images = []
    for number, picture in enumerate(pictures):
        images.append(str(folder / f"{number}.png"))
        picture.save(images[-1])
    return Manifest(("cat",), images, csr_array(np.ones((len(images), 1), np.int8)))


def draw(seed: int, size=(64, 48), most=256) -> Image.Image:
    blots = np.random.RandomState(seed).randint(0, most, (8, 8, 3)).astype(np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


def deep(seed: int, bits: int) -> Image.Image:
    return Image.fromarray(np.asarray(draw(seed).convert("L")).astype(np.uint16) << (bits - 8))


def warnings_of(manifest: Manifest, caplog, preprocessing=USUAL_CROP) -> list[str]:
    caplog.clear()
    warn_of_pictures(manifest, preprocessing)
    return [record.getMessage() for record in caplog.records]


def test_ordinary_photos_are_no_warning(tmp_path, caplog):
    manifest = create_manifest(tmp_path, [draw(seed) for seed in range(NUM_IMAGES)])
    assert warnings_of(manifest, caplog) == []
    assert warnings_of(replace(manifest, images=[], targets=manifest.targets[:0]), caplog) == []


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_than_16_are_one_warning_with_the_setting(tmp_path, caplog, bits):
    manifest = create_manifest(tmp_path, [deep(seed, bits) for seed in range(NUM_IMAGES)])
    [warning] = warnings_of(manifest, caplog)
    assert warning.startswith(
        "8 of 8 pictures that were looked at are nearly black, nearly white or of few grey levels "
        f"({tmp_path}/0.png: nearly black"
    )
    assert warning.endswith(f"Set data.value_range=[0,{2**bits - 1}]")
    assert warnings_of(manifest.with_value_range((0, 2**bits - 1)), caplog) == []


def test_a_hot_pixel_and_an_offset_do_not_hide_the_range(tmp_path, caplog):
    pixels = [np.asarray(deep(seed, 12)).copy() for seed in range(NUM_IMAGES)]
    for one in pixels:
        one[0, 0] = 65535
    [warning] = warnings_of(create_manifest(tmp_path, map(Image.fromarray, pixels)), caplog)
    assert warning.endswith("Set data.value_range=[0,4095]")
    shifted = [Image.fromarray(np.asarray(deep(seed, 10)) + 32768) for seed in range(NUM_IMAGES)]
    [warning] = warnings_of(create_manifest(tmp_path, shifted), caplog)
    assert "of few grey levels" in warning
    assert "Set data.value_range=[327" in warning  # 32768 and what the darkest pixel has


def test_dark_pictures_of_a_range_that_was_chosen_are_meant_so(tmp_path, caplog):
    dark = [Image.fromarray(np.asarray(deep(seed, 12)) // 8) for seed in range(6)]
    manifest = create_manifest(tmp_path, [*dark, deep(6, 12), deep(7, 12)])
    assert len(warnings_of(manifest, caplog)) == 1
    assert warnings_of(manifest.with_value_range((0, 4095)), caplog) == []


def test_few_pictures_of_12_bits_among_others_are_a_warning(tmp_path, caplog):
    manifest = create_manifest(tmp_path, [deep(0, 12), *map(draw, range(1, 12))])
    [warning] = warnings_of(manifest, caplog)
    assert warning.startswith("1 of 12 pictures")
    assert warning.endswith("Set data.value_range=[0,4095]")


def test_a_range_that_is_too_narrow_is_a_warning(tmp_path, caplog):
    manifest = create_manifest(tmp_path, [deep(seed, 12) for seed in range(NUM_IMAGES)]).with_value_range((0, 1))
    [warning] = warnings_of(manifest, caplog)
    assert "nearly white" in warning
    assert warning.endswith("Set data.value_range=[0,4095]")


@pytest.mark.parametrize(
    ("levels", "word"), [((0, 40), "nearly black"), ((210, 255), "nearly white"), ((120, 130), "of few grey levels")]
)
def test_dark_white_and_flat_pictures_of_8_bits_are_a_warning_from_a_quarter_on(tmp_path, caplog, levels, word):
    low, high = levels
    poor = [draw(seed).point(lambda level: low + level * (high - low) // 255) for seed in range(2)]
    [warning] = warnings_of(create_manifest(tmp_path, [*poor, *map(draw, range(2, 8))]), caplog)
    assert "2 of 8" in warning
    assert word in warning
    assert "If they are meant so, all is well" in warning
    assert warnings_of(create_manifest(tmp_path, [*poor, *map(draw, range(2, 12))]), caplog) == []


def test_drawings_scans_and_stars_are_no_warning(tmp_path, caplog):
    page, sky = Image.new("L", (100, 100), 255), Image.new("L", (100, 100), 0)
    for k in range(20):
        page.putpixel((k, k), 0)
        sky.putpixel((k, k), 255)
    assert warnings_of(create_manifest(tmp_path, [page, sky, page.convert("1")]), caplog, SQUASH) == []


def test_panoramas_are_a_warning_with_the_setting_that_shows_all(tmp_path, caplog):
    manifest = create_manifest(tmp_path, [draw(seed, (256, 64)) for seed in range(NUM_IMAGES)])
    [warning] = warnings_of(manifest, caplog)
    assert f"80% of their area, in the median, is never seen (80% of {tmp_path}/0.png)" in warning
    assert "crop_mode: squash" in warning
    assert warnings_of(manifest, caplog, SQUASH) == []


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (60, 120)])
def test_the_share_that_is_lost_is_that_of_timms_transform(mode, size):
    from timm.data import create_transform

    settings = {"input_size": (3, 32, 32), "crop_pct": 0.8, "crop_mode": mode}
    transform = create_transform(**settings, interpolation="nearest", mean=(0,) * 3, std=(1,) * 3)
    columns = np.tile(np.arange(size[0], dtype=np.uint8), (size[1], 1))
    rows = np.tile(np.arange(size[1], dtype=np.uint8)[:, None], (1, size[0]))
    seen = 255 * transform(Image.fromarray(np.dstack([columns, rows, np.full_like(rows, 255)]))).numpy()
    inside = seen[2] > 0
    spans = [np.ptp(seen[band][inside]) / length for band, length in ((0, size[0]), (1, size[1]))]
    assert 1 - spans[0] * spans[1] == pytest.approx(lost_share(size, settings), abs=0.08)
