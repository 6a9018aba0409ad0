"""What the page's script works with: plain values, and numbers as base64 of typed arrays."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence

import numpy as np

from multihot.labels import show_label
from multihot.metrics.blocks import harden
from multihot.report.numbers import CALIBRATION, LabelNumbers, Numbers, as_array, probability_at_cuts
from multihot.report.result import Result

ANSWERS_SHOWN = 24  # labels of a picture
KINDS = {"f": "f4", "d": "f8", "B": "u1", "H": "u2", "I": "u4"}  # numpy's character -> the name in the page


def pack(values: np.ndarray | Sequence[float], kind: str | None = None) -> dict[str, str]:
    """Returns an array as the page reads it; whole numbers take as few bytes as they need.

    >>> pack([1, 2])
    {'kind': 'u1', 'bytes': 'AQI='}
    """
    array = np.asarray(values)
    if array.dtype.kind in "ib":
        array = array.astype(np.min_scalar_type(max(1, int(array.max(initial=0)))))
    array = np.ascontiguousarray(array.astype(kind or array.dtype)).astype(array.dtype.newbyteorder("<"), copy=False)
    return {"kind": KINDS[array.dtype.char], "bytes": base64.b64encode(array.tobytes()).decode()}


def describe_labels(result: Result, numbers: Numbers, intervals: Mapping) -> dict[str, object]:
    """Returns all arrays of the labels of a result: (C,), of cuts (sum of K,), of bins (C, B).

    Args:
        intervals: of the average precision (C,), `low` and `high`.
    """
    labels = numbers.labels
    fields = ("num_known", "support", "true_positives", "false_positives")
    counts = {name: pack([getattr(label, name) for label in labels]) for name in fields}
    values = {
        name: pack(np.float64([getattr(label, name) for label in labels])) for name in ("ap", "auroc", "expected")
    }
    return {
        **counts,
        **values,
        **{f"ap_{end}": pack(np.float64(bounds)) for end, bounds in intervals.items()},
        "cut": pack(np.float32([label.cut for label in labels])),
        "num_train": None if result.counts is None else pack(np.asarray(result.counts["label_count"], np.int64)),
        "cuts": describe_cuts(result, labels),
        "bins": describe_bins(labels, result.fitted is not None),
        **{name: pack(np.float32([label.calibration.get(name, np.nan) for label in labels])) for name in CALIBRATION},
        "scores": pack(np.concatenate([label.histogram.ravel() for label in labels])),
        "range": pack(np.float32([label.score_range for label in labels])),
    }


def describe_cuts(result: Result, labels: Sequence[LabelNumbers]) -> dict[str, object]:
    """Returns the cuts of all labels behind each other, where those of each begin, and the probability at each, None
    where it is the sigmoid.
    """
    chances = None if result.fitted is None else probability_at_cuts(result.decisions, result.space, labels)
    return {
        "start": pack(np.cumsum([0, *(len(label.cuts.cut) for label in labels)])),
        "cut": pack(np.concatenate([label.cuts.cut for label in labels])),
        "true_positives": pack(np.concatenate([label.cuts.true_positives for label in labels])),
        "false_positives": pack(np.concatenate([label.cuts.false_positives for label in labels])),
        "probability": None if chances is None else pack(np.float32(np.concatenate(chances))),
    }


def describe_bins(labels: Sequence[LabelNumbers], is_fitted: bool) -> dict[str, object]:
    """Returns the reliability of all labels, (C, B) each; before calibration too if there is one."""
    fields = labels[0].bins._fields[: None if is_fitted else -1]
    return {name: pack(np.concatenate([getattr(label.bins, name) for label in labels])) for name in fields}


def describe_pictures(result: Result, numbers: Numbers, rows: Sequence[int]) -> dict[str, object]:
    """Returns what a result says of the images of the page: places (T, C) and the answers of their labels.

    A place is four times the number of cuts that the log-odds are above, and one more for an absent and two for a
    present label.
    """
    if not rows:
        return {"places": None, "answers": []}
    logits, target = (
        result.predictions.logits[list(rows)].float(),
        harden(result.predictions.target[list(rows)]).numpy(),
    )
    log_odds = result.space.log_odds(logits).numpy()
    chances, decision = as_array(result.decisions.probability(logits)), as_array(result.decisions.decide(logits))
    places = np.stack(
        [np.searchsorted(label.cuts.cut, column) for label, column in zip(numbers.labels, log_odds.T, strict=True)],
        axis=1,
    )
    return {
        "places": pack(places * 4 + target + 1),
        "answers": [
            describe_answers(*of_image) for of_image in zip(chances, target, decision, strict=True)
        ],
    }  # fmt: skip


def describe_answers(chances: np.ndarray, target: np.ndarray, decision: np.ndarray) -> list[list[float]]:
    """Returns label, probability, answer and decision of the labels of an image: those that are present or predicted
    first, then the most probable.
    """
    matters = (target == 1) | decision
    order = np.lexsort((-chances, ~matters))[:ANSWERS_SHOWN]
    order = order[np.argsort(-chances[order], kind="stable")]
    return [[int(label), round_chance(chances[label]), int(target[label]), int(decision[label])] for label in order]


def round_chance(chance: float) -> float:
    """Returns a probability with as many digits as are shown.

    >>> round_chance(0.123456), round_chance(0.0000123456)
    (0.1235, 1.23e-05)
    """
    return float(f"{chance:.4f}") if chance >= 0.001 else float(f"{chance:.3g}")


def list_labels(labels: Sequence[str]) -> list[str]:
    """Returns labels as they are shown."""
    return [show_label(label) for label in labels]


def shrink(payload: Mapping) -> str:
    """Returns the payload as base64 of gzipped JSON, which browsers open themselves."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
