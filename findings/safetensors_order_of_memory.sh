#!/usr/bin/env bash
# safetensors 0.8.0 writes a NumPy array in the order of its memory and reads it back in C order.
#
# What it does: safetensors.numpy.save_file takes an array in column order (Fortran order), such as a transposed one, writes
#   its memory as it lies, with the shape unchanged. The values come back at other places. Nothing is raised.
# One would expect: the same array back, as from numpy.save, or an error, as safetensors.torch gives for such a tensor.
# Seen: [[0, 3], [1, 4], [2, 5]] comes back as [[0, 1], [2, 3], [4, 5]]. Version 0.7.0 gives it back right. It is
#   reported upstream and was open when this was written.
# For users: DataFrame.to_numpy() of several label columns is in column order. Targets or scores (N, C) written so are mixed
#   between images and labels, with the right shape, the right counts and the wrong rows. Use numpy.ascontiguousarray.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/target.safetensors" <<'PYTHON'
import sys

import numpy as np
import pandas
from safetensors.numpy import load_file, save_file

table = pandas.DataFrame({"cat": [0.0, 1.0, 2.0], "dog": [3.0, 4.0, 5.0]})
target = table[["cat", "dog"]].to_numpy()
save_file({"target": target, "copy": np.ascontiguousarray(target)}, sys.argv[1])
back = load_file(sys.argv[1])
print("column order:", target.flags.f_contiguous, target.tolist(), "comes back as", back["target"].tolist())
if back["target"].tolist() != [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]:
    print("a copy in C order comes back as", back["copy"].tolist())
else:
    raise SystemExit("changed: an array in column order comes back right")
if not np.array_equal(back["copy"], target):
    raise SystemExit("changed: an array in C order comes back wrong")
PYTHON
