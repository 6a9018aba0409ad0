#!/usr/bin/env bash
# datasets 5.2.0 takes a label that it does not know for a position, if the label looks like a number.
#
# What it does: ClassLabel looks a text up among its names. If it is not there and reads as an integer, the integer is the
#   class, counted from 0. "-1" is taken too. Only a text that is no number, or too large, is refused.
# One would expect: an error for each text that is no name, as for "cat". Positions are integers, names are text.
# Seen: with the names 10, 20, 30 the column ["10", "30", "1", "0"] becomes the classes 0, 2, 1, 0: the unknown label "1" is
#   now "20", and "0" is now "10". "3" and "cat" are refused.
# For users: labels are often numerals (years, ages, product codes, digits that begin at 1). A label that is missing in the
#   list of names, or misspelt by a digit, trains another label in silence. Check the names against the column before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" - <<'PYTHON'
from datasets import ClassLabel, Dataset

feature = ClassLabel(names=["10", "20", "30"])
column = ["10", "30", "1", "0"]
classes = Dataset.from_dict({"label": column}).cast_column("label", feature)["label"][:]
print(column, "becomes", list(classes), "which is", [feature.int2str(value) for value in classes])
print("'-1' becomes", feature.encode_example("-1"))
if list(classes) != [0, 2, 1, 0] or feature.encode_example("-1") != -1:
    raise SystemExit("changed: an unknown label that looks like a number")
for label in ("3", "cat"):
    try:
        feature.encode_example(label)
    except ValueError as error:
        print(repr(label), "is refused:", error)
    else:
        raise SystemExit(f"changed: the unknown label {label} is taken")
PYTHON
