"""Opens text files of labels, plain or compressed; what else a file may be is known by how it begins."""

import bz2
import glob
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from typing import TextIO

from multihot.errors import InputError, name_first
from multihot.files import reading

COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
WORKBOOK = "save the sheet as CSV (UTF-8), and read that by data=csv"
KINDS = {
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first (unzstd), or compress it by gzip",
    b"PK\x03\x04": f"a workbook (.xlsx, .ods) or a zip archive: {WORKBOOK}, or unpack it first",
    b"\xd0\xcf\x11\xe0": f"an Excel workbook: {WORKBOOK}",
    b"PAR1": "Parquet: set data=parquet",
    b"ARROW1": "an Arrow file: read it by data=hf, or save it as Parquet",
    b"SQLite format 3": "a data base: export its table as CSV",
    b"\x89HDF": "HDF5: save its table as CSV",
    b"\x93NUMPY": "an array of numpy: save it as CSV",
    b"\x80\x04": "a pickle: save its table as CSV",
    b"\x80\x05": "a pickle: save its table as CSV",
    b"MATLAB 5.0": "a file of MATLAB: save its table as CSV",
    b"%PDF": "a PDF: give the file of labels",
    b"\xff\xd8\xff": "a picture: give the file of labels",
    b"\x89PNG": "a picture: give the file of labels",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself (git lfs pull)",
    b"<": "HTML or XML, perhaps a page that tells of an error: download it again, or save its table as CSV",
}
BEGIN = 512  # bytes that are looked at
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


@contextmanager
def open_text(file: str, newline: str | None = None, *, is_xml: bool = False) -> Iterator[TextIO]:
    """Opens a file of UTF-8 text, which gzip, bzip2 or xz may have compressed; raises InputError for any other kind.

    Args:
        is_xml: the text may be XML.
    """
    check_is_file(file)
    with reading(file), open(file, "rb") as plain:
        unpack = next((unpack for magic, unpack in COMPRESSED.items() if plain.peek().startswith(magic)), None)
        try:
            with unpack(plain) if unpack else plain as content:
                buffered = content if isinstance(content, BufferedReader) else BufferedReader(content)
                check_kind(file, buffered.peek(BEGIN)[:BEGIN], is_xml=is_xml)
                yield TextIOWrapper(buffered, encoding="utf-8-sig", newline=newline)
        except DAMAGED as error:
            raise InputError(f"{file} is compressed, and damaged or cut short: write or copy it again") from error


def read_bytes(file: str) -> bytes:
    """Returns what is in a file of text, unpacked if it is compressed; raises InputError for any other kind."""
    with open_text(file) as text:
        return text.buffer.read()


def check_is_file(file: str) -> None:
    """Raises InputError for what is there but no file, and for a pattern."""
    if os.path.isdir(file):
        with reading(file):
            names = sorted(name for name in os.listdir(file) if os.path.isfile(os.path.join(file, name)))
        inside = f" It holds {name_first(names)}." if names else ""
        raise InputError(
            f"{file} is a folder, and data.path must be the file of labels.{inside} A folder with a folder of images a "
            "label is read by data=folder"
        )
    if glob.has_magic(file) and not os.path.exists(file):
        found = sorted(glob.glob(file))
        raise InputError(
            f"there is no file {file}, and a pattern ({len(found)} files fit) is not read here: name one file, or join "
            "them"
        )
    if os.path.exists(file) and not os.path.isfile(file):
        raise InputError(f"{file} is no regular file: save what it gives as a file, which may be read more than once")


def check_kind(file: str, begin: bytes, *, is_xml: bool = False) -> None:
    """Raises InputError if the first bytes of a file are no text, or are XML where that is not meant."""
    kinds = {magic: kind for magic, kind in KINDS.items() if not (is_xml and magic == b"<")}
    kind = next((kind for magic, kind in kinds.items() if begin.lstrip().startswith(magic)), None)
    if kind is None and begin[257:262] == b"ustar":
        kind = "a tar archive: unpack it first, or read shards of images by data=webdataset"
    if kind is None and re.match(rb"(\0\0\0[^\0]|[^\0]\0\0\0){4}", begin):
        kind = "UTF-32: save it as UTF-8"
    if kind is None and re.match(rb"(\0[^\0]|[^\0]\0){4}", begin):
        kind = "UTF-16: save it as UTF-8"
    if kind is None and not begin.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in begin:
        kind = "no text (it holds zero bytes): give the file of labels, or write it again"
    if kind is not None:
        raise InputError(f"{file} is {kind}")
