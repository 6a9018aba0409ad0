#!/usr/bin/env bash
# MAPIE 1.6.0 gives the threshold 0 to a model that misses nothing, and 0.99 where nothing can be promised.
#
# What it does: MultiLabelClassificationController looks for the highest threshold that keeps the promised recall. Where the
#   bound is the same at all thresholds it takes the risk for one that falls with the threshold and searches from the other end.
# One would expect: the highest threshold for a model that misses nothing (it keeps every promise), and the lowest, which
#   predicts all, where there are too few images to promise anything.
# Seen: 200 images, every present label at 0.995, every absent one below 0.33, recall 0.9 promised: threshold 0.00, five of five
#   labels predicted for each image, without a word. With one present label at 0.5 (a miss): threshold 0.99, 1.6 labels an image.
#   With method "rcps" that one miss is not enough: 0.00. With eight images, too few to promise 0.9: a warning, and 0.99.
# For users: saturated scores are what fine-tuned models give. The better one predicts every label; the small calibration set
#   gets the threshold with the lowest recall under a promise of 0.9. Look at best_predict_param before you use it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mapie==1.6.0 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from mapie.risk_control import MultiLabelClassificationController

generator = np.random.default_rng(0)
target = (generator.random((200, 5)) < 0.3).astype(int)
target[target.sum(1) == 0, 0] = 1  # images without a label are refused
perfect = np.where(target == 1, 0.995, generator.random((200, 5)) * 0.33)
one_miss = perfect.copy()
one_miss[np.nonzero(target)[0][0], np.nonzero(target)[1][0]] = 0.5
seen = {}
for name, images, scores, settings in (
    ("misses nothing", 200, perfect, {}),
    ("one miss", 200, one_miss, {}),
    ("one miss, rcps", 200, one_miss, {"method": "rcps", "confidence_level": 0.9}),
    ("eight images", 8, perfect, {}),
):
    controller = MultiLabelClassificationController(lambda images: images, target_level=0.9, **settings)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        controller.calibrate(scores[:images], target[:images])
    predicted = controller.predict(scores).sum((1, 2)).mean()
    seen[name] = float(controller.best_predict_param[0]), round(float(predicted), 1), len(told)
    print(f"{name}: threshold {seen[name][0]:.2f}, labels predicted an image {predicted:.2f}, warnings {len(told)}")
print(f"labels present an image {target.sum(1).mean():.2f}")
if seen["misses nothing"] != (0.0, 5.0, 0) or seen["one miss"][0] != 0.99:
    raise SystemExit("changed: the threshold of a model that misses nothing, or one label")
if seen["one miss, rcps"][0] != 0.0:
    raise SystemExit("changed: the threshold by rcps")
if seen["eight images"][0] != 0.99 or not seen["eight images"][2]:
    raise SystemExit("changed: the threshold of too few images")
PYTHON
