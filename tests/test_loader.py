import math
import multiprocessing
import random
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from timm.data import create_transform

from multihot.data.loader import check_target, create_evaluation_batches, create_training_batches, seeded
from multihot.data.readers.digits import create_digits
from multihot.data.sampling import EvaluationOrder, TrainingOrder
from multihot.errors import InputError

PREPROCESSING = {"input_size": (3, 32, 32), "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.2), "crop_pct": 1.0}
AUGMENT = partial(create_transform, is_training=True, scale=(0.5, 1.0), color_jitter=0.3, auto_augment="rand-m9-n2")


@pytest.fixture
def manifest():
    count = {"train": 19, "val": 19, "test": 19}
    return create_digits(
        "train", num_images=count, max_digits=3, num_clutter=2, single_label=False, hidden_fraction=0.0, seed=0
    )


def rows_of(order):
    return [[row for _, row in batch] for batch in order]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("num_images", [24, 25, 29, 3])
def test_training_processes_share_every_image_once(num_images, num_processes):
    orders = [
        TrainingOrder(num_images, 4, seed=0, process_index=p, num_processes=num_processes) for p in range(num_processes)
    ]
    seen = sorted(row for order in orders for batch in rows_of(order) for row in batch)
    assert len(set(seen)) == len(seen) > num_images - num_processes
    # all processes make the same number of steps, and know how many images take part in each
    sizes = [sum(map(len, batches)) for batches in zip(*map(rows_of, orders), strict=True)]
    assert all(order.batch_sizes() == sizes and len(order) == len(sizes) for order in orders)


def test_two_processes_make_the_global_batches_of_one():
    one = rows_of(TrainingOrder(50, 8, seed=3))
    two = [rows_of(TrainingOrder(50, 4, seed=3, process_index=p, num_processes=2)) for p in range(2)]
    assert [set(batch) for batch in one] == [set(a) | set(b) for a, b in zip(*two, strict=True)]


def test_each_epoch_and_each_seed_has_its_own_order():
    first, again, other = (TrainingOrder(30, 30, seed) for seed in (0, 0, 1))
    again.epoch = 1
    assert len({tuple(rows_of(order)[0]) for order in (first, again, other)}) == 3
    assert next(iter(again))[0][0] == 1  # the epoch travels with the row


def test_fewer_images_than_processes_are_refused():
    with pytest.raises(InputError, match="2 training images"):
        TrainingOrder(2, 8, seed=0, num_processes=3)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5, 7])
def test_evaluation_processes_share_the_batches_of_one(num_processes):
    one = rows_of(EvaluationOrder(23, 5))
    orders = [EvaluationOrder(23, 5, p, num_processes) for p in range(num_processes)]
    assert {len(order) for order in orders} == {math.ceil(len(one) / num_processes)}  # as a sharded model needs it
    own = [batch for order in orders for batch in rows_of(order)[: order.num_own]]
    assert sorted(own) == sorted(one)
    assert [row for batch in one for row in batch] == list(range(23))


def batches_with(manifest, num_workers):
    batches = create_training_batches(
        manifest, AUGMENT, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING,
        order=TrainingOrder(len(manifest), 8, seed=5), num_workers=num_workers, seed=5,
    )  # fmt: skip
    epochs = []
    for epoch in range(2):
        batches.begin(epoch)
        torch.rand(epoch + num_workers)  # what else draws random numbers must not matter
        epochs.append(list(batches))
    return epochs


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_the_pixels_do_not_depend_on_the_number_of_workers(manifest):
    expected = batches_with(manifest, 0)
    for num_workers in (1, 4):
        for epoch, expected_epoch in zip(batches_with(manifest, num_workers), expected, strict=True):
            for batch, expected_batch in zip(epoch, expected_epoch, strict=True):
                assert all(torch.equal(batch[key], expected_batch[key]) for key in ("image", "target", "index"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no safe fork")
def test_workers_are_forked_whatever_python_prefers(manifest, monkeypatch):
    monkeypatch.setattr(
        multiprocessing.context._default_context, "_actual_context", multiprocessing.get_context("spawn")
    )
    batches = create_evaluation_batches(
        manifest, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING, batch_size=8, num_workers=1
    )
    assert batches.loader.multiprocessing_context.get_start_method() == "fork"


def test_the_same_image_is_augmented_anew_in_each_epoch(manifest):
    first, second = (
        {int(row): image for batch in epoch for row, image in zip(batch["index"], batch["image"], strict=True)}
        for epoch in batches_with(manifest, 0)
    )
    assert sum(torch.equal(first[row], second[row]) for row in first) < 3


def test_evaluation_batches_are_normalised_as_the_model_wants(manifest):
    batches = create_evaluation_batches(
        manifest, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING, batch_size=8, num_workers=0
    )
    batch = next(iter(batches))
    assert batch["image"].dtype == batch["target"].dtype == torch.float32
    assert batch["index"].tolist() == list(range(8))
    expected = create_transform(**PREPROCESSING)(manifest.read(manifest.images[2]))
    grey_level = 1 / 255 / min(PREPROCESSING["std"])
    torch.testing.assert_close(batch["image"][2], expected, atol=1.001 * grey_level, rtol=0)
    assert batch["target"][2].tolist() == manifest.target(2).tolist()


def test_seeding_a_sample_leaves_the_generators_as_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with seeded(1, 2, 3):
        first = random.random(), np.random.rand(), torch.rand(())
    with seeded(1, 2, 3):
        assert (random.random(), np.random.rand(), torch.rand(())) == first
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def images_of(manifest, augment, batch_size=8, num_workers=0, epoch=0):
    """Returns the images of an epoch by row."""
    batches = create_training_batches(
        manifest, augment, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING,
        order=TrainingOrder(len(manifest), batch_size, seed=5), num_workers=num_workers, seed=5,
    )  # fmt: skip
    batches.begin(epoch)
    return {row: image for batch in batches for row, image in zip(batch["index"].tolist(), batch["image"], strict=True)}


def is_erased(plain, erased):
    """Returns where pixels (H, W) differ."""
    return (plain != erased).any(dim=0)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erased_rectangles_are_of_normalised_images_and_timms(manifest, mode):
    flips = partial(create_transform, is_training=True, scale=(0.5, 1.0), color_jitter=None)
    plain = images_of(manifest, flips)
    erased = images_of(manifest, partial(flips, re_prob=1.0, re_mode=mode, re_count=1))
    areas = []
    for row, image in plain.items():
        place = is_erased(image, erased[row])
        rows, columns = place.any(dim=1).nonzero().flatten(), place.any(dim=0).nonzero().flatten()
        inside = erased[row][:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        areas.append(inside[0].numel() / image[0].numel())
        if mode == "const":
            assert (inside == 0).all()  # the mean
        elif mode == "rand":
            assert len(inside.flatten(1).unique(dim=1).T) == 1
        else:
            assert inside.unique().numel() > 0.9 * inside.numel()
    assert all(0.01 < area < 0.4 for area in areas)  # timm's 1/50 to 1/3
    assert len(set(areas)) > 10  # each image has its own


def test_what_is_erased_depends_on_seed_epoch_and_row_alone(manifest):
    alone = partial(create_transform, is_training=True, scale=(1, 1), ratio=(1, 1), hflip=0.0, color_jitter=None)
    augment = partial(alone, re_prob=0.5, re_mode="pixel", re_count=3)
    before = random.getstate(), torch.get_rng_state()
    first = images_of(manifest, augment)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    for again in (images_of(manifest, augment, batch_size=5), images_of(manifest, augment, num_workers=1)):
        assert all(torch.equal(first[row], image) for row, image in again.items())
    plain, later = images_of(manifest, alone), images_of(manifest, augment, epoch=1)
    is_first, is_later = (
        [bool(is_erased(plain[row], images[row]).any()) for row in plain] for images in (first, later)
    )
    assert 3 < sum(is_first) < 16  # half of 19
    assert is_later != is_first


def test_a_batch_of_evaluation_with_augmented_views_is_erased_too(manifest):
    augment = partial(create_transform, is_training=True, scale=(1.0, 1.0), ratio=(1, 1), hflip=0, color_jitter=None)
    settings = {"accelerator": Accelerator(cpu=True), "preprocessing": PREPROCESSING, "batch_size": 8, "num_workers": 0}
    plain = next(iter(create_evaluation_batches(manifest, augment=augment, **settings)))
    erased = next(iter(create_evaluation_batches(manifest, augment=partial(augment, re_prob=1.0), **settings)))
    assert all(is_erased(one, two).any() for one, two in zip(plain["image"], erased["image"], strict=True))


def tint(picture):
    """Returns the bands of a picture, each darker than the one before it."""
    return [band.point(lambda value, part=part: value // part) for part, band in enumerate(picture.split(), start=1)]


SETTINGS_OF_TIMM = {
    "color_jitter": 0.4,
    "color_jitter_prob": 0.5,
    "grayscale_prob": 1.0,
    "gaussian_blur_prob": 1.0,
    "auto_augment": "rand-m9-n2",
    "interpolation": "bilinear",
    "train_crop_mode": "rkrc",
    "scale": (0.1, 0.2),
    "ratio": (2.0, 3.0),
    "hflip": 1.0,
    "vflip": 1.0,
    "re_prob": 1.0,
    "no_aug": True,
}


@pytest.mark.parametrize("name", SETTINGS_OF_TIMM)
def test_each_setting_of_timms_augmentation_acts(manifest, name):
    quiet = {"is_training": True, "scale": (0.5, 1.0), "ratio": (0.75, 1.3), "hflip": 0.0, "color_jitter": None}
    quiet |= {"color_jitter": 0.4} if name == "color_jitter_prob" else {}
    preprocessing = {**PREPROCESSING, "interpolation": "bicubic"}
    coloured = replace(manifest, read=lambda image, **_: Image.merge("RGB", tint(manifest.read(image))))
    images = []
    for settings in (quiet, {**quiet, name: SETTINGS_OF_TIMM[name]}):
        batches = create_training_batches(
            coloured, partial(create_transform, **settings), accelerator=Accelerator(cpu=True),
            preprocessing=preprocessing, order=TrainingOrder(len(manifest), 19, seed=5), num_workers=0, seed=5,
        )  # fmt: skip
        images.append(next(iter(batches))["image"])
    assert not torch.equal(*images)


@pytest.mark.parametrize("name", ["mean", "input_size", "normalize", "use_prefetcher"])
def test_settings_that_are_the_models_are_refused(manifest, name):
    with pytest.raises(InputError, match=f"augment.{name}: the model and the loader"):
        images_of(manifest, partial(AUGMENT, **{name: PREPROCESSING.get(name, False)}))


def test_augmentation_without_training_is_said_to_do_nothing(manifest, caplog):
    images_of(manifest, partial(create_transform, re_prob=0.5, hflip=1.0, crop_pct=0.9))
    assert "augment.re_prob, augment.hflip does nothing" in caplog.text


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (torch.ones(2, 3, dtype=torch.int64), "float multi-hot, not torch.int64"),
        (torch.ones(2, 4), r"\(batch, 3\), not \(2, 4\)"),
        (torch.ones(3), r"not \(3,\)"),
        (torch.tensor([[0.0, 1.0, 1.5]]), "image 0 of the batch has 1.5 for label 2"),
        (torch.tensor([[0.0, 1.0, 1.0], [0.0, -0.5, 0.0]]), "image 1 of the batch has -0.5 for label 1"),
        (torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]).to_sparse(), "image 1 of the batch has 2 for label 2"),
        (torch.tensor([[math.nan, 1.0, 1.0]]), "has nan for label 0"),
    ],
)
def test_wrong_targets_are_refused_with_what_was_expected(target, words):
    with pytest.raises(InputError, match=words):
        check_target(target, num_labels=3)


def test_soft_and_unknown_targets_are_allowed_dense_and_sparse():
    check_target(torch.tensor([[0.0, 0.3, -1.0]]), num_labels=3)
    check_target(torch.tensor([[0.0, 0.3, -1.0]]).to_sparse(), num_labels=3)
