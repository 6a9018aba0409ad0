#!/usr/bin/env bash
# torchmetrics 1.9.0: images that one person alone has answered turn Fleiss' kappa from agreement into disagreement.
#
# What it does: fleiss_kappa takes the counts of answers (images, categories). The number of people is the largest sum
#   of a row, and is used for all rows. A row of one answer then counts as one on which the others disagreed. Nothing is
#   raised. A label that everybody denies on every image gives 0, as if people had answered by chance.
# One would expect: rows of one answer left out, since nobody agrees or disagrees there; or an error, as statsmodels
#   0.15.0 has for rows of different sums. And NaN for a label on which there is nothing to tell.
# Seen: six images with two answers each have 0.333. With six more that one person answered: -0.333.
# For users: labelling tools send a share of the images to a second person. The usual table of counts then says that
#   people contradict each other. Take rows of two or more alone, or Krippendorff's alpha, which is made for gaps: 0.389
#   both times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import torch
from torchmetrics.functional.nominal import fleiss_kappa

twice = torch.tensor([[2, 0], [0, 2], [1, 1], [2, 0], [1, 1], [0, 2]])
once = torch.tensor([[1, 0]] * 6)
of_two = fleiss_kappa(twice).item()
with_one = fleiss_kappa(torch.cat([twice, once])).item()
denied = fleiss_kappa(torch.tensor([[2, 0]] * 6)).item()
print(f"six images with two answers each: {of_two:.3f}")
print(f"and six more with one answer each: {with_one:.3f}")
print(f"a label that both deny on all images: {denied:.3f}")
if abs(of_two - 1 / 3) > 1e-5 or abs(with_one + 1 / 3) > 1e-5:
    raise SystemExit("changed: rows of one answer")
if denied != 0:
    raise SystemExit("changed: a label that everybody denies")
PYTHON
