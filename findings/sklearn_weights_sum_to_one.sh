#!/usr/bin/env bash
# scikit-learn 1.9.1: Platt calibration with weights that sum to 1 answers about one half for everything.
#
# What it does: CalibratedClassifierCV(method="sigmoid") smooths the answers to (P + 1) / (P + 2) and 1 / (N + 2), and counts P
#   and N in weights. With weights that sum to 1 both answers are near one half.
# One would expect: weights tell the share of each image; all times the same number changes nothing, as with "isotonic" and
#   "temperature".
# Seen: 2,000 images, 124 positives (0.062), all of the same weight. Mean probability 0.063 with a weight of 1 and of 1000, and
#   0.460 with 1/2000, where the highest of all is 0.490: no image is predicted any more. No warning.
# For users: weights w / w.sum() are common (by rarity, by annotator, 0 for unknown answers). A rare label comes out as half
#   present everywhere. Scale the weights to a mean of 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.naive_bayes import GaussianNB

generator = np.random.default_rng(0)
images = 2000
feature = generator.normal(size=(images, 1))
target = (generator.random(images) < 1 / (1 + np.exp(4 - 2 * feature[:, 0]))).astype(int)
print(images, "images,", target.sum(), "positives, share", round(target.mean(), 3))
seen = {}
for method in ("sigmoid", "isotonic", "temperature"):
    for weight in (1, 1000, 1 / images):
        model = CalibratedClassifierCV(GaussianNB(), method=method, cv=5)
        model.fit(feature, target, sample_weight=np.full(images, weight))
        probability = model.predict_proba(feature)[:, 1]
        seen[method, weight] = probability.mean()
        print(f"{method}, all weights {weight}: mean {probability.mean():.3f}, highest {probability.max():.3f}")
for method in ("isotonic", "temperature"):
    if abs(seen[method, 1] - seen[method, 1 / images]) > 1e-3:
        raise SystemExit(f"changed: {method} depends on the scale of the weights")
if abs(seen["sigmoid", 1] - target.mean()) > 0.01 or abs(seen["sigmoid", 1000] - target.mean()) > 0.01:
    raise SystemExit("changed: Platt with weights of 1 and more")
if seen["sigmoid", 1 / images] < 0.4:
    raise SystemExit("changed: Platt with weights that sum to 1")
PYTHON
