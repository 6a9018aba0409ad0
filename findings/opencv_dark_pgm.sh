#!/usr/bin/env bash
# OpenCV 5.0.0 does not look at the largest value that a PGM or PPM file declares; only the number of its bytes counts.
#
# What it does: the header of a PGM says which value is white, any from 1 to 65535. Up to 255 the values are taken as
#   they are, above that their upper byte. White of a file with the largest value 63 becomes 63, of one with 4095 it
#   becomes 15.
# One would expect: 255 for white, as the format says and Pillow 13.0.0 gives it.
# Seen: black, half and white with the largest value 4095 are read as 0, 8, 15; by Pillow as 0, 128, 255.
# For users: 12-bit cameras and radiographs are kept as PGM. A model trained by Pillow and served by OpenCV sees black
#   pictures, and a check for empty pictures throws them out. Scale by the value that the header declares.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
by_opencv, by_pillow = {}, {}
for white in (63, 255, 4095, 65535):
    kind = np.uint8 if white < 256 else np.dtype(">u2")
    values = np.array([0, white // 2 + 1, white], kind)[None].repeat(8, axis=0)
    path = folder / "picture.pgm"
    path.write_bytes(f"P5 3 8 {white}\n".encode() + values.tobytes())
    by_opencv[white] = cv2.imread(str(path), cv2.IMREAD_COLOR)[0, :, 0].tolist()
    picture = np.asarray(Image.open(path)).astype(int)[0]
    by_pillow[white] = (picture // (1 if white < 256 else 256)).tolist()
print("black, half and white by OpenCV:", by_opencv)
print("by Pillow:", by_pillow)
if by_opencv != {63: [0, 32, 63], 255: [0, 128, 255], 4095: [0, 8, 15], 65535: [0, 128, 255]}:
    raise SystemExit("changed: how OpenCV reads PGM")
if any(levels != [0, levels[1], 255] or not 126 <= levels[1] <= 130 for levels in by_pillow.values()):
    raise SystemExit("changed: how Pillow reads PGM")
PYTHON
