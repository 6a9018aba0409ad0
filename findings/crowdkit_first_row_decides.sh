#!/usr/bin/env bash
# crowd-kit 1.4.2 settles every tie by what the first row of the file says.
#
# What it does: MajorityVote gives a tie to the answer that comes first in the table, whatever image the row is about.
#   BinaryRelevance, for images with many labels, votes label by label with it: a label that the first row has is
#   present in every tie of the file, one that it has not is absent in every tie. A label's table of votes is kept by
#   the class, not by the object: a second aggregator still knows the labels of the first.
# One would expect: no winner, one half, or one drawn by chance; and the same answer for the same rows in another order.
# Seen: two people differ on "cat" in two images. With the row of image 1 first, which both call a cat, it is in both;
#   with the row of image 4 first, which neither does, it is in neither. The aggregator of another table lists "cat"
#   too.
# For users: with two answers an image each disagreement is a tie. Sorting the table changes thousands of targets, and
#   labels of the first image gain positives that half of the people denied. Count ties and leave them unknown, or ask a
#   third person.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps crowd-kit==1.4.2
"$folder/venv/bin/pip" install --quiet pandas==3.1.1 numpy==2.4.6 scikit-learn==1.9.1 nltk==3.10.4 attrs pyarrow tqdm
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import warnings

import pandas as pd
from crowdkit.aggregation import BinaryRelevance, MajorityVote

warnings.simplefilter("ignore")
rows = [
    (1, "first", ["cat"]),
    (1, "second", ["cat"]),
    (2, "first", ["cat"]),
    (2, "second", []),
    (3, "first", ["dog"]),
    (3, "second", ["cat", "dog"]),
    (4, "first", ["dog"]),
    (4, "second", ["dog"]),
]


def images_of_cats(rows: list) -> list[int]:
    votes = BinaryRelevance(MajorityVote()).fit_predict(pd.DataFrame(rows, columns=["task", "worker", "label"]))
    return sorted(image for image, labels in votes.items() if "cat" in labels)


as_filed = images_of_cats(rows)
turned = images_of_cats(rows[::-1])
other = BinaryRelevance(MajorityVote())
other.fit(pd.DataFrame([(1, "first", ["owl"]), (2, "first", [])], columns=["task", "worker", "label"]))
print("cats in the table as it is:", as_filed)
print("cats in the table from behind:", turned)
print("labels of another table with owls alone:", sorted(other.aggregators_))
if as_filed != [1, 2, 3] or turned != [1]:
    raise SystemExit("changed: how ties are settled")
if sorted(other.aggregators_) != ["cat", "dog", "owl"]:
    raise SystemExit("changed: what aggregators share")
PYTHON
