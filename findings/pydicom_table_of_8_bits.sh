#!/usr/bin/env bash
# pydicom 3.0.2 keeps 8 bits of a value before it looks it up in a window table whose entries have 8 bits.
#
# What it does: apply_voi_lut makes the positions in the table of the type of the table's entries. With entries of 8 bits (the
#   standard allows 8 and 10 to 16, PS3.3 C.11.2.1.1) the position 2048 becomes 0 and 4095 becomes 255. Nothing is raised.
# One would expect: what a table with the same entries in 16 bits gives, and what apply_modality_lut gives for both.
# Seen: a table of 4096 entries, 0 to 255, turns 0, 2048 and 4095 into 0, 0 and 15 where 0, 128 and 255 stand in it.
# For users: a 12-bit X-ray comes out as 16 dark bands, repeated, with the right size and type. Look the values up by
#   table[clip(values - first, 0, len(table) - 1)] with positions of 32 bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

values = np.uint16([[0, 2048, 4095]])


def look_up(sequence: str, num_bits: int) -> list[int]:
    """Returns what the values become by a table from 0 to the largest number of so many bits."""
    table, file = Dataset(), Dataset()
    table.LUTDescriptor = [4096, 0, num_bits]
    table.add_new("LUTData", "US", (np.arange(4096) << num_bits >> 12).tolist())
    file.PhotometricInterpretation = "MONOCHROME2"
    setattr(file, sequence, [table])
    apply = apply_voi_lut if sequence == "VOILUTSequence" else apply_modality_lut
    return apply(values, file).ravel().tolist()


found = {(name, bits): look_up(name, bits) for name in ("VOILUTSequence", "ModalityLUTSequence") for bits in (8, 16)}
for (name, bits), result in found.items():
    print(f"{name}, entries of {bits} bits: {result}")
if found["VOILUTSequence", 16] != [0, 32768, 65520] or found["ModalityLUTSequence", 8] != [0, 128, 255]:
    raise SystemExit("changed: the tables that were looked up right")
if found["VOILUTSequence", 8] != [0, 0, 15]:
    raise SystemExit("changed: a window table with entries of 8 bits")
PYTHON
