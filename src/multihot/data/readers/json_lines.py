"""Reads a data set from JSON lines: an object a line."""

import json
from dataclasses import dataclass
from itertools import chain, islice

from multihot.data.readers.columns import ColumnReader, Rows
from multihot.errors import InputError
from multihot.files import reading

LINES_FOR_THE_HEADER = 1000  # a key may be left out where it has no value


@dataclass(kw_only=True)
class JsonLinesReader(ColumnReader):
    """A file of JSON objects; labels are a list, in which null is none, text with separators, or {label: answer}.

    See ColumnReader.
    """

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the keys of the first objects and the values of all."""
        objects = read_objects(file)
        first = list(islice(objects, LINES_FOR_THE_HEADER))
        if not first:
            raise InputError(
                f"{file} is empty: each of its lines must be an object like {{'image': ..., 'labels': ...}}"
            )
        header = list(dict.fromkeys(key for _, item in first for key in item))
        rows = ((number, [item.get(key) for key in header]) for number, item in chain(first, objects))
        return header, rows


def read_objects(file: str):
    """Yields the line and the object of each line that is not blank."""
    try:
        with reading(file), open(file, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    item = json.loads(line)
                    if not isinstance(item, dict):
                        raise InputError(f"{file} line {number} is not a JSON object but {type(item).__name__}")
                    yield number, item
    except json.JSONDecodeError as error:
        raise InputError(f"{file} line {number} is not JSON: {error.msg} at column {error.colno}") from error
