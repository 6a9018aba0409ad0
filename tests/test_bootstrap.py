"""Resampled scores against the scores of images that are really repeated, and against scikit-learn with weights."""

import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from test_metrics import draw

from multihot.labels import Group, LabelSpace
from multihot.metrics import SCORES, measure
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.bootstrap import resample, resample_single_label
from multihot.metrics.intervals import ap_interval, basic_interval
from multihot.metrics.resamples import draw_weights
from multihot.metrics.single_label import measure_single_label

LABELS = tuple(f"label{number}" for number in range(12))
PLAIN = LabelSpace(LABELS)
GROUPED = LabelSpace(LABELS, (Group("colour", LABELS[2:5]), Group("size", LABELS[7:9], none=True)))
RESAMPLED = [name for name in SCORES if not name.startswith("num_")]
NUM_RESAMPLES = 12


def with_unknown(target: torch.Tensor, share: float = 0.3) -> torch.Tensor:
    """Returns the target with some answers unknown, and all of the first image."""
    generator = torch.Generator().manual_seed(9)
    target = target.masked_fill(torch.rand(target.shape, generator=generator) < share, -1)
    target[0] = -1
    return target


def repeat(matrices: LogitsAndTarget, weights: torch.Tensor) -> LogitsAndTarget:
    """Returns each image as often as its weight says."""
    return LogitsAndTarget(
        *(part.repeat_interleave(weights.long(), dim=0) for part in (matrices.logits, matrices.target))
    )


def cut_at(values: torch.Tensor):
    """Returns what predicts a label above a logit of its own, and of groups the winner."""
    return lambda logits: torch.where(torch.isnan(values), GROUPED.decide(logits), logits > values)


@pytest.mark.parametrize("space", [PLAIN, GROUPED], ids=["plain", "groups"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(
    "case", ["random", "ties", "all equal", "all negative", "all positive", "absent labels", "empty and full images"]
)
def test_resampled_scores_are_those_of_repeated_images(case, is_known, space):
    logits, target = draw(case, seed=1)
    matrices = LogitsAndTarget(logits, target if is_known else with_unknown(target))
    weights = draw_weights(len(logits), NUM_RESAMPLES)
    resampled = resample(matrices, space, weights, space.decide)
    assert set(resampled) == {*RESAMPLED, *(f"{group.name}_accuracy" for group in space.groups)}
    for number in range(NUM_RESAMPLES):
        scores = measure(repeat(matrices, weights[number]), space).scores
        for name, values in resampled.items():
            assert values[number] == pytest.approx(
                scores[name], abs=1e-7 if "accuracy" in name else 1e-12, nan_ok=True
            ), name


def test_rare_labels_vanish_from_some_resamples():
    logits, target = draw("random", seed=3)
    target[2:] = 0
    matrices, weights = LogitsAndTarget(logits, target), draw_weights(len(logits), NUM_RESAMPLES)
    resampled = resample(matrices, PLAIN, weights, PLAIN.decide)
    brute = [measure(repeat(matrices, row), PLAIN).scores for row in weights]
    assert any(math.isnan(scores["map"]) for scores in brute)
    for name, values in resampled.items():
        assert values == pytest.approx([scores[name] for scores in brute], abs=1e-12, nan_ok=True), name


def test_map_is_that_of_scikit_learn_with_weights():
    logits, target = draw("ties", seed=5)
    weights = draw_weights(len(logits), NUM_RESAMPLES)
    [values] = [resample(LogitsAndTarget(logits, target), PLAIN, weights, PLAIN.decide)["map"]]
    for number, row in enumerate(weights.numpy()):
        truth = [target[:, label].numpy() for label in range(12)]
        ranked = [label for label in range(12) if 0 < truth[label] @ row < row.sum()]
        expected = [
            sklearn.metrics.average_precision_score(truth[label], logits[:, label].numpy(), sample_weight=row)
            for label in ranked
        ]
        assert values[number] == pytest.approx(np.mean(expected), abs=1e-12)


def test_other_decisions_change_only_their_scores():
    logits, target = draw("random", seed=2)
    matrices, weights = LogitsAndTarget(logits, target), draw_weights(len(logits), NUM_RESAMPLES)
    cuts = torch.linspace(-1, 1, 12)
    fitted = resample(matrices, PLAIN, weights, lambda logits: logits > cuts)
    shifted = LogitsAndTarget(logits - cuts, target)
    expected = [measure(repeat(shifted, row), PLAIN).scores for row in weights]
    for name in ("micro_f1", "macro_f1", "samples_f1", "macro_recall", "subset_accuracy", "hamming_loss"):
        assert fitted[name] == pytest.approx([scores[name] for scores in expected], abs=1e-12), name
    at_half = resample(matrices, PLAIN, weights, PLAIN.decide)
    assert (fitted["micro_ap"] == at_half["micro_ap"]).all()
    assert not (fitted["micro_f1"] == at_half["micro_f1"]).all()


def test_the_result_does_not_depend_on_how_work_is_divided(monkeypatch):
    logits, target = draw("ties", seed=7)
    matrices, weights = LogitsAndTarget(logits, with_unknown(target)), draw_weights(len(logits), NUM_RESAMPLES)
    whole = resample(matrices, GROUPED, weights, GROUPED.decide)
    for name, value in (
        ("resamples.WEIGHTS_AT_ONCE", 1),
        ("resampled_rankings.PLACES_AT_ONCE", 3),
        ("resampled_rankings.ENTRIES_AT_ONCE", 32),
        ("bootstrap.ENTRIES_AT_ONCE", 32),
    ):
        monkeypatch.setattr(f"multihot.metrics.{name}", value)
    monkeypatch.setattr("multihot.metrics.blocks.ENTRIES_OF_LABELS", 200)
    divided = resample(matrices, GROUPED, weights, GROUPED.decide)
    for name, values in whole.items():
        assert divided[name] == pytest.approx(values, abs=1e-12, nan_ok=True), name


def test_single_label_scores_are_those_of_repeated_images():
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(4, (30,), generator=generator)
    logits = torch.randn(30, 4, generator=generator) + 2 * torch.nn.functional.one_hot(true, 4)
    target = torch.nn.functional.one_hot(true, 4).to(torch.int8)
    target[3], target[4, target[4] == 0] = -1, -1
    matrices, weights = LogitsAndTarget(logits, target), draw_weights(30, NUM_RESAMPLES)
    resampled = resample_single_label(matrices, LabelSpace.single_label(LABELS[:4]), weights)
    for number, row in enumerate(weights):
        scores = measure_single_label(repeat(matrices, row), LABELS[:4]).scores
        for name, values in resampled.items():
            assert values[number] == pytest.approx(scores[name], abs=1e-6), name


def test_soft_answers_are_present_from_one_half_up():
    logits, target = draw("random", seed=4)
    soft = torch.where(target == 1, 0.5, 0.49)
    weights = draw_weights(len(logits), 5)
    hard = resample(LogitsAndTarget(logits, target), PLAIN, weights, PLAIN.decide)
    for name, values in resample(LogitsAndTarget(logits, soft), PLAIN, weights, PLAIN.decide).items():
        assert (values == hard[name]).all(), name


def test_images_of_a_cluster_are_drawn_together():
    clusters = np.array([5, 5, 2, 2, 2, 9])
    weights = draw_weights(6, 200, clusters)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 5]].sum(dim=1) == 3).all()
    assert len(weights.sum(dim=1).unique()) > 1


def test_resamples_are_drawn_as_the_docs_say():
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(9, size=9), minlength=9) for _ in range(3)]
    assert draw_weights(9, 3).tolist() == np.array(drawn).tolist()
    clusters = np.arange(9)[::-1].repeat(2)  # in the order of their numbers
    assert draw_weights(18, 3, clusters).tolist() == np.array(drawn)[:, clusters].tolist()


def test_the_same_seed_draws_the_same():
    assert torch.equal(draw_weights(9, 3), draw_weights(9, 5)[:3])
    assert not torch.equal(draw_weights(9, 3), draw_weights(9, 3, seed=1))


def test_the_interval_of_an_ap_is_that_worked_by_hand():
    low, high = ap_interval(np.array([0.8, math.nan]), np.array([25, 0]))
    width = 1.959964 / math.sqrt(25 * 0.8 * 0.2)  # 0.98
    logits = [math.log(4) - width, math.log(4) + width]
    assert [low[0], high[0]] == pytest.approx([1 / (1 + math.exp(-end)) for end in logits], abs=1e-7)
    assert np.isnan([low[1], high[1]]).all()


def test_a_perfect_ap_of_few_positives_proves_little():
    for ap in (0.0, 1.0):
        low, high = ap_interval(np.full(3, ap), np.array([1, 10, 1000]))
        assert (low <= ap).all()
        assert (ap <= high).all()
        assert (np.diff(high - low) < 0).all()
    assert low[0] < 0.1
    assert 0.3 < low[1] < 0.75  # Clopper-Pearson of 10 of 10: 0.69
    assert low[2] > 0.99


def test_the_basic_interval_turns_the_resampled_values_around():
    values = np.linspace(0.5, 0.7, 2001)  # their score is 0.55, 0.05 below their middle
    assert basic_interval(0.55, values) == pytest.approx((0.405, 0.595))
    assert basic_interval(0.55, values, lowest=0.45, highest=0.5) == (0.45, 0.5)
    assert np.isnan(basic_interval(math.nan, values)).all()
    assert np.isnan(basic_interval(0.5, np.full(3, np.nan))).all()
    assert np.isnan(basic_interval(1.0, np.ones(3))).all()  # no resample differs: that is no certainty
