#!/usr/bin/env bash
# Pillow 13.0.0 shows the white of JPEG 2000 colours with more than 8 bits as black.
#
# What it does: grey with alpha, RGB and RGBA of 9 to 16 bits become 8 bits by rounding up, and 256 is stored as 0. All values
#   from half a level below white on are black. Nothing is raised. Grey alone of 16 bits is right.
# One would expect: 255 for the largest value, as for PNG and TIFF, which are cut down and not rounded.
# Seen: stripes of 0, the middle and the largest value of 12 bits come out as 0, 128 and 0; opaque alpha comes out as transparent.
# For users: clouds, snow and burnt-out sky of satellite and archive pictures turn black, in training and evaluation alike. Read
#   such files by another package (imagecodecs.jpeg2k_decode), or save them with 8 bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
from io import BytesIO

import imagecodecs
import numpy as np
from PIL import Image


def read(num_bits: int, num_bands: int) -> list[int]:
    """Returns the stripes of the last band as Pillow decodes them; all files are also decoded exactly."""
    top = 2**num_bits - 1
    stripes = np.uint16([0, top // 2 + 1, top]).repeat(16)[None, :, None].repeat(32, axis=0).repeat(num_bands, axis=2)
    stripes = stripes.astype(np.uint8) if num_bits == 8 else stripes
    content = imagecodecs.jpeg2k_encode(stripes.squeeze(), level=0, bitspersample=num_bits)
    assert np.array_equal(imagecodecs.jpeg2k_decode(content), stripes.squeeze())
    pixels = np.atleast_3d(np.asarray(Image.open(BytesIO(content))))
    return pixels[16, [8, 24, 40], -1].tolist()


found = {(bits, bands): read(bits, bands) for bits in (8, 12, 16) for bands in (1, 2, 3, 4)}
for (bits, bands), stripes in found.items():
    print(f"{bits} bits, {bands} band(s), black, middle and white: {stripes}")
if any(found[8, bands] != [0, 128, 255] for bands in (1, 2, 3, 4)) or found[16, 1] != [0, 32768, 65535]:
    raise SystemExit("changed: what was right")
if any(found[bits, bands] != [0, 128, 0] for bits in (12, 16) for bands in (2, 3, 4)):
    raise SystemExit("changed: colours of more than 8 bits")
PYTHON
