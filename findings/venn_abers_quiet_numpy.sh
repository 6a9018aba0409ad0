#!/usr/bin/env bash
# venn-abers 1.5.4: to import it takes NumPy's warnings of 0/0 from the whole program.
#
# What it does: the module sets numpy.seterr(divide="ignore", invalid="ignore") when it is imported, for the process.
# One would expect: the setting inside the functions that need it, as numpy.errstate does.
# Seen: F1 along a precision_recall_curve is 0/0 at the thresholds above the highest positive. NumPy warns of it, and argmax takes
#   the NaN for the best. After the import the same lines say nothing, and -W error stops nothing.
# For users: the word that tells a threshold of NaN from a real one is lost in code that only shares a process with the
#   calibration. Call numpy.seterr(all="warn") behind the import.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet venn-abers==1.5.4 scikit-learn==1.9.1 scipy==1.17.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import numpy as np
from sklearn.metrics import precision_recall_curve

target = np.array([0, 0, 1, 0, 0, 0])
score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def best_cut() -> tuple[float, float]:
    """The F1 that argmax takes and its threshold, by the recipe."""
    precision, recall, thresholds = precision_recall_curve(target, score)
    f1 = 2 * precision * recall / (precision + recall)
    return float(f1[f1[:-1].argmax()]), float(thresholds[f1[:-1].argmax()])


before = np.geterr()
try:
    best_cut()
except RuntimeWarning as warning:
    print("before the import:", warning)
else:
    raise SystemExit("changed: NumPy does not warn")
import venn_abers  # noqa: E402, F401

print("numpy.geterr before", before)
print("numpy.geterr after ", np.geterr())
found = best_cut()
print("after the import: no warning; F1", found[0], "at the threshold", found[1])
if np.geterr()["invalid"] != "ignore" or not np.isnan(found[0]):
    raise SystemExit("changed: what the import does to NumPy's warnings")
PYTHON
