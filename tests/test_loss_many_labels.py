"""A head and its loss that never hold all logits at once."""

import pytest
import torch
import torch.nn.functional as F
from test_loss import CLOSED_FORMS, create_space

from multihot.labels import Group
from multihot.loss import (
    BinaryCrossEntropy,
    FactoredLogits,
    MultiLabelLoss,
    UnknownStrategy,
    can_factor,
    closed_form,
)
from multihot.loss.many_labels import split_columns

NUM_IMAGES, NUM_FEATURES, NUM_LABELS = 4, 8, 50


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(closed_form, "CHUNK_ELEMENTS", 30)


def draw_head(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((NUM_IMAGES, NUM_FEATURES), (NUM_LABELS, NUM_FEATURES), (NUM_LABELS,))
    factors = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]
    choice = torch.randint(4, (NUM_IMAGES, NUM_LABELS), generator=generator)
    return FactoredLogits(*factors), torch.tensor([0.0, 1.0, -1.0, 0.3])[choice]


def settings_of(weighted):
    if not weighted:
        return {}
    weights = {"weight": torch.linspace(0.1, 2, NUM_LABELS), "pos_weight": torch.linspace(3, 0.5, NUM_LABELS)}
    return weights | {
        "smoothing": 0.1,
        "unknown": UnknownStrategy("weak_negative", weight=0.2),
        "reduction": "batchmean",
    }


def loss_and_gradients(loss, factors, *inputs):
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(3 * value, factors.tensors)


@pytest.mark.parametrize("function", CLOSED_FORMS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_factored_logits_have_the_loss_and_gradients_of_logits(function, weighted, sparse):
    factored, target = draw_head()
    loss = MultiLabelLoss(function, create_space(NUM_LABELS), **settings_of(weighted))
    sample_weight = torch.linspace(0.5, 2, NUM_IMAGES) if weighted else None
    plain = loss_and_gradients(loss, factored, F.linear(*factored.tensors), target, sample_weight)
    ours = loss_and_gradients(loss, factored, factored, target.to_sparse() if sparse else target, sample_weight)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("autocast", [False, True])
def test_factored_logits_in_bf16_are_as_near_to_float32_as_logits_are(autocast):
    factored, target = draw_head(torch.float32 if autocast else torch.bfloat16)
    loss = MultiLabelLoss(BinaryCrossEntropy(), create_space(NUM_LABELS))
    exact = FactoredLogits(*(factor.detach().float().requires_grad_() for factor in factored.tensors))
    expected = loss_and_gradients(loss, exact, exact, target)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value, gradients = loss_and_gradients(loss, factored, factored, target.to_sparse())
    assert value.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients] == [factor.dtype for factor in factored.tensors]
    torch.testing.assert_close(value, expected[0], atol=0.01, rtol=0.01)
    for gradient, reference in zip(gradients, expected[1], strict=True):
        assert (gradient.float() - reference).norm() < 0.01 * reference.norm()


def test_factored_logits_have_a_loss_without_gradients_too():
    factored, target = draw_head()
    loss = MultiLabelLoss(BinaryCrossEntropy(), create_space(NUM_LABELS))
    with torch.no_grad():
        torch.testing.assert_close(loss(factored, target), loss(F.linear(*factored.tensors), target))
    frozen = FactoredLogits(*(factor.detach() for factor in factored.tensors))
    assert not loss(frozen, target.to_sparse()).requires_grad


def test_logits_take_a_sparse_target_too():
    factored, target = draw_head()
    loss = MultiLabelLoss(BinaryCrossEntropy(), create_space(NUM_LABELS))
    logits = F.linear(*factored.tensors)
    torch.testing.assert_close(loss(logits, target.to_sparse()), loss(logits, target))


def test_chunks_of_a_sparse_target_are_its_columns():
    target = draw_head()[1]
    chunks = [slice(0, 7), slice(7, 8), slice(8, 50)]
    for dense, sparse in zip(split_columns(target, chunks), split_columns(target.to_sparse(), chunks), strict=True):
        assert torch.equal(dense, sparse)


def test_only_sums_of_closed_forms_over_independent_labels_are_factored():
    space = create_space(3)
    assert can_factor(MultiLabelLoss(BinaryCrossEntropy(), space))
    assert not can_factor(MultiLabelLoss(BinaryCrossEntropy(), space, reduction="none"))
    assert not can_factor(MultiLabelLoss(BinaryCrossEntropy(), create_space(3, Group("pair", ("label0", "label1")))))
    assert not can_factor(MultiLabelLoss(torch.nn.BCEWithLogitsLoss(reduction="none"), space))


@pytest.mark.parametrize("pos_weight", [None, torch.tensor([0.01, 1.0, 100.0])])
def test_one_small_target_for_all_is_as_exact_as_a_matrix_of_it(pos_weight):
    logits = torch.linspace(-90, 90, 181, dtype=torch.float64).unsqueeze(1).expand(-1, 3)
    for target in (0.005, 0.05, 0.45):
        exact = BinaryCrossEntropy().loss_and_slope(logits, torch.full_like(logits, target), pos_weight)
        own = BinaryCrossEntropy().loss_and_slope(logits.float(), target, pos_weight)
        for part, reference in zip(own, exact, strict=True):
            torch.testing.assert_close(part.double(), reference, rtol=1e-5, atol=1e-5)
