#!/usr/bin/env bash
# scikit-learn 1.9.1: TunedThresholdClassifierCV takes thresholds at which folds predict nothing for those folds' best ones.
#
# What it does: each fold's scores are measured between its own lowest and highest probability. Above its highest the last value
#   is held: a fold whose surest image (0.2) is a positive counts with precision 1 at the threshold 0.9 too, where it predicts none.
# One would expect: best_score_ is the mean of the folds' scores at best_threshold_, and a fold that predicts nothing has 0.
# Seen: 8 draws of 500 images with 5 positives, 5 folds. The F1 claimed is 0.510 in the mean, and the same folds have 0.435 at
#   the same thresholds; precision 0.490 and 0.390. 35 % and 40 % of the folds predict nothing. In the worst draw a score of
#   0.400 is claimed where four of five folds predict nothing and the mean is 0.200.
# For users: a rare label gets a threshold that its best_score_ does not hold, on the very folds it was fitted on. Pool the
#   out-of-fold probabilities (cross_val_predict) and cut once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score
from sklearn.model_selection import StratifiedKFold, TunedThresholdClassifierCV

folds = StratifiedKFold(5, shuffle=True, random_state=0)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """500 images of 5 features, the first of which tells the 5 positives by 2.5 standard deviations."""
    target = (np.arange(500) < 5).astype(int)
    features = np.random.default_rng(seed).normal(size=(500, 5))
    features[:, 0] += 2.5 * target
    return features, target


def fold_scores(features, target, threshold: float, score) -> list[tuple[float, int]]:
    """The score of each fold at the threshold, and how many images it predicts."""
    found = []
    for fit, held in folds.split(features, target):
        probability = LogisticRegression().fit(features[fit], target[fit]).predict_proba(features[held])[:, 1]
        predicted = probability >= threshold
        found.append((round(float(score(target[held], predicted, zero_division=0)), 3), int(predicted.sum())))
    return found


for name, score in (("f1", f1_score), ("precision", precision_score)):
    claimed, had, none, worst = [], [], [], (0.0, "")
    for seed in range(8):
        features, target = draw(seed)
        model = TunedThresholdClassifierCV(LogisticRegression(), scoring=name, cv=folds, thresholds=50)
        model.fit(features, target)
        found = fold_scores(features, target, model.best_threshold_, score)
        claimed.append(float(model.best_score_))
        had.append(np.mean([value for value, _ in found]))
        none += [images == 0 for _, images in found]
        line = f"threshold {model.best_threshold_:.3f}, claimed {claimed[-1]:.3f}, folds and what they predict {found}"
        worst = max(worst, (claimed[-1] - had[-1], line))
    print(f"{name}: claimed {np.mean(claimed):.3f}, had {np.mean(had):.3f}, folds that predict nothing {np.mean(none):.2f}")
    print("  the worst:", worst[1])
    if np.mean(claimed) < np.mean(had) + 0.04 or np.mean(none) < 0.1:
        raise SystemExit(f"changed: the {name} claimed for folds that predict nothing")
PYTHON
