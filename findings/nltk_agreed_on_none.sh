#!/usr/bin/env bash
# NLTK 3.10.4 cannot measure that two people agree on "none of them", and gives 1 to a label that nobody ever gave.
#
# What it does: its agreement takes sets of labels with the distances jaccard_distance and masi_distance, which divide
#   by the size of the union: two empty sets are a ZeroDivisionError. Label by label, alpha of a label without a yes is
#   1. An answer that is missing, None or NaN, is an answer of its own; each NaN of a pandas table even differs from
#   every other.
# One would expect: distance 0 between equal sets. No figure for a label on which nobody could have disagreed, which
#   krippendorff 0.9.0 gives (NaN with its value_domain, else an error). Missing answers left out.
# Seen: three images: alpha 0.706 with the third called "dog" by both, ZeroDivisionError with the third called nothing.
#   Missing answers take an alpha of 0.469 to 0.161 as None and to -0.027 as NaN.
# For users: the mean over labels rises with each label that is never used, and images that show nothing cannot be part
#   of the measure by sets. Measure each label apart, leave missing answers out, and average over labels with a yes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nltk==3.10.4 krippendorff==0.9.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import math
from collections.abc import Callable

import krippendorff
import numpy as np
from nltk.metrics import jaccard_distance, masi_distance
from nltk.metrics.agreement import AnnotationTask

SURE = [("first", 1, frozenset({"cat"})), ("second", 1, frozenset({"cat"}))]
MIXED = [("first", 2, frozenset({"cat", "dog"})), ("second", 2, frozenset({"cat"}))]


def alpha_of_sets(third: frozenset, distance: Callable) -> float | str:
    rows = [*SURE, *MIXED, ("first", 3, third), ("second", 3, third)]
    try:
        return round(AnnotationTask(rows, distance=distance).alpha(), 3)
    except ZeroDivisionError as error:
        return type(error).__name__


def alpha_of_label(answers: np.ndarray, missing: Callable[[], float | None] = float, keep: bool = False) -> float:
    rows = [
        (person, image, missing() if math.isnan(value) else value)
        for (person, image), value in np.ndenumerate(answers)
        if keep or not math.isnan(value)
    ]
    return AnnotationTask(rows).alpha()


sets = {
    (distance.__name__, name): alpha_of_sets(third, distance)
    for distance in (jaccard_distance, masi_distance)
    for name, third in (("dog", frozenset({"dog"})), ("none", frozenset()))
}
never = np.zeros((2, 6))
gap = np.nan
answers = np.array([[1, 0, 1, 0, 0, 1, gap, gap], [1, 0, 0, 0, 1, 1, 1, gap], [gap, 0, gap, gap, gap, 1, gap, 0]])
unused = alpha_of_label(never)
with np.errstate(invalid="ignore"):
    reference = krippendorff.alpha(never, level_of_measurement="nominal", value_domain=[0, 1])
left_out = alpha_of_label(answers)
as_none = alpha_of_label(answers, lambda: None, keep=True)
as_nan = alpha_of_label(answers, lambda: float("nan"), keep=True)
print("alpha of sets, by distance and what both say of the third image:", sets)
print("a label that nobody gave:", unused, "and by krippendorff:", reference)
print(f"missing answers left out {left_out:.3f}, as None {as_none:.3f}, as NaN {as_nan:.3f}")
if [value for (_, name), value in sets.items() if name == "none"] != ["ZeroDivisionError"] * 2:
    raise SystemExit("changed: agreement on none")
if unused != 1 or not math.isnan(reference):
    raise SystemExit("changed: a label that nobody gave")
if [round(value, 3) for value in (left_out, as_none, as_nan)] != [0.469, 0.161, -0.027]:
    raise SystemExit("changed: missing answers")
if abs(left_out - krippendorff.alpha(answers, level_of_measurement="nominal")) > 1e-9:
    raise SystemExit("changed: alpha without the missing answers")
PYTHON
