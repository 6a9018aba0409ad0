#!/usr/bin/env bash
# pillow-jxl-plugin 1.3.8 reads a 16-bit grey JPEG XL with transparency as stripes.
#
# What it does: JPEG XL of grey and alpha with 16 bits is handed to Pillow as 8-bit "LA" while its values keep their two
#   bytes: the bytes of grey become one pixel, those of alpha the next, and only the upper half of the picture is there.
#   Grey alone (as I;16), colours with alpha, and 8 bits are right. Nothing is raised, the size is right.
# One would expect: 8-bit grey and alpha, as it gives 8-bit colours and alpha for 16-bit ones.
# Seen: of a picture that is black above, white below and opaque, every even column is transparent black, every odd one
#   opaque white, from top to bottom.
# For users: slides and scans that were cut out of their background are kept so. On a white ground the picture is white.
#   Save such files without alpha, or read them with imagecodecs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 pillow-jxl-plugin==1.3.8 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
from io import BytesIO

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401
from PIL import Image

grey = np.repeat(np.uint16([0, 65535]), 16)[:, None].repeat(32, axis=1)
opaque = np.full_like(grey, 65535)


def read(pixels: np.ndarray) -> Image.Image:
    encoded = imagecodecs.jpegxl_encode(pixels, lossless=True)
    assert np.array_equal(imagecodecs.jpegxl_decode(encoded), pixels)
    return Image.open(BytesIO(encoded))


def rows(picture: Image.Image) -> list[int]:
    """Returns the first band of four rows, with 8 bits."""
    values = np.asarray(picture)
    values = values if values.ndim == 2 else values[..., 0]
    return (values[[4, 12, 20, 28], 3] // (256 if values.dtype == np.uint16 else 1)).tolist()


right = {
    "16-bit grey": rows(read(grey)),
    "16-bit colours and alpha": rows(read(np.dstack([grey, grey, grey, opaque]))),
    "8-bit grey and alpha": rows(read((np.dstack([grey, opaque]) >> 8).astype(np.uint8))),
}
picture = read(np.dstack([grey, opaque]))
pixels = np.asarray(picture)
columns = pixels[0, :4].tolist()
print(right)
print("16-bit grey and alpha:", picture.mode, picture.size, "of a row:", columns)
if any(values != [0, 0, 255, 255] for values in right.values()):
    raise SystemExit("changed: what was right")
striped = columns == [[0, 0], [255, 255]] * 2 and (pixels == pixels[0]).all()
if (picture.mode, picture.size) != ("LA", (32, 32)) or not striped:
    raise SystemExit("changed: 16-bit grey and alpha")
PYTHON
