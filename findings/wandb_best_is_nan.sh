#!/usr/bin/env bash
# wandb 0.31.0 keeps no best value of a metric after one NaN, nor of a metric with a dot in its name.
#
# What it does: define_metric(name, summary="max") (or "min", "mean") has the best of a run shown in its summary. A NaN among
#   the values makes that summary NaN for good. For a name with a dot, by itself or by a pattern such as "ap/*", there is no
#   best: the summary is the last value. True counts as 0.
# One would expect: the largest of the numbers, as SQL's max or numpy.nanmax give, and the same for all names that can be logged.
# Seen: 0.5, NaN, 0.6, 0.4 has the max NaN, also where the NaN comes first or last. "ap/St. Bernard" of 0.1, 0.3, 0.2 has 0.2,
#   "ap/beagle" the max 0.3. False, True, False has the max 0. No warning. (`ap/St\. Bernard` in define_metric helps.)
# For users: an average precision is NaN where a split has no positive of a label. One such epoch, often the first, and the
#   runs cannot be sorted by their best. Do not log a NaN, and keep dots out of the names of labels that are logged one by one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wandb==0.31.0
cd "$folder"
export WANDB_MODE=offline WANDB_SILENT=true WANDB_ERROR_REPORTING=false WANDB_DIR="$folder"
export WANDB_CACHE_DIR="$folder/cache" WANDB_CONFIG_DIR="$folder/config" WANDB_DATA_DIR="$folder/data"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import wandb

nan = math.nan
values = {
    "map": (0.5, nan, 0.6, 0.4),
    "first": (nan, 0.5, 0.6, 0.4),
    "last": (0.5, 0.6, 0.4, nan),
    "whole": (0.5, 0.5, 0.6, 0.4),
    "ap/beagle": (0.1, 0.1, 0.3, 0.2),
    "ap/St. Bernard": (0.1, 0.1, 0.3, 0.2),
    "is_best": (False, True, False, False),
}
run = wandb.init(project="findings", settings=wandb.Settings(console="off"))
for name in ("map", "first", "last", "whole", "ap/*", "is_best"):
    run.define_metric(name, summary="max")
for epoch in range(4):
    run.log({name: series[epoch] for name, series in values.items()})
kept = {name: run.summary[name] for name in values}
kept = {name: dict(value) if hasattr(value, "keys") else value for name, value in kept.items()}
run.finish()
for name, value in kept.items():
    print(name, values[name], "is kept as", value)
if not all(math.isnan(kept[name]["max"]) for name in ("map", "first", "last")):
    raise SystemExit("changed: the best of a metric that was NaN once")
if kept["whole"] != {"max": 0.6} or kept["ap/beagle"] != {"max": 0.3}:
    raise SystemExit("changed: the best of plain numbers")
if kept["ap/St. Bernard"] != 0.2:
    raise SystemExit("changed: the best of a metric with a dot in its name")
if kept["is_best"] != {"max": 0}:
    raise SystemExit("changed: the best of True and False")
PYTHON
