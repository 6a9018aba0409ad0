import json
import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from multihot.decisions import (
    Cost,
    Decisions,
    MacroF1,
    MicroF1,
    Precision,
    Recall,
    SamplesF1,
    cuts,
    fit_decisions,
)
from multihot.decisions.calibration import calibrate, fit_temperature
from multihot.decisions.cuts import list_cuts
from multihot.decisions.logistic import RIDGE, SMALLEST_SLOPE, fit_slopes
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.decisions import measure_decisions

AIMS = (MicroF1(), MacroF1(), SamplesF1(), Cost(2, 1))


def draw(num_images, num_labels, seed=0, frequency=0.3, unknown=0.0, strength=2.0):
    """Returns logits that tell present from absent, some of the answers unknown, and the space of the labels."""
    rng = np.random.default_rng(seed)
    target = (rng.random((num_images, num_labels)) < frequency).astype(np.int8)
    logits = rng.normal(0, 1.5, target.shape) + strength * target - 1.5
    target[rng.random(target.shape) < unknown] = -1
    space = LabelSpace(tuple(f"label {column}" for column in range(num_labels)))
    return LogitsAndTarget(torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(target)), space


def score(matrices, decide, name):
    return float(measure_decisions(matrices, decide)[name])


@pytest.fixture
def raw_cuts(monkeypatch):
    """Answers count however few there are."""
    monkeypatch.setattr(cuts, "RAW_FROM", 0)
    monkeypatch.setattr("multihot.decisions.ascent.RAW_FROM", 0)


def test_platt_scaling_minimises_log_loss_and_ridge():
    matrices, space = draw(400, 1)
    logits, target = matrices.logits[:, 0].double().numpy(), matrices.target[:, 0].numpy()

    def objective(parameters):
        log_odds = parameters[0] * logits + parameters[1]
        return (np.logaddexp(0, log_odds) - target * log_odds).sum() + RIDGE / 2 * (parameters[0] - 1) ** 2

    expected = minimize(objective, [1, 0], tol=1e-12).x
    assert fit_slopes(logits[None], target) == pytest.approx(expected, abs=1e-5)
    log_odds = calibrate(matrices, space).log_odds(matrices.logits)[:, 0].numpy()
    assert log_odds == pytest.approx(expected[0] * logits + expected[1], abs=1e-4)


@pytest.mark.parametrize("kind", ["platt", "beta"])
def test_calibration_changes_no_ranking_of_a_label(kind):
    matrices, space = draw(500, 3, unknown=0.2)
    calibrated = calibrate(matrices, space, kind).log_odds(matrices.logits)
    for column in range(3):
        known = matrices.target[:, column] >= 0
        truth = matrices.target[known, column]
        before = average_precision_score(truth, matrices.logits[known, column])
        assert average_precision_score(truth, calibrated[known, column]) == before


def test_calibration_never_turns_a_ranking_around():
    logits = np.linspace(-3, 3, 200)
    slope, intercept = fit_slopes(logits[None], (logits < 0).astype(np.int8))
    assert slope == SMALLEST_SLOPE
    assert intercept == pytest.approx(0, abs=0.1)


def test_calibrated_probabilities_add_up_to_the_positives():
    matrices, space = draw(300, 4, unknown=0.3)
    probability = calibrate(matrices, space).log_odds(matrices.logits).sigmoid()
    known = matrices.target >= 0
    sums = (probability * known).sum(dim=0).numpy()
    assert sums == pytest.approx((matrices.target == 1).sum(dim=0).numpy(), abs=1e-6)


def test_isotonic_calibration_is_that_of_scikit_learn_and_needs_positives():
    matrices, space = draw(3000, 1)
    steps = calibrate(matrices, space, "isotonic")
    probability = steps.log_odds(matrices.logits)[:, 0].sigmoid().numpy()
    logits, target = matrices.logits[:, 0].numpy(), matrices.target[:, 0].numpy()
    expected = np.clip(IsotonicRegression().fit(logits, target).predict(logits), 1 / 3001, 3000 / 3001)
    assert probability == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InputError, match="300 positives"):
        calibrate(*draw(100, 2), "isotonic")


def test_the_temperature_of_a_group_is_found_again():
    space = LabelSpace(("red", "green"), (Group("colour", ("red", "green"), none=True),))
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 2, generator=generator)
    probability = torch.cat([logits / 2, torch.zeros(4000, 1)], dim=1).softmax(dim=1)
    answer = torch.multinomial(probability, 1, generator=generator)[:, 0]
    target = torch.nn.functional.one_hot(answer, 3)[:, :2].to(torch.int8)
    assert fit_temperature(LogitsAndTarget(logits, target), space, 0) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("per_label", [False, True])
@pytest.mark.parametrize("kind", ["platt", "beta", "none"])
def test_unknown_answers_never_count(aim, per_label, kind):
    matrices, space = draw(200, 3, unknown=0.3)
    other = torch.where(matrices.target < 0, torch.randn(200, 3) * 5, matrices.logits)
    first, second = (
        fit_decisions(LogitsAndTarget(logits, matrices.target), space, aim, per_label=per_label, calibration=kind)
        for logits in (matrices.logits, other)
    )
    assert first.to_config() == second.to_config()


@pytest.mark.parametrize(
    ("aim", "name"), [(MicroF1(), "micro_f1"), (MacroF1(), "macro_f1"), (SamplesF1(), "samples_f1")]
)
def test_the_common_threshold_is_the_best_of_all(aim, name):
    matrices, space = draw(60, 4, seed=3, unknown=0.1)
    decisions = fit_decisions(matrices, space, aim)
    log_odds = decisions.calibration.log_odds(matrices.logits)
    every = [score(LogitsAndTarget(log_odds, matrices.target), lambda z, t=t: z > t, name) for t in log_odds.unique()]
    assert score(matrices, decisions.decide, name) == pytest.approx(max(every), abs=1e-12)
    assert decisions.common == pytest.approx(decisions.thresholds()[0])


def every_combination(matrices):
    """Yields all decisions that cuts of two labels can come to."""
    edges = [np.r_[-np.inf, matrices.logits[:, column].unique().numpy()] for column in range(2)]
    for pair in product(*edges):
        yield lambda logits, pair=pair: logits > torch.tensor(pair)


def test_micro_f1_by_dinkelbach_equals_brute_force(raw_cuts):
    for seed in range(5):
        matrices, space = draw(25, 2, seed=seed, unknown=0.1)
        decisions = fit_decisions(matrices, space, MicroF1(), per_label=True)
        best = max(score(matrices, decide, "micro_f1") for decide in every_combination(matrices))
        assert score(matrices, decisions.decide, "micro_f1") == pytest.approx(best, abs=1e-12)


def test_samples_f1_by_ascent_leaves_no_label_to_improve(raw_cuts):
    matrices, space = draw(60, 3, seed=1, unknown=0.1)
    decisions = fit_decisions(matrices, space, SamplesF1(), per_label=True)
    reached = score(matrices, decisions.decide, "samples_f1")
    assert reached >= score(matrices, fit_decisions(matrices, space, SamplesF1()).decide, "samples_f1")
    for column in range(3):
        for cut in matrices.logits[:, column].unique():
            other = decisions.cuts.clone()
            other[column] = cut
            assert score(matrices, lambda logits, cuts=other: logits > cuts, "samples_f1") <= reached + 1e-9


def test_macro_f1_a_label_equals_the_precision_recall_curve_where_that_is_defined(raw_cuts):
    matrices, space = draw(200, 3)
    decided = fit_decisions(matrices, space, MacroF1(), per_label=True).decide(matrices.logits)
    for column in range(3):
        truth, logits = matrices.target[:, column].numpy(), matrices.logits[:, column].numpy()
        precision, recall, _ = precision_recall_curve(truth, logits)
        best = np.nanmax(2 * precision * recall / (precision + recall))
        assert f1_score(truth, decided[:, column].numpy()) == pytest.approx(best, abs=1e-12)


def test_the_cut_keeps_the_positive_that_stands_on_it_and_ties_stay_together():
    logits, target = np.float32([3, 2, 2, 1, 0]), np.array([1, 1, 0, 0, 0])
    found = list_cuts(logits, target)
    assert found.cut.tolist() == [3.0, 2.5, 1.5]
    assert found.num_predicted.tolist() == [0, 1, 3]
    assert found.hits.tolist() == [0, 1, 2]
    near = np.float32([1, np.nextafter(np.float32(1), np.float32(0))])
    assert (near > list_cuts(near, np.array([1, 0])).cut[1]).tolist() == [True, False]


def test_a_label_without_a_positive_keeps_the_common_threshold_and_says_so():
    matrices, space = draw(200, 3)
    matrices.target[:, 1] = 0
    for aim in AIMS:
        decisions = fit_decisions(matrices, space, aim, per_label=True)
        assert decisions.kept == {"label 1": "has no positive"}
        assert decisions.own == (0, 2)
        assert decisions.thresholds()[1] == decisions.common


def test_nothing_can_be_fitted_without_a_positive():
    matrices, space = draw(20, 2)
    matrices.target.fill_(0)
    with pytest.raises(InputError, match="no label is known to be on an image"):
        fit_decisions(matrices, space, MicroF1())


def test_expected_f1_of_few_positives_beats_the_best_f1_on_them(monkeypatch):
    truths, truth = {}, draw(20_000, 1, seed=1000, frequency=1 / 60, strength=3)[0]
    for raw_from in (0, 100):
        monkeypatch.setattr(cuts, "RAW_FROM", raw_from)
        reached = []
        for seed in range(60):
            matrices, space = draw(300, 1, seed=seed, frequency=1 / 60, strength=3)
            if matrices.target.sum():
                decisions = fit_decisions(matrices, space, MacroF1(), per_label=True)
                reached.append(score(truth, decisions.decide, "macro_f1"))
        truths[raw_from] = np.mean(reached)
    assert truths[100] > truths[0] + 0.02


def test_a_promised_precision_is_kept_and_the_raw_choice_misses_it(monkeypatch):
    kept = {}
    truth, _ = draw(20_000, 1, seed=999, strength=4)
    for bound in ("promise", "raw"):
        if bound == "raw":
            monkeypatch.setattr("multihot.decisions.aims.lowest_precision", lambda hits, all: hits / np.maximum(all, 1))
        reached = []
        for seed in range(80):
            matrices, space = draw(400, 1, seed=seed, strength=4)
            decisions = fit_decisions(matrices, space, Precision(0.8), per_label=True)
            reached.append(score(truth, decisions.decide, "micro_precision") >= 0.8)
        kept[bound] = np.mean(reached)
    assert kept["promise"] >= 0.9
    assert kept["raw"] <= 0.7


def test_the_bound_of_a_precision_is_clopper_pearson():
    from multihot.decisions.aims import lowest_precision

    assert lowest_precision(np.array([9]), np.array([10])) == pytest.approx(beta.ppf(0.05, 9, 2))
    matrices, space = draw(60, 2)
    with pytest.raises(InputError, match=r"a precision of 0\.999 cannot be promised by any threshold"):
        fit_decisions(matrices, space, Precision(0.999))


@pytest.mark.parametrize("per_label", [False, True])
def test_a_promised_recall_is_kept_on_average(per_label):
    truth, _ = draw(5000, 3, seed=999)
    reached = []
    for seed in range(60):
        matrices, space = draw(120, 3, seed=seed)
        decision = fit_decisions(matrices, space, Recall(0.9), per_label=per_label).decide(truth.logits)
        hits, positives = decision & (truth.target == 1), truth.target == 1
        if per_label:
            reached.append((hits.sum(dim=0) / positives.sum(dim=0)).mean())
        else:
            some = positives.any(dim=1)
            reached.append((hits.sum(dim=1)[some] / positives.sum(dim=1)[some]).mean())
    error = np.std(reached) / math.sqrt(len(reached))
    assert 0.9 - 2 * error <= np.mean(reached) <= 0.93


def test_a_recall_that_so_few_positives_cannot_promise_is_refused():
    matrices, space = draw(200, 2, frequency=0.03)
    decisions = fit_decisions(matrices, space, Recall(0.9), per_label=True)
    few = int(matrices.target.sum(dim=0).min())
    assert few < 9
    assert f"needs 9 positives, it has {few}" in " ".join(decisions.kept.values())
    with pytest.raises(InputError, match="it needs 99"):
        fit_decisions(matrices, space, Recall(0.99))


@pytest.mark.parametrize(("recall", "num"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
@pytest.mark.parametrize("per_label", [False, True])
def test_just_as_many_positives_as_are_asked_for_promise_a_recall(recall, num, per_label):
    for given in (num, num - 1):
        logits = torch.arange(2.0 * num).unsqueeze(1)
        matrices, space = LogitsAndTarget(logits, (logits >= 2 * num - given).to(torch.int8)), LabelSpace(("cat",))
        if given == num:
            decisions = fit_decisions(matrices, space, Recall(recall), per_label=per_label)
            assert decisions.decide(logits).sum() == num
            assert not decisions.kept
        else:
            with pytest.raises(InputError, match=f"it needs {num}"):
                fit_decisions(matrices, space, Recall(recall), per_label=per_label)


def test_neighbours_of_a_cut_are_decided_alike_after_reading(tmp_path, raw_cuts):
    above = np.float32([0.3, 1.7, -2.1])
    below = np.nextafter(above, np.float32(-9))
    logits = torch.from_numpy(np.stack([above, below]))
    target = torch.tensor([[1, 1, 1], [0, 0, 0]], dtype=torch.int8)
    decisions = fit_decisions(LogitsAndTarget(logits, target), LabelSpace(tuple("abc")), MacroF1(), per_label=True)
    decisions.save(tmp_path)
    for some in (decisions, Decisions.load(tmp_path)):
        assert some.decide(logits).tolist() == [[True] * 3, [False] * 3]
    cuts = json.loads((tmp_path / "decisions.json").read_text())["cuts"]
    assert (logits.double().numpy() > np.array(cuts)).tolist() == [[True] * 3, [False] * 3]  # in float64 too


def test_the_cheapest_threshold_is_the_ratio_of_costs():
    decisions = fit_decisions(*draw(300, 3), Cost(miss=4, false_alarm=1))
    assert decisions.common == pytest.approx(0.2)


def test_groups_keep_their_largest_logit_and_get_a_temperature():
    labels = ("red", "green", "cat")
    space = LabelSpace(labels, (Group("colour", ("red", "green")),))
    matrices, _ = draw(200, 3)
    target = matrices.target.clone()
    target[:, 1] = 1 - target[:, 0]
    decisions = fit_decisions(LogitsAndTarget(matrices.logits, target), space, MicroF1(), per_label=True)
    assert decisions.cuts.isnan().tolist() == [True, True, False]
    assert decisions.thresholds()[:2] == [None, None]
    assert torch.equal(decisions.decide(matrices.logits)[:, :2], space.decide(matrices.logits)[:, :2])
    probability = decisions.probability(matrices.logits)
    assert probability[:, :2].sum(dim=1).numpy() == pytest.approx(np.ones(200), abs=1e-6)
    alone = LabelSpace.single_label(labels)
    one = torch.nn.functional.one_hot(torch.arange(200) % 3, 3)
    assert fit_decisions(LogitsAndTarget(matrices.logits, one), alone, MicroF1()).common is None


def test_soft_answers_count_from_one_half_up():
    matrices, space = draw(100, 2)
    soft = torch.where(matrices.target == 1, 0.6, 0.4)
    first, second = (
        fit_decisions(LogitsAndTarget(matrices.logits, part), space, MicroF1()) for part in (soft, matrices.target)
    )
    assert first.to_config() == second.to_config()


def test_the_simulation_prints_its_tables(call_script):
    printed = call_script("scripts/simulate_decisions.py", "--repeats", "1").stdout
    assert printed.count("| positives |") == 3
    assert all(printed.count(f"\n| {num} |") == 3 for num in (3, 5, 10, 30, 100, 300))


@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic", "none"])
def test_decisions_are_read_as_they_were_saved(kind, tmp_path):
    matrices, space = draw(1500, 2)
    decisions = fit_decisions(matrices, space, MicroF1(), per_label=True, calibration=kind, fitted={"split": "val"})
    decisions.save(tmp_path)
    read = Decisions.load(tmp_path)
    assert read.sha256 == decisions.sha256
    assert torch.equal(read.decide(matrices.logits), decisions.decide(matrices.logits))
    assert torch.equal(read.probability(matrices.logits), decisions.probability(matrices.logits))
    config = json.loads((tmp_path / "decisions.json").read_text())
    for damage in ({"cuts": [0.0]}, {"cuts": ["a", 1]}, {"calibration": {}}, {"label_space": {}}):
        (tmp_path / "decisions.json").write_text(json.dumps(config | damage))
        with pytest.raises(InputError, match=r"decisions\.json is damaged"):
            Decisions.load(tmp_path)
