#!/usr/bin/env bash
# statsmodels 0.15.0: the one-sided interval of a share by "larger" is the one that goes with the test by "smaller".
#
# What it does: proportion_confint(..., alternative="larger") gives [0, upper], and "smaller" [lower, 1], by all six methods.
# One would expect: as for the test of the same module (binom_test, "larger": is the share above?), for the means of the
#   same package (tconfint_mean, "larger": [lower, inf]) and for SciPy (proportion_ci of "greater": [lower, 1]).
# Seen: 90 right of 100. Above 0.83 by binom_test "larger" with p 0.036, while the interval of "larger" is [0, 0.945].
#   SciPy's "greater" has [0.836, 1], which is statsmodels' "smaller" to the last digit.
# For users: a cut with "precision above 0.8, at 95 %" is never found by the lower end of "larger", which is 0; and the most
#   that a miss rate can be, by "smaller", is 1. Give a side's name by trial, or two-sided with twice the alpha.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet statsmodels==0.15.0 scipy==1.17.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from scipy.stats import binomtest
from statsmodels.stats.proportion import binom_test, proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

right, images = 90, 100
p_value = float(binom_test(right, images, 0.83, alternative="larger"))
print(f"test by larger, above 0.83: p {p_value:.3f}")
sides = {}
for method in ("normal", "agresti_coull", "beta", "wilson", "jeffreys", "binom_test"):
    for side in ("larger", "smaller"):
        sides[method, side] = [float(end) for end in proportion_confint(right, images, method=method, alternative=side)]
    print(f"{method}: larger {np.round(sides[method, 'larger'], 3)}, smaller {np.round(sides[method, 'smaller'], 3)}")
greater = binomtest(right, images, alternative="greater").proportion_ci()
mean = DescrStatsW(np.r_[np.ones(right), np.zeros(images - right)]).tconfint_mean(alternative="larger")
print(f"SciPy, greater: {greater.low:.3f} to {greater.high:.3f}; mean by tconfint_mean, larger: {mean[0]:.3f} to {mean[1]}")
if p_value > 0.05 or greater.high != 1 or not np.isinf(mean[1]):
    raise SystemExit("changed: the sides of the tests, of SciPy or of means")
if any(sides[method, "larger"][0] != 0 for method, _ in sides):
    raise SystemExit("changed: the interval by larger")
if not np.allclose(sides["beta", "smaller"], [greater.low, 1]):
    raise SystemExit("changed: the interval by smaller")
PYTHON
