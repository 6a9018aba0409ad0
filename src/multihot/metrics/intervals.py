"""How far a score may be from what more images of the same kind would give: 95% intervals."""

from statistics import NormalDist

import numpy as np

LEVEL = 0.95
QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)  # 1.96
FEW_POSITIVES = 10  # fewer say little about a label


def ap_interval(ap: np.ndarray, num_positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the interval of each label's average precision: ap (C,), num_positives (C,); NaN of NaN.

    logit(a) +- 1.96 / sqrt(P a (1 - a)), on the scale of a again: it stays inside of 0 to 1, and covers the true value
    as often as promised from three positives up, where the percentile bootstrap is too narrow. An AP nearer to 0 or 1
    than half an answer of P + 1 counts as that near, so that a perfect ranking of three positives is no proof of one:
    without it the interval at 0 and 1 would be everything or nothing. The AP itself is always inside.

    >>> low, high = ap_interval(np.array([0.5, 1.0, 1.0]), np.array([10, 3, 300]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.225, 0.186, 0.974], [0.775, 1.0, 1.0])
    """
    ap, nearest = np.asarray(ap, np.float64), 1 / (2 * (np.asarray(num_positives) + 1))
    inside = np.clip(ap, nearest, 1 - nearest)
    logit = np.log(inside) - np.log1p(-inside)
    width = QUANTILE / np.sqrt(np.maximum(num_positives, 1) * inside * (1 - inside))
    low, high = (1 / (1 + np.exp(-end)) for end in (logit - width, logit + width))
    return np.minimum(low, ap), np.maximum(high, ap)


def basic_interval(
    score: float, resampled: np.ndarray, lowest: float = -np.inf, highest: float = np.inf
) -> tuple[float, float]:
    """Returns the basic bootstrap interval of a score from its resampled values (R,), without those that are NaN.

    The values lie around the score as the score lies around the truth: the ends are 2 s - q(0.975) and 2 s - q(0.025),
    which takes their bias off. The percentile interval, q(0.025) to q(0.975), adds it once more. NaN if no value is a
    number, or if all are the same: that all images are right, or only one cluster is there, says nothing of others.

    Args:
        lowest, highest: the score cannot lie beyond.

    >>> basic_interval(0.5, np.array([0.5, 0.5, 0.75, 0.75, np.nan]))
    (0.25, 0.5)
    """
    values = resampled[~np.isnan(resampled)]
    if np.isnan(score) or not values.size or values.min() == values.max():
        return np.nan, np.nan
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return tuple(np.clip([2 * score - high, 2 * score - low], lowest, highest).tolist())
