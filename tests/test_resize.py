"""The tensor kernels give what timm's transforms give with Pillow, to one grey level, from the same random numbers."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import CenterCrop

from multihot.data.resize import TensorRandomResizedCrop, TensorResize, needed_side, to_pixels, use_tensor_resize

SETTINGS = {"input_size": (3, 64, 64), "use_prefetcher": True}


def photo(width=150, height=100):
    """A picture with gradients and noise."""
    ramp = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 100, width))
    noise = np.random.default_rng(0).integers(0, 30, (height, width, 3))
    return Image.fromarray((ramp[..., None] + noise).astype(np.uint8))


def apply(transform, image):
    random.seed(0)
    torch.manual_seed(0)
    picture = transform(image)
    return (
        torch.from_numpy(np.array(picture)).permute(2, 0, 1).int()
        if isinstance(picture, Image.Image)
        else picture.int()
    )


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(150, 100), (90, 200), (40, 50)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"crop_mode": "squash"},
        {"is_training": True, "scale": (0.3, 1), "color_jitter": None},
        {"is_training": True, "auto_augment": "rand-m9"},
    ],
)
def test_pixels_are_those_of_pillow_to_one_grey_level(size, settings, interpolation):
    transform = create_transform(**SETTINGS, **settings, interpolation=interpolation)
    faster = use_tensor_resize(transform)
    assert any(isinstance(step, TensorResize | TensorRandomResizedCrop) for step in faster.transforms)
    assert apply(faster, photo(*size)).shape == apply(transform, photo(*size)).shape
    if "auto_augment" in settings:  # later steps may stretch a difference of one level
        faster, transform = (steps.__class__(steps.transforms[:1]) for steps in (faster, transform))
    assert (apply(faster, photo(*size)) - apply(transform, photo(*size))).abs().max() <= 1


def test_other_steps_stay_as_they_are():
    transform = create_transform(**SETTINGS, interpolation="lanczos")
    assert use_tensor_resize(transform).transforms == transform.transforms
    assert isinstance(use_tensor_resize(create_transform(**SETTINGS)).transforms[1], CenterCrop)


def test_an_image_of_the_right_size_is_left_alone():
    pixels = to_pixels(photo(64, 64))
    assert TensorResize(64)(pixels) is pixels


def test_a_line_is_cut_before_it_is_enlarged_and_shows_its_middle():
    line = torch.arange(20_000).remainder(256).to(torch.uint8).expand(3, 1, -1)
    enlarged = TensorResize(64)(line)
    assert enlarged.shape == (3, 64, 50 * 64)
    whole = TensorResize(64)(line[:, :, 9_900:10_100])  # the same middle, wider
    assert (CenterCrop(64)(enlarged).int() - CenterCrop(64)(whole).int()).abs().max() <= 1
    assert TensorResize(64)(line.transpose(1, 2)).shape == (3, 50 * 64, 64)


def test_a_transform_without_a_resize_needs_no_certain_side():
    assert needed_side(create_transform(**SETTINGS, crop_mode="border")) is None
