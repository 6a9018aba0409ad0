#!/usr/bin/env bash
# OpenCV 5.0.0 multiplies the colours of an 8-bit TIFF by its fourth band, even with IMREAD_UNCHANGED.
#
# What it does: an 8-bit TIFF with RGB and unassociated alpha comes out with each colour times alpha / 255. The same pixels
#   as PNG, the same TIFF with 16 bits, and a fourth band of kind "unspecified" come out as they are stored.
# One would expect: the stored values, as IMREAD_UNCHANGED says, and the same answer for PNG and TIFF, 8 and 16 bits.
# Seen: the stored pixel 200 150 100 51 is read as 40 30 20 51. Pillow 13.0.0 reads 200 150 100 51.
# For users: tifffile writes (H, W, 4) as RGB with unassociated alpha unless it is told otherwise. A picture of four bands
#   (red, green, blue, infrared) is darkened by its infrared when read by OpenCV and not when read by
#   Pillow. A model trained with one and served with the other sees other pictures.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

folder = Path(sys.argv[1])
pixels = np.zeros((8, 8, 4), np.uint8)
pixels[:] = 200, 150, 100, 51


def read(path: Path) -> list[int]:
    blue, green, red, fourth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[0, 0].tolist()
    return [red, green, blue, fourth]


tifffile.imwrite(folder / "eight.tif", pixels)
tifffile.imwrite(folder / "sixteen.tif", pixels.astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"])
tifffile.imwrite(folder / "unspecified.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
Image.fromarray(pixels).save(folder / "eight.png")
seen = {path.name: read(path) for path in sorted(folder.iterdir()) if path.is_file()}
seen["eight.tif by Pillow"] = list(Image.open(folder / "eight.tif").getpixel((0, 0)))
for name, value in seen.items():
    print(name, value)
stored = [200, 150, 100, 51]
expected = {
    "eight.png": stored,
    "eight.tif": [40, 30, 20, 51],
    "sixteen.tif": [257 * value for value in stored],
    "unspecified.tif": stored,
    "eight.tif by Pillow": stored,
}
if seen != expected:
    raise SystemExit("changed: how OpenCV reads a TIFF with alpha")
PYTHON
