#!/usr/bin/env bash
# statsmodels 0.15.0: two models that answer alike on every image differ with p = 0 by McNemar's test.
#
# What it does: mcnemar(table, exact=False) computes (|b - c| - 1)^2 / (b + c), where b and c count the images that one model
#   has right and the other wrong. With b = c = 0 that is 1 / 0: statistic inf, p = 0.0, and NumPy's word of a division by zero.
# One would expect: p = 1, as exact=True says, or NaN, as correction=False says.
# Seen: p = 0.0 for the table [[50, 0], [0, 50]]; 1.0 exactly, nan without correction. Twenty labels, five of them rare and
#   answered alike by both: after Benjamini-Hochberg these five are the ones "in which the runs differ".
# For users: compare two runs label by label and the rare labels, where nothing differs, come out as the surest difference;
#   p = 0 passes every correction. Use exact=True.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet statsmodels==0.15.0 scipy==1.17.1 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("ignore", RuntimeWarning)  # divide by zero
alike = [[50, 0], [0, 50]]
corrected = mcnemar(alike, exact=False)
exact = mcnemar(alike, exact=True).pvalue
plain = mcnemar(alike, exact=False, correction=False).pvalue
print("alike on 100 images: statistic", corrected.statistic, "p", corrected.pvalue, "exact", exact, "uncorrected", plain)

generator = np.random.default_rng(0)
differ = [*generator.integers(3, 12, (15, 2)), *[(0, 0)] * 5]  # right in one run only; the last five labels are rare
chances = {name: [mcnemar([[400 - b - c, b], [c, 0]], exact=exact).pvalue for b, c in differ]
           for name, exact in (("corrected", False), ("exact", True))}
found = {name: np.flatnonzero(multipletests(values, method="fdr_bh")[0]).tolist() for name, values in chances.items()}
print("labels in which the runs differ, 15 to 19 are answered alike:", found)
if (corrected.pvalue, exact) != (0.0, 1.0) or not np.isnan(plain):
    raise SystemExit("changed: McNemar's test of equal answers")
if found != {"corrected": [15, 16, 17, 18, 19], "exact": []}:
    raise SystemExit("changed: the labels that are found")
PYTHON
