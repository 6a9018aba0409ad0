#!/usr/bin/env bash
# imbalanced-learn 0.14.2 turns images without any label into images of the first label.
#
# What it does: the samplers take a multi-hot target as long as no row has two labels (a row of two is refused). A row
#   without a label passes the check, is counted for column 0, and comes back with a 1 in column 0.
# One would expect: the row kept as it is, or refused as the row of two is.
# Seen: 6 images of label 0, 2 of label 1, 1 of label 2 and 3 of none. RandomOverSampler gives 9, 9, 9 and none without label.
# For users: pictures of nothing ("no finding") are common. Oversampling a target that happens to have at most one label an
#   image teaches that they show the first label. Nothing is raised.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imbalanced-learn==0.14.2 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from imblearn.over_sampling import RandomOverSampler

target = np.array([[1, 0, 0]] * 6 + [[0, 1, 0]] * 2 + [[0, 0, 1]] + [[0, 0, 0]] * 3)
row = np.arange(len(target))[:, None]
kept, resampled = RandomOverSampler(random_state=0).fit_resample(row, target)
of_none = resampled[kept[:, 0] >= 9]
print("images a label:", resampled.sum(0).tolist(), "without any:", int((resampled.sum(1) == 0).sum()))
print("the three images without a label came back as", np.unique(of_none, axis=0).tolist())
if resampled.sum(0).tolist() != [9, 9, 9] or np.unique(of_none, axis=0).tolist() != [[1, 0, 0]]:
    raise SystemExit("changed: what becomes of images without a label")
try:
    RandomOverSampler().fit_resample(row, np.vstack([target[:-1], [[1, 1, 0]]]))
except ValueError as error:
    print("a row of two labels is refused:", str(error)[:60], "...")
else:
    raise SystemExit("changed: a row of two labels is taken")
PYTHON
