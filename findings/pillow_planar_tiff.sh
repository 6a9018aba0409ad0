#!/usr/bin/env bash
# Pillow 13.0.0 reads 16-bit colours wrongly from a TIFF that keeps its bands one after the other without compression.
#
# What it does: a TIFF may keep the bands of a pixel together (planar configuration 1) or one after the other (2). With 16 bits
#   and 2, Pillow takes the two bytes of each value for two pixels, if nothing is compressed. Nothing is raised.
# One would expect: 0, 128 and 255 for black, grey and white in 8 bits, as for planar configuration 1, and as for the same
#   bands with deflate compression.
# Seen: stripes of black, grey and white come out as 0, 0 and 128.
# For users: microscopes, scanners and tifffile (planarconfig="separate") write such files. The picture has the right size and
#   plausible values, so a model trains on it without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

folder = Path(sys.argv[1])
grey = np.repeat(np.uint16([0, 32896, 65535]), 4)[:, None].repeat(6, axis=1)  # 12 x 6 pixels in three stripes


def read(name: str, planar: str, **settings: object) -> list[int]:
    bands = np.stack([grey] * 3, axis=0 if planar == "separate" else -1)
    tifffile.imwrite(folder / name, bands, photometric="rgb", planarconfig=planar, **settings)
    picture = Image.open(folder / name)
    assert picture.size == (6, 12), picture.size
    return np.asarray(picture.convert("RGB"))[[1, 5, 9], 2, 0].tolist()


together = read("together.tif", "contig")
separate = read("separate.tif", "separate")
deflated = read("deflated.tif", "separate", compression="zlib")
print("black, grey and white with the bands together:", together)
print("one after the other, deflated:", deflated)
print("one after the other, as they are:", separate)
if together != [0, 128, 255]:
    raise SystemExit("changed: 16-bit colours with the bands together")
if separate == together:
    raise SystemExit("changed: bands one after the other are read right")
PYTHON
