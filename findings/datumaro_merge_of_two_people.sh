#!/usr/bin/env bash
# datumaro 1.13.12: merging two people's labels, "no" of one person and "not asked" are the same, and no dispute is
# reported.
#
# What it does: the merge "intersect" keeps each label that one of the sources has, with the score votes / sources. An
#   image that only one person was given counts the other as a vote against. Its list of errors names images that a
#   source lacks; a label that one person gave and the other did not is not in it. A quorum of 2, to keep what both
#   gave, is a TypeError as soon as one label falls below it.
# One would expect: an image that one person saw to have the score 1 of 1; the disputed label in the list, as a disputed
#   box is; the quorum to take the label out.
# Seen: "cat" by both 1.0; by one of two 0.5; by the only person who was asked 0.5. The errors name the last image
#   alone.
# For users: merged labels are a union in every format that has no score, and a threshold on the score throws out what
#   one person alone labelled. Count the answers by image before merging, or keep them apart with the person's name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12
"$folder/venv/bin/python" - <<'PYTHON'
from datumaro.components.annotation import AnnotationType, Label
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from datumaro.components.merge import IntersectMerge


def answers_of(images: dict[str, list[int]]) -> Dataset:
    items = [DatasetItem(name, annotations=[Label(label) for label in labels]) for name, labels in images.items()]
    return Dataset.from_iterable(items, categories=["cat", "dog"], media_type=Image)


first = answers_of({"agreed": [0], "disputed": [0], "other_label": [0], "asked_one": [0], "none": []})
second = answers_of({"agreed": [0], "disputed": [], "other_label": [1], "none": []})
merge = IntersectMerge(conf=IntersectMerge.Conf(quorum=0))
merged = merge(first, second)
names = merged.categories()[AnnotationType.label]
seen = {item.id: {names[one.label].name: one.attributes["score"] for one in item.annotations} for item in merged}
errors = [(type(error).__name__, error.item_id[0]) for error in merge.errors]
try:
    IntersectMerge(conf=IntersectMerge.Conf(quorum=2))(first, second)
    quorum = "works"
except TypeError as error:
    quorum = str(error)
print("scores:", seen)
print("reported:", errors)
print("quorum of 2:", quorum)
scores = {"agreed": {"cat": 1}, "disputed": {"cat": 0.5}, "other_label": {"cat": 0.5, "dog": 0.5}}
if seen != scores | {"asked_one": {"cat": 0.5}, "none": {}}:
    raise SystemExit("changed: scores of a merge")
if errors != [("NoMatchingItemError", "asked_one")]:
    raise SystemExit("changed: what a merge reports")
if quorum != "'Label' object is not iterable":
    raise SystemExit("changed: the quorum")
PYTHON
