"""Loss functions against torch, timm, torchvision and numbers worked by hand."""

import pytest
import torch
from timm.loss import (
    AsymmetricLossMultiLabel,
    DistributionBalancedLoss,
    PolyBinaryCrossEntropy,
    TwoWayLoss,
    ZlprLoss,
)
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.loss import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    FocalLoss,
    MultiLabelLoss,
    ProbabilityBinaryCrossEntropy,
    check_loss,
    closed_form,
)

LOGITS = torch.tensor([[0.5, -1.2, 3.0], [1.5, 2.0, -0.5]])
TARGET = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
CLOSED_FORMS = [BinaryCrossEntropy(), FocalLoss(), FocalLoss(1.5, 0.25), AsymmetricLoss(), AsymmetricLoss(2, 0, None)]
FUNCTIONS = {
    "bce": BinaryCrossEntropy(),
    "bce_probability": ProbabilityBinaryCrossEntropy(),
    "focal": FocalLoss(),
    "asymmetric": AsymmetricLoss(),
    "poly": PolyBinaryCrossEntropy(reduction="none"),
    "two_way": TwoWayLoss(),
    "zlpr": ZlprLoss(),
    "distribution_balanced": DistributionBalancedLoss([3, 9, 1, 5, 2, 4], 20, reduction="none"),
    "cross_entropy": nn.CrossEntropyLoss(reduction="none"),
}


def create_space(num_labels, *groups):
    return LabelSpace(tuple(f"label{number}" for number in range(num_labels)), groups)


def draw(num_images=5, num_labels=6, soft=False, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(num_images, num_labels, generator=generator)
    target = torch.rand(num_images, num_labels, generator=generator)
    return logits, target if soft else (target > 0.6).float()


def loss_and_gradient(loss, logits, *inputs):
    logits = logits.detach().requires_grad_()
    value = loss(logits, *inputs)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def finite_differences(loss, logits, step=1e-5):
    offsets = step * torch.eye(logits.numel(), dtype=logits.dtype).view(-1, *logits.shape)
    slopes = [(loss(logits + offset) - loss(logits - offset)) / (2 * step) for offset in offsets]
    return torch.stack(slopes).view_as(logits)


def reduce(function, space=None, **settings):
    return lambda logits, *inputs: MultiLabelLoss(function, space or create_space(logits.shape[1]), **settings)(
        logits, *inputs
    )


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of two images of six labels, so that each sum has several."""
    monkeypatch.setattr(closed_form, "CHUNK_ELEMENTS", 12)


def test_softmax_is_for_labels_that_exclude_each_other_and_only_softmax_is():
    independent = create_space(3)
    exclusive = create_space(3, Group("all", independent.labels))
    softmax = nn.CrossEntropyLoss(reduction="none")
    check_loss(MultiLabelLoss(softmax, exclusive))
    check_loss(MultiLabelLoss(BinaryCrossEntropy(), independent))
    with pytest.raises(InputError, match="single_label=true"):
        check_loss(MultiLabelLoss(softmax, independent))
    with pytest.raises(InputError, match="take loss=cross_entropy"):
        check_loss(MultiLabelLoss(BinaryCrossEntropy(), exclusive))


def test_bce_is_that_of_the_worked_example():
    # e.g. the first: -log sigmoid(0.5) = log(1 + e^-0.5) = 0.4741
    elements = torch.tensor([[0.4741, 0.2633, 0.0486], [1.7014, 0.1269, 0.4741]])
    for function in (BinaryCrossEntropy(), ProbabilityBinaryCrossEntropy(), nn.BCEWithLogitsLoss(reduction="none")):
        torch.testing.assert_close(reduce(function, reduction="none")(LOGITS, TARGET), elements, atol=5e-5, rtol=0)
        assert reduce(function)(LOGITS, TARGET).item() == pytest.approx(0.5147, abs=5e-5)
        weighted = reduce(function, weight=torch.tensor([0.7, 0.2, 0.1]))
        assert weighted(LOGITS, TARGET).item() == pytest.approx(0.2755, abs=5e-5)
    logits = torch.tensor([[1.9072, 1.1079, 1.4906], [-0.6584, -0.0512, 0.7608], [-0.0614, 0.6583, 0.1095]])
    target = torch.tensor([[0.0, 1, 1], [1, 1, 1], [0, 0, 0]])
    assert reduce(BinaryCrossEntropy())(logits, target).item() == pytest.approx(0.8000, abs=5e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("pos_weight", [None, torch.tensor([0.5, 1.0, 2.0, 3.0, 0.0, 7.0])])
def test_bce_equals_torch_in_value_and_gradient(soft, pos_weight, small_chunks):
    logits, target = draw(soft=soft)
    ours = loss_and_gradient(reduce(BinaryCrossEntropy(), pos_weight=pos_weight), logits, target)
    torch.testing.assert_close(ours, loss_and_gradient(nn.BCEWithLogitsLoss(pos_weight=pos_weight), logits, target))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(0, None), (1, 0.25), (2, None), (1.5, 0.75), (4, 0.25)])
def test_focal_loss_equals_torchvision_in_value_and_gradient(soft, gamma, alpha, small_chunks):
    logits, target = draw(soft=soft)

    def reference(logits, target):
        return sigmoid_focal_loss(logits, target, gamma=gamma, alpha=-1 if alpha is None else alpha, reduction="mean")

    ours = loss_and_gradient(reduce(FocalLoss(gamma, alpha)), logits, target)
    torch.testing.assert_close(ours, loss_and_gradient(reference, logits, target))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize(
    ("gammas", "clip"), [((4, 1), 0.05), ((0, 0), None), ((2.5, 0.5), 0.1), ((1, 0), 0), ((0, 2), 0.2)]
)
def test_asymmetric_loss_equals_timm_in_value_and_gradient(soft, is_constant, gammas, clip, small_chunks):
    logits, target = draw(soft=soft)
    arguments = {"clip": clip, "eps": 1e-2, "disable_torch_grad_focal_loss": is_constant}
    ours = loss_and_gradient(reduce(AsymmetricLoss(*gammas, **arguments), reduction="batchmean"), logits, target)
    timm = loss_and_gradient(AsymmetricLossMultiLabel(*gammas, **arguments), logits, target)
    torch.testing.assert_close(ours, timm, atol=1e-5, rtol=1e-5)


def test_asymmetric_loss_with_pos_weight_equals_timm():
    (logits, target), pos_weight = draw(soft=True), torch.tensor([0.5, 1.0, 2.0, 3.0, 0.0, 7.0])
    ours = loss_and_gradient(reduce(AsymmetricLoss(), pos_weight=pos_weight, reduction="sum"), logits, target)
    timm = loss_and_gradient(AsymmetricLossMultiLabel(pos_weight=pos_weight, reduction="sum"), logits, target)
    torch.testing.assert_close(ours, timm)


def test_focal_and_asymmetric_loss_without_focusing_are_bce():
    logits, target = draw(soft=True)
    bce = loss_and_gradient(nn.BCEWithLogitsLoss(), logits, target)
    torch.testing.assert_close(loss_and_gradient(reduce(FocalLoss(gamma=0)), logits, target), bce)
    torch.testing.assert_close(loss_and_gradient(reduce(AsymmetricLoss(0, 0, 0)), logits, target), bce)


@pytest.mark.parametrize("function", CLOSED_FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("unknown", [False, True])
def test_a_sum_in_chunks_equals_its_elements_and_finite_differences(function, smoothing, unknown, small_chunks):
    logits, target = draw(soft=True)
    logits, target = logits.double(), torch.where(target < 0.3, -1.0 if unknown else 0.0, target).double()
    weights = {name: torch.linspace(0.5, 2, 6).double() for name in ("weight", "pos_weight")}
    sample_weight = torch.linspace(0.1, 1, 5).double()
    settings = {"smoothing": smoothing, **weights}
    total = loss_and_gradient(reduce(function, reduction="sum", **settings), logits, target, sample_weight)
    elements = reduce(function, reduction="none", **settings)

    def sum_elements(*inputs):
        return elements(*inputs).sum()

    torch.testing.assert_close(total, loss_and_gradient(sum_elements, logits, target, sample_weight))
    numeric = finite_differences(lambda logits: sum_elements(logits, target, sample_weight), logits)
    torch.testing.assert_close(total[1], numeric, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_have_a_finite_loss_and_gradient(name, dtype):
    extreme = torch.tensor([[1e4, -1e4, 65504.0], [-65504.0, 0.0, 100.0], [17.0, -17.0, -100.0]]).to(dtype)
    logits = torch.cat([extreme, -extreme], dim=1).float().clamp(-65504, 65504).to(dtype)
    for target in (torch.zeros(3, 6), torch.eye(3).repeat(1, 2), torch.ones(3, 6), torch.full((3, 6), -1.0)):
        loss, gradient = loss_and_gradient(reduce(FUNCTIONS[name]), logits, target)
        assert loss.isfinite()
        assert loss.dtype == torch.float32
        assert gradient.isfinite().all()
        assert gradient.dtype == dtype


def test_the_gradient_of_half_logits_does_not_underflow_before_the_loss_scaler():
    logits, target = torch.zeros(10, 20_000, dtype=torch.float16), torch.zeros(10, 20_000)
    gradient = loss_and_gradient(lambda *inputs: 2**16 * reduce(BinaryCrossEntropy())(*inputs), logits, target)[1]
    assert gradient[0, 0].item() == pytest.approx(0.5 * 2**16 / 200_000, rel=1e-3)


def test_a_second_backward_through_one_graph_is_refused_rather_than_wrong():
    logits, target = draw()
    loss = reduce(BinaryCrossEntropy())(logits.requires_grad_(), target)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_sigmoid_with_bce_equals_bce_of_logits_where_that_is_stable():
    logits, target = torch.linspace(-8, 8, 33), (torch.arange(33) % 2).float()
    with_sigmoid = loss_and_gradient(lambda logits, target: nn.BCELoss()(logits.sigmoid(), target), logits, target)
    torch.testing.assert_close(
        with_sigmoid, loss_and_gradient(nn.BCEWithLogitsLoss(), logits, target), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("logit", "target"), [(25.0, 0.0), (200.0, 0.0), (-200.0, 1.0)])
def test_sigmoid_with_bce_loses_what_bce_of_logits_keeps(logit, target):
    # sigmoid(25) is 1 in float32, whose log(1 - 1) BCELoss takes for -100; the true loss is 25
    logits, target = torch.tensor([logit]), torch.tensor([target])
    assert nn.BCELoss()(logits.sigmoid(), target).item() == pytest.approx(100)
    for stable in (
        nn.BCEWithLogitsLoss(),
        lambda logits, target: reduce(BinaryCrossEntropy())(logits[None], target[None]),
    ):
        assert stable(logits, target).item() == pytest.approx(abs(logits.item()))


def test_cross_entropy_of_two_logits_equals_bce_of_their_difference():
    logits, target = torch.randn(7, 2), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    loss, gradient = loss_and_gradient(nn.CrossEntropyLoss(), logits, target)
    difference = logits[:, 1] - logits[:, 0]
    of_difference = loss_and_gradient(nn.BCEWithLogitsLoss(), difference, target.float())
    torch.testing.assert_close((loss, gradient[:, 1]), of_difference)


@pytest.mark.parametrize("function", [TwoWayLoss(), ZlprLoss()])
def test_losses_that_would_round_soft_targets_take_none(function):
    loss = MultiLabelLoss(function, create_space(6))
    check_loss(loss)
    logits, target = draw(soft=True)
    assert torch.equal(loss(logits, target), loss(logits, (target > 0.5).float()))  # why
    with pytest.raises(InputError, match=r"mix\.mixup and mix\.cutmix make targets between 0 and 1.*take loss=bce"):
        check_loss(loss, is_mixed=True)
    with pytest.raises(InputError, match="the data has targets between 0 and 1"):
        check_loss(loss, is_soft=True)


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"two_way", "zlpr"}))
def test_all_other_losses_tell_soft_targets_from_hard_ones(name):
    logits, target = draw(soft=True)
    space = create_space(6, *[Group("all", create_space(6).labels)] * (name == "cross_entropy"))
    target = target / target.sum(dim=1, keepdim=True) if name == "cross_entropy" else target
    loss = MultiLabelLoss(FUNCTIONS[name], space)
    check_loss(loss, is_soft=True, is_mixed=True)
    assert not torch.isclose(loss(logits, target), loss(logits, (target > 0.5).float()), rtol=0.01)
