import json

import numpy as np
import pytest
import torch
from scipy.special import expit

from multihot.decisions import Decisions
from multihot.decisions.decisions import find_cuts
from multihot.labels import Group, LabelSpace
from multihot.prediction.answers import Describer, rank

GROUPED = LabelSpace(("cat", "red", "blue", "dog"), (Group("colour", ("red", "blue")),))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "identity"])
@pytest.mark.parametrize("threshold", [None, 0.3, [0.1, 0.0, 0.9]])
def test_cuts_decide_as_the_threshold_does(activation, threshold):
    space = LabelSpace(("a", "b", "c"), activation=activation)
    cuts = find_cuts(space, threshold)
    near = torch.stack([cuts, torch.nextafter(cuts, torch.tensor(9e9)), torch.nextafter(cuts, torch.tensor(-9e9))])
    logits = torch.cat([near, torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))])
    decisions = Decisions.by_threshold(space, threshold)
    assert torch.equal(decisions.decide(logits), space.decide(logits, threshold))
    assert decisions.decide(near)[:2].tolist() == [[False] * 3, [True] * 3]


def test_unfitted_decisions_of_groups_take_the_largest_logit_and_plain_probabilities():
    decisions = Decisions.by_threshold(GROUPED, [0.5, 0.5, 0.5, 0.75])
    logits = torch.tensor([[0.1, -3.0, -2.0, 1.0], [-0.1, 2.0, 1.0, 1.2]])
    assert decisions.decide(logits).tolist() == [[True, False, True, False], [False, True, False, True]]
    assert torch.allclose(decisions.probability(logits), GROUPED.probability(logits))
    assert decisions.thresholds()[0] == pytest.approx(0.5)
    assert decisions.thresholds()[1:3] == [None, None]
    assert Decisions.from_config(json.loads(json.dumps(decisions.to_config()))).sha256 == decisions.sha256


def test_records_hold_what_the_decisions_say():
    decisions = Decisions.by_threshold(LabelSpace(("cat", "dog", "owl")), 0.25)
    logits = torch.tensor([[0.5, -2.0, -1.0]])
    [record] = Describer(decisions).describe(["a.jpg"], logits)
    assert record["labels"] == ["cat", "owl"]
    assert [score["label"] for score in record["scores"]] == ["cat", "owl", "dog"]
    assert np.float32(record["scores"][0]["probability"]) == decisions.probability(logits)[0, 0]
    assert record["scores"][2]["probability"] == pytest.approx(expit(-2))
    assert record["scores"][2] | {"probability": 0} == {
        "label": "dog", "probability": 0, "logit": -2.0, "threshold": 0.25, "predicted": False,
    }  # fmt: skip
    [short] = Describer(decisions).describe(["a.jpg"], logits, top_k=1)
    assert [score["label"] for score in short["scores"]] == ["cat"]
    assert short["labels"] == record["labels"]
    [sparse] = Describer(decisions).describe(["a.jpg"], logits, min_probability=0.2)
    assert [score["label"] for score in sparse["scores"]] == ["cat", "owl"]


def test_a_few_of_many_labels_are_those_of_a_whole_sort():
    probability = np.random.default_rng(0).integers(0, 50, 1000).astype(np.float32) / 50  # many ties
    assert rank(probability, 30, 0.0).tolist() == np.argsort(-probability, kind="stable")[:30].tolist()
