"""scripts/time_decoders.py compares decoders of the same files."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts/time_decoders.py"))


@pytest.fixture
def photo(tmp_path):
    """A JPEG with detail, of 40 x 32 pixels laid side by side to 100 x 70."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    return SCRIPT["write_photos"]([tmp_path / "a.png"], (100, 70), tmp_path)[0]


def test_a_small_photo_is_repeated_to_the_size():
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    filled = np.asarray(SCRIPT["fill"](picture, (3, 5)))
    assert filled.shape == (5, 3, 3)
    np.testing.assert_array_equal(filled[:2, :2], np.asarray(picture))
    np.testing.assert_array_equal(filled[4, 2], np.asarray(picture)[0, 0])


@pytest.mark.filterwarnings("ignore:.*deprecated")  # torchvision's decoder, which is beside others here
def test_decoders_that_are_exact_differ_by_nothing(photo):
    ours, *others = (decoder for decoder in SCRIPT["find_decoders"]() if decoder.makes_pixels)
    assert others
    for decoder in others:
        pixels = decoder.decode(photo)
        assert pixels.shape == (3, 70, 100)
        largest, share = SCRIPT["compare"](decoder.decode, ours.decode, [photo])
        is_exact = "fast" not in decoder.package
        assert ((largest, share) == (0, 0)) == is_exact, decoder.title


def test_differences_are_the_largest_level_and_the_share_of_pixels(photo):
    ours = next(SCRIPT["find_decoders"]()).decode

    def other(path):
        pixels = ours(path).int()
        pixels[1, :7] += 3  # a tenth of the rows, in one colour
        return pixels

    assert SCRIPT["compare"](other, ours, [photo]) == (3, pytest.approx(0.1))


def test_a_cut_file_is_refused_by_the_first(photo):
    ours = next(SCRIPT["find_decoders"]()).decode
    cut, damaged = SCRIPT["break_file"](Path(photo))
    assert SCRIPT["answer"](ours, cut) == "refused"
    assert SCRIPT["answer"](ours, photo) == "decoded"
    assert Path(damaged).stat().st_size == Path(photo).stat().st_size > Path(cut).stat().st_size


def test_a_table_has_a_row_a_decoder(photo, capsys):
    decoders = list(SCRIPT["find_decoders"]())[:2]
    capsys.readouterr()  # which packages are left out
    SCRIPT["print_table"].__globals__["PIXELS_A_ROUND"] = 7000
    SCRIPT["print_table"](decoders, [photo], 1)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [decoder.title for decoder in decoders]
    assert "| 1.00 (1.00 to 1.00) | 0 | 0.0% | refused |" in rows[0]
    assert "| 0 | 0.0% | refused |" in rows[1]


def test_this_package_reads_a_part_of_the_size_where_less_is_needed(photo):
    assert {decoder.decode(photo).shape for decoder in SCRIPT["find_own"](17)} == {(3, 35, 50)}
