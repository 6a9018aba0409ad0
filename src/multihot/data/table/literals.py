"""Lists and objects that stand as text in a cell, as JSON, Python and numpy write them."""

import ast
import io
import json
import re
import tokenize
from functools import lru_cache

from multihot.data.table.cells import CellError, quote

CLOSING = {"[": "]", "{": "}", "(": ")"}
NAMES = {"nan": "None", "NaN": "None", "null": "None", "true": "True", "false": "False"}  # what Python calls them
BEGINS_A_LIST = re.compile(r"""[\[{]\s*[\[{'"]""")
HAS_PARTS = re.compile(r"""[\s,;|'":]""")
CALL = re.compile(r"(?:[a-z]+\.)?(\w+)\((.*)\)", re.DOTALL)
WRAPPERS = {
    "set", "frozenset", "list", "tuple", "deque", "array", "tensor", "Index", "Series",  # Python, numpy, torch, pandas
    "c", "character", "WrappedArray", "ArrayBuffer", "ArraySeq", "Array", "List", "Vector", "Seq", "Set",  # R and Scala
}  # fmt: skip
ARRAY = re.compile(r"([\[({].*[\])}])(\s*,\s*(dtype|name|device|maxlen)\s*=.*)?", re.DOTALL)
SCALAR = re.compile(r"\bnp\.\w+\(([^()]*)\)")  # numpy 2 prints np.str_('cat')
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
    stripped, is_wrapped = unwrap(text.strip())
    if stripped[:1] not in CLOSING:
        return text
    try:
        value = read_literal(stripped)
    except NO_LITERAL:
        if is_wrapped:
            raise CellError(BROKEN, quote(text)) from None
        if BEGINS_A_LIST.match(stripped) or (is_enclosed(stripped) and has_parts(stripped)):
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
        value = ast.literal_eval(to_python(SCALAR.sub(r"\1", text)))
    if isinstance(value, list | tuple) and any(item is ... for item in value):
        raise ValueError("a part is left out")
    return value


def unwrap(text: str) -> tuple[str, bool]:
    """Returns the list in the name of a class that Python, numpy, R or Scala prints around it, and whether it had one.

    >>> unwrap("set()"), unwrap("array(['cat'], dtype=object)"), unwrap('c("cat", "dog")'), unwrap("dog (big)")
    (('[]', True), ("['cat']", True), ('["cat", "dog"]', True), ('dog (big)', False))
    """
    call = CALL.fullmatch(text)
    if call is None or call[1] not in WRAPPERS:
        return text, False
    inside = call[2].strip()
    if call[1] == "character" and inside == "0":  # R's list of none
        inside = ""
    array = ARRAY.fullmatch(inside)
    return (array[1] if array else f"[{inside}]"), True


def has_parts(text: str) -> bool:
    """Returns whether more than one word is in brackets; of round ones, which are in many a label, with a comma.

    >>> has_parts("[cat dog]"), has_parts("(cat, dog)"), has_parts("(old dog)")
    (True, True, False)
    """
    inside = text[1:-1].strip()
    return "," in inside if text[0] == "(" else HAS_PARTS.search(inside) is not None


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

    >>> is_enclosed("[cat, dog]"), is_enclosed("[big] cat [old]")
    (True, False)
    """
    closing = CLOSING[text[0]]
    if text[-1] != closing:
        return False
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark == text[0]) - (mark == closing)
        if depth == 0:
            return place == len(text) - 1
    return False
