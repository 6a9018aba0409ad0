#!/usr/bin/env bash
# pandas 3.1.1 makes a label with an empty name, if pyarrow happens to be installed.
#
# What it does: Series.str.get_dummies("|") is the way from a column of label lists to multi-hot. Between two separators,
#   behind the last one, and in an empty text there is nothing. With pyarrow, text columns are kept by pyarrow, and this
#   nothing is a label named "". Without pyarrow, or for a column of dtype object, it is none.
# One would expect: the same labels with and without an optional package, and no label of nothing.
# Seen: "cat|dog", "cat|", "" gives cat, dog without pyarrow 26.0.1 and "", cat, dog with it. The label of nothing is reported
#   upstream and was open when this was written.
# For users: num_labels changes with the machine, all columns move by one (the empty name is sorted first), and a head or
#   predictions saved before do not fit. An image without labels is now an image of "". Drop the column "".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/labels.py" <<'PYTHON'
import pandas

cells = pandas.Series(["cat|dog", "cat|", ""])
print(list(cells.str.get_dummies("|").columns), list(cells.astype(object).str.get_dummies("|").columns))
PYTHON
"$folder/venv/bin/pip" install --quiet pandas==3.1.1 numpy==2.4.6
without=$("$folder/venv/bin/python" "$folder/labels.py")
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.1
with=$("$folder/venv/bin/python" "$folder/labels.py")
echo "labels by dtype str and by dtype object, without pyarrow: $without"
echo "labels by dtype str and by dtype object, with pyarrow:    $with"
[ "$without" = "['cat', 'dog'] ['cat', 'dog']" ] || { echo "changed: the labels without pyarrow"; exit 1; }
[ "$with" = "['', 'cat', 'dog'] ['cat', 'dog']" ] || { echo "changed: the labels with pyarrow"; exit 1; }
