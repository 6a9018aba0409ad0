#!/usr/bin/env bash
# OpenCV 5.0.0 shows the darkest half of a signed TIFF brighter than its brightest half, unless IMREAD_UNCHANGED is
# given.
#
# What it does: with IMREAD_COLOR or IMREAD_GRAYSCALE the upper byte of a signed 16-bit value is taken as it is, and a
#   signed 8-bit value too. -32768 becomes 128, -1 becomes 255, 0 becomes 0 and 32767 becomes 127. Nothing is raised.
# One would expect: values in their order, or a refusal, which 32-bit and float TIFFs meet (None).
# Seen: the order of air (-1000), water (0) and bone (1000) of a CT slice comes out as 252, 0, 3.
# For users: CT slices, heights and differences of satellite pictures are stored so. The background, which should be
#   black, is the brightest part, and all that matters lies in a few dark levels. Read with IMREAD_UNCHANGED and scale
#   it yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np
import tifffile

folder = Path(sys.argv[1])


def read(values: list[int], kind: type, flag: int) -> list[int]:
    """Returns what OpenCV makes of a picture whose columns hold the values."""
    path = folder / "picture.tif"
    tifffile.imwrite(path, np.array(values, kind)[None].repeat(8, axis=0))
    picture = cv2.imread(str(path), flag)
    return (picture[0] if picture.ndim == 2 else picture[0, :, 0]).tolist()


sixteen, slice_, eight = [-32768, -1, 0, 32767], [-1000, 0, 1000], [-128, -1, 0, 127]
stored = read(sixteen, np.int16, cv2.IMREAD_UNCHANGED)
coloured = read(sixteen, np.int16, cv2.IMREAD_COLOR)
grey = read(sixteen, np.int16, cv2.IMREAD_GRAYSCALE)
ct = read(slice_, np.int16, cv2.IMREAD_GRAYSCALE)
small = read(eight, np.int8, cv2.IMREAD_COLOR)
print(sixteen, "with IMREAD_UNCHANGED:", stored)
print(sixteen, "with IMREAD_COLOR:", coloured, "with IMREAD_GRAYSCALE:", grey)
print("air, water and bone:", ct)
print(eight, "of 8 bits with IMREAD_COLOR:", small)
if stored != sixteen:
    raise SystemExit("changed: IMREAD_UNCHANGED")
if coloured != [128, 255, 0, 127] or grey != coloured or small != coloured:
    raise SystemExit("changed: signed values")
if ct != [252, 0, 3]:
    raise SystemExit("changed: a CT slice")
PYTHON
