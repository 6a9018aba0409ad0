"""Labels without an answer: -1 in the target."""

import math

import pytest
import torch
from test_loss import CLOSED_FORMS, FUNCTIONS, create_space, draw, loss_and_gradient, reduce
from timm.loss import DistributionBalancedLoss, TwoWayLoss, ZlprLoss
from torch import nn

from multihot.errors import InputError
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, UnknownStrategy


def draw_unknown():
    """Returns logits and target (5, 6) of which labels 1 and 4 are unknown, and of image 0 label 2 too."""
    logits, target = draw()
    target[:, [1, 4]] = -1
    target[0, 2] = -1
    return logits, target


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unknown_labels_never_touch_loss_or_gradient(name, smoothing):
    smoothing = 0.0 if name in ("zlpr", "two_way") else smoothing
    logits, target = draw_unknown()
    unknown = target == -1
    loss = reduce(FUNCTIONS[name], smoothing=smoothing)
    value, gradient = loss_and_gradient(loss, logits, target)
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).any()
    changed = loss_and_gradient(loss, torch.where(unknown, logits.neg() + 30, logits), target)
    assert torch.equal(changed[0], value)
    assert torch.equal(changed[1], gradient)


@pytest.mark.parametrize("function", [*CLOSED_FORMS, TwoWayLoss(), ZlprLoss(), nn.CrossEntropyLoss(reduction="none")])
def test_a_loss_with_unknown_labels_is_that_of_the_known_alone(function):
    logits, target = draw()
    target[:, [1, 4]] = -1
    known = [0, 2, 3, 5]
    fraction = 4 / 6 if type(function) in {type(form) for form in CLOSED_FORMS} else 1.0
    ours = reduce(function, known_fraction=fraction)(logits, target)
    torch.testing.assert_close(ours, reduce(function)(logits[:, known], target[:, known]))


def test_unknown_labels_leave_the_balance_of_the_known_ones_alone():
    logits, target = draw()
    target[:, [1, 4]] = -1
    known, counts = [0, 2, 3, 5], torch.tensor([3, 9, 1, 5, 2, 4])
    ours = reduce(DistributionBalancedLoss(counts, 20, reduction="none"), reduction="sum")(logits, target)
    alone = DistributionBalancedLoss(counts[known], 20, reduction="sum")(logits[:, known], target[:, known])
    torch.testing.assert_close(ours, alone)


def test_the_mean_of_batches_is_the_loss_of_the_one_large_batch():
    logits, target = draw_unknown()
    loss = reduce(BinaryCrossEntropy(), known_fraction=0.6)
    parts = [2 / 5 * loss(logits[:2], target[:2]), 3 / 5 * loss(logits[2:], target[2:])]
    torch.testing.assert_close(sum(parts), loss(logits, target))


def test_an_evaluation_takes_known_answers_alone_and_leaves_the_training_its_loss():
    logits, target = draw_unknown()
    ignoring = reduce(BinaryCrossEntropy(), reduction="sum")(logits, target)
    for reduction, divisor in (("sum", len(target)), ("mean", 0.5 * target.numel())):
        unknown = UnknownStrategy("negative")
        loss = MultiLabelLoss(BinaryCrossEntropy(), create_space(6), reduction=reduction, unknown=unknown)
        before = loss(logits, target)
        torch.testing.assert_close(loss.for_evaluation(known_fraction=0.5)(logits, target), ignoring / divisor)
        assert torch.equal(loss(logits, target), before)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize(("strategy", "weight"), [("ignore", 0.0), ("weak_negative", 0.3), ("negative", 1.0)])
def test_a_strategy_weights_an_unknown_label_as_absent(strategy, weight, reduction):
    logits, target = draw_unknown()
    elements = nn.BCEWithLogitsLoss(reduction="none")(logits, target.clamp(min=0))
    elements = torch.where(target == -1, weight * elements, elements)
    expected = elements.sum() if reduction == "sum" else elements
    settings = {"unknown": UnknownStrategy(strategy, weight=0.3), "reduction": reduction}
    for function in (BinaryCrossEntropy(), nn.BCEWithLogitsLoss(reduction="none")):
        torch.testing.assert_close(reduce(function, **settings)(logits, target), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy": "positive"}, "choose from ignore, negative"),
        ({"weight": math.nan}, "weight from 0 to 1"),
    ],
)
def test_wrong_settings_of_a_strategy_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        UnknownStrategy(**settings)
