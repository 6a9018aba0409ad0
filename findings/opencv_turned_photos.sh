#!/usr/bin/env bash
# OpenCV 5.0.0 turns a photo by its EXIF in JPEG, PNG and WebP, and leaves it lying in AVIF, where turning is part of the format.
#
# What it does: imread with IMREAD_COLOR turns JPEG, PNG and WebP upright. The same photo as AVIF comes out as it lies, though
#   an AVIF reader has to turn it: the turn stands in the picture's own properties (irot), where Pillow writes it.
# One would expect: one answer for one photo, at least within one library: all upright.
# Seen: a photo of 64 x 48 that is to be turned by 90 degrees is read 48 wide and 64 high from JPEG, PNG and WebP, and 64 wide
#   and 48 high from AVIF. Pillow 13.0.0 with ImageOps.exif_transpose gives 48 x 64 for all four.
# For users: converting a data set to AVIF, or adding such pictures, lays the portrait photos on their side in one loader and
#   not in another. Turn them before they are converted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import cv2
from PIL import ExifTags, Image, ImageOps

folder = Path(sys.argv[1])
exif = Image.Exif()
exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees
by_opencv, by_pillow = {}, {}
for ending in ("jpg", "png", "webp", "avif"):
    path = folder / f"photo.{ending}"
    Image.new("RGB", (64, 48), "red").save(path, exif=exif)
    height, width = cv2.imread(str(path), cv2.IMREAD_COLOR).shape[:2]
    by_opencv[ending] = width, height
    by_pillow[ending] = ImageOps.exif_transpose(Image.open(path)).size
print("width and height by OpenCV:", by_opencv)
print("width and height by Pillow:", by_pillow)
if set(by_pillow.values()) != {(48, 64)}:
    raise SystemExit("changed: how Pillow turns photos")
if by_opencv != {"jpg": (48, 64), "png": (48, 64), "webp": (48, 64), "avif": (64, 48)}:
    raise SystemExit("changed: how OpenCV turns photos")
PYTHON
