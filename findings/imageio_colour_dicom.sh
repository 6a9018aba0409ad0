#!/usr/bin/env bash
# imageio 2.38.1 reads a colour DICOM file as a grey picture of its first third, and negative values of 12 bits as large
# ones.
#
# What it does: its own DICOM reader takes rows x columns values from the pixel data, whatever number of bands the file
#   has: red, green and blue of the first third stand beside each other as three grey pixels. Of values with fewer bits
#   than the file keeps for them, the rest is not filled with the sign. MONOCHROME1, where 0 is white, is not turned.
#   Nothing is raised.
# One would expect: a picture of three bands, values below 0, or a refusal.
# Seen: a row of orange pixels (255, 128, 0) is the grey row 255 128 0 255 128 0 ... A signed 12-bit -1000 is 3096.
# For users: skin, eye and endoscope photos come as colour DICOM. The picture has the right size and looks like a fine
#   pattern. pydicom 3.0.2 gives the bands and the sign.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import warnings
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

warnings.simplefilter("ignore")


def read(name: str, pixels: np.ndarray, meaning: str, bits_stored: int, signed: bool = False) -> tuple:
    """Returns what imageio and pydicom make of the pixels."""
    path = Path(sys.argv[1]) / name / "picture.dcm"
    path.parent.mkdir()
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = meaning
    file.BitsAllocated, file.BitsStored, file.HighBit = 8 * pixels.itemsize, bits_stored, bits_stored - 1
    file.PixelRepresentation = int(signed)
    file.PixelData = pixels.tobytes()
    file.save_as(path, enforce_file_format=True)
    return iio.imread(path, plugin="DICOM"), pydicom.dcmread(path).pixel_array


orange = np.tile(np.uint8([255, 128, 0]), (8, 8, 1))
below = np.full((8, 8), -1000, np.int16).view(np.uint16) & 0x0FFF
colour, colour_by_pydicom = read("colour", orange, "RGB", 8)
negative, negative_by_pydicom = read("negative", below, "MONOCHROME2", 12, signed=True)
print("orange:", colour.shape, colour[0].tolist(), "by pydicom:", colour_by_pydicom.shape)
print("-1000 of 12 bits:", negative[0, 0], "by pydicom:", negative_by_pydicom[0, 0])
if colour.shape != (8, 8) or colour[0].tolist() != [255, 128, 0, 255, 128, 0, 255, 128]:
    raise SystemExit("changed: colour")
if negative[0, 0] != 3096:
    raise SystemExit("changed: values below 0")
if not np.array_equal(colour_by_pydicom, orange) or negative_by_pydicom[0, 0] != -1000:
    raise SystemExit("changed: what pydicom reads")
PYTHON
