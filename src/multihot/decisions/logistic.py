"""Logistic regressions of one label each on few columns, all at once, with a ridge that pulls slopes to 1."""

import numpy as np

RIDGE = 4.0  # of (slope - 1)^2 / 2, against the sum of the log losses: as if slopes were 1 +- 0.5 before any answer
SMALLEST_SLOPE = 0.05  # calibration never turns a ranking around
MAX_STEPS, MAX_HALVINGS, TOLERANCE = 50, 30, 1e-10


def fit_slopes(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns slopes and intercept (K + 1,) of one label: log-odds = slopes @ columns (K, n) + intercept.

    They minimise the sum of log losses + RIDGE / 2 of the squared distances of the slopes from 1, by Newton's method;
    slopes below SMALLEST_SLOPE are set to it and the rest is fitted again. Without a positive or without a negative
    nothing is to be learned: slopes 1, intercept 0.

    Args:
        target: (n,) of 1 and 0.

    >>> fit_slopes(np.array([[2.0, -1.0]]), np.array([0, 0])).tolist()
    [1.0, 0.0]
    """
    num_slopes = len(columns)
    start = np.r_[np.ones(num_slopes), 0.0]
    if target.min(initial=1) == target.max(initial=0):
        return start
    design = np.vstack([columns, np.ones(len(target))])
    free = np.ones(num_slopes + 1, bool)
    fitted = newton(design, target, start, free)
    while (is_low := free[:-1] & (fitted[:-1] < SMALLEST_SLOPE)).any():
        free[:-1] &= ~is_low
        fitted = newton(design, target, np.where(free, start, np.r_[np.full(num_slopes, SMALLEST_SLOPE), 0]), free)
    return fitted


def newton(design: np.ndarray, target: np.ndarray, start: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Returns the parameters (K + 1,) of the least penalised loss; those that are not free keep their start."""
    ridge = np.r_[np.full(len(start) - 1, RIDGE), 0.0]
    parameters, (loss, probability) = start, judge(design, target, start, ridge)
    for _ in range(MAX_STEPS):
        gradient = design @ (probability - target) + ridge * (parameters - (ridge > 0))
        curvature = (design * (probability * (1 - probability))) @ design.T + np.diag(ridge)
        step = np.zeros_like(parameters)
        step[free] = np.linalg.lstsq(curvature[np.ix_(free, free)], gradient[free], rcond=None)[0]
        for _ in range(MAX_HALVINGS):
            lower, probability = judge(design, target, parameters - step, ridge)
            if lower <= loss:
                break
            step = step / 2
        else:
            return parameters
        parameters, loss = parameters - step, lower
        if np.abs(step).max() <= TOLERANCE * (1 + np.abs(parameters).max()):
            break
    return parameters


def judge(
    design: np.ndarray, target: np.ndarray, parameters: np.ndarray, ridge: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the sum of the log losses and the penalty, and the probabilities (n,)."""
    log_odds = parameters @ design
    small = np.exp(-np.abs(log_odds))
    loss = np.maximum(log_odds, 0).sum() + np.log1p(small).sum() - log_odds[target == 1].sum()
    return loss + (ridge * (parameters - (ridge > 0)) ** 2).sum() / 2, np.where(log_odds >= 0, 1, small) / (1 + small)


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    """Returns the probability of log-odds, without overflow."""
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1, small) / (1 + small)
