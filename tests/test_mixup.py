import pytest
import torch
from timm.data import Mixup

from multihot.data.loader import check_target, seeded
from multihot.data.mixup import create_mixup

NUM_LABELS = 5


def draw(batch_size=6, unknown=0.0):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(batch_size, 3, 8, 8, generator=generator)
    target = (torch.rand(batch_size, NUM_LABELS, generator=generator) < 0.4).float()
    target[torch.rand(target.shape, generator=generator) < unknown] = -1
    return image, target


def create(mixup=0.0, cutmix=0.0):
    return create_mixup(mixup, cutmix)


STRENGTHS = pytest.mark.parametrize("strengths", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])


@pytest.mark.parametrize("seed", range(4))
@STRENGTHS
def test_known_targets_are_mixed_as_timm_mixes_them(strengths, seed):
    image, target = draw()
    theirs = Mixup(*strengths, label_smoothing=0.0, num_classes=NUM_LABELS, multi_label=True)
    with seeded(seed):
        expected_image, expected_target = theirs(image.clone(), target.clone())
    with seeded(seed):
        mixed_image, mixed_target, _ = create(*strengths)(image.clone(), target.clone())
    assert torch.equal(mixed_image, expected_image)
    assert torch.equal(mixed_target, expected_target)
    assert not torch.equal(mixed_image, image)


@pytest.mark.parametrize("seed", range(4))
def test_mixup_mixes_image_and_target_by_one_share(seed):
    image, target = draw()
    with seeded(seed):
        mixed_image, mixed_target, _ = create(mixup=0.8)(image.clone(), target.clone())
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
        _, mixed, _ = create(*strengths)(image.clone(), target.clone())
    unknown = (target < 0) | (target.flip(0) < 0)
    assert torch.equal(mixed == -1, unknown)
    assert 0 < unknown.sum() < unknown.numel()
    with seeded(seed):
        _, known, _ = create(*strengths)(image.clone(), target.clamp(min=0))
    assert torch.equal(mixed[~unknown], known[~unknown])


@STRENGTHS
def test_an_odd_batch_leaves_its_last_image_alone(strengths):
    image, target = draw(batch_size=7, unknown=0.3)
    with seeded(0):
        mixed_image, mixed_target, _ = create(*strengths)(image.clone(), target.clone())
    assert torch.equal(mixed_image[6], image[6])
    assert torch.equal(mixed_target[6], target[6])
    with seeded(0):
        even_image, even_target, _ = create(*strengths)(image[:6].clone(), target[:6].clone())
    assert torch.equal(mixed_image[:6], even_image)
    assert torch.equal(mixed_target[:6], even_target)


def test_a_single_image_has_nothing_to_be_mixed_with():
    image, target = draw(batch_size=1, unknown=0.3)
    mixed_image, mixed_target, _ = create(mixup=1.0)(image.clone(), target.clone())
    assert torch.equal(mixed_image, image)
    assert torch.equal(mixed_target, target)


def test_the_target_given_is_not_changed():
    image, target = draw(unknown=0.3)
    before = target.clone()
    create(mixup=1.0)(image, target)
    assert torch.equal(target, before)


def test_without_any_strength_there_is_no_mixing():
    assert create() is None


@pytest.mark.parametrize("seed", range(4))
@STRENGTHS
def test_the_loss_of_a_mixed_image_is_that_of_both_each_by_its_share_and_weight(strengths, seed):
    (image, target), weight = draw(), torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0, 0.25])
    logits = torch.randn(6, NUM_LABELS, generator=torch.Generator().manual_seed(1))
    with seeded(seed):
        _, plain, no_weight = create(*strengths)(image.clone(), target.clone())
    assert no_weight is None
    differs = target != target.flip(0)
    share = ((plain - target.flip(0)) / (target - target.flip(0)))[differs].mean()  # of the image itself
    with seeded(seed):
        _, mixed, mixed_weight = create(*strengths)(image.clone(), target.clone(), weight)
    torch.testing.assert_close(mixed_weight, share * weight + (1 - share) * weight.flip(0))
    assert ((mixed >= 0) & (mixed <= 1)).all()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    one, other = (bce(logits, part, reduction="none") for part in (target, target.flip(0)))
    expected = share * weight[:, None] * one + (1 - share) * weight.flip(0)[:, None] * other
    torch.testing.assert_close(mixed_weight[:, None] * bce(logits, mixed, reduction="none"), expected)


@pytest.mark.parametrize("seed", range(4))
def test_an_image_of_weight_0_teaches_nothing_through_its_partner(seed):
    image, target = draw(unknown=0.3)
    weight = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 1.0])  # pairs: 0 with 5, 1 with 4, 2 with 3
    changed = target.clone()
    changed[0], changed[2:4] = torch.tensor([1.0, -1.0, 0.0, 1.0, -1.0]), -1
    results = []
    for answers in (target, changed):
        with seeded(seed):
            results.append(create(mixup=0.8)(image.clone(), answers.clone(), weight)[1:])
    (mixed, mixed_weight), (other, other_weight) = results
    assert torch.equal(mixed_weight, other_weight)
    assert (mixed_weight[2:4] == 0).all()
    assert torch.equal(mixed[[0, 1, 4, 5]], other[[0, 1, 4, 5]])
    torch.testing.assert_close(mixed[0], target[5])
    check_target(mixed, NUM_LABELS)


def test_weights_of_one_change_nothing_and_an_odd_batch_keeps_its_last_weight():
    image, target = draw(batch_size=7, unknown=0.3)
    with seeded(0):
        _, plain, _ = create(mixup=0.8)(image.clone(), target.clone())
    with seeded(0):
        _, mixed, weight = create(mixup=0.8)(image.clone(), target.clone(), torch.tensor([1.0] * 6 + [5.0]))
    torch.testing.assert_close(mixed, plain)
    torch.testing.assert_close(weight, torch.tensor([1.0] * 6 + [5.0]))
    assert torch.equal(mixed[6], target[6])


@pytest.mark.parametrize("batch_size", [1, 6, 7])
@pytest.mark.parametrize("weighted", [False, True])
@STRENGTHS
def test_a_sparse_target_is_mixed_as_a_dense_one(strengths, weighted, batch_size):
    image, target = draw(batch_size=batch_size, unknown=0.3)
    weight = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 1.0, 3.0])[:batch_size] if weighted else None
    results = []
    for answers in (target, target.to_sparse()):
        with seeded(0):
            results.append(create(*strengths)(image.clone(), answers, weight))
    (dense_image, dense, dense_weight), (sparse_image, sparse, sparse_weight) = results
    assert sparse.is_sparse
    assert torch.equal(sparse.to_dense(), dense)
    assert torch.equal(sparse_image, dense_image)
    assert sparse_weight is dense_weight is None if weight is None else torch.equal(sparse_weight, dense_weight)
