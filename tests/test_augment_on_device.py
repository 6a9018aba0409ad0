"""Augmentation on the device sees what the CPU's sees: timm's transforms, with the same numbers drawn."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import save_every
from PIL import Image, ImageEnhance
from test_resume import Killed, kill_at, same_run
from timm.data import create_transform
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from multihot.data.augment.batch_colour import BRIGHTNESS, CONTRAST, SATURATION, colour_batch
from multihot.data.augment.batch_resize import resize_batch
from multihot.data.loader import create_evaluation_batches, create_training_batches, seeded
from multihot.data.readers.digits import create_digits
from multihot.data.resize import to_pixels
from multihot.data.sampling import TrainingOrder
from multihot.errors import InputError

SEED, NUM_IMAGES = 5, 12
MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)
PREPROCESSING = {"input_size": (3, 32, 48), "mean": MEAN, "std": STD, "crop_pct": 1.0, "interpolation": "bicubic"}
CROP = {"is_training": True, "scale": (0.3, 1.0), "ratio": (0.75, 1.3333), "hflip": 0.5, "vflip": 0.3}
COLOUR = {"color_jitter": 0.4, "color_jitter_prob": 0.7, "grayscale_prob": 0.3}
ERASE = {"re_prob": 0.7, "re_count": 3}
ALL = {**CROP, **COLOUR, **ERASE, "re_mode": "rand"}


@pytest.fixture
def manifest():
    """Pictures of different sizes, with edges and noise, neither black nor white.

    Beyond these a cubic is cut off, after rows or after columns: Pillow 13.0.0 resizes tall pictures rows last.
    """
    count = dict.fromkeys(("train", "val", "test"), NUM_IMAGES)
    digits = create_digits(
        "train", num_images=count, max_digits=3, num_clutter=2, single_label=False, hidden_fraction=0.0, seed=0
    )

    def read(image, min_side=None):
        row = digits.images.index(image)
        picture = digits.read(image).resize((40 + 9 * row, 110 - 6 * row))
        noise = np.random.default_rng(row).integers(-60, 60, (picture.height, picture.width, 3))
        return Image.fromarray((60 + 0.5 * (np.asarray(picture) + noise).clip(0, 255)).astype(np.uint8))

    return replace(digits, read=read)


def batches_of(manifest, settings, on_device=True, batch_size=5, num_workers=0, preprocessing=PREPROCESSING, **order):
    return create_training_batches(
        manifest, partial(create_transform, **settings, device=on_device), accelerator=Accelerator(cpu=True),
        preprocessing=preprocessing, order=TrainingOrder(len(manifest), batch_size, seed=SEED, **order),
        num_workers=num_workers, seed=SEED,
    )  # fmt: skip


def images_of(manifest, settings, on_device=True, epoch=0, start=0, **options):
    """Returns the images of an epoch by row, normalised."""
    batches = batches_of(manifest, settings, on_device, **options)
    batches.begin(epoch, start)
    return {row: image for batch in batches for row, image in zip(batch["index"].tolist(), batch["image"], strict=True)}


def in_levels(image):
    return 255 * (image * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crops_and_flips_are_those_of_timm_to_one_grey_level(manifest, interpolation):
    settings = {**CROP, "color_jitter": None, "interpolation": interpolation}
    images = images_of(manifest, settings)
    transform = create_transform(**{**PREPROCESSING, **settings}, use_prefetcher=True)
    assert len(images) == NUM_IMAGES
    for row, image in images.items():
        picture = manifest.read(manifest.images[row])
        with seeded(SEED, 0, row):
            expected = transform(picture)
        assert (in_levels(image) - expected).abs().max() < 1.01


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_all_of_it_is_what_the_cpus_transform_gives(manifest, mode):
    settings = {**ALL, "re_mode": mode}
    for epoch in range(2):
        there, here = (images_of(manifest, settings, on_device, epoch) for on_device in (True, False))
        assert there.keys() == here.keys()
        # colours cut a fraction off, so that a level more may count twice
        assert all((in_levels(there[row]) - in_levels(image)).abs().max() < 2.01 for row, image in here.items())


@pytest.mark.parametrize("interpolation", [InterpolationMode.BICUBIC, InterpolationMode.BILINEAR])
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_resized_as_each_picture_alone(interpolation, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes, flips = torch.randint(5, 300, (6, 2), generator=generator), torch.rand(6, 2, generator=generator) < 0.5
    batch = torch.randint(0, 256, (6, 3, *sizes.amax(dim=0)), dtype=torch.uint8, generator=generator)
    batch = torch.where(batch > 128, 255, 0).to(torch.uint8) if seed % 2 else batch  # where a cubic swings most
    resized = resize_batch(batch, sizes, flips, (40, 60), interpolation)
    for image, pixels, (height, width), flip in zip(resized, batch, sizes.tolist(), flips.tolist(), strict=True):
        expected = resize(pixels[:, :height, :width], [40, 60], interpolation, antialias=True)
        expected = expected.flip([axis for axis, is_flipped in ((2, flip[0]), (1, flip[1])) if is_flipped])
        assert (image.int() - expected).abs().max() <= 1  # equal on x86 with AVX2, torch 2.14.1


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_resized_picture_depends_on_nothing_but_itself(precision):
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(0, 256, (7, 3, 90, 80), dtype=torch.uint8, generator=generator)
    sizes, flips = torch.randint(20, 80, (7, 2), generator=generator), torch.rand(7, 2, generator=generator) < 0.5
    settings = (24, 32), InterpolationMode.BICUBIC
    whole = resize_batch(batch, sizes, flips, *settings)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for row, (height, width) in enumerate(sizes.tolist()):
            only = slice(row, row + 1)
            alone = resize_batch(batch[only, :, :height, :width], sizes[only], flips[only], *settings)
            assert torch.equal(alone[0], whole[row])
    finally:
        torch.set_float32_matmul_precision(before)


ENHANCE = {BRIGHTNESS: ImageEnhance.Brightness, CONTRAST: ImageEnhance.Contrast, SATURATION: ImageEnhance.Color}


def test_colours_are_pillows(manifest):
    pictures = [manifest.read(image).resize((40, 30)) for image in manifest.images]
    generator = torch.Generator().manual_seed(0)
    kinds = torch.stack([torch.randperm(3, generator=generator) for _ in pictures])
    factors = 2 * torch.rand(len(pictures), 3, generator=generator)
    factors[0], factors[1] = 1, 0
    coloured = colour_batch(torch.stack(list(map(to_pixels, pictures))), kinds, factors)
    assert torch.equal(coloured[0], to_pixels(pictures[0]))
    for image, picture, own_kinds, own_factors in zip(
        coloured, pictures, kinds.tolist(), factors.tolist(), strict=True
    ):
        for kind, factor in zip(own_kinds, own_factors, strict=True):
            picture = ENHANCE[kind](picture).enhance(factor)
        assert (image.int() - to_pixels(picture)).abs().max() <= 1  # equal on x86: others may multiply and add at once


def test_what_an_image_looks_like_depends_on_seed_epoch_and_row_alone(manifest):
    settings = {**ALL, "re_mode": "pixel"}
    first = images_of(manifest, settings, epoch=3)
    for again in (
        images_of(manifest, settings, epoch=3, batch_size=7),
        images_of(manifest, settings, epoch=3, num_workers=1),
        images_of(manifest, settings, epoch=3, start=1),  # a resume in the middle of the epoch
        *(images_of(manifest, settings, epoch=3, process_index=process, num_processes=2) for process in range(2)),
    ):
        assert again
        assert all(torch.equal(first[row], image) for row, image in again.items())
    later = images_of(manifest, settings, epoch=4)
    assert sum(torch.equal(first[row], later[row]) for row in first) == 0


def test_views_of_a_frozen_backbone_are_computed_there_too(manifest):
    there, here = (
        torch.cat([
            batch["image"] for batch in create_evaluation_batches(
                manifest, accelerator=Accelerator(cpu=True), preprocessing=PREPROCESSING, batch_size=5, num_workers=0,
                augment=partial(create_transform, **ALL, device=on_device), seed=SEED,
            )
        ])
        for on_device in (True, False)
    )  # fmt: skip
    assert (in_levels(there) - in_levels(here)).abs().max() < 2.01


def test_a_training_goes_on_after_a_kill_to_the_same_bits(train, tmp_path, monkeypatch):
    settings = ["augment=light", "augment.device=true", "augment.color_jitter=0.3", "+augment.re_prob=0.5"]
    train("name=whole", *settings)
    save_every(monkeypatch, 2)
    kill_at(monkeypatch, 3)
    with pytest.raises(Killed):
        train("name=killed", *settings)
    monkeypatch.undo()
    train("name=killed", *settings)
    assert same_run(tmp_path / "killed", tmp_path / "whole")


def test_nothing_waits_for_the_device(manifest, monkeypatch):
    """On the device "meta" asking for a value is an error."""
    monkeypatch.setattr(Accelerator, "device", property(lambda self: torch.device("meta")))
    for mode in ("const", "rand"):
        batches = list(batches_of(manifest, {**ALL, "re_mode": mode}))
        assert [tuple(batch["image"].shape) for batch in batches] == [(size, 3, 32, 48) for size in (5, 5, 2)]
        assert {batch["image"].device.type for batch in batches} == {"meta"}


def test_large_crops_are_halved_before_they_travel_and_look_alike(manifest):
    ramp = np.add.outer(np.linspace(0, 120, 400), np.linspace(0, 100, 600))[..., None]
    photo = Image.fromarray((ramp + np.random.default_rng(0).integers(0, 30, (400, 600, 3))).astype(np.uint8))
    large = replace(manifest, read=lambda image, min_side=None: photo)
    settings = {**CROP, "color_jitter": None}
    batches = batches_of(large, settings)
    crop, drawn = batches.dataset.transform(photo)
    assert crop.shape[1:] == tuple(drawn["size"])
    assert crop.shape[1] <= 4 * 32
    assert crop.shape[2] <= 4 * 48
    there, here = images_of(large, settings), images_of(large, settings, on_device=False)
    difference = torch.stack([in_levels(there[row]) - in_levels(here[row]) for row in here]).abs()
    assert difference.mean() < 1
    assert difference.max() < 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auto_augment": "rand-m9-n2"}, "augment.auto_augment"),
        ({"gaussian_blur_prob": 0.1}, "augment.gaussian_blur_prob"),
        ({"color_jitter": (0.1, 0.1, 0.1, 0.1)}, "hue"),
        ({"color_jitter": (0.1, 0.1, 0.1, 0.1), "color_jitter_prob": 0.5}, "hue"),
        ({"train_crop_mode": "rkrc"}, "train_crop_mode=rrc"),
        ({"interpolation": "lanczos"}, "bilinear or bicubic"),
        ({"no_aug": True}, "a random crop"),
    ],
)
def test_what_pillow_alone_computes_is_refused(manifest, settings, words):
    with pytest.raises(InputError, match=f"augment.device=true takes .*{words}"):
        batches_of(manifest, {**CROP, **settings})


def test_it_is_for_gpus_with_float64(manifest, monkeypatch, caplog):
    batches_of(manifest, CROP)
    assert "augment.device=true is for GPUs" in caplog.text
    monkeypatch.setattr(Accelerator, "device", property(lambda self: torch.device("mps")))
    with pytest.raises(InputError, match="Apple's GPUs"):
        batches_of(manifest, CROP)


def test_without_training_it_does_nothing(manifest, caplog):
    assert images_of(manifest, {}).keys() == images_of(manifest, {}, on_device=False).keys()
    assert "augment.device does nothing" in caplog.text
