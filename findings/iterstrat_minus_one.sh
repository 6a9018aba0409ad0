#!/usr/bin/env bash
# iterative-stratification 0.1.9 stratifies -1 as if it were a present label.
#
# What it does: MultilabelStratifiedKFold takes targets of -1 and 1 (CelebA's "no" and "yes"), and of -1, 0 and 1 (unknown,
#   absent, present), without a word. It makes booleans of them first, so -1 is as present as 1, and so is a soft 0.1.
# One would expect: an error, as scikit-learn gives for three values, or a split by the ones.
# Seen: a label with 10 positives in 5 folds has 2 in each fold as 0/1, for every seed. As -1/1 the folds have 0 to 5: a fold
#   without any positive for each of 5 seeds. With half of the absent answers turned to unknown, 0 to 4.
# For users: a fold without positives has no average precision for that label, and rare labels are what one stratifies for.
#   Give the stratifier `target == 1`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet iterative-stratification==0.1.9 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

random = np.random.default_rng(0)
present = np.zeros((200, 4), int)
for label, count in enumerate((10, 10, 20, 40)):
    present[random.choice(200, count, replace=False), label] = 1
unknown = np.where((random.random(present.shape) < 0.5) & (present == 0), -1, present)


def rarest(target: np.ndarray) -> list[list[int]]:
    """Positives of the two rare labels in each of 5 folds, for 5 seeds."""
    folds = [MultilabelStratifiedKFold(5, shuffle=True, random_state=seed) for seed in range(5)]
    return [[int(n) for _, val in fold.split(target, target) for n in present[val, :2].sum(0)] for fold in folds]


coded = {"0 and 1": rarest(present), "-1 and 1": rarest(2 * present - 1), "-1, 0 and 1": rarest(unknown)}
for name, counts in coded.items():
    print(f"{name}: positives of the two rare labels, fold by fold, a line a seed", *counts, sep="\n  ")
if {n for counts in coded["0 and 1"] for n in counts} != {2}:
    raise SystemExit("changed: the folds of 0 and 1")
for name in ("-1 and 1", "-1, 0 and 1"):
    if all(0 not in counts for counts in coded[name]):
        raise SystemExit(f"changed: targets of {name} are stratified by their ones")
PYTHON
