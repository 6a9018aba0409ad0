import zlib

import numpy as np
import pytest
from PIL import Image

from multihot.data.readers import digits
from multihot.data.readers.digits import load_digits
from multihot.errors import InputError


def create(split="train", **changes):
    settings = {"num_images": {"train": 60, "val": 40, "test": 40}, "max_digits": 5, "num_clutter": 6}
    return digits.create_digits(
        split, **{**settings, "single_label": False, "hidden_fraction": 0.0, "seed": 0, **changes}
    )


def pixels(manifest, row=0):
    return np.asarray(manifest.read(manifest.images[row]))


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others():
    assert np.array_equal(pixels(create()), pixels(create()))
    assert not np.array_equal(pixels(create()), pixels(create(seed=1)))
    assert (create().targets != create(seed=1).targets).nnz > 0


def test_a_scene_is_a_36_pixel_rgb_picture_with_one_to_five_labels():
    manifest = create()
    assert pixels(manifest).shape == (36, 36, 3)
    counts = manifest.targets.sum(axis=1)
    assert counts.min() >= 1
    assert 1 < counts.max() <= 5


def test_a_stamp_is_the_same_whenever_it_is_drawn():
    stamps, rng = digits.create_stamps.__wrapped__("val"), np.random.default_rng(0)
    chances = [(rng.integers(11, 14), rng.uniform(-12, 12)) for _ in range(2 * digits.NUM_VARIANTS)]
    for digit, variant in ((1, 3), (0, 7), (1, 3)):  # no two in the order of the chances
        size, turn = chances[digit * digits.NUM_VARIANTS + variant]
        image = Image.fromarray(digits.source_digits("val")[0][digit]).resize((size, size), Image.Resampling.BICUBIC)
        expected = np.zeros((14, 14), np.uint8)
        expected[:size, :size] = image.rotate(turn, Image.Resampling.BILINEAR)
        assert np.array_equal(stamps.draw(digit, variant), expected)
    assert len(stamps.drawn) == 2


def test_splits_are_drawn_from_disjoint_source_digits():
    parts = [digits.source_digits(split)[0] for split in digits.SPLITS]
    assert sum(map(len, parts)) == 1797
    # The source itself holds no two equal pictures, so disjoint parts share none.
    assert len(np.unique(np.concatenate(parts).reshape(1797, -1), axis=0)) == 1797


def test_the_test_digits_are_those_that_the_shipped_weights_have_never_seen():
    pixels, sources = digits.source_digits("test")
    assert sources[:8].tolist() == [8, 8, 9, 8, 3, 7, 5, 0]
    assert zlib.crc32(pixels.tobytes()) == 3626388701


def test_single_label_scenes_have_exactly_one_label():
    assert (create(single_label=True).targets.sum(axis=1) == 1).all()


def test_targets_name_the_digits_that_stand_in_the_cells():
    manifest = create()
    _, sources = digits.source_digits("train")
    for row, cells in enumerate(manifest.read.cells):
        assert set(manifest.targets[[row]].indices) == set(sources[cells[cells != digits.EMPTY]])


def test_places_are_where_the_ink_of_the_digits_is():
    manifest = create("test", num_clutter=0)
    for row, image in enumerate(manifest.images):
        places, scene = manifest.read.find_places(image), pixels(manifest, row)[..., 0]
        assert {place.digit for place in places} == set(manifest.targets[[row]].indices)
        ink = np.zeros_like(scene, bool)
        for _, top, left, bottom, right in places:
            ink[top:bottom, left:right] = True
            assert scene[top:bottom, left:right].max() > 100
            assert max(bottom - top, right - left) <= digits.STAMP_SIZE
        assert scene[~ink].max() < 40  # the noise


def test_an_unknown_split_or_label_list_is_refused():
    with pytest.raises(InputError, match="train, val, test"):
        create("training")
    with pytest.raises(InputError, match="zero, one"):
        create(labels=("a", "b"))


def test_the_source_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits as expected

    images, target = load_digits()
    assert np.array_equal(images, expected().images)
    assert np.array_equal(target, expected().target)
