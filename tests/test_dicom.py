"""DICOM files are shown as their tags mean it, equal to pydicom's own functions where these do it."""

import re
import warnings
from io import BytesIO

import numpy as np
import pytest
from picture_files import write_dicom, write_table
from scipy.special import expit

from multihot.data.checks.inspection import inspect_image
from multihot.data.images import decode_image, read_image
from multihot.data.value_range import Windows, read_value_range
from multihot.errors import InputError

pydicom = pytest.importorskip("pydicom", reason='needs pip install -e ".[pictures]"')

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (12, 16), np.uint16)
CT = RNG.integers(-1000, 3000, (12, 16), np.int16)
BRAIN = Windows.around((40, 80))
INVERTED = {"PhotometricInterpretation": "MONOCHROME1"}


def decode(content: bytes, value_range=None) -> np.ndarray:
    """Returns the grey levels (H, W), or colours (H, W, 3), of a file."""
    pixels = np.asarray(decode_image(BytesIO(content), "it", None, value_range))
    return pixels[..., 0] if (pixels == pixels[..., :1]).all() else pixels


def decode_by_pydicom(content: bytes) -> np.ndarray:
    """Returns the grey levels (H, W) by pydicom's functions, float; a MONOCHROME1 is not inverted."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    file = pydicom.dcmread(BytesIO(content))
    values = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)
    slope, intercept = file.get("RescaleSlope", 1), file.get("RescaleIntercept", 0)
    low = -(2 ** (file.BitsStored - 1)) if file.PixelRepresentation else 0
    black, white = (slope * value + intercept for value in (low, low + 2**file.BitsStored - 1))
    return (values - black) * (255 / (white - black))


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 12},
        {"BitsStored": 12, "RescaleSlope": 2, "RescaleIntercept": -1024},
        {"BitsStored": 12, "RescaleSlope": 0.25, "RescaleIntercept": -0.5},
        {"WindowCenter": 2000, "WindowWidth": 1500},
        {"WindowCenter": [2000, 40], "WindowWidth": [1500, 80]},
        {"WindowCenter": 1000, "WindowWidth": 1500, "RescaleSlope": 1, "RescaleIntercept": -1024},
        {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 2000, "WindowWidth": 1},
        {"BitsStored": 12, "VOILUTSequence": lambda: write_table(np.arange(0, 65536, 16).astype(np.uint16), 0, 16)},
    ],
)
def test_grey_is_within_one_level_of_pydicom(elements):
    elements = {name: value() if callable(value) else value for name, value in elements.items()}
    content = write_dicom(TWELVE, **elements)
    expected = decode_by_pydicom(content) * (4095 / 65535 if "VOILUTSequence" in elements else 1)
    assert np.abs(decode(content) - expected).max() < 1


def test_a_sigmoid_window_is_the_formula_of_the_standard():
    content = write_dicom(CT, WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")
    expected = (256 * expit(4 * (CT.astype(float) - 40) / 400)).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(decode(content), expected)


@pytest.mark.parametrize("shape", [{}, {"PresentationLUTShape": "INVERSE"}])
def test_where_zero_is_white_the_picture_is_inverted_once(shape):
    for elements in ({"BitsStored": 12}, {"WindowCenter": 2000, "WindowWidth": 1500}):
        upright = decode(write_dicom(TWELVE, **elements))
        np.testing.assert_array_equal(decode(write_dicom(TWELVE, **elements, **INVERTED, **shape)), 255 - upright)
    np.testing.assert_array_equal(
        decode(write_dicom(TWELVE, **INVERTED, **shape), (0, 4095)), 255 - decode(write_dicom(TWELVE), (0, 4095))
    )


def test_pydicom_itself_inverts_by_the_shape_alone():
    from pydicom.pixels import apply_modality_lut, apply_presentation_lut, apply_voi_lut

    file = pydicom.dcmread(BytesIO(write_dicom(TWELVE, **INVERTED)))
    values = apply_presentation_lut(apply_voi_lut(apply_modality_lut(file.pixel_array, file), file), file)
    np.testing.assert_array_equal(values, TWELVE)


def test_tables_of_8_bits_are_looked_up_by_all_bits_of_a_value():
    for table in ((np.arange(4096) >> 4).astype(np.uint8), (np.arange(4096) >> 4).astype(np.uint16)):  # packed, or not
        for sequence in ("VOILUTSequence", "ModalityLUTSequence"):
            content = write_dicom(TWELVE, **{sequence: write_table(table, 0, 8)})
            np.testing.assert_array_equal(decode(content), TWELVE >> 4)


def test_a_table_that_begins_later_keeps_its_ends():
    content = write_dicom(TWELVE, VOILUTSequence=write_table(np.uint16([10, 20, 30]) << 8, 1000, 16))
    np.testing.assert_array_equal(decode(content), np.select([TWELVE < 1001, TWELVE == 1001], [10, 20], 30))


def test_hounsfield_units_without_a_window_are_refused_with_the_setting_that_shows_them():
    content = write_dicom(CT)
    with pytest.raises(InputError, match=r"values go from -\d+ to \d+.*for example data\.value_range=\[-"):
        decode(content)
    assert decode(content, (-1000, 2999)).max() == 255


def test_a_window_of_the_settings_is_that_of_the_file_whatever_the_type():
    by_file = decode(write_dicom(CT, WindowCenter=40, WindowWidth=80))
    for values, elements in (
        (CT, {}),
        (CT, {"WindowCenter": 500, "WindowWidth": 9}),
        ((CT + 1024).astype(np.uint16), {"RescaleSlope": 1, "RescaleIntercept": -1024}),
    ):
        np.testing.assert_array_equal(decode(write_dicom(values, **elements), BRAIN), by_file)


def test_three_windows_are_red_green_and_blue():
    settings = [[40, 80], [80, 200], [600, 2800]]
    pixels = decode(write_dicom(CT), read_value_range("auto", settings))
    for band, window in enumerate(settings):
        np.testing.assert_array_equal(pixels[..., band], decode(write_dicom(CT), read_value_range("auto", window)))


def test_a_range_and_a_window_are_one_too_many():
    with pytest.raises(InputError, match=r"data\.value_range=\[0, 1\] and data\.window=\[40, 80\] both say"):
        read_value_range([0, 1], [40, 80])


def test_grey_of_8_bits_is_changed_by_its_own_window_alone():
    grey = (TWELVE >> 4).astype(np.uint8)
    np.testing.assert_array_equal(decode(write_dicom(grey), (0, 4095)), grey)
    windowed = write_dicom(grey, WindowCenter=40, WindowWidth=80)
    np.testing.assert_array_equal(decode(windowed, (0, 4095)), decode(windowed))
    assert decode(windowed).max() == 255


def test_what_an_enhanced_file_says_of_its_first_frame_counts():
    frames = [pydicom.Dataset(), pydicom.Dataset()]
    for frame, center in zip(frames, (40, 400), strict=True):
        frame.FrameVOILUTSequence = [pydicom.Dataset()]
        frame.FrameVOILUTSequence[0].WindowCenter, frame.FrameVOILUTSequence[0].WindowWidth = center, 80
    shared = pydicom.Dataset()
    shared.PixelValueTransformationSequence = [pydicom.Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = 1
    shared.PixelValueTransformationSequence[0].RescaleIntercept = -1024
    values = np.stack([CT + 1024, CT]).astype(np.uint16)
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    content = write_dicom(values, NumberOfFrames=2, **groups)
    np.testing.assert_array_equal(decode(content), decode(write_dicom(CT), BRAIN))


def test_a_file_and_its_bytes_are_the_same_picture_and_the_doctor_counts_the_frames(tmp_path):
    content = write_dicom(np.stack([TWELVE, TWELVE // 2]), NumberOfFrames=2, BitsStored=12)
    (tmp_path / "scan").write_bytes(content)
    picture = read_image(str(tmp_path / "scan"))
    assert picture.tobytes() == decode_image(BytesIO(content), "it").tobytes()
    assert picture.info["stored_range"] == (TWELVE.min(), TWELVE.max())
    facts = inspect_image(str(tmp_path / "scan"))
    assert (facts.status, facts.width, facts.height, facts.num_frames) == ("ok", 16, 12, 2)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": None}, "it is a DICOM file, damaged"),
        ({"Rows": 60_000, "Columns": 60_000}, "pixels that Pillow takes for safe"),
        ({"Rows": 99}, "it is a DICOM file, damaged or of a kind that is not read"),
        ({"PhotometricInterpretation": "HSV"}, "its colours are HSV, which is not read"),
        ({"VOILUTFunction": "CUBIC", "WindowCenter": 1, "WindowWidth": 2}, "its window is of the kind CUBIC"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_what_cannot_be_shown_right_is_refused_by_name(elements, words):
    with pytest.raises(InputError, match=f"cannot read the image it: .*{re.escape(words)}"):
        decode(write_dicom(TWELVE, **elements))


def test_a_file_without_a_picture_and_a_deflated_one_are_refused():
    with_rows = pydicom.dcmread(BytesIO(write_dicom(TWELVE)))
    del with_rows.Rows
    file = BytesIO()
    with_rows.save_as(file)
    with pytest.raises(InputError, match="a DICOM file without a picture"):
        decode(file.getvalue())
    content = write_dicom(TWELVE, syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(InputError, match="a deflated DICOM file"):
        decode(content)


@pytest.mark.parametrize("kind", ["jpeg", "jpegls"])
def test_compressed_frames_are_the_values_and_those_cut_short_are_refused(kind):
    imagecodecs = pytest.importorskip("imagecodecs")
    if kind == "jpeg":
        frame, syntax = imagecodecs.jpeg_encode(TWELVE, lossless=True, bitspersample=12), "1.2.840.10008.1.2.4.70"
    else:
        frame, syntax = imagecodecs.jpegls_encode(TWELVE), "1.2.840.10008.1.2.4.80"
    write = {"syntax": syntax, "BitsStored": 12}
    np.testing.assert_array_equal(decode(write_dicom(TWELVE, frame, **write)), TWELVE >> 4)
    with pytest.raises(InputError, match="the frame is truncated"):
        decode(write_dicom(TWELVE, frame[: len(frame) // 2], **write))
    with pytest.raises(InputError, match="the frame is of size"):
        decode(write_dicom(TWELVE[:6], frame, **write))


def test_what_pydicom_warns_of_is_no_line_for_each_file():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = write_dicom(TWELVE, BitsStored=12, WindowCenter="1234.000000000000000", WindowWidth="80")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(content)
    assert seen == []
