"""Reads JSON in which no object says two things by one name."""

import json
from collections.abc import Callable

from multihot.data.formats.text_files import read_bytes
from multihot.errors import InputError
from multihot.files import reading


class DoubleKeyError(Exception):
    """An object has a key twice; the message says which."""


def to_object(pairs: list[tuple[str, object]]) -> dict:
    """Returns an object; raises DoubleKeyError if it says two things by one name."""
    item = dict(pairs)
    if len(item) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DoubleKeyError(f"an object has the key {twice!r} twice; keep one")
    return item


UNREADABLE = (DoubleKeyError, RecursionError, ValueError)  # the last one: a number of thousands of digits
DECODER = json.JSONDecoder(object_pairs_hook=to_object)


def load(text: bytes | str) -> object:
    """Returns what a JSON text says; raises DoubleKeyError if an object says two things by one name."""
    return json.loads(text, object_pairs_hook=to_object)


def load_file(file: str, load: Callable[[bytes], object] = load) -> object:
    """Returns what a JSON file says; raises InputError if it cannot be read.

    Args:
        load: what reads its text.
    """
    text = read_bytes(file)
    try:
        with reading(file):
            return load(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is not JSON: {error}; restore it") from error
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{file} cannot be read: {error}") from error
