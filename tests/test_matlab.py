"""MATLAB files are read as scipy reads them, and damaged ones are errors."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from multihot.data.readers.matlab import read_matlab
from multihot.errors import InputError


def cells(*texts: str) -> np.ndarray:
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column


CONTENT = {
    "names": cells("000001.jpg", "été", "a"),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "doubles": np.array([[0.5, -1, 2], [3, 4, 5]]),
    "signed": np.array([[-7, 8]], np.int16),
    "logical": np.array([[True, False]]),
    "small": np.array([[3]], np.uint8),
    "nothing": np.zeros((0, 3)),
}


def write(folder: Path, *, packed: bool) -> str:
    savemat(folder / "a.mat", CONTENT, do_compression=packed)
    return str(folder / "a.mat")


@pytest.mark.parametrize("packed", [False, True])
def test_variables_are_those_that_scipy_reads(tmp_path, packed):
    path = write(tmp_path, packed=packed)
    expected, found = loadmat(path), read_matlab(path)
    assert found.pop("names") == [str(cell.item()) for cell in expected["names"][:, 0]]
    assert found.keys() == CONTENT.keys() - {"names"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])


def test_what_is_neither_text_nor_number_is_left_out(tmp_path):
    savemat(tmp_path / "a.mat", {"struct": {"a": 1}, "complex": np.array([[1j]]), "one": np.array([[1.0]])})
    assert read_matlab(str(tmp_path / "a.mat")).keys() == {"one"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_short_is_an_error_or_has_fewer_variables(tmp_path, packed):
    whole, path, num_errors = Path(write(tmp_path, packed=packed)).read_bytes(), tmp_path / "b.mat", 0
    for size in range(128, len(whole), 3):
        path.write_bytes(whole[:size])
        try:
            assert read_matlab(str(path)).keys() < CONTENT.keys()
        except InputError:
            num_errors += 1
    assert num_errors > (len(whole) - 128) / 3 - 2 * len(CONTENT)


def test_other_files_are_errors(tmp_path):
    for content in (b"", b"image,labels\n", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02XX"):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(InputError, match=r"is no MATLAB file of versions 5 to 7\.2"):
            read_matlab(str(tmp_path / "a.mat"))
    with pytest.raises(InputError, match="cannot read"):
        read_matlab(str(tmp_path / "none.mat"))
