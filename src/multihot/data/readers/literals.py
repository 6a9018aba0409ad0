"""Lists and objects that stand as text in a cell, as JSON, Python and numpy write them."""

import ast
import io
import json
import re
import tokenize
from functools import lru_cache

from multihot.data.readers.cells import CellError, quote

CLOSING = {"[": "]", "{": "}", "(": ")"}
NAMES = {"nan": "None", "NaN": "None", "null": "None", "true": "True", "false": "False"}  # what Python calls them
BEGINS_A_LIST = re.compile(r"""[\[{]\s*[\[{'"]""")
HAS_PARTS = re.compile(r"""[\s,;|'":]""")
BROKEN = "cells that seem to hold a list or JSON, but cannot be read as one (correct them, or write plain labels)"
NO_LITERAL = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError)


@lru_cache(1 << 14)
def parse_literal(text: str) -> object:
    """Returns the list or object that a text is, else the text; raises CellError for one that is broken.

    >>> parse_literal("['big cat', 'dog']"), parse_literal('["cat", null]'), parse_literal("['cat' 'dog']")
    (['big cat', 'dog'], ['cat', None], ['cat', 'dog'])
    >>> parse_literal("[1 0. 0]"), parse_literal("[MASK]"), parse_literal("(old) dog"), parse_literal("{'cat'}")
    ([1, 0.0, 0], '[MASK]', '(old) dog', ['cat'])
    """
    stripped = text.strip()
    if stripped[:1] not in CLOSING:
        return text
    try:
        value = read_literal(stripped)
    except NO_LITERAL:
        if BEGINS_A_LIST.match(stripped) or (is_enclosed(stripped) and HAS_PARTS.search(stripped[1:-1].strip())):
            raise CellError(BROKEN, quote(stripped)) from None
        return text
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return value if isinstance(value, list | tuple | dict) else text


def read_literal(text: str) -> object:
    """Returns what a text says in JSON, else in Python or as numpy prints an array."""
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(to_python(text))


def to_python(text: str) -> str:
    """Returns the text with the commas that numpy leaves out, and with Python's names of nothing, true and false.

    Without a comma Python would join two words to one.

    >>> to_python("['a' 'b']"), to_python("['a', nan]")
    ("[ 'a' , 'b' ]", "[ 'a' , None ]")
    """
    words: list[str] = []
    values = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
    was_value = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        is_value = token.type in values
        follows = was_value and (is_value or token.string in ("-", "[", "("))
        words += [","] * follows + [NAMES.get(token.string, token.string)]
        was_value = is_value
    return " ".join(words)


def is_enclosed(text: str) -> bool:
    """Returns whether the bracket that a text begins with is closed by its last character and not before.

    >>> is_enclosed("[cat, dog]"), is_enclosed("[big] cat [old]"), is_enclosed("(cat)")
    (True, False, False)
    """
    closing = CLOSING[text[0]]
    if text[0] == "(" or text[-1] != closing:
        return False
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark == text[0]) - (mark == closing)
        if depth == 0:
            return place == len(text) - 1
    return False
