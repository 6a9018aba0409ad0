"""By which thresholds the decisions of a split were made: runs of different ones are no repetitions of each other."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

OF_DECISIONS = ("f1", "precision", "recall", "hamming_loss", "jaccard", "subset_accuracy")  # in the names of scores
DEFAULTS = {"sigmoid": 0.5, "tanh": 0.0, "identity": 0.0}  # as in multihot.labels, which needs torch
THRESHOLDS = ("train.threshold", "val.threshold", "test.threshold")  # they stand among the settings
NO_THRESHOLD = "largest logit"
MOST_SHOWN = 4  # thresholds in a row


def hangs_on_threshold(score: str) -> bool:
    """Returns whether a score is one of decisions, and not of the ranking.

    >>> hangs_on_threshold("val/micro_f1"), hangs_on_threshold("val/map")
    (True, False)
    """
    return any(name in score for name in OF_DECISIONS)


def read_threshold(split: str, metrics: Mapping, settings: Mapping, history: Sequence[Mapping]) -> str | None:
    """Returns by which threshold a split was decided, in words; None if that is not certain.

    Before it was written down, the training decided by its own, and an evaluation maybe by another: val/ is the
    training's if its scores are those of an epoch in the history.

    >>> history = [{"val/map": 0.5, "val/micro_f1": 0.4}]
    >>> read_threshold("val", {"map": 0.5, "micro_f1": 0.4}, {"threshold": None, "activation": "sigmoid"}, history)
    '0.5'
    >>> read_threshold("val", {"map": 0.5, "micro_f1": 0.3}, {"threshold": None, "activation": "sigmoid"}, history)
    """
    if "threshold" in metrics:
        return describe(metrics["threshold"])
    if settings.get("single_label"):
        return NO_THRESHOLD
    decided = {name: score for name, score in metrics.items() if hangs_on_threshold(name) and score is not None}
    is_of_training = split == "val" and any(
        all(is_same(score, row.get(f"val/{name}")) for name, score in decided.items()) for row in history
    )
    if not decided or not is_of_training or "threshold" not in settings:
        return None
    own = settings["threshold"]
    return describe(DEFAULTS.get(settings.get("activation", "sigmoid")) if own is None else own)


def is_same(score: float, other: float | None) -> bool:
    """Returns whether two scores are equal but for rounding."""
    return other is not None and math.isclose(score, other, rel_tol=1e-6)


def describe(threshold: float | Sequence | None) -> str:
    """Returns a threshold in words; of many, the first of a hash that tells them from others.

    >>> describe(0.5), describe([0.5, None]), describe(None), describe([0.1] * 9)
    ('0.5', '[0.5, null]', 'largest logit', 'one a label (f6c6bd6f)')
    """
    if threshold is None:
        return NO_THRESHOLD
    text = json.dumps(threshold)
    if not isinstance(threshold, list | tuple) or len(threshold) <= MOST_SHOWN:
        return text
    return f"one a label ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
