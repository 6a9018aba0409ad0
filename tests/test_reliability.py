import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from multihot.decisions.reliability import Reliability, measure_reliability


def draw(*, num_images=500, means=(0.0, -2.0, -4.0), slope=1.0, seed=0):
    """Returns log-odds (N, C) and answers (N, C), which follow sigmoid(slope * log-odds)."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(means, 1.5, (num_images, len(means)))
    return log_odds, (rng.random(log_odds.shape) < expit(slope * log_odds)).astype(np.int8)


def test_log_loss_brier_and_bins_are_those_of_scikit_learn_on_known_answers():
    log_odds, target = draw()
    target[np.random.default_rng(1).random(target.shape) < 0.2] = -1
    result = measure_reliability(log_odds, target)
    for label, known in enumerate((target >= 0).T):
        answers, probability = target[known, label], expit(log_odds[known, label])
        assert result.num_known[label] == known.sum()
        assert result.num_positives[label] == answers.sum()
        assert result.log_loss[label] == pytest.approx(log_loss(answers, probability), rel=1e-12)
        assert result.brier[label] == pytest.approx(brier_score_loss(answers, probability), rel=1e-12)
        share, mean = calibration_curve(answers, probability, n_bins=10, strategy="quantile")
        assert result.bin_share[label] == pytest.approx(share, rel=1e-12)
        assert result.bin_probability[label] == pytest.approx(mean, rel=1e-12)
        weight = result.bin_count[label] / known.sum()
        assert result.ece[label] == pytest.approx(weight @ np.abs(share - mean), rel=1e-12)
        assert result.ratio[label] == pytest.approx(probability.sum() / answers.sum(), rel=1e-12)


def test_slope_and_intercept_are_those_of_an_unpenalised_logistic_regression():
    log_odds, target = draw(slope=0.6)
    result = measure_reliability(log_odds, target)
    for label in range(3):
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, [label]], target[:, label])
        assert result.slope[label] == pytest.approx(model.coef_[0, 0], rel=1e-4)
        assert result.intercept[label] == pytest.approx(model.intercept_[0], rel=1e-4, abs=1e-4)


def test_the_standard_error_of_the_slope_is_its_spread_over_samples():
    samples = [draw(means=[-1.0] * 30, seed=seed) for seed in range(20)]
    results = [measure_reliability(*sample, num_draws=1) for sample in samples]
    slopes, errors = (np.concatenate([getattr(one, name) for one in results]) for name in ("slope", "slope_error"))
    assert slopes.mean() == pytest.approx(1.0, abs=0.02)
    assert errors.mean() == pytest.approx(slopes.std(), rel=0.1)


def test_a_slope_that_no_finite_number_is_best_for_is_infinite_or_nan():
    log_odds = np.array([[-1.0, -1.0, -1.0, 2.0], [0.0, 0.0, 0.0, 2.0], [1.0, 1.0, 1.0, 2.0]])
    target = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]])
    result = measure_reliability(log_odds, target)
    assert result.slope.tolist() == pytest.approx([np.inf, -np.inf, np.nan, np.nan], nan_ok=True)
    assert np.isnan(result.intercept).all()


def test_one_pair_in_the_wrong_order_gives_a_finite_slope():
    log_odds = np.array([-9.0, -8.0, -1.0, -1.1, 8.0, 9.0])[:, None]
    target = np.array([0, 0, 0, 1, 1, 1])[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(log_odds, target[:, 0])
    assert measure_reliability(log_odds, target).slope[0] == pytest.approx(model.coef_[0, 0], rel=1e-3)


@pytest.mark.parametrize("mean", [0.0, -3.0, -6.0])
def test_perfect_probabilities_have_the_expected_error_of_a_simulation_of_all_answers(mean):
    log_odds, target = draw(num_images=1000, means=[mean] * 200)
    result = measure_reliability(log_odds, target)
    error = result.ece.std() / np.sqrt(200)
    assert result.ece_expected.mean() == pytest.approx(result.ece.mean(), abs=4 * error)
    assert (result.ece > result.ece_limit).mean() == pytest.approx(0.05, abs=0.05)
    assert result.ece_expected.min() > 0


def test_the_expected_error_is_that_of_answers_drawn_one_by_one():
    probability = np.sort(expit(draw(num_images=300, means=(-2.0,))[0][:, 0]))
    answers = np.random.default_rng(5).random((5000, 300)) < probability
    bins = np.array_split(np.arange(300), 10)  # as no two probabilities are equal
    errors = sum(abs((answers[:, rows] - probability[rows]).sum(axis=1)) for rows in bins) / 300
    result = measure_reliability(logit(probability)[:, None], answers[:1].T, num_draws=5000)
    assert result.ece[0] == pytest.approx(errors[0])
    assert result.ece_expected[0] == pytest.approx(errors.mean(), rel=0.02)
    assert result.ece_limit[0] == pytest.approx(np.quantile(errors, 0.95), rel=0.02)


def test_too_sure_probabilities_have_a_slope_below_1_and_an_error_above_the_limit():
    log_odds, target = draw(num_images=2000, slope=0.5)
    result = measure_reliability(log_odds, target)
    assert (result.slope + 2 * result.slope_error < 1).all()
    assert (result.ece > result.ece_limit)[:2].all()


def test_intervals_of_bins_are_those_of_scipy():
    result = measure_reliability(*draw(num_images=60, means=(-2.0,)), num_bins=4)
    low, high = result.bin_interval()
    for count, positives, *ends in zip(result.bin_count[0], result.bin_positives[0], low[0], high[0], strict=True):
        assert ends == pytest.approx(list(binomtest(positives, count).proportion_ci(method="wilson")), abs=1e-12)


def test_labels_without_positives_or_without_answers_have_what_can_be_measured():
    log_odds, target = np.full((4, 2), logit(0.1)), np.array([[0, -1]] * 4)
    result = measure_reliability(log_odds, target)
    assert result.log_loss == pytest.approx([-np.log(0.9), np.nan], nan_ok=True)
    assert result.expected_positives[0] == pytest.approx(0.4)
    assert np.isnan(result.ratio).all()
    assert result.bin_count.tolist() == [[4] + [0] * 9, [0] * 10]
    assert np.isnan(result.bin_interval()[0][1]).all()
    overall = result.overall()
    assert overall["log_loss"] == overall["macro_log_loss"] == pytest.approx(-np.log(0.9))
    assert np.isnan(overall["ratio"])


def test_the_overall_log_loss_is_that_of_all_known_answers():
    log_odds, target = draw()
    target[:300, 0] = -1
    known, overall = target >= 0, measure_reliability(log_odds, target).overall()
    assert overall["log_loss"] == pytest.approx(log_loss(target[known], expit(log_odds[known])), rel=1e-12)
    assert overall["brier"] == pytest.approx(brier_score_loss(target[known], expit(log_odds[known])), rel=1e-12)
    assert overall["ratio"] == pytest.approx(expit(log_odds[known]).sum() / (target == 1).sum())


def test_a_positive_of_probability_0_has_an_infinite_loss():
    result = measure_reliability(logit(np.array([[0.0], [0.5], [1.0]])), np.array([[1], [0], [1]]))
    assert result.log_loss.tolist() == [np.inf]
    assert result.brier == pytest.approx([(1 + 0.25 + 0) / 3])
    assert np.isnan(result.slope).all()


def test_the_measures_are_the_same_every_time_and_all_finite_ones_are_of_all_labels():
    one, two = (measure_reliability(*draw(num_images=50, means=[-1.0] * 70)) for _ in range(2))
    assert isinstance(one, Reliability)
    assert one.ece_expected.shape == (70,)
    assert np.array_equal(one.ece_expected, two.ece_expected)
    assert one.bin_share.shape == (70, 10)
