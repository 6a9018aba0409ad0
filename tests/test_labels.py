import math

import numpy as np
import pytest
import sklearn.metrics
import torch

from multihot.errors import InputError
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate, score_names
from multihot.labels import Group, LabelSpace, log_sum_exp_of_others, read_groups
from multihot.metrics import SCORES, evaluate_logits

LABELS = ("cat", "red", "dog", "green", "blue", "small", "big")
COLOUR = Group("colour", ("red", "green", "blue"))
SIZE = Group("size", ("big", "small"), none=True)  # not in the order of the labels
MIXED = LabelSpace(LABELS, (COLOUR, SIZE))
COLOURS, SIZES, ANIMALS = [1, 3, 4], [6, 5], [0, 2]


@pytest.fixture
def logits():
    return 3 * torch.randn(200, len(LABELS), generator=torch.Generator().manual_seed(0))


def test_independent_labels_have_a_sigmoid_each(logits):
    space = LabelSpace(LABELS)
    assert torch.equal(space.log_odds(logits), logits)
    assert torch.equal(space.probability(logits), torch.sigmoid(logits))
    assert torch.equal(space.decide(logits), logits > 0)


def test_each_part_of_a_mixed_space_has_its_own_probabilities(logits):
    assert MIXED.columns == [COLOURS, SIZES]
    assert MIXED.independent == ANIMALS
    probability = MIXED.probability(logits)
    torch.testing.assert_close(probability[:, ANIMALS], torch.sigmoid(logits[:, ANIMALS]))
    torch.testing.assert_close(probability[:, COLOURS], logits[:, COLOURS].softmax(dim=1))
    with_none = torch.cat([logits[:, SIZES], torch.zeros(200, 1)], dim=1).softmax(dim=1)
    torch.testing.assert_close(probability[:, SIZES], with_none[:, :2])
    torch.testing.assert_close(probability[:, COLOURS].sum(dim=1), torch.ones(200))
    torch.testing.assert_close(torch.sigmoid(MIXED.log_odds(logits)), probability)


def test_each_part_of_a_mixed_space_has_its_own_decisions(logits):
    decision = MIXED.decide(logits)
    assert torch.equal(decision[:, ANIMALS], logits[:, ANIMALS] > 0)
    assert torch.equal(decision[:, COLOURS].int().argmax(dim=1), logits[:, COLOURS].argmax(dim=1))
    assert (decision[:, COLOURS].sum(dim=1) == 1).all()
    best, winner = logits[:, SIZES].max(dim=1)
    assert torch.equal(decision[:, SIZES].any(dim=1), best > 0)  # else "none", whose logit is 0
    assert torch.equal(decision[best > 0][:, SIZES].int().argmax(dim=1), winner[best > 0])
    assert 0 < (best > 0).sum() < 200


def test_a_threshold_moves_independent_labels_alone(logits):
    low, high = MIXED.decide(logits, 0.1), MIXED.decide(logits, 0.9)
    assert torch.equal(low[:, COLOURS + SIZES], high[:, COLOURS + SIZES])
    assert torch.equal(low[:, ANIMALS], torch.sigmoid(logits[:, ANIMALS]) > 0.1)
    each = torch.linspace(0.1, 0.9, len(LABELS))
    assert torch.equal(MIXED.decide(logits, each)[:, 2], torch.sigmoid(logits[:, 2]) > each[2])
    assert torch.equal(MIXED.decide(logits, each), MIXED.decide(logits, each.tolist()))


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_every_activation_decides_as_the_sigmoid_does_at_its_own_threshold(activation, logits):
    other = LabelSpace(LABELS, (COLOUR, SIZE), activation=activation)
    assert torch.equal(other.decide(logits), MIXED.decide(logits))
    assert torch.equal(other.probability(logits), MIXED.probability(logits))  # is one on no scale but the sigmoid's
    # sigmoid(1) = 0.731, tanh(1) = 0.762
    threshold = {"tanh": math.tanh(1), "identity": 1.0}[activation]
    assert torch.equal(other.decide(logits, threshold)[:, ANIMALS], logits[:, ANIMALS] > 1)


def test_log_odds_are_exact_where_one_logit_outweighs_the_others_and_where_two_are_equal():
    logits = torch.tensor([[60.0, 1.0, -3.0], [2.0, 2.0, -90.0], [0.0, 0.0, 0.0], [-80.0, 90.0, 89.0]])
    others = log_sum_exp_of_others(logits)
    doubles = logits.double()
    for column in range(3):
        rest = [other for other in range(3) if other != column]
        torch.testing.assert_close(others[:, column].double(), doubles[:, rest].logsumexp(dim=1), rtol=1e-6, atol=1e-6)
    assert others[1, 0] == others[1, 1]  # a ranking must see the tie
    assert others[2].unique().numel() == 1


def test_log_odds_of_a_large_group_take_no_memory_of_labels_squared():
    num_labels = 20_000  # squared and times 8 images: 13 GB
    labels = tuple(map(str, range(num_labels)))
    logits = torch.randn(8, num_labels, generator=torch.Generator().manual_seed(0))
    probability = LabelSpace.single_label(labels).probability(logits)
    torch.testing.assert_close(probability, logits.softmax(dim=1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("groups", [(), (Group("only", ("cat",), none=True),)])
def test_one_label_is_a_space_too(groups):
    space, logits = LabelSpace(("cat",), groups), torch.tensor([[2.0], [-1.0]])
    assert space.decide(logits).tolist() == [[True], [False]]
    torch.testing.assert_close(space.probability(logits), torch.sigmoid(logits))
    assert not space.is_single_label


def test_single_label_is_one_group_of_all_labels(logits):
    space = LabelSpace.single_label(LABELS)
    assert space.is_single_label
    torch.testing.assert_close(space.probability(logits), logits.softmax(dim=1))
    assert not LabelSpace(LABELS).is_single_label
    assert not LabelSpace(LABELS, (Group("label", LABELS, none=True),)).is_single_label


def test_a_space_comes_back_from_its_config():
    space = LabelSpace(LABELS, (COLOUR, SIZE), activation="tanh")
    assert LabelSpace.from_config(space.to_config()) == space
    groups = read_groups({"colour": ["red", "green", "blue"], "size": {"labels": ["big", "small"], "none": True}})
    assert groups == (COLOUR, SIZE)
    assert read_groups(None) == ()


def test_softmax_over_independent_labels_is_refused_with_the_reason():
    with pytest.raises(InputError, match=r"share one probability.*data\.groups.*activation=sigmoid"):
        LabelSpace(LABELS, activation="softmax")
    with pytest.raises(InputError, match="choose from sigmoid, tanh, identity"):
        LabelSpace(LABELS, activation="relu")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (
            (Group("colour", ("red", "pink")),),
            r"must spell labels as the data does; it has labels that the data has not:\n  pink",
        ),
        ((Group("colour", ("red",)),), "nothing to choose from"),
        ((Group("colour", ("red", "red")),), "'red' is in two places"),
        ((COLOUR, Group("other", ("blue", "cat"))), "'blue' is in two places: groups colour and other"),
    ],
)
def test_bad_groups_are_refused(groups, words):
    with pytest.raises(InputError, match=words):
        LabelSpace(LABELS, groups)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"colour": {"labels": ["red", "green"], "nothing": True}}, "choose from labels, none"),
        ({"colour": "red"}, r"data\.groups\.colour=red: expected a list of labels"),
        ({"colour": {"labels": "red"}}, r"expected a list of labels"),
        ({"colour": {"none": True}}, r"data\.groups\.colour=.*expected a list of labels, or \{labels: \["),
        ({"colour": None}, r"data\.groups\.colour=None: expected a list of labels"),
        (["red", "green"], r"data\.groups=\['red', 'green'\]: expected \{name:"),
    ],
)
def test_groups_of_another_form_are_refused_with_the_right_one(groups, words):
    with pytest.raises(InputError, match=words):
        read_groups(groups)


@pytest.fixture
def target():
    generator = torch.Generator().manual_seed(1)
    target = torch.zeros(200, len(LABELS), dtype=torch.int8)
    target[:, ANIMALS] = (torch.rand(200, 2, generator=generator) < 0.4).to(torch.int8)
    for columns, num_choices in ((COLOURS, 3), (SIZES, 3)):  # the third size is none
        choice = torch.randint(num_choices, (200,), generator=generator)
        for place, column in enumerate(columns):
            target[:, column] = choice == place
    return target


def test_groups_have_an_accuracy_of_their_winners(logits, target):
    scores = evaluate(Predictions(logits, target, MIXED)).scores
    assert (*scores, "loss") == score_names(MIXED) == (*SCORES, "colour_accuracy", "size_accuracy", "loss")
    truth, winner = target[:, COLOURS].int().argmax(dim=1), logits[:, COLOURS].argmax(dim=1)
    assert scores["colour_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, winner))
    outcomes = torch.cat([logits[:, SIZES], torch.zeros(200, 1)], dim=1).argmax(dim=1)
    truth = torch.where(target[:, SIZES].any(dim=1), target[:, SIZES].int().argmax(dim=1), 2)
    assert scores["size_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, outcomes))


def test_an_accuracy_counts_images_with_an_answer_only(logits, target):
    target[:150, COLOURS] = -1
    target[0, COLOURS] = torch.tensor([0, 1, -1], dtype=torch.int8)  # green, whatever blue is
    target[:, SIZES] = -1
    scores = evaluate_logits(logits, target, MIXED).scores
    rows = [0, *range(150, 200)]
    truth = (target[rows][:, COLOURS] == 1).int().argmax(dim=1)
    expected = sklearn.metrics.accuracy_score(truth, logits[rows][:, COLOURS].argmax(dim=1))
    assert scores["colour_accuracy"] == pytest.approx(expected)
    assert math.isnan(scores["size_accuracy"])


def test_labels_of_a_group_are_ranked_by_their_softmax_and_decided_one_an_image(logits, target):
    logits[:, COLOURS] += 5 * torch.randn(200, 1, generator=torch.Generator().manual_seed(2))  # no matter to a softmax
    evaluation = evaluate_logits(logits, target, MIXED)
    probability, decision = MIXED.probability(logits), MIXED.decide(logits)
    for column, row in enumerate(evaluation.table):
        expected = sklearn.metrics.average_precision_score(target[:, column], probability[:, column])
        assert row["ap"] == pytest.approx(expected, abs=1e-6)
        assert row["predicted"] == decision[:, column].sum()
    by_logits = sklearn.metrics.average_precision_score(target[:, 1], logits[:, 1])
    assert abs(evaluation.table[1]["ap"] - by_logits) > 0.01
    assert sum(evaluation.table[column]["predicted"] for column in COLOURS) == 200
    expected = sklearn.metrics.label_ranking_average_precision_score(target[target.any(dim=1)], MIXED.log_odds(
        logits)[target.any(dim=1)])  # fmt: skip
    assert evaluation.scores["lrap"] == pytest.approx(np.average(
        [expected, 1.0], weights=[target.any(dim=1).sum(), (~target.any(dim=1)).sum()]))  # fmt: skip
    assert evaluation.scores["subset_accuracy"] == sklearn.metrics.accuracy_score(target, decision)
