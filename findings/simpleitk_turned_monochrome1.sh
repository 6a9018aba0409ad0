#!/usr/bin/env bash
# SimpleITK 2.5.7 turns the values of a MONOCHROME1 file, and leaves its window and its kind as they were; pydicom 3.0.2
# turns nothing.
#
# What it does: in MONOCHROME1 the lowest value is white. ReadImage gives the largest value minus each, 4095 - x for 12
#   bits, so that high is bright. The metadata it hands out still say MONOCHROME1, and the window's centre is that of
#   the values as stored. pydicom gives the values as stored, also behind apply_modality_lut and apply_voi_lut.
# One would expect: values, kind and window that belong together, and one answer from the two libraries that people mix.
# Seen: stored 500, 1000, 3000 with a window of 1000 +- 250: by pydicom the window shows 500 as black and 3000 as white,
#   a negative; by SimpleITK the values are 3595, 3095, 1095, all above the window: one white picture.
# For users: who turns by the kind turns SimpleITK's picture back into a negative, who does not keeps pydicom's; the
#   window fits in one of them alone. A set that was read by both holds the same chest in black and in white. Decide by
#   the library.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet simpleitk==2.5.7 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

path = Path(sys.argv[1]) / "picture.dcm"
file = Dataset()
file.file_meta = FileMetaDataset()
file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
stored = np.uint16([500, 1000, 3000])
file.Rows, file.Columns, file.SamplesPerPixel, file.PixelRepresentation = 1, 3, 1, 0
file.PhotometricInterpretation = "MONOCHROME1"
file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
file.WindowCenter, file.WindowWidth = 1000, 500
file.PixelData = stored.tobytes()
file.save_as(path, enforce_file_format=True)

picture = SimpleITK.ReadImage(str(path))
by_simpleitk = SimpleITK.GetArrayFromImage(picture).ravel().tolist()
kind, center = (picture.GetMetaData(tag).strip() for tag in ("0028|0004", "0028|1050"))
file = pydicom.dcmread(path)
by_pydicom = apply_modality_lut(file.pixel_array, file)
windowed = apply_voi_lut(by_pydicom, file).ravel()
print("stored and by pydicom:", by_pydicom.ravel().tolist(), "in its window:", windowed.round().tolist())
print("by SimpleITK:", by_simpleitk, "with the kind", kind, "and the window's centre", center)
if by_pydicom.ravel().tolist() != stored.tolist() or windowed[0] != 0 or windowed[2] != 4095:
    raise SystemExit("changed: pydicom")
if by_simpleitk != [4095 - value for value in stored.tolist()] or kind != "MONOCHROME1" or float(center) != 1000:
    raise SystemExit("changed: SimpleITK")
PYTHON
