import math

import pytest
import torch
from timm.loss import AsymmetricLossMultiLabel
from torch import nn

from multihot.errors import InputError
from multihot.loss import check_loss, check_target


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (torch.ones(2, 3, dtype=torch.int64), "float multi-hot, not torch.int64"),
        (torch.ones(2, 4), r"\(batch, 3\), not \(2, 4\)"),
        (torch.ones(3), r"not \(3,\)"),
        (torch.tensor([[0.0, 1.0, 1.5]]), "image 0 of the batch has 1.5 for label 2"),
        (torch.tensor([[0.0, 1.0, 1.0], [0.0, -1.0, 0.0]]), "has -1 for label 1 .*unknown"),
        (torch.tensor([[math.nan, 1.0, 1.0]]), "has nan for label 0"),
    ],
)
def test_wrong_targets_are_refused_with_what_was_expected(target, words):
    with pytest.raises(InputError, match=words):
        check_target(target, num_labels=3)


def test_soft_targets_are_allowed():
    check_target(torch.tensor([[0.0, 0.3, 1.0]]), num_labels=3)


def test_softmax_cross_entropy_is_for_single_labels_only():
    check_loss(nn.CrossEntropyLoss(), single_label=True)
    check_loss(nn.BCEWithLogitsLoss(), single_label=False)
    with pytest.raises(InputError, match="single_label=true"):
        check_loss(nn.CrossEntropyLoss(), single_label=False)


def test_cross_entropy_of_a_one_hot_target_is_that_of_its_class_index():
    logits, index = torch.randn(4, 6), torch.tensor([5, 0, 2, 2])
    target = nn.functional.one_hot(index, 6).float()
    torch.testing.assert_close(nn.CrossEntropyLoss()(logits, target), nn.CrossEntropyLoss()(logits, index))


def test_asymmetric_loss_without_focusing_equals_bce_summed_over_labels():
    logits, target = torch.randn(4, 6), (torch.rand(4, 6) > 0.5).float()
    loss = AsymmetricLossMultiLabel(gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(loss(logits, target), 6 * nn.BCEWithLogitsLoss()(logits, target), atol=1e-5, rtol=1e-5)
