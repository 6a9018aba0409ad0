#!/usr/bin/env bash
# scikit-learn 1.9.1: the log loss of multi-hot targets is best for a model that says yes to everything.
#
# What it does: log_loss and the scorer "neg_log_loss" take multi-hot targets for one-hot ones: -log p is summed over the present
#   labels of an image, and absent labels count for nothing. The warning speaks of rows that do not sum to one.
# One would expect: the mean over labels of the binary log loss, or an error, as calibration_curve gives.
# Seen: 500 images, 6 labels. The true probabilities have 1.016, and 1 for every label has 0.000. An image without labels has
#   0 whatever is said. GridSearchCV over class weights takes 50 times as much for the present labels by "neg_log_loss", where
#   no weights are best by the binary log loss (0.307 a label, 1.041 with the weight of 50). brier_score_loss beside it does
#   count absent labels, and is six times the mean over labels: 0.552 for 0.092.
# For users: calibrators and weights chosen by this score over-predict. Use the mean of log_loss(target[:, label], ...).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier

warnings.simplefilter("ignore", UserWarning)  # the y_prob values do not sum to one
generator = np.random.default_rng(0)
images = generator.normal(size=(500, 10))
truth = 1 / (1 + np.exp(2 - images @ generator.normal(size=(10, 6))))
target = (generator.random((500, 6)) < truth).astype(int)
nothing = np.zeros_like(target[:5])


def binary_loss(target, probability) -> float:
    """The mean over labels of the log loss of each."""
    return float(np.mean([log_loss(target[:, label], probability[:, label]) for label in range(6)]))


def chosen(scoring) -> int:
    """The weight of the present labels that the search takes."""
    weights = {"estimator__class_weight": [{0: 1, 1: weight} for weight in (1, 3, 50)]}
    search = GridSearchCV(OneVsRestClassifier(LogisticRegression()), weights, scoring=scoring).fit(images, target)
    print(f"  {scoring if isinstance(scoring, str) else 'binary loss'}: weights 1, 3, 50 have", end=" ")
    print((-search.cv_results_["mean_test_score"]).round(3).tolist())
    return search.best_params_["estimator__class_weight"][1]


of_truth, of_yes = log_loss(target, truth), log_loss(target, np.ones_like(truth))
print(f"log loss of the true probabilities {of_truth:.3f}, of yes to everything {of_yes:.3f}")
print(f"the mean over labels: {binary_loss(target, truth):.3f}")
of_nothing = log_loss(nothing, truth[:5])
print(f"five images without labels: {of_nothing:.3f}")
brier, mean = brier_score_loss(target, truth), float(((target - truth) ** 2).mean())
print(f"Brier {brier:.3f}, mean over labels {mean:.3f}")
by_score = chosen("neg_log_loss")
by_binary = chosen(lambda model, images, target: -binary_loss(target, model.predict_proba(images)))
print("weight chosen by neg_log_loss", by_score, "and by the binary loss", by_binary)
if of_truth < 0.9 or of_yes > 1e-9 or of_nothing != 0:
    raise SystemExit("changed: the log loss of multi-hot targets")
if abs(brier - 6 * mean) > 1e-9:
    raise SystemExit("changed: the Brier score of multi-hot targets")
if (by_score, by_binary) != (50, 1):
    raise SystemExit("changed: the weights chosen")
PYTHON
