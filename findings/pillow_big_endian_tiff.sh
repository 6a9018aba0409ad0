#!/usr/bin/env bash
# Pillow 13.0.0 turns the bytes of floats and signed values of a compressed big-endian TIFF twice.
#
# What it does: libtiff gives the values of a compressed TIFF in the order of the machine. Pillow heeds that for unsigned 16 bits,
#   but turns floats, signed 16 bits and 32 bits of big-endian files once more. Nothing is raised.
# One would expect: the values that were written, as from a little-endian file, from one without compression, and from tifffile.
# Seen: 1, 2 and 3 as floats come out as 4.6e-41, 9.0e-44 and 2.3e-41; as signed 16 bits as 256, 512 and 768.
# For users: elevation, temperature and CT values from programs that write big-endian and compress become noise of the right size
#   and type. Read such files by tifffile, or write them little-endian.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from io import BytesIO

import numpy as np
import tifffile
from PIL import Image

assert sys.byteorder == "little"


def read(kind: str, order: str, compression: str | None) -> list[float]:
    """Returns the values 1, 2 and 3 as Pillow reads them; tifffile reads all files right."""
    file = BytesIO()
    tifffile.imwrite(file, np.array([[1, 2, 3]] * 3, kind), byteorder=order, compression=compression)
    file.seek(0)
    assert tifffile.imread(file)[0].tolist() == [1, 2, 3]
    file.seek(0)
    return np.asarray(Image.open(file))[0].tolist()


found = {
    (kind, order, compression): read(kind, order, compression)
    for kind in ("uint16", "int16", "int32", "float32")
    for order in "<>"
    for compression in (None, "zlib")
}
for (kind, order, compression), values in found.items():
    print(f"{kind:8} {'big' if order == '>' else 'little'}-endian, compression {compression}: {values}")
wrong = {key for key, values in found.items() if values != [1, 2, 3]}
if wrong != {(kind, ">", "zlib") for kind in ("int16", "int32", "float32")}:
    raise SystemExit(f"changed: read wrongly are {sorted(wrong, key=str)}")
PYTHON
