import numpy as np
import pytest
import torch
from timm.data import Mixup

from multihot.data.loader import seeded
from multihot.data.mixup import create_mixup
from multihot.errors import InputError

NUM_LABELS = 5


def draw(batch_size=6, unknown=0.0):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(batch_size, 3, 8, 8, generator=generator)
    target = (torch.rand(batch_size, NUM_LABELS, generator=generator) < 0.4).float()
    target[torch.rand(target.shape, generator=generator) < unknown] = -1
    return image, target


def create(mixup=0.0, cutmix=0.0, probability=1.0):
    return create_mixup(mixup, cutmix, probability, num_labels=NUM_LABELS)


STRENGTHS = pytest.mark.parametrize("strengths", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])


@pytest.mark.parametrize("seed", range(4))
@STRENGTHS
def test_known_targets_are_mixed_as_timm_mixes_them(strengths, seed):
    image, target = draw()
    theirs = Mixup(*strengths, label_smoothing=0.0, num_classes=NUM_LABELS, multi_label=True)
    with seeded(seed):
        expected_image, expected_target = theirs(image.clone(), target.clone())
    with seeded(seed):
        mixed_image, mixed_target = create(*strengths)(image.clone(), target.clone())
    assert torch.equal(mixed_image, expected_image)
    assert torch.equal(mixed_target, expected_target)
    assert not torch.equal(mixed_image, image)


@pytest.mark.parametrize("seed", range(4))
def test_mixup_mixes_image_and_target_by_one_share(seed):
    image, target = draw()
    with seeded(seed):
        mixed_image, mixed_target = create(mixup=0.8)(image.clone(), target.clone())
    difference = image.flip(0) - image
    share = ((mixed_image - image) * difference).sum() / difference.square().sum()
    assert 0 < share < 1
    torch.testing.assert_close(mixed_image, (1 - share) * image + share * image.flip(0))
    torch.testing.assert_close(mixed_target, (1 - share) * target + share * target.flip(0))


@pytest.mark.parametrize("seed", range(4))
@STRENGTHS
def test_a_label_is_unknown_if_it_is_so_in_one_of_the_two_images(strengths, seed):
    image, target = draw(unknown=0.3)
    with seeded(seed):
        _, mixed = create(*strengths)(image.clone(), target.clone())
    unknown = (target < 0) | (target.flip(0) < 0)
    assert torch.equal(mixed == -1, unknown)
    assert 0 < unknown.sum() < unknown.numel()
    with seeded(seed):
        _, known = create(*strengths)(image.clone(), target.clamp(min=0))
    assert torch.equal(mixed[~unknown], known[~unknown])


@STRENGTHS
def test_an_odd_batch_leaves_its_last_image_alone(strengths):
    image, target = draw(batch_size=7, unknown=0.3)
    with seeded(0):
        mixed_image, mixed_target = create(*strengths)(image.clone(), target.clone())
    assert torch.equal(mixed_image[6], image[6])
    assert torch.equal(mixed_target[6], target[6])
    with seeded(0):
        even_image, even_target = create(*strengths)(image[:6].clone(), target[:6].clone())
    assert torch.equal(mixed_image[:6], even_image)
    assert torch.equal(mixed_target[:6], even_target)


def test_a_single_image_has_nothing_to_be_mixed_with():
    image, target = draw(batch_size=1, unknown=0.3)
    mixed_image, mixed_target = create(mixup=1.0)(image.clone(), target.clone())
    assert torch.equal(mixed_image, image)
    assert torch.equal(mixed_target, target)


@pytest.mark.parametrize("batch_size", [6, 7])
def test_probability_0_changes_nothing(batch_size):
    image, target = draw(batch_size, unknown=0.3)
    mix = create(mixup=1.0, cutmix=1.0, probability=0.0)
    for _ in range(5):
        mixed_image, mixed_target = mix(image.clone(), target.clone())
        assert torch.equal(mixed_image, image)
        assert torch.equal(mixed_target, target)


def test_probability_is_the_share_of_batches_that_are_mixed():
    image, target = draw()
    mix = create(mixup=1.0, probability=0.25)
    with seeded(0):
        mixed = [not torch.equal(mix(image.clone(), target)[0], image) for _ in range(400)]
    assert np.mean(mixed) == pytest.approx(0.25, abs=0.06)  # three standard deviations


def test_the_target_given_is_not_changed():
    image, target = draw(unknown=0.3)
    before = target.clone()
    create(mixup=1.0)(image, target)
    assert torch.equal(target, before)


def test_without_any_strength_there_is_no_mixing():
    assert create() is None


@pytest.mark.parametrize("settings", [(-0.1, 0.0, 1.0), (0.8, -1.0, 1.0), (0.8, 0.0, 1.1), (0.8, 0.0, -0.1)])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match="must be 0 or more, the last from 0 to 1"):
        create(*settings)
