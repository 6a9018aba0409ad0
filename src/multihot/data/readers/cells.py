"""What a cell of a file means: labels, or nothing; answers.py knows answers and weights."""

from collections.abc import Sequence

SEPARATORS = (",", ";", "|", "\t")  # what texts are divided by elsewhere; a space is in many a label
LONGEST_CELL = 80  # characters that are quoted
BLANK = {"unknown": -1.0, "absent": 0.0}  # what an empty cell can say


class CellError(Exception):
    """What is wrong with a row: the problem, and the cell that has it."""

    def __init__(self, problem: str, details: str):
        super().__init__(problem, details)
        self.problem, self.details = problem, details


def is_blank(cell: object) -> bool:
    """Returns whether a cell is empty.

    >>> [is_blank(cell) for cell in (None, " ", float("nan"), 0, "0")]
    [True, True, True, False, False]
    """
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def quote(cell: object) -> str:
    """Returns a cell as it is written, its end cut off if it is long.

    >>> quote("cat"), len(quote("cat" * 100))
    ("'cat'", 80)
    """
    text = repr(cell)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def as_text(cell: object) -> str:
    """Returns a cell as text without the spaces around it; of nothing, no text.

    >>> as_text(" a "), as_text(7), as_text(None)
    ('a', '7', '')
    """
    if isinstance(cell, str):
        return cell.strip()
    return "" if cell is None or cell != cell else str(cell)


def as_list(cell: object) -> Sequence:
    """Returns a list as it is and anything else as a list of one.

    >>> as_list(["cat"]), as_list(("cat", "dog")), as_list("cat")
    (['cat'], ('cat', 'dog'), ['cat'])
    """
    return cell if isinstance(cell, list | tuple) else [cell]


def split_labels(text: str, separator: str) -> list[str]:
    """Returns the labels in a text; what is blank between separators is none, and quotes around a label are no part.

    >>> split_labels("cat; dog ;", ";"), split_labels("'big cat' dog", " "), split_labels('5" pipe, "a, b"', ",")
    (['cat', 'dog'], ['big cat', 'dog'], ['5" pipe', 'a, b'])
    """
    parts = text.split(separator)
    if '"' in text or "'" in text:
        parts = join_quoted(parts, separator)
    return [stripped for part in parts if (stripped := part.strip())]


def join_quoted(parts: list[str], separator: str) -> list[str]:
    """Returns the parts with those of one quoted label joined, and without its quotes."""
    joined, start = [], 0
    while start < len(parts):
        quote, part, end = parts[start].strip()[:1], parts[start], start
        if quote and quote in "'\"":
            end = next((k for k in range(start, len(parts)) if parts[k].rstrip().endswith(quote)), start)
            whole = separator.join(parts[start : end + 1]).strip()
            is_quoted = whole.count(quote) == 2 and whole.endswith(quote)
            part, end = (whole[1:-1], end) if is_quoted else (part, start)
        joined.append(part)
        start = end + 1
    return joined


def find_other_separator(labels: Sequence[str], separator: str) -> tuple[str, list[str]] | None:
    """Returns what, instead of `separator`, seems to divide a tenth of the labels or more, and the labels that have it.

    >>> find_other_separator(["female,", "people,", "portrait"], " "), find_other_separator(["ice bear", "ice"], ";")
    ((',', ['female,', 'people,']), None)
    """
    having = {mark: [label for label in labels if mark in label] for mark in SEPARATORS if mark != separator}
    mark = max(having, key=lambda mark: len(having[mark]))
    return (mark, having[mark]) if 0 < len(labels) <= 10 * len(having[mark]) else None


def describe_value(value: float) -> str:
    """Returns an answer in words, unless it is "present"."""
    return "" if value == 1 else f" is {value:g}"
