#!/usr/bin/env bash
# polars 2.1.0 cuts the answers of all rows to the type of the first row, though `strict` is on.
#
# What it does: a column of lists has the type of its first list. Later lists are cast to it without a check. 0.5 becomes 0
#   behind whole numbers. Behind booleans 0.5 and -1 become True. A column of plain numbers is checked and refused.
# One would expect: a column of floats, or the error that `strict=True` (the default) promises and that plain numbers give.
# Seen: the multi-hot rows [1, 0], [0.5, 1] are read as [1, 0], [0, 1], and [True, False], [-1, 1] as [True, False],
#   [True, True]. The same rows as dicts or tuples, or in the other order, keep 0.5.
# For users: a soft answer is lost, and an unknown one (-1) becomes present, before anything of a recipe sees the file.
#   Make the rows floats first, or give the schema.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import polars

soft = polars.DataFrame({"image": ["a.jpg", "b.jpg"], "target": [[1, 0], [0.5, 1]]})["target"].to_list()
unknown = polars.DataFrame({"image": ["a.jpg", "b.jpg"], "target": [[True, False], [-1, 1]]})["target"].to_list()
reverse = polars.DataFrame({"target": [[0.5, 1], [1, 0]]})["target"].to_list()
dicts = polars.DataFrame([{"target": [1, 0]}, {"target": [0.5, 1]}])["target"].to_list()
print("[1, 0], [0.5, 1] is read as", soft, "in the other order as", reverse, "as dicts as", dicts)
print("[True, False], [-1, 1] is read as", unknown)
if soft != [[1, 0], [0, 1]]:
    raise SystemExit("changed: a soft answer behind whole numbers")
if unknown != [[True, False], [True, True]]:
    raise SystemExit("changed: an unknown answer behind booleans")
if reverse != [[0.5, 1], [1, 0]] or dicts != [[1, 0], [0.5, 1]]:
    raise SystemExit("changed: the ways that kept the soft answer")
try:
    polars.DataFrame({"cat": [1, 0.5]})
except TypeError as error:
    print("plain numbers are refused:", str(error).splitlines()[0])
else:
    raise SystemExit("changed: plain numbers are taken")
PYTHON
