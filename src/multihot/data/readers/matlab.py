"""Reads texts, numbers and cells of MATLAB files of versions 5 to 7.2; whatever is damaged in one is an error.

Every length in a file is checked before it is used, which scipy's loadmat does not promise.
Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from multihot.errors import InputError
from multihot.files import reading

HEADER = 128  # bytes, the last two of which say the byte order
ORDERS = {b"IM": "<", b"MI": ">"}
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}  # of texts
CELL, TEXT, NUMERIC = 1, 4, range(6, 16)  # classes of arrays
IS_COMPLEX = 0x800
LARGEST = 1 << 28  # bytes of a variable, unpacked


class DamagedError(Exception):
    """A file is not what its format says; the message says where it fails."""


def read_matlab(file: str) -> dict[str, object]:
    """Returns the variables of a file: a text as str, a cell array as the list of its cells, numbers as an array."""
    with reading(file), open(file, "rb") as opened:
        content = opened.read()
    order = ORDERS.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise InputError(
            f"{file} is no MATLAB file of versions 5 to 7.2; one of 7.3 is read if MATLAB saves it again with -v7"
        )
    try:
        return dict(read_variables(memoryview(content)[HEADER:], order))
    except (DamagedError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a MATLAB file: {error}; restore it") from error


def read_variables(content: memoryview, order: str) -> Iterator[tuple[str, object]]:
    """Yields name and value of each variable that is a text, numbers or cells of those."""
    for kind, data in split_elements(content, order):
        if kind == COMPRESSED:
            unpacking = zlib.decompressobj()
            unpacked = memoryview(unpacking.decompress(data, LARGEST))
            if unpacking.unconsumed_tail or not unpacking.eof:
                raise DamagedError("a variable is cut short, or larger than 256 MiB")
            kind, data = next(split_elements(unpacked, order), (0, data))
        if kind == MATRIX:
            name, value = read_array(data, order)
            if value is not None:
                yield name, value


def split_elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the bytes of each element that follows another."""
    place = 0
    while place < len(content):
        if len(content) - place < 8:
            raise DamagedError("an element is cut short")
        kind, size = struct.unpack_from(f"{order}II", content, place)
        start = place + 8
        if kind >> 16:  # a small one, with its bytes in place of their number
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        end = start + size
        if end > len(content) or (start == place + 4 and size > 4):
            raise DamagedError("an element is longer than what holds it")
        yield kind, content[start:end]
        place = place + 8 if start == place + 4 else end + (-size % 8 if kind != COMPRESSED else 0)


def read_array(data: memoryview, order: str, *, in_cell: bool = False) -> tuple[str, object]:
    """Returns name and value of an array; None as a value: it is of a class that is not read."""
    elements = split_elements(data, order)
    try:
        (_, flags), (_, shape), (_, name) = (next(elements) for _ in range(3))
        (kind,) = struct.unpack_from(f"{order}I", flags)
    except (StopIteration, RuntimeError, struct.error) as error:
        raise DamagedError("an array has no head") from error
    shape = np.frombuffer(shape, f"{order}i4").tolist() if len(shape) % 4 == 0 else [-1]
    if min(shape, default=-1) < 0:
        raise DamagedError("the shape of an array is none")
    text = bytes(name).decode("latin-1")
    if kind & 0xFF == CELL and not in_cell:
        cells = [
            read_array(inner, order, in_cell=True)[1] if inner else None for kind, inner in elements if kind == MATRIX
        ]
        if len(cells) != math.prod(shape):
            raise DamagedError(f"{text!r} lacks cells")
        return text, cells
    if kind & IS_COMPLEX or kind & 0xFF not in (TEXT, *NUMERIC):
        return text, None
    stored, values = next(elements, (0, b""))
    return text, read_text(stored, values, order) if kind & 0xFF == TEXT else read_numbers(stored, values, shape, order)


def read_text(kind: int, values: memoryview, order: str) -> str:
    """Returns a text of one line."""
    if kind not in ENCODINGS:
        raise DamagedError("a text is of an unknown encoding")
    encoding = ENCODINGS[kind]
    return bytes(values).decode(encoding if encoding != "utf-16" else f"utf-16-{'le' if order == '<' else 'be'}")


def read_numbers(kind: int, values: memoryview, shape: list[int], order: str) -> np.ndarray:
    """Returns numbers in their shape; they are stored column by column."""
    numbers = NUMBERS.get(kind)
    if numbers is None or len(values) != math.prod(shape) * np.dtype(numbers).itemsize:
        raise DamagedError("numbers are not as many as their shape says")
    return np.frombuffer(values, f"{order}{numbers}").reshape(shape, order="F")
