"""Calibration: what turns logits into probabilities that come true, a label at a time, and one temperature a group.

Platt's two numbers a label are the default. Beta calibration (proceedings.mlr.press/v54/kull17a.html) has three. An
isotonic regression makes ties, which cost average precision, and gives true answers probability 0: only on request.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multihot.decisions.logistic import RIDGE, fit_slopes
from multihot.errors import InputError, check_choice
from multihot.labels import LabelSpace, with_none
from multihot.metrics.blocks import LogitsAndTarget, harden

KINDS = ("platt", "beta", "isotonic", "none")
LEAST_POSITIVES = 300  # of a label that gets an isotonic regression; and as many negatives
HALVINGS = 80  # of the interval in which a logit is looked for
WIDEST = 1e4  # logits
MOST_THREADS = 8

Columns = Callable[[np.ndarray], np.ndarray]


def platt_columns(logits: np.ndarray) -> np.ndarray:
    """Returns the logits as the one column (1, n) of Platt scaling."""
    return logits[None]


def beta_columns(logits: np.ndarray) -> np.ndarray:
    """Returns -log(1 - p) and log p (2, n) of beta calibration; their sum is the logit.

    >>> beta_columns(np.array([0.0, 3.0])).sum(axis=0).round(12).tolist()
    [0.0, 3.0]
    """
    return np.stack([np.logaddexp(0, logits), -np.logaddexp(0, -logits)])


COLUMNS: Mapping[str, Columns] = {"platt": platt_columns, "beta": beta_columns}


@dataclass(frozen=True)
class Steps:
    """An isotonic regression: log-odds (S,) from each of S rising logits on."""

    logits: np.ndarray
    log_odds: np.ndarray

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Returns log-odds (n,) of logits (n,)."""
        return self.log_odds[np.maximum(np.searchsorted(self.logits, logits, side="right") - 1, 0)]

    def to_config(self) -> dict:
        """Returns what `read_map` needs."""
        return {"logits": self.logits.tolist(), "log_odds": self.log_odds.tolist()}


@dataclass(frozen=True)
class Slopes:
    """A logistic regression on the columns of a logit: log-odds rise with it."""

    kind: str
    parameters: np.ndarray  # slopes and the intercept, (K + 1,)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Returns log-odds float64 (n,) of logits (n,)."""
        columns = COLUMNS[self.kind](np.asarray(logits, np.float64))
        return self.parameters[:-1] @ columns + self.parameters[-1]

    def to_config(self) -> list:
        """Returns what `read_map` needs."""
        return self.parameters.tolist()


@dataclass(frozen=True)
class Calibration:
    """For each of C labels what turns its logit into log-odds, and for each group its temperature."""

    space: LabelSpace
    kind: str
    maps: Sequence[Slopes | Steps | None]  # (C,); None: as they are, and of a label in a group
    temperatures: Sequence[float]  # (G,)

    def log_odds(self, logits: Tensor, labels: slice = slice(None)) -> Tensor:
        """Returns the log-odds float64 (N, C) of calibrated probabilities: logits (N, C).

        Args:
            labels: those that are wanted, of logits (N, C) of all.
        """
        if self.space.groups:
            logits = logits.double()
            for columns, temperature in zip(self.space.columns, self.temperatures, strict=True):
                logits[:, columns] /= temperature
        result = self.space.log_odds(logits, labels).to(torch.float64, copy=True)
        values = result.numpy()
        for place, column in enumerate(range(len(self.maps))[labels]):
            if self.maps[column] is not None:
                values[:, place] = self.maps[column](values[:, place])
        return result

    def of_label(self, column: int, logits: np.ndarray) -> np.ndarray:
        """Returns the log-odds float64 (n,) of logits (n,) of an independent label."""
        logits = np.asarray(logits, np.float64)
        return logits if self.maps[column] is None else self.maps[column](logits)

    def find_cut(self, column: int, log_odds: float) -> float:
        """Returns the logit above which the log-odds of an independent label are above `log_odds`."""
        if self.maps[column] is None:
            return log_odds
        if self.kind == "platt" and isinstance(self.maps[column], Slopes):
            slope, intercept = self.maps[column].parameters
            return (log_odds - intercept) / slope
        low, high = -WIDEST, WIDEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            is_above = self.of_label(column, np.array([middle]))[0] > log_odds
            low, high = (low, middle) if is_above else (middle, high)
        return low

    def to_config(self) -> dict:
        """Returns what `read_calibration` needs, as JSON can hold it."""
        maps = [None if each is None else each.to_config() for each in self.maps]
        return {"kind": self.kind, "labels": maps, "temperatures": list(self.temperatures)}


def read_calibration(config: Mapping, space: LabelSpace) -> Calibration:
    """Returns the calibration that `to_config` has written; raises ValueError if it is not of these labels."""
    check_choice("calibration", config["kind"], KINDS)
    if (len(config["labels"]), len(config["temperatures"])) != (len(space.labels), len(space.groups)):
        raise ValueError("its calibration is of other labels")
    return Calibration(
        space, config["kind"], [read_map(config["kind"], each) for each in config["labels"]], config["temperatures"]
    )


def read_map(kind: str, config: Sequence | Mapping | None) -> Slopes | Steps | None:
    """Returns what calibrates a label."""
    if config is None:
        return None
    if isinstance(config, Mapping):
        return Steps(np.array(config["logits"], np.float64), np.array(config["log_odds"], np.float64))
    return Slopes("beta" if kind == "beta" else "platt", np.array(config, np.float64))


def calibrate(matrices: LogitsAndTarget, space: LabelSpace, kind: str = "platt") -> Calibration:
    """Returns the calibration that is fitted to the known answers: logits (N, C), target (N, C).

    Args:
        kind: platt | beta | isotonic (of labels with LEAST_POSITIVES and as many negatives, else Platt) | none.

    Raises:
        InputError: no label has enough answers for an isotonic regression.
    """
    check_choice("calibration", kind, KINDS)
    if kind == "none":
        return Calibration(space, kind, [None] * len(space.labels), [1.0] * len(space.groups))
    independent, maps, column = set(space.independent), [None] * len(space.labels), 0
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for logits, target in matrices.label_chunks(space):
            rows = [row for row in range(len(logits)) if column + row in independent]
            jobs = [pool.submit(fit_map, kind, logits[row].numpy(), target[row].numpy()) for row in rows]
            for row, job in zip(rows, jobs, strict=True):
                maps[column + row] = job.result()
            column += len(logits)
    if kind == "isotonic" and not any(isinstance(each, Steps) for each in maps):
        raise InputError(
            f"calibration=isotonic needs a label with {LEAST_POSITIVES} positives and as many negatives, and there is "
            "none: take platt"
        )
    temperatures = [fit_temperature(matrices, space, group) for group in range(len(space.groups))]
    return Calibration(space, kind, maps, temperatures)


def fit_map(kind: str, logits: np.ndarray, target: np.ndarray) -> Slopes | Steps | None:
    """Returns what calibrates a label, from its known answers; None without a positive or without a negative."""
    known = target >= 0
    logits, target = logits[known].astype(np.float64), target[known]
    num_positives = np.count_nonzero(target)
    if num_positives in (0, len(target)):
        return None
    if kind == "isotonic" and min(num_positives, len(target) - num_positives) >= LEAST_POSITIVES:
        return fit_steps(logits, target)
    kind = "beta" if kind == "beta" else "platt"
    return Slopes(kind, fit_slopes(COLUMNS[kind](logits), target))


def fit_steps(logits: np.ndarray, target: np.ndarray) -> Steps:
    """Returns scikit-learn's isotonic regression of answers (n,); probabilities stay 1 / (n + 1) away from 0 and 1."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(logits, target)
    least = 1 / (len(target) + 1)
    probability = np.clip(fitted.y_thresholds_, least, 1 - least)
    return Steps(fitted.X_thresholds_.astype(np.float64), np.log(probability) - np.log1p(-probability))


def fit_temperature(matrices: LogitsAndTarget, space: LabelSpace, group: int) -> float:
    """Returns the temperature of a group: by it logits are divided for the least cross-entropy of its answers.

    The same ridge as of slopes pulls 1 / temperature to 1. An image counts if a member is present, or if all are known
    to be absent ("none").
    """
    from scipy.optimize import minimize_scalar  # takes as long to import as all else here

    columns, none = space.columns[group], space.groups[group].none
    inside, truth = [], []
    for _, logits, target in matrices.blocks():
        target = harden(target[:, columns])
        has_answer = (target == 1).any(dim=1) | ((target == 0).all(dim=1) & none)
        inside.append(with_none(logits[:, columns].double(), none)[has_answer])
        answer = torch.where((target == 1).any(dim=1), target.argmax(dim=1), len(columns))
        truth.append(answer[has_answer])
    inside, truth = torch.cat(inside), torch.cat(truth)
    if not len(truth):
        return 1.0

    def loss(log_slope: float) -> float:
        slope = np.exp(log_slope)
        losses = torch.nn.functional.cross_entropy(inside * slope, truth, reduction="sum")
        return losses.item() + RIDGE / 2 * (slope - 1) ** 2

    return float(np.exp(-minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-8}).x))
