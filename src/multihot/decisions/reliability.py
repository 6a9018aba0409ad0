"""How far the probabilities of each label can be believed: measures of calibration, and the bins of its curve.

The expected calibration error (ECE) of perfect probabilities is not 0: the share of positives in a bin is that of a
sample. `ece_expected` is what it would be on the same images, and only what `ece` has above it speaks against a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit, logit, ndtri

from multihot.metrics.decisions import mean_of_evaluated

LABELS_AT_ONCE = 32
CELLS = 16  # a unit of log-odds; answers of about the same probability are drawn together
LARGEST = 40.0  # log-odds; all above are in one cell
MAX_STEPS = 100  # of Newton's method
PRECISION = 1e-9  # of slope and intercept, on standardised log-odds


@dataclass(frozen=True)
class Reliability:
    """Measures of calibration of C labels, each (C,), NaN where there is nothing to measure, and K bins of each."""

    num_known: np.ndarray
    num_positives: np.ndarray
    expected_positives: np.ndarray  # the sum of the probabilities
    slope: np.ndarray  # of the answers on the log-odds; 1 is right, below it the label is too sure, inf if separable
    intercept: np.ndarray
    slope_error: np.ndarray  # standard error
    log_loss: np.ndarray
    brier: np.ndarray
    ece: np.ndarray
    ece_expected: np.ndarray  # its mean if the probabilities were right
    ece_limit: np.ndarray  # 95% of it is below this then
    bin_count: np.ndarray  # (C, K); 0 where equal probabilities leave a bin empty
    bin_positives: np.ndarray  # (C, K)
    bin_probability: np.ndarray  # mean (C, K)

    @property
    def ratio(self) -> np.ndarray:
        """The sum of the probabilities over the number of positives (C,): above 1 too many are expected."""
        return divide(self.expected_positives, self.num_positives)

    @property
    def bin_share(self) -> np.ndarray:
        """The share of positives of each bin (C, K)."""
        return divide(self.bin_positives, self.bin_count)

    def bin_interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ends (C, K) of Wilson's interval of the share of positives of each bin."""
        squared = ndtri((1 + confidence) / 2) ** 2
        total, share = self.bin_count + squared, self.bin_share
        middle = (self.bin_positives + squared / 2) / total
        half = np.sqrt(squared * (self.bin_count * share * (1 - share) + squared / 4)) / total
        return middle - half, middle + half

    @classmethod
    def join(cls, parts: Sequence["Reliability"]) -> "Reliability":
        """Returns the measures of the labels of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def overall(self) -> dict[str, float]:
        """Returns means over known answers, means over labels (`macro_`), and the ratio of all labels together."""
        weight = divide(self.num_known, self.num_known.sum())
        over_answers = {name: (weight * getattr(self, name))[weight > 0].sum() for name in ("log_loss", "brier")}
        names = ("log_loss", "brier", "ece", "ece_expected")
        over_labels = {f"macro_{name}": mean_of_evaluated(getattr(self, name)) for name in names}
        ratio = divide(np.nansum(self.expected_positives), self.num_positives.sum())
        return {name: float(value) for name, value in {**over_answers, **over_labels, "ratio": ratio}.items()}


def measure_reliability(
    log_odds: np.ndarray, target: np.ndarray, *, num_bins: int = 10, num_draws: int = 100
) -> Reliability:
    """Returns the measures of all labels: log-odds (N, C), target (N, C) of 1, 0 and -1 (unknown, never counted).

    Probabilities p have the log-odds `scipy.special.logit(p)`. The bins are those of scikit-learn's `calibration_curve`
    with strategy="quantile". Memory beside the arguments: that of some labels.

    Args:
        num_draws: of answers with just these probabilities, for `ece_expected` and `ece_limit`; the same every time.

    >>> odds, target = np.array([[0.0], [0.0], [np.log(3)], [np.log(3)]]), np.array([[0], [1], [1], [-1]])
    >>> result = measure_reliability(odds, target, num_bins=2)
    >>> result.expected_positives.round(2).tolist(), result.brier.round(4).tolist(), result.ece.round(4).tolist()
    ([1.75], [0.1875], [0.0833])
    """
    log_odds, target = np.asarray(log_odds), np.asarray(target)
    rng, measures = np.random.default_rng(0), []
    for start in range(0, target.shape[1], LABELS_AT_ONCE):
        labels = slice(start, start + LABELS_AT_ONCE)
        for own, answers in zip(log_odds[:, labels].T.astype(np.float64, "C"), target[:, labels].T, strict=True):
            known = answers >= 0
            measures.append(measure_label(own[known], answers[known] == 1, num_bins, num_draws, rng))
    columns = {field.name: np.array([measure[field.name] for measure in measures]) for field in fields(Reliability)}
    return Reliability(**columns)


def measure_label(
    log_odds: np.ndarray, is_present: np.ndarray, num_bins: int, num_draws: int, rng: np.random.Generator
) -> dict[str, float | np.ndarray]:
    """Returns the measures of one label by name: log-odds (N,) and whether it is present, bool (N,)."""
    order = np.argsort(log_odds)
    log_odds, is_present = log_odds[order], is_present[order]
    probability = expit(log_odds)
    place = place_in_bins(probability, num_bins)
    count, positives, expected = (np.bincount(place, weight, num_bins) for weight in (None, is_present, probability))
    drawn = draw_positives(log_odds, probability, place, num_bins, num_draws, rng)
    ece, *by_chance = divide(np.abs(expected - np.vstack([positives, drawn])).sum(axis=1), len(log_odds))
    slope, intercept, slope_error = fit_line(log_odds, is_present)
    losses = np.logaddexp(0, np.where(is_present, -log_odds, log_odds))
    return {
        "num_known": len(log_odds),
        "num_positives": int(is_present.sum()),
        "expected_positives": probability.sum(),
        "slope": slope,
        "intercept": intercept,
        "slope_error": slope_error,
        "log_loss": divide(losses.sum(), len(log_odds)),
        "brier": divide(np.square(probability - is_present).sum(), len(log_odds)),
        "ece": ece,
        "ece_expected": np.mean(by_chance),
        "ece_limit": np.quantile(by_chance, 0.95),
        "bin_count": count,
        "bin_positives": positives.astype(int),
        "bin_probability": divide(expected, count),
    }


def place_in_bins(probability: np.ndarray, num_bins: int) -> np.ndarray:
    """Returns the bin (N,) of each of the sorted probabilities (N,), about as many in each; equal ones share one.

    >>> place_in_bins(np.array([0.1, 0.2, 0.3, 0.3, 0.3]), 2).tolist()
    [0, 0, 0, 0, 0]
    """
    if not len(probability):
        return np.zeros(0, int)
    edges = np.percentile(probability, np.linspace(0, 100, num_bins + 1)[1:-1])
    return np.searchsorted(edges, probability)


def draw_positives(
    log_odds: np.ndarray, probability: np.ndarray, place: np.ndarray, num_bins: int, num_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Returns how many of each bin are positive (num_draws, K) in answers drawn with these sorted probabilities (N,).

    Those of a bin with nearly the same log-odds (a cell) are drawn as one number of a binomial distribution.
    """
    drawn = np.zeros((num_draws, num_bins), int)
    if len(log_odds):
        steps = np.floor(log_odds.clip(-LARGEST, LARGEST) * CELLS)
        first = np.flatnonzero((np.diff(steps, prepend=-np.inf) > 0) | (np.diff(place, prepend=-1) > 0))
        count = np.diff(first, append=len(log_odds))
        mean = np.minimum(np.add.reduceat(probability, first) / count, 1)
        cells = rng.binomial(count[:, None], mean[:, None], (len(first), num_draws))
        np.add.at(drawn.T, place[first], cells)
    return drawn


def fit_line(log_odds: np.ndarray, is_present: np.ndarray) -> tuple[float, float, float]:
    """Returns slope and intercept of the likeliest P(present) = sigmoid(intercept + slope * log-odds), and the standard
    error of the slope: sorted log-odds (N,), bool (N,).

    The slope is infinite where a cut separates the answers, NaN where there is one kind of answer or one probability.
    """
    limit = find_limit(log_odds, is_present)
    if limit is not None:
        return limit, np.nan, np.nan
    mean, scale = log_odds.mean(), log_odds.std()
    design = np.stack([np.ones_like(log_odds), (log_odds - mean) / scale])
    line, step = np.array([logit(is_present.mean()), 0.0]), np.zeros(2)
    loss, size = np.inf, 1.0
    for _ in range(MAX_STEPS):
        score = line @ design
        new_loss = np.logaddexp(0, np.where(is_present, -score, score)).sum()
        if new_loss > loss * (1 + 1e-12):  # too far
            size /= 2
            line -= size * step
            continue
        loss, size, fitted = new_loss, 1.0, expit(score)
        curvature = (fitted * (1 - fitted) * design) @ design.T
        step = np.linalg.solve(curvature, design @ (is_present - fitted))
        line = line + step
        if np.abs(step).max() < PRECISION:
            break
    slope = line[1] / scale
    return slope, line[0] - slope * mean, np.sqrt(np.linalg.inv(curvature)[1, 1]) / scale


def find_limit(log_odds: np.ndarray, is_present: np.ndarray) -> float | None:
    """Returns the slope, infinite or NaN, where no finite one is the likeliest; None where one is."""
    positives, negatives = log_odds[is_present], log_odds[~is_present]
    if (
        not (len(positives) and len(negatives))
        or log_odds[0] == log_odds[-1]
        or not np.isfinite(log_odds[[0, -1]]).all()
    ):
        return np.nan
    if negatives[-1] <= positives[0]:
        return np.inf
    return -np.inf if positives[-1] <= negatives[0] else None


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns the quotient, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.asarray(denominator) != 0)
