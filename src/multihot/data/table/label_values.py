"""What a list, an object or a number in a cell says: labels, or an answer for each label."""

import re
from collections.abc import Mapping, Sequence

from multihot.data.table.cells import CellError, is_blank, quote

NAME_KEYS = (
    "name", "label", "displayName", "display_name", "label_name", "labelName", "title", "value", "text", "class",
    "class_name", "className", "category", "tag", "id",
)  # fmt: skip
WRAPPERS = ("choices", "label", "tags", "tag", "classes", "class", "categories", "category", "names", "values")
ANSWER_WORDS = ("true", "false", "yes", "no")
NESTED = "cells with lists inside of lists (write one list of labels a row)"
OBJECTS = 'cells with objects that name no label (write ["cat", "dog"] or {"cat": 1, "dog": 0})'
SCORED = 'labels with an answer beside their name (write {"cat": 0.7, "dog": 0} instead of a list of objects)'
NUMBERS = (
    "lists of numbers that are neither labels nor an answer for each of data.labels (give as many names in data.labels "
    "as a list has numbers)"
)
NO_NAME = "labels that are no text, or empty"
NO_LABEL = "numbers where labels must be (name the labels; for a column of answers data.layout=columns)"


def simplify(value: object) -> object:
    """Returns a list of labels, a list of numbers, or {label: answer} without what tools wrap around them.

    >>> simplify({"choices": ["cat", "dog"]}), simplify([{"id": 3, "displayName": "cat"}]), simplify({"cat": 1})
    (['cat', 'dog'], ['cat'], {'cat': 1})
    """
    if isinstance(value, Mapping):
        return simplify_object(value)
    if isinstance(value, list | tuple):
        return [simplify_item(item) for item in value]
    return [value]


def simplify_object(value: Mapping) -> object:
    """Returns {label: answer} as it is, and what stands inside of a wrapper or names one label."""
    if len(value) == 1:
        ((key, inner),) = value.items()
        if is_wrapper(key) and isinstance(inner, list | tuple | Mapping):
            return simplify(inner)
        if is_wrapper(key) and isinstance(inner, str) and not is_answer(inner):
            return [] if is_blank(inner) else [inner.strip()]
    if any(isinstance(inner, list | tuple | Mapping) for inner in value.values()) or names_in(value):
        return [name_of(value)]
    return value


def is_wrapper(key: object) -> bool:
    """Returns whether labels stand below a key of that name."""
    return str(key) in WRAPPERS or str(key).lower().endswith("labels")


def names_in(item: Mapping) -> list[str]:
    """Returns the keys of an object that may name its label; an id only if nothing else does."""
    named = [key for key in NAME_KEYS if isinstance(item.get(key), str)]
    named = [key for key in named if not is_blank(item[key]) and not is_answer(item[key])]
    return [key for key in named if key != "id"] or named


def simplify_item(item: object) -> object:
    """Returns the label or the number that an item of a list is."""
    if isinstance(item, Mapping):
        return name_of(item)
    if isinstance(item, list | tuple):
        raise CellError(NESTED, quote(item))
    return item


def name_of(item: Mapping) -> str:
    """Returns the label that an object names, as {"id": 3, "name": "cat"} does; raises CellError if it is in doubt.

    >>> name_of({"id": 3, "name": "cat"}), name_of({"value": "dog", "color": "#ff0000"})
    ('cat', 'dog')
    """
    named = names_in(item)
    if len(named) != 1:
        raise CellError(OBJECTS, quote(item))
    scores = [key for key, value in item.items() if key != named[0] and is_score(key, value)]
    if scores:
        raise CellError(SCORED, quote(item))
    return item[named[0]].strip()


def read_label(value: object) -> str:
    """Returns a label without blanks around it; raises CellError for anything but text, and for an empty one.

    >>> read_label(" cat")
    'cat'
    """
    if not isinstance(value, str) or is_blank(value):
        raise CellError(NO_NAME, quote(value))
    return value.strip()


def check_list(value: object) -> list:
    """Returns a list as it is; raises TypeError for anything else, even if it is empty."""
    if not isinstance(value, list):
        raise TypeError(f"{quote(value)} is no list")
    return value


def is_score(key: str, value: object) -> bool:
    """Returns whether what stands beside a name may be an answer: yes, no, a number from -1 to 1, or of any scale if
    it is called so.
    """
    if re.search("(^|_)id$|I[dD]$", str(key)):
        return False
    is_number = isinstance(value, bool | int | float) and value == value
    is_named = re.search("score|confidence|prob|likelihood", str(key), re.IGNORECASE) is not None
    return (is_number and (-1 <= value <= 1 or is_named)) or str(value).strip().lower() in ANSWER_WORDS


def is_answer(text: object) -> bool:
    """Returns whether a text or a value is 1, 0, -1, between them, true or false, yes or no.

    >>> [is_answer(text) for text in ("1", "0.25", "-1", "True", "cat", "7", "nan", 0.5)]
    [True, True, True, True, False, False, False, True]
    """
    text = str(text).strip()
    try:
        value = float(text)
    except ValueError:
        return text.lower() in ANSWER_WORDS
    return value == -1 or 0 <= value <= 1


def name_labels(values: Sequence[object]) -> list[str]:
    """Returns the labels in a list, in which a whole number is a name too; raises CellError for another number."""
    wrong = [value for value in values if isinstance(value, bool) or (isinstance(value, float) and value % 1)]
    if wrong:
        raise CellError(NUMBERS, quote(values)) if len(values) > 1 else CellError(NO_LABEL, repr(wrong[0]))
    return [str(int(value) if isinstance(value, float) else value).strip() for value in values]
