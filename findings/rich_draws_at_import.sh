#!/usr/bin/env bash
# Importing rich 15.0.0 takes a number from Python's global random generator.
#
# What it does: rich/style.py draws 24 bits by `random.getrandbits` when it is imported, to number its styles. Who sets the seed
#   and then imports a progress bar, a log handler or a console of rich for the first time goes on one number later.
# One would expect: an import leaves the sequence of a seed alone, as NumPy's and tqdm's do.
# Seen: with seed 1 ten images are shuffled to 6 8 9 7 5 3 0 4 1 2, and to 6 8 2 7 5 3 0 4 1 9 if rich.progress, rich.logging or
#   rich.console is imported between the seed and the shuffle; imported before the seed, or for the second time, to the first.
# For users: shuffles, splits and augmentations that draw from `random` (timm's crops do) depend on whether the progress bar
#   was imported before the seed or after it: the same seed gives another split on the machine where the bar is on. Draw from
#   a `random.Random(seed)` of your own, or import everything before the seed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rich==15.0.0 tqdm==4.70.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

SHUFFLE = "images = list(range(10)); random.shuffle(images); print(*images)"


def run(before: str, after: str) -> str:
    code = f"import random, {before}; random.seed(1); import {after}; {SHUFFLE}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


plain = run("sys", "sys")
print("seed 1:", plain)
behind, before = {}, {}
for name in ("numpy", "tqdm", "rich.console", "rich.progress", "rich.logging"):
    behind[name], before[name] = run("sys", name), run(name, name)
    print(f"{name} imported behind the seed: {behind[name]}; before it: {before[name]}")
if set(before.values()) != {plain} or behind["numpy"] != plain or behind["tqdm"] != plain:
    raise SystemExit("changed: what is imported before the seed, or NumPy and tqdm behind it")
if plain in (behind["rich.console"], behind["rich.progress"], behind["rich.logging"]):
    raise SystemExit("changed: rich leaves the sequence of a seed alone")
PYTHON
