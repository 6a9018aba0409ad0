"""Labels that exclude each other, beside independent ones."""

import pytest
import torch
import torch.nn.functional as F
from test_loss import create_space, draw, loss_and_gradient
from torch import nn

from multihot.labels import Group
from multihot.loss import AsymmetricLoss, BinaryCrossEntropy, MultiLabelLoss

NAMES = tuple(f"label{number}" for number in range(6))
INDEX = torch.tensor([2, 0, 1, 1, 2])


def group_of_last_three(none=False):
    return create_space(6, Group("last", NAMES[3:], none))


def draw_grouped():
    logits, target = draw()
    target[:, 3:] = F.one_hot(INDEX, 3).float()
    return logits, target


def test_one_group_over_all_labels_is_cross_entropy():
    logits, index = draw()[0], torch.tensor([5, 0, 2, 2, 1])
    target, weight = F.one_hot(index, 6).float(), torch.linspace(0.5, 3, 6)
    space = create_space(6, Group("all", NAMES))
    ours = loss_and_gradient(MultiLabelLoss(nn.CrossEntropyLoss(reduction="none"), space), logits, target)
    torch.testing.assert_close(ours, loss_and_gradient(nn.CrossEntropyLoss(), logits, index))
    weighted = MultiLabelLoss(BinaryCrossEntropy(), space, weight=weight, smoothing=0.2, reduction="none")
    reference = F.cross_entropy(logits, index, weight, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(weighted(logits, target), reference[:, None])


@pytest.mark.parametrize("function", [BinaryCrossEntropy(), nn.BCEWithLogitsLoss(reduction="none")])
@pytest.mark.parametrize("weighted", [False, True])
def test_independent_labels_and_groups_are_one_decision_each(function, weighted):
    logits, target = draw_grouped()
    sample_weight = torch.linspace(0.5, 2, 5) if weighted else None
    bce = F.binary_cross_entropy_with_logits(logits[:, :3], target[:, :3], reduction="none")
    softmax = F.cross_entropy(logits[:, 3:], INDEX, reduction="none")
    decisions = torch.cat([bce, softmax[:, None]], dim=1) * (sample_weight[:, None] if weighted else 1)
    for reduction, expected in {"none": decisions, "mean": decisions.mean(), "batchmean": decisions.sum() / 5}.items():
        loss = MultiLabelLoss(function, group_of_last_three(), reduction=reduction)
        torch.testing.assert_close(loss(logits, target, sample_weight), expected)


def test_a_function_of_whole_images_is_one_decision_beside_the_groups():
    logits, target = draw_grouped()
    target[:, :3] = F.one_hot(INDEX, 3)
    loss = MultiLabelLoss(nn.CrossEntropyLoss(reduction="none"), group_of_last_three())
    expected = F.cross_entropy(logits[:, :3], INDEX) / 2 + F.cross_entropy(logits[:, 3:], INDEX) / 2
    torch.testing.assert_close(loss(logits, target), expected)


def test_none_is_one_more_logit_of_zero():
    logits, target = draw_grouped()
    target[0, 3:] = 0  # none of them
    index = torch.tensor([3, 0, 1, 1, 2])
    outcomes = torch.cat([logits[:, 3:], torch.zeros(5, 1)], dim=1)
    loss = MultiLabelLoss(AsymmetricLoss(), group_of_last_three(none=True), reduction="none")
    torch.testing.assert_close(loss(logits, target)[:, 3], F.cross_entropy(outcomes, index, reduction="none"))
    target[1, 3:] = torch.tensor([0.2, 0.0, 0.5])  # mixed: none is the rest, 0.3
    soft = F.cross_entropy(outcomes[1], torch.tensor([0.2, 0.0, 0.5, 0.3]))
    torch.testing.assert_close(loss(logits, target)[1, 3], soft)


@pytest.mark.parametrize(
    ("target", "none", "possible"),
    [
        ([-1, 1, -1], False, [1]),
        ([0, -1, -1], False, [1, 2]),
        ([0, 0, -1], False, [2]),
        ([0, -1, 0], True, [1, 3]),
        ([0, 0, 0], True, [3]),
    ],
)
def test_unknown_members_take_the_probability_of_all_that_is_possible(target, none, possible):
    logits, target = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([target]).float()
    space = create_space(3, Group("all", NAMES[:3], none))
    outcomes = torch.cat([logits, torch.zeros(1, 1)], dim=1) if none else logits
    expected = -outcomes.softmax(dim=1)[:, possible].sum().log()
    torch.testing.assert_close(MultiLabelLoss(BinaryCrossEntropy(), space)(logits, target), expected)


@pytest.mark.parametrize("none", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_group_of_which_nothing_is_known_has_no_loss_and_no_gradient(none, smoothing):
    logits, target = draw_grouped()
    target[:, 3:] = -1
    loss = MultiLabelLoss(BinaryCrossEntropy(), group_of_last_three(none), reduction="none", smoothing=smoothing)
    elements = loss(logits.requires_grad_(), target)
    assert (elements[:, 3] == 0).all()
    elements.sum().backward()
    assert (logits.grad[:, 3:] == 0).all()


def test_a_group_is_finite_for_extreme_logits_and_any_target():
    logits = torch.tensor([[1e4, -65504.0, 65504.0], [-1e4, -1e4, 0.0]]).repeat(4, 1).half()
    target = torch.tensor([[0, 0, 0], [0, 1, 0], [-1, 0, 0], [-1, -1, 0]]).repeat_interleave(2, dim=0).float()
    for none in (False, True):
        space = create_space(3, Group("all", NAMES[:3], none))
        loss, gradient = loss_and_gradient(MultiLabelLoss(BinaryCrossEntropy(), space), logits, target)
        assert loss.isfinite()
        assert gradient.isfinite().all()
