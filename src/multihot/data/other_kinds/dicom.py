"""DICOM files, by pydicom: values of the modality through the window that the file names, none of them a negative."""

import logging
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import pixel_array
from scipy.special import expit

from multihot.data.image_source import check_size, read_start, rewind
from multihot.data.other_kinds.dicom_frames import add_decoders
from multihot.data.value_range import LEAST_WIDTH, UnusableImageError, ValueRange, Windows, picture_of

GREY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
OF_ONE_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence")  # of an enhanced file
DEFLATED = b"1.2.840.10008.1.2.1.99"  # the transfer syntax, near the begin: all is unpacked before anything is known
CONVERT = "Convert it to PNG"

# Like Pillow, pydicom tells of what metadata lack, a line for each of a million files.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
add_decoders()


def decode(source: str | BytesIO, value_range: ValueRange) -> Image.Image:
    """Returns the first frame of a DICOM file with 8 bits.

    Values of grey go through the rescaling or table of the modality, then `value_range`, else the file's table or first
    window, else the range that unsigned bits can have. Where the smallest is white, they are inverted last.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = read_head(source)
            show = show_grey if dataset.PhotometricInterpretation in GREY else show_colours
            picture = show(pixel_array(source, index=0), dataset, value_range)
        except (InvalidDicomError, BytesLengthException) as error:
            raise OSError(str(error)) from error
        picture.info["num_frames"] = int(dataset.get("NumberOfFrames") or 1)
    return picture


def read_head(source: str | BytesIO) -> Dataset:
    """Returns all but the pixels, with what an enhanced file says of its first frame where others say it."""
    if DEFLATED in read_start(source):
        raise UnusableImageError(f"it is a deflated DICOM file, which is not read. {CONVERT}")
    dataset = dcmread(source, stop_before_pixels=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnusableImageError("it is a DICOM file without a picture. Remove its row from the data")
    check_size(dataset.Columns, dataset.Rows)
    for frames in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(frames) or [])[:1]:
            for name in OF_ONE_FRAME:
                for item in group.get(name) or []:
                    dataset.update(item)
    rewind(source)
    return dataset


def show_colours(values: np.ndarray, dataset: Dataset, value_range: ValueRange) -> Image.Image:
    """Returns the picture of colours, which pydicom has made RGB, or of a palette."""
    white = 2**dataset.BitsStored - 1
    if dataset.PhotometricInterpretation == PALETTE:
        values, white = look_up_colours(values, dataset)
    if values.ndim != 3 or values.shape[2] != 3:
        raise UnusableImageError(f"its colours are {dataset.PhotometricInterpretation}, which is not read. {CONVERT}")
    return Image.fromarray(values) if values.dtype == np.uint8 else picture_of(values, (0, white), value_range)


def show_grey(frame: np.ndarray, dataset: Dataset, value_range: ValueRange) -> Image.Image:
    """Returns the picture of grey values."""
    values, known = rescale(frame, dataset)
    is_negative = "MONOCHROME1" in dataset.PhotometricInterpretation or dataset.get("PresentationLUTShape") == "INVERSE"
    if values.dtype == np.uint8:  # neither rescaled nor of more than 8 bits
        value_range = None
    if value_range is not None:
        return picture_of(values, known, value_range, is_negative=is_negative)
    values, shown = look_through_window(values, dataset)
    picture = picture_of(values, known, shown, is_negative=is_negative)
    if shown is not None or values.dtype == np.uint8:
        del picture.info["stored_range"], picture.info["shown_range"]  # no other range is better for all pictures
    return picture


def rescale(frame: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, Windows | tuple[float, float] | None]:
    """Returns the values of the modality, and black and white of their type; None: of it, nothing is known."""
    if dataset.get("ModalityLUTSequence"):
        return look_up(frame, dataset.ModalityLUTSequence[0], dataset)
    slope, intercept = (dataset.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    known = None
    if frame.dtype.kind == "u" and dataset.BitsStored <= 16:
        black, white = sorted((intercept, intercept + slope * (2**dataset.BitsStored - 1)))
        known = (black, white) if dataset.BitsStored >= 8 else Windows(((black, white),))
    if (slope, intercept) == (1, 0):
        return frame, known
    is_whole = slope.is_integer() and intercept.is_integer() and frame.dtype.itemsize <= 2
    values = frame.astype(np.int64 if is_whole else np.float64) * (int(slope) if is_whole else slope)
    return values + (int(intercept) if is_whole else intercept), known


def look_through_window(values: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, Windows | tuple | None]:
    """Returns values and which of them the file shows as black and white: by its first table, else its first window.

    None: it names neither. The functions of windows are those of PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    if dataset.get("VOILUTSequence"):
        return look_up(values, dataset.VOILUTSequence[0], dataset)
    center, width = (first_of(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if center is None or width is None or width < (1 if function == "LINEAR" else LEAST_WIDTH):
        return values, None
    if function == "LINEAR":
        return values, Windows.around((center, width))
    if function == "LINEAR_EXACT":
        return values, Windows(((center - width / 2, center + width / 2),))
    if function == "SIGMOID":
        return expit(4 * (values.astype(np.float64) - center) / width), Windows(((0, 1),))
    raise UnusableImageError(f"its window is of the kind {function}, which is not read. {CONVERT}")


def first_of(value: Any) -> float | None:
    """Returns the first number of an element with one or several; None if it has none."""
    values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    return None if not values or values[0] is None or not str(values[0]).strip() else float(values[0])


def look_up(values: np.ndarray, item: Dataset, dataset: Dataset) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns what a table (PS3.3 C.11.1.1) makes of values, and black and white of its own.

    pydicom 3.0.2 looks values above 255 up as if they were below in tables whose entries have 8 bits.
    """
    num_entries, first, num_bits = item.LUTDescriptor
    table = read_table(item.LUTData, num_entries, dataset)
    return table[np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)], (0, 2**num_bits - 1)


def look_up_colours(values: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Returns the colours (H, W, 3) of the palette (PS3.3 C.7.6.3.1.5), and the value of white."""
    bands = []
    for colour in ("Red", "Green", "Blue"):
        num_entries, first, num_bits = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        if data is None:
            raise UnusableImageError(f"its palette is segmented, which is not read. {CONVERT}")
        table = read_table(data, num_entries, dataset)
        bands.append(table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)])
    return np.dstack(bands).astype(np.uint8 if num_bits == 8 else np.uint16), 2**num_bits - 1


def read_table(data: bytes | Sequence[int], num_entries: int, dataset: Dataset) -> np.ndarray:
    """Returns the entries of a table, uint8 or uint16: entries of 8 bits may stand in a byte or in two."""
    if not isinstance(data, bytes):
        return np.asarray(data, np.uint16)
    num_entries = num_entries or 2**16  # which 16 bits cannot say
    order = "<" if dataset.original_encoding[1] else ">"
    return np.frombuffer(data, f"{order}u2" if len(data) >= 2 * num_entries else np.uint8, num_entries)
