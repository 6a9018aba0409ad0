"""Which of two scores is better. Needs no torch, so that scripts that only read runs start at once."""

import math

BETTER_LOWER = ("_loss", "/loss", "_error")  # how the names of such scores end


def is_better(score: float, best: float | None, monitor: str) -> bool:
    """Returns whether a score beats the best so far. A NaN never beats a number; of several the last is kept.

    >>> is_better(0.7, 0.6, "val/map"), is_better(0.7, 0.6, "val/ranking_loss"), is_better(0.1, None, "val/map")
    (True, False, True)
    >>> [is_better(score, best, "val/map") for score, best in ((math.nan, 0.6), (0.1, math.nan), (math.nan, math.nan))]
    [False, True, True]
    """
    if best is None or math.isnan(best):
        return True
    if math.isnan(score):
        return False
    return score < best if is_better_lower(monitor) else score > best


def is_better_lower(monitor: str) -> bool:
    """Returns whether lower values of a score are better.

    >>> is_better_lower("val/loss"), is_better_lower("test/coverage_error"), is_better_lower("val/map")
    (True, True, False)
    """
    return monitor.endswith(BETTER_LOWER)
