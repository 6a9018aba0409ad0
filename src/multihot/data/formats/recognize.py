"""Says by how a file begins, or by what is in a folder, which tool has written it and which `data=` reads it."""

import codecs
import csv
import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from multihot.data.formats.known_formats import FOLDERS, FORMATS, SIDECAR, Format
from multihot.data.formats.text_files import COMPRESSED, DAMAGED
from multihot.errors import InputError

log = logging.getLogger(__name__)

BEGIN = 1 << 16  # bytes that are looked at
MOST_FOLDERS, MOST_FILES = 30, 4  # of a folder that are looked at, and of each the files
TEXTS = (".csv", ".json", ".jsonl", ".manifest", ".mat", ".ndjson", ".txt", ".xml")
TOKEN = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|$)|[\[\]{}:,]', re.DOTALL)  # the last text may be cut off
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
CAPTIONS = (".txt", ".caption")


class Found(NamedTuple):
    """What looks like a known format: the file or folder."""

    path: str
    known: Format

    def __str__(self) -> str:
        return f"{self.path}: this looks like {self.known.what}: set data={self.known.data}"


def recognize(path: str) -> Found | None:
    """Returns what a file, or a folder or something in it, looks like; None: like nothing known, or unreadable."""
    try:
        if os.path.isdir(path):
            return recognize_folder(path)
        known = recognize_file(path)
    except OSError:
        return None
    return known and Found(path, known)


def recognize_file(file: str) -> Format | None:
    """Returns what a file looks like."""
    if not os.path.isfile(file):
        return None
    text = read_begin(file)
    found = find_keys(text) if text.lstrip()[:1] in ("{", "[") else find_columns(text)
    found |= {f"*-{key.rpartition('-')[2]}" for key in found if "-" in key and "." not in key}
    found |= {f"*.{inner[-1]}" for key in found if len(inner := key.split(".")) > 1}
    return next((known for known in FORMATS if known.fits(os.path.basename(file), text, found)), None)


def read_begin(file: str) -> str:
    """Returns the first characters of a file, unpacked if it is compressed; "" where it is damaged."""
    with open(file, "rb") as plain:
        begin = plain.read(8)
        plain.seek(0)
        unpack = next((unpack for magic, unpack in COMPRESSED.items() if begin.startswith(magic)), None)
        try:
            content = (unpack(plain) if unpack else plain).read(BEGIN)
        except (*DAMAGED, OSError):
            return ""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")


def find_columns(text: str) -> set[str]:
    """Returns the cells of the first line of a text.

    >>> sorted(find_columns('image, "a, b",c\\n1,2,3'))
    ['a, b', 'c', 'image']
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        cells = next(csv.reader([first], delimiter="\t" if "\t" in first else ",", skipinitialspace=True), [])
    except csv.Error:
        cells = []
    return {cell.strip() for cell in cells}


def find_keys(text: str) -> set[str]:
    """Returns the keys in the begin of a JSON text, inner ones behind those that they are in; lists do not count.

    >>> sorted(find_keys('[{"id": 1, "data": {"image": "a.jpg"}}, {"annotations": [{"result": ['))
    ['annotations', 'annotations.result', 'data', 'data.image', 'id']
    """
    keys, inside, key, last = set(), [], None, None
    for token in TOKEN.findall(text):
        if token == ":" and last is not None:
            key = last[1:-1]
            keys.add(".".join([*(name for name in inside if name), key]))
        elif token in "{[":
            inside.append(key)
            key = None
        elif token in "}]" and inside:
            inside.pop()
        last = token if token.startswith('"') else None
        if token != ":" and token not in "{[":
            key = None
    return keys


def recognize_folder(path: str) -> Found | None:
    """Returns what a folder looks like, by the names in it and by the first files of its folders."""
    inside = list(islice(look_into(path), MOST_FOLDERS))
    for names, known in FOLDERS.items():
        if inside and set(names) <= set(inside[0][1]):
            return Found(path, known)
    for folder, _, files in inside:
        texts = (os.path.join(folder, name) for name in files if name.lower().endswith(TEXTS))
        for file in islice(texts, MOST_FILES):
            known = recognize_file(file)
            if known is not None:
                return Found(file, known)
    return next((Found(folder, SIDECAR) for folder, _, files in inside if has_captions(files)), None)


def look_into(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields a folder, its folders and its files, sorted, and then those of the folders in it."""
    for folder, folders, files in os.walk(path):
        folders.sort()
        yield folder, folders, sorted(files)


def has_captions(files: Collection[str]) -> bool:
    """Returns whether most pictures have a text of the same name beside them.

    >>> has_captions(["a.jpg", "a.txt", "b.jpg", "b.txt"]), has_captions(["a.jpg", "b.jpg", "notes.txt"])
    (True, False)
    """
    stems = {os.path.splitext(name)[0] for name in files if name.lower().endswith(PICTURES)}
    texts = {os.path.splitext(name)[0] for name in files if name.lower().endswith(CAPTIONS)}
    return bool(stems) and 2 * len(stems & texts) > len(stems)


@contextmanager
def explaining(reader: object) -> Iterator[None]:
    """Says in an InputError which reader the files of one are for, if they look like an export that another one reads.

    A reader of columns whose settings are not those of data=csv is taken for the right one.
    """
    try:
        yield
    except InputError as error:
        paths = [getattr(reader, name, None) for name in ("path", "val_path", "test_path")]
        found = next((found for path in paths if path and (found := recognize(path))), None)
        if found is None or "this looks like" in str(error) or is_for(reader, found.known):
            raise
        raise type(error)(f"{found}. As it is read now: {error}") from error


def is_for(reader: object, known: Format) -> bool:
    """Returns whether a reader is for a format, as far as it can be told."""
    is_own = type(reader).__module__.rpartition(".")[2] == (known.module or known.data)
    as_csv = {"layout": "cell", "image_column": "image", "labels_column": "labels"}
    is_adapted = any(getattr(reader, name, value) != value for name, value in as_csv.items())
    return is_own or (is_adapted and not known.misread)


def check_own(reader: object, path: str) -> None:
    """Raises InputError if a file looks like the export of another tool than that of a reader."""
    found = recognize(path) if os.path.isfile(path) else None
    if found is not None and not is_for(reader, found.known):
        raise InputError(str(found))


def check_format(file: str, misread: str) -> None:
    """Raises InputError, or warns, if a file of columns looks like an export of which they would lose something."""
    found = recognize(file)
    if found is None or not found.known.misread:
        return
    if misread == "error":
        raise InputError(f"{found}. Read as it is, {found.known.misread} (data.misread=warn does so)")
    log.warning("%s. Read as it is, %s", found, found.known.misread)
