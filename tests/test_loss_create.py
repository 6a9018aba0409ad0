"""A loss from its settings and the counts of the train split."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from test_loss import FUNCTIONS, create_space, draw
from timm.loss import DistributionBalancedLoss, ZlprLoss
from torch import nn

from multihot.errors import InputError
from multihot.labels import Group
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, create_loss

CONF = Path(__file__).parents[1] / "conf" / "loss"
COUNT, KNOWN = torch.tensor([10, 50, 0, 5, 20, 25]), torch.tensor([100, 100, 100, 50, 100, 50])
SETTINGS = {
    "weight": None,
    "pos_weight": None,
    "smoothing": 0.0,
    "reduction": "mean",
    "unknown": {"strategy": "ignore", "weight": 0.1},
}


def create(function=None, space=None, **settings):
    counts = {"label_count": COUNT, "num_known": KNOWN, "num_images": 100}
    return create_loss(
        function or BinaryCrossEntropy(), space=space or create_space(6), **counts, **SETTINGS | settings
    )


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_config_is_the_loss_of_its_name(path):
    config = instantiate(OmegaConf.load(path), _convert_="all")
    loss = create(**config)
    assert isinstance(loss.function, type(FUNCTIONS[path.stem]))
    logits, target = draw()
    expected = MultiLabelLoss(FUNCTIONS[path.stem], create_space(6), reduction=loss.reduction)(logits, target)
    if path.stem != "distribution_balanced":  # which depends on the counts
        torch.testing.assert_close(loss(logits, target) * loss.known_fraction ** (loss.reduction == "mean"), expected)


def test_every_loss_has_a_config():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(FUNCTIONS)


def test_distribution_balanced_is_given_the_counts_of_the_independent_labels():
    space = create_space(6, Group("last", ("label4", "label5")))
    config = instantiate(OmegaConf.load(CONF / "distribution_balanced.yaml"), _convert_="all")
    reference = DistributionBalancedLoss(COUNT[:4], 100)
    torch.testing.assert_close(create(**config, space=space).function.freq_inv, reference.freq_inv)


def test_the_known_fraction_counts_each_group_once():
    assert create().known_fraction == pytest.approx((4 * 100 + 2 * 50) / 600)
    space = create_space(6, Group("last", ("label4", "label5")))  # whose answers are the 100 of label4
    assert create(space=space).known_fraction == pytest.approx((3 * 100 + 50 + 100) / 500)
    assert create(unknown={"strategy": "negative"}).known_fraction == 1
    assert create(ZlprLoss()).known_fraction == 1


def test_pos_weight_is_the_power_of_negatives_by_positives():
    # 90 / 10, 50 / 50, none, 45 / 5, 80 / 20, 25 / 25
    assert create(pos_weight={"power": 1, "max": None}).pos_weight.tolist() == [9, 1, 100, 9, 4, 1]
    assert create(pos_weight={"power": 0.5, "max": 2.5}).pos_weight.tolist() == [2.5, 1, 2.5, 2.5, 2, 1]
    assert create(pos_weight=3).pos_weight.tolist() == [3] * 6
    assert create(pos_weight=[1, 2, 3, 4, 5, 6]).pos_weight.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("ignore", [9, 1, 100, 9, 4, 1]),
        ("negative", [9, 1, 100, 19, 4, 3]),  # 95 / 5 and 75 / 25 where 50 of 100 answers are unknown
        ("weak_negative", [9, 1, 100, 10, 4, 1.2]),  # (45 + 0.1 x 50) / 5 and (25 + 0.1 x 50) / 25
    ],
)
def test_unknown_answers_that_are_trained_as_absent_are_negatives_of_pos_weight(strategy, expected):
    unknown = {"strategy": strategy, "weight": 0.1}
    assert create(pos_weight={"power": 1}, unknown=unknown).pos_weight.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("strategy", ["negative", "weak_negative"])
def test_pos_weight_keeps_the_scale_of_a_loss_with_unknown_answers(strategy):
    # of 100 images a label is present on COUNT and unknown behind KNOWN; at logits of 0 each answer costs log 2
    row = torch.arange(100)[:, None]
    target = torch.where(row < COUNT, 1.0, torch.where(row < KNOWN, 0.0, -1.0))
    unknown, space = {"strategy": strategy, "weight": 0.25}, create_space(6)
    answers = torch.where(target < 0, 0.25 if strategy == "weak_negative" else 1.0, 1.0).sum(dim=0)
    each = create(pos_weight=5, unknown=unknown, reduction="none", space=space)(torch.zeros(100, 6), target)
    assert (each.sum(dim=0) / answers).mean().item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("pos_weight", [3, [1, 2, 3, 4, 5, 6], {"power": 1, "max": 5}])
def test_pos_weight_keeps_the_scale_of_the_loss(pos_weight):
    # at logits of 0 each element is log 2 before weights; these targets have each label's frequency
    target = (torch.arange(100)[:, None] < 100 * COUNT / KNOWN).float()
    loss = create(pos_weight=pos_weight)(torch.zeros(100, 6), target)
    torch.testing.assert_close(loss, create()(torch.zeros(100, 6), target))


def test_pos_weight_and_its_scale_do_not_touch_groups():
    space = create_space(6, Group("last", ("label3", "label4", "label5")))
    loss = create(space=space, pos_weight=5, weight=[1, 1, 1, 2, 2, 2])
    assert loss.weight[3:].tolist() == [2, 2, 2]
    assert (loss.weight[:3] < 1).all()


def test_pos_weight_multiplies_the_present_labels_of_any_function():
    (logits, target), pos_weight = draw(), torch.linspace(0.5, 5, 6)
    reference = nn.BCEWithLogitsLoss(pos_weight=pos_weight)(logits, target)
    for function in (BinaryCrossEntropy(), FUNCTIONS["bce_probability"], nn.BCEWithLogitsLoss(reduction="none")):
        loss = MultiLabelLoss(function, create_space(6), pos_weight=pos_weight)
        torch.testing.assert_close(loss(logits, target), reference)


def test_weights_of_cross_entropy_are_those_of_the_present_label():
    logits, index, weight = draw()[0], torch.tensor([5, 0, 2, 2, 1]), torch.linspace(0.5, 3, 6)
    loss = MultiLabelLoss(nn.CrossEntropyLoss(reduction="none"), create_space(6), weight=weight)
    expected = nn.CrossEntropyLoss(weight, reduction="none")(logits, index).mean()
    torch.testing.assert_close(loss(logits, nn.functional.one_hot(index, 6).float()), expected)


def test_smoothing_moves_targets_towards_a_half():
    logits, target = draw()
    expected = nn.BCEWithLogitsLoss()(logits, target * 0.9 + 0.05)
    for function in (BinaryCrossEntropy(), nn.BCEWithLogitsLoss(reduction="none"), FUNCTIONS["bce_probability"]):
        torch.testing.assert_close(
            create(function, smoothing=0.1, unknown={"strategy": "negative"})(logits, target), expected
        )


def test_smoothing_of_cross_entropy_is_torchs():
    logits, index = draw()[0], torch.tensor([5, 0, 2, 2, 1])
    loss = MultiLabelLoss(nn.CrossEntropyLoss(reduction="none"), create_space(6), smoothing=0.1)
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, index)
    torch.testing.assert_close(loss(logits, nn.functional.one_hot(index, 6).float()), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": [1, 2]}, "weight needs one number or one a label: 6, not 2"),
        ({"pos_weight": [1.0] * 7}, "pos_weight needs one number or one a label: 6, not 7"),
        ({"weight": [1, 2, 3, 4, 5, -6]}, "weight has -6: expected finite numbers from 0 up"),
        ({"pos_weight": -1}, "pos_weight has -1"),
        ({"pos_weight": {"max": 3}}, "{power: 0.5, max: 10}"),
        ({"pos_weight": {"power": -1, "max": None}}, "power=-1: expected a number from 0 up"),
        ({"pos_weight": {"power": 1, "most": 3}}, "most: choose from power, max"),
        ({"smoothing": 1.0}, "smoothing=1.0: expected a number from 0 to below 1"),
        ({"reduction": "average"}, "choose from mean, batchmean, sum, none"),
        ({"unknown": {"strategy": "ignore", "rejected": 3}}, "rejected: choose from strategy, weight"),
        ({"function": nn.BCEWithLogitsLoss()}, "loss.function.reduction=none"),
        ({"function": ZlprLoss(), "weight": [1] * 6}, "weight needs the loss of an image, but ZlprLoss"),
        ({"function": ZlprLoss(), "pos_weight": 2}, "needs the loss of a label"),
        ({"function": ZlprLoss(), "smoothing": 0.1}, "smoothing needs"),
        ({"function": ZlprLoss(), "reduction": "sum"}, "reduction=sum needs"),
        ({"function": nn.CrossEntropyLoss(reduction="none"), "pos_weight": 2}, "only gives that of an image"),
        ({"function": ZlprLoss(), "unknown": {"strategy": "weak_negative"}}, "strategy=weak_negative needs"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_expected(settings, words):
    with pytest.raises(InputError, match=words):
        create(**settings)


def test_a_loss_of_a_whole_batch_takes_no_weights_of_images():
    with pytest.raises(InputError, match="ZlprLoss judges a batch as a whole"):
        create(ZlprLoss())(*draw(), torch.ones(5))


@pytest.mark.parametrize("name", ["bce", "focal", "poly", "cross_entropy"])
def test_the_weight_of_an_image_multiplies_its_loss(name):
    (logits, target), weight = draw(), torch.tensor([0.0, 1.0, 2.0, 0.5, 1.0])
    images = MultiLabelLoss(FUNCTIONS[name], create_space(6), reduction="none")(logits, target)
    loss = MultiLabelLoss(FUNCTIONS[name], create_space(6))(logits, target, weight)
    torch.testing.assert_close(loss, (images * weight[:, None]).mean())


ONE_KIND = {
    "never": ([0.0, 1.0], 0.0),
    "always": ([0.0, 1.0], 1.0),
    "unknown": ([0.0, 1.0], -1.0),
    "all unknown": ([-1.0, -1.0], -1.0),
}


@pytest.mark.parametrize("case", ONE_KIND)
@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_label_of_one_kind_has_a_finite_loss_and_gradient(path, case):
    first, second = ONE_KIND[case]
    target = torch.tensor([[value, second] for value in first])
    single = path.stem == "cross_entropy"
    counts = {"label_count": (target == 1).sum(0), "num_known": (target >= 0).sum(0), "num_images": 2}
    pos_weights = (
        [None, {"power": 1, "max": None}, {"power": 1, "max": 10}] if path.stem in ("bce", "focal") else [None]
    )
    for pos_weight in pos_weights:
        config = instantiate(OmegaConf.load(path), _convert_="all")
        space = create_space(2, Group("all", ("label0", "label1"))) if single else create_space(2)
        loss = create_loss(**SETTINGS | {"pos_weight": pos_weight} | config, space=space, **counts)
        logits = torch.tensor([[0.5, -1.0], [2.0, 3.0]], requires_grad=True)
        value = loss(logits, target)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_weights_that_are_all_0_leave_nothing_to_learn(name):
    for value in (0, [0, 0, 0, 0, 0, 0]):
        with pytest.raises(InputError, match=f"loss.{name} is 0 for every label"):
            create(**{name: value})
