"""What a reader must know before the numbers: at most three sentences that follow from the data."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from multihot.report.numbers import LabelNumbers, Numbers
from multihot.report.result import Result

MOST = 3
FEW = 10  # positives
NOTICEABLE = 0.05  # of a threshold
OFF = 0.1  # of the ratio of expected and true positives to 1
LEAKS = ("duplicates_across_splits", "near_duplicates_across_splits")  # findings of the data's report


def warn(result: Result, numbers: Numbers, doctor: Mapping | None) -> list[str]:
    """Returns the first sentences that are true, the gravest first.

    Args:
        doctor: report.json of scripts/validate_data.py.
    """
    found = [*of_leakage(doctor), *of_decisions(result), *of_labels(numbers.labels), *of_calibration(result, numbers)]
    return found[:MOST]


def of_leakage(doctor: Mapping | None) -> Iterator[str]:
    """Yields what the report about the data says of images in several splits."""
    counts = {finding["kind"]: finding["count"] for finding in (doctor or {}).get("findings", [])}
    copies, near = (counts.get(kind, 0) for kind in LEAKS)
    if copies or near:
        words = [f"{copies:,} identical"] * bool(copies) + [f"{near:,} nearly identical"] * bool(near)
        yield f"Leakage: {' and '.join(words)} images are in several splits, so that scores are too high."


def of_decisions(result: Result) -> Iterator[str]:
    """Yields where the decisions come from, if that limits what their scores say."""
    if not result.space.independent:
        return
    if result.fitted is None:
        yield (
            "Probabilities are not calibrated and thresholds were not fitted: "
            f"python scripts/fit_decisions.py run=runs/{result.name} does both."
        )
    elif result.is_seen:
        gain = result.fitted.fitted.get("cross_fitted", {}).get("micro_f1")
        other = f", on parts left out micro F1 goes from {gain['before']:.3f} to {gain['after']:.3f}" if gain else ""
        yield f"Thresholds were fitted to these very images: what they reach here is too good{other}."


def of_labels(labels: Sequence[LabelNumbers]) -> Iterator[str]:
    """Yields how many labels are too rare to say much of."""
    supports = np.array([label.support for label in labels])
    absent, few = int((supports == 0).sum()), int(((supports > 0) & (supports < FEW)).sum())
    have = "label has" if len(labels) == 1 else "labels have"
    if few:
        rest = f"; {absent:,} more have none" if absent else ""
        yield f"{few:,} of {len(labels):,} {have} fewer than {FEW} positives: what is said of them is a guess{rest}."
    elif absent:
        yield f"{absent:,} of {len(labels):,} {have} no positive here and no score."


def of_calibration(result: Result, numbers: Numbers) -> Iterator[str]:
    """Yields whether there are more or fewer positives than the probabilities promise, and how far thresholds moved."""
    expected, support = (sum(getattr(label, name) for label in numbers.labels) for name in ("expected", "support"))
    if support and abs(expected / support - 1) > OFF:
        side = "high" if expected > support else "low"
        yield f"Probabilities are too {side}: they promise {expected:,.0f} positives and there are {support:,}."
    if result.fitted is None:
        return
    thresholds = np.array([value for value in result.fitted.thresholds() if value is not None])
    if (np.abs(thresholds - 0.5) > NOTICEABLE).any():
        low, high = f"{thresholds.min():.2f}", f"{thresholds.max():.2f}"
        where = low if low == high else f"{low} to {high}"
        yield f"Thresholds moved from 0.5 to {where}, fitted to the {result.fitted.fitted.get('split')} split."
