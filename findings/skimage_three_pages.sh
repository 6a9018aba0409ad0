#!/usr/bin/env bash
# scikit-image 0.26.0 makes one colour picture of a TIFF with three or four grey pages.
#
# What it does: skimage.io.imread moves the first axis of a TIFF to the end when it has 3 or 4 entries and the last one
#   has not. A stack of three grey pages, which tifffile gives as (3, H, W), comes out as (H, W, 3): page 1 red, 2
#   green, 3 blue. With two or five pages it stays a stack.
# One would expect: the shape to depend on what the file says, which is grey with one band a page, not on how many pages
#   it has.
# Seen: stacks of 2, 3, 4 and 5 pages of 8 x 6 pixels have the shapes (2, 8, 6), (8, 6, 3), (8, 6, 4) and (5, 8, 6).
# For users: time points and focal planes of a microscope become a colour picture that looks plausible, or one with
#   transparency, and the stacks beside it fail or are taken for something else. Read pages with tifffile.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-image==0.26.0 tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import skimage.io
import tifffile

path = Path(sys.argv[1]) / "stack.tif"
by_skimage, by_tifffile = {}, {}
for pages in (2, 3, 4, 5):
    stack = np.arange(1, pages + 1, dtype=np.uint8)[:, None, None].repeat(8, axis=1).repeat(6, axis=2)
    tifffile.imwrite(path, stack, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == pages and file.pages[0].samplesperpixel == 1
    by_skimage[pages] = skimage.io.imread(path)
    by_tifffile[pages] = tifffile.imread(path)
shapes = {pages: picture.shape for pages, picture in by_skimage.items()}
print("pages and shape by scikit-image:", shapes)
print("by tifffile:", {pages: picture.shape for pages, picture in by_tifffile.items()})
print("a pixel of the three pages 1, 2, 3:", by_skimage[3][0, 0].tolist())
if shapes != {2: (2, 8, 6), 3: (8, 6, 3), 4: (8, 6, 4), 5: (5, 8, 6)} or by_skimage[3][0, 0].tolist() != [1, 2, 3]:
    raise SystemExit("changed: how scikit-image reads stacks")
if any(picture.shape != (pages, 8, 6) for pages, picture in by_tifffile.items()):
    raise SystemExit("changed: how tifffile reads stacks")
PYTHON
