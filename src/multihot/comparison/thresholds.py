"""By what the decisions of a split were made: runs of different thresholds are no repetitions of each other."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

OF_DECISIONS = ("f1", "precision", "recall", "hamming_loss", "jaccard", "subset_accuracy")  # in the names of scores
DEFAULTS = {"sigmoid": 0.5, "tanh": 0.0, "identity": 0.0}  # as in multihot.labels, which needs torch
# They stand among the settings: the threshold of micro_f1, and how the decisions of fitted_micro_f1 were chosen.
THRESHOLDS = tuple(f"{split}.{kind}" for split in ("train", "val", "test") for kind in ("threshold", "decisions"))
FITTED = "fitted_"
NO_THRESHOLD = "largest logit"
MOST_SHOWN = 4  # thresholds in a row


def find_threshold(score: str) -> str | None:
    """Returns the setting that says by what a score was decided; None for one of the ranking.

    >>> find_threshold("val/micro_f1"), find_threshold("test/fitted_micro_f1"), find_threshold("val/map")
    ('val.threshold', 'test.decisions', None)
    """
    split, _, name = score.partition("/")
    if name.startswith(FITTED):
        return f"{split}.decisions"
    return f"{split}.threshold" if any(part in name for part in OF_DECISIONS) else None


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
    decided = {name: score for name, score in metrics.items() if is_decided(name) and score is not None}
    is_of_training = split == "val" and any(
        all(is_same(score, row.get(f"val/{name}")) for name, score in decided.items()) for row in history
    )
    if not decided or not is_of_training or "threshold" not in settings:
        return None
    own = settings["threshold"]
    return describe(DEFAULTS.get(settings.get("activation", "sigmoid")) if own is None else own)


def is_decided(name: str) -> bool:
    """Returns whether a score is one of decisions by the threshold."""
    return find_threshold(f"any/{name}") == "any.threshold"


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
