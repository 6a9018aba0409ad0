"""Reads a data set from JSON lines, an object a line, or from a list of objects."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from multihot.data.formats.strict_json import DECODER, UNREADABLE
from multihot.data.formats.text_files import open_text
from multihot.data.table.columns import ColumnReader, Rows
from multihot.errors import InputError

SPACE = re.compile(r"\s*")
EXPECTED = "each line must be an object like {'image': ..., 'labels': ...}, or the file a list of them"


@dataclass(kw_only=True)
class JsonLinesReader(ColumnReader):
    """A file of JSON objects; labels are a list, in which null is none, text with separators, or {label: answer}.

    The objects are a line each, or follow each other over any number of lines, or are the items of one list. A key may
    be left out where it has no value, so the file is read once for its keys and again for what they hold. See
    ColumnReader.
    """

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the keys of all objects, in the order of appearance, and the values of each."""
        keys: dict[str, None] = {}
        for _, item in read_objects(file, json.JSONDecoder()):  # a key that stands twice is found below
            if not item.keys() <= keys.keys():
                keys.update(dict.fromkeys(item))
        if not keys:
            raise InputError(f"{file} is empty: {EXPECTED}")
        if self.image_column not in keys and {"images", "annotations"} <= keys.keys():
            raise InputError(f"{file} is a file of COCO's format: set data=coco")
        header = list(keys)
        return header, ((number, [item.get(key) for key in header]) for number, item in read_objects(file))


def read_objects(file: str, decoder: json.JSONDecoder | None = None) -> Iterator[tuple[int, dict]]:
    """Yields each object of a file and the line that it begins in.

    Args:
        decoder: None: one that refuses a key that stands twice.
    """
    decoder = decoder or DECODER
    with open_text(file) as text:
        lines = ((number, line) for number, line in enumerate(text, start=1) if line.strip())
        number, first = next(lines, (1, ""))
        if is_object(first):
            yield from read_lines(file, chain([(number, first)], lines), decoder)
        else:
            yield from read_values(file, number, first + text.read(), decoder)


def is_object(line: str) -> bool:
    """Returns whether a line is an object, whatever it holds."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def read_lines(file: str, lines: Iterator[tuple[int, str]], decoder: json.JSONDecoder) -> Iterator[tuple[int, dict]]:
    """Yields the number and the object of each line."""
    try:
        for number, line in lines:
            item = decoder.decode(line)
            yield number, item if isinstance(item, dict) else check_object(file, number, item)
    except json.JSONDecodeError as error:
        raise refuse(file, number, error) from error
    except (InputError, UnicodeDecodeError):
        raise
    except UNREADABLE as error:
        raise InputError(f"{file} line {number} cannot be read: {error}") from error


def read_values(file: str, number: int, text: str, decoder: json.JSONDecoder) -> Iterator[tuple[int, dict]]:
    """Yields the line and the object of each value in a text, or of each item of a list; it begins in line `number`."""
    place = skip_space(text, 0)
    is_list, counted = text.startswith("[", place), 0
    place = skip_space(text, place + is_list)
    try:
        while place < len(text) and not (is_list and text[place] == "]"):
            number, counted = number + text.count("\n", counted, place), place
            item, end = decoder.raw_decode(text, place)
            yield number, check_object(file, number, item)
            place = skip_space(text, end)
            if is_list and text.startswith(",", place):
                place = skip_space(text, place + 1)
                if text.startswith("]", place):
                    raise json.JSONDecodeError("a comma before the end of the list", text, place)
            elif is_list and not text.startswith("]", place):
                raise json.JSONDecodeError("a list that is not closed, or a comma is missing", text, place)
        if is_list and skip_space(text, place + 1) < len(text):
            raise json.JSONDecodeError("Extra data", text, place + 1)
    except json.JSONDecodeError as error:
        raise refuse(file, number + text.count("\n", counted, error.pos), error) from error
    except (InputError, UnicodeDecodeError):
        raise
    except UNREADABLE as error:
        raise InputError(f"{file} line {number} cannot be read: {error}") from error


def skip_space(text: str, place: int) -> int:
    """Returns where a text goes on behind blanks and line ends."""
    return SPACE.match(text, place).end()


def check_object(file: str, number: int, value: object) -> dict:
    """Returns an object; raises InputError for a list, a number, ..."""
    if not isinstance(value, dict):
        raise InputError(f"{file} line {number} is not a JSON object but {type(value).__name__}; {EXPECTED}")
    return value


def refuse(file: str, number: int, error: json.JSONDecodeError) -> InputError:
    """Returns the error that says where a file is no JSON, and what may be wrong."""
    rest = error.doc[error.pos :].lstrip()
    hint = ""
    if error.msg == "Extra data" and rest.startswith("{"):
        hint = " (two objects in one line: write each in its own)"
    elif rest.startswith(",") and error.msg in ("Extra data", "Expecting value"):
        hint = " (a comma between objects: take it out, or put all of them into [ ])"
    elif rest.startswith("'") or error.msg.startswith("Expecting property name enclosed in double quotes"):
        hint = " (a comma too many, or Python's single quotes: write it by json.dumps)"
    elif rest.startswith(("#", "//")):
        hint = " (JSON has no comments: take the line out)"
    return InputError(f"{file} line {number} is not JSON: {error.msg} at column {error.colno}{hint}")
