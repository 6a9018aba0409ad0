#!/usr/bin/env bash
# pydicom 3.0.2: what is white in a window depends on the slope and intercept of the file, not on the window.
#
# What it does: apply_voi_lut spreads a window over the whole range that the stored bits can reach after the slope and
#   intercept: white is the largest stored value times the slope plus the intercept, black the smallest. A file without
#   both has 0 to 4095.
# One would expect: one range for all files with the same number of bits, such as 0 to 4095, or 0 to 1.
# Seen: the same tissue in the same window, 12 bits: white is 4095, 2047.5 and 1023.75 for the slopes 1, 0.5 and 0.25. A
#   CT slice with the intercept -1024 has black at -1024 and white at 3071, one with -8192 has white at -4097, below 0.
# For users: PET slices have a slope each, so that a division by 4095 gives each slice its own brightness, and a cast to
#   8 bits wraps. Take (value - black) / (white - black) with the two ends computed from the file, or apply the window
#   yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

values = np.uint16([[0, 4095]])


def ends(slope: float, intercept: float, center: float, width: float) -> list[float]:
    """Returns what the lowest and the highest stored value become in a window that both lie outside of."""
    file = Dataset()
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsStored, file.PixelRepresentation = 12, 0
    file.RescaleSlope, file.RescaleIntercept = slope, intercept
    file.WindowCenter, file.WindowWidth = center, width
    rescaled = apply_modality_lut(values, file)
    assert rescaled[0, 0] < center - width and rescaled[0, 1] > center + width
    return apply_voi_lut(rescaled, file).ravel().tolist()


by_slope = {slope: ends(slope, 0, 500, 200) for slope in (1, 0.5, 0.25)}
by_intercept = {intercept: ends(1, intercept, intercept + 1000, 200) for intercept in (0, -1024, -8192)}
print("black and white by slope:", by_slope)
print("by intercept:", by_intercept)
if by_slope != {1: [0, 4095], 0.5: [0, 2047.5], 0.25: [0, 1023.75]}:
    raise SystemExit("changed: by slope")
if by_intercept != {0: [0, 4095], -1024: [-1024, 3071], -8192: [-8192, -4097]}:
    raise SystemExit("changed: by intercept")
PYTHON
