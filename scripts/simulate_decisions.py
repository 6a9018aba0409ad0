"""Simulates labels whose truth is known: what thresholds and calibration of few positives are worth on new images.

python scripts/simulate_decisions.py                  the tables of docs/decisions.md, minutes
python scripts/simulate_decisions.py --repeats 10     a first look

A label is on P of 1,000 images. The log-odds of its probability are normal; the model's logits are those, divided by a
slope that differs from model to model (e to the power of a normal number with deviation 0.5). What is fitted to these
images is measured on 50,000 others.
"""

import argparse
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from multihot.decisions import MacroF1, Precision, Recall, calibration, cuts, fit_decisions, logistic
from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.metrics.blocks import LogitsAndTarget
from multihot.metrics.decisions import measure_decisions

POSITIVES = (3, 5, 10, 30, 100, 300)
NUM_IMAGES, NUM_NEW = 1000, 50_000
SEPARATION = 2.0  # of present from absent, standard deviations
SPACE = LabelSpace(("label",))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="labels that are drawn for each row")
    repeats = parser.parse_args().repeats
    for title, measure in (
        ("F1 of a threshold of its own", measure_thresholds),
        ("Log loss on new images", measure_losses),
        ("Share of promises that are kept on new images", measure_promises),
    ):
        print(f"\n{title}, {repeats} labels a row\n")
        rows = [(num, {}) for num in POSITIVES]
        for num, row in rows:
            for drawn in draw_all(num, repeats):
                for name, value in measure(*drawn).items():
                    row.setdefault(name, []).append(value)
        names = list(rows[-1][1])
        print(f"| positives | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
        for num, row in rows:
            print(f"| {num} | {' | '.join(mean(row[name]) for name in names)} |")


def mean(values: list[float]) -> str:
    """Returns the mean of what could be measured, and how often it could not."""
    known = [value for value in values if not np.isnan(value)]
    refused = f" ({len(values) - len(known)} refused)" if len(known) < len(values) else ""
    return (f"{np.mean(known):.4f}" if known else "-") + refused


def draw_all(num_positives: int, repeats: int) -> Iterator[tuple[LogitsAndTarget, LogitsAndTarget]]:
    """Yields images to fit to, and new ones."""
    rng = np.random.default_rng(num_positives)
    for _ in range(repeats):
        slope = np.exp(rng.normal(0, 0.5))
        yield (
            draw(rng, num_positives, NUM_IMAGES, slope),
            draw(rng, num_positives * NUM_NEW // NUM_IMAGES, NUM_NEW, slope),
        )


def draw(rng: np.random.Generator, num_positives: int, num_images: int, slope: float) -> LogitsAndTarget:
    """Returns logits and answers of one label."""
    target = np.zeros((num_images, 1), np.int8)
    target[rng.choice(num_images, num_positives, replace=False)] = 1
    evidence = SEPARATION * (rng.normal(size=target.shape) + SEPARATION * target) - SEPARATION**2 / 2
    log_odds = np.log(num_positives / (num_images - num_positives)) + evidence
    return LogitsAndTarget(torch.from_numpy(log_odds / slope).float(), torch.from_numpy(target))


def f1(images: LogitsAndTarget, decide: Callable) -> float:
    """Returns the F1 of the label."""
    return float(measure_decisions(images, decide)["micro_f1"])


def fit(images: LogitsAndTarget, raw_from: int) -> Callable:
    """Returns the decisions of a threshold of its own, by answers from `raw_from` positives on."""
    with patch.object(cuts, "RAW_FROM", raw_from):
        return fit_decisions(images, SPACE, MacroF1(), per_label=True).decide


def measure_thresholds(images: LogitsAndTarget, new: LogitsAndTarget) -> dict[str, float]:
    """Returns the F1 of the cut that is best on the images, and of the best expected one."""
    raw, expected = fit(images, 0), fit(images, NUM_IMAGES)
    return {
        "best cut, on the same images": f1(images, raw),
        "best cut, on new images": f1(new, raw),
        "best expected F1, on new images": f1(new, expected),
        "0.5, on new images": f1(new, SPACE.decide),
        "best that is possible": f1(new, fit(new, 0)),
    }


def measure_losses(images: LogitsAndTarget, new: LogitsAndTarget) -> dict[str, float]:
    """Returns the log loss of each calibration, and the average precision of the isotonic one."""
    target = new.target[:, 0].numpy()

    def loss(kind: str, ridge: float = logistic.RIDGE) -> float:
        with patch.object(logistic, "RIDGE", ridge):
            return log_loss(calibration.calibrate(images, SPACE, kind).log_odds(new.logits)[:, 0].numpy(), target)

    steps = calibration.fit_steps(images.logits[:, 0].double().numpy(), images.target[:, 0].numpy())
    stepped = steps(new.logits[:, 0].numpy())
    return {
        "as it is": loss("none"),
        "Platt without a ridge": loss("platt", 1e-9),
        f"Platt, ridge {logistic.RIDGE:g}": loss("platt"),
        "Platt, ridge 64": loss("platt", 64.0),
        "beta": loss("beta"),
        "isotonic": log_loss(stepped, target),
        "AP": average_precision_score(target, new.logits[:, 0]),
        "AP of isotonic": average_precision_score(target, stepped),
    }


def log_loss(log_odds: np.ndarray, target: np.ndarray) -> float:
    """Returns the mean log loss."""
    return float((np.logaddexp(0, log_odds) - target * log_odds).mean())


def measure_promises(images: LogitsAndTarget, new: LogitsAndTarget) -> dict[str, float]:
    """Returns whether a precision of 0.6 is promised and missed, by the bound and by the raw choice; and the recall
    where 0.9 is promised, NaN where it is refused.
    """
    promised, missed = precision(images, new)
    with patch("multihot.decisions.aims.lowest_precision", lambda hits, all: hits / np.maximum(all, 1)):
        raw_promised, raw_missed = precision(images, new)
    try:
        decisions = fit_decisions(images, SPACE, Recall(0.9), per_label=True)
        recall = float(measure_decisions(new, decisions.decide)["micro_recall"]) if decisions.own else np.nan
    except InputError:
        recall = np.nan
    return {
        "precision 0.6 promised": promised,
        "and missed": missed,
        "raw choice possible": raw_promised,
        "and precision missed": raw_missed,
        "recall where 0.9 is promised": recall,
    }


def precision(images: LogitsAndTarget, new: LogitsAndTarget) -> tuple[float, float]:
    """Returns whether a precision of 0.6 is promised, and whether it is missed."""
    try:
        decisions = fit_decisions(images, SPACE, Precision(0.6), per_label=True)
    except InputError:
        return 0.0, 0.0
    return 1.0, float(measure_decisions(new, decisions.decide)["micro_precision"] < 0.6)


if __name__ == "__main__":
    main()
