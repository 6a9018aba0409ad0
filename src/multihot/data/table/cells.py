"""What a cell of a file means: labels, or nothing; answers.py knows answers and weights."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

SEPARATORS = (",", ";", "|", "\t")  # what texts are divided by elsewhere; a space is in many a label
LONGEST_CELL = 80  # characters that are quoted
FEW_LABELS = 20
OTHER_MARKS = ("/", ":", "+", "&", "\n", "\\n", "<br>", "-", "_")
IN_WORDS = ("-", "_", ":", "+")  # which are a part of many labels
CONNECTORS = {**{mark: mark for mark in "|/+&;,"}, **{word: f" {word} " for word in ("and", "und", "et")}}
SAYS_NONE = re.compile(
    r"\s*(no[ _-]?(finding|label|tag|class|annotation)s?|_?un-?(labell?ed|annotated|tagged))\s*", re.IGNORECASE
)
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


def find_other_separator(
    labels: Sequence[str], separator: str, *, is_used: bool = False
) -> tuple[str, list[str]] | None:
    """Returns what, instead of `separator`, seems to divide a tenth of the labels or more, and the labels that have it.

    Args:
        is_used: whether `separator` is a mark, and stands between labels: another is then likely a part of them.

    >>> find_other_separator(["female,", "people,", "portrait"], " "), find_other_separator(["ice bear", "ice"], ";")
    ((',', ['female,', 'people,']), None)
    >>> find_other_separator(["cat", "dog", "cat/dog"], " ")
    ('/', ['cat/dog'])
    >>> find_other_separator(["cat", "and", "dog"], " ")
    (' and ', ['and'])
    """
    alone = [label for label in labels if label in CONNECTORS]
    if alone and not separator.strip() and len(labels) > len(alone) + 1:
        return CONNECTORS[alone[0]], alone[:1]
    known, having = set(labels), {}
    for mark in (*SEPARATORS, *OTHER_MARKS):
        marked, is_sure = [label for label in labels if mark in label], is_used or mark in IN_WORDS
        uses = Counter(part for label in marked for part in split_plain(label, mark))
        is_told = mark in SEPARATORS and not is_used and len(labels) < FEW_LABELS  # too few for their parts to recur
        having[mark] = [label for label in marked if is_told or is_divided(label, mark, known, uses, is_sure)]
    having.pop(separator, None)
    mark = max(having, key=lambda mark: len(having[mark]))
    return (mark, having[mark]) if 0 < len(labels) <= 10 * len(having[mark]) else None


def split_plain(text: str, mark: str) -> list[str]:
    """Returns what a mark divides in a text."""
    return [stripped for part in text.split(mark) if (stripped := part.strip())]


def is_divided(label: str, mark: str, known: Collection[str], uses: Mapping[str, int], is_sure: bool) -> bool:
    """Returns whether a mark in a label seems to stand between labels: its parts recur in others.

    Args:
        uses: how many labels each part is in.
        is_sure: whether all parts must be labels themselves.
    """
    parts = split_plain(label, mark)
    if is_sure:
        return len(parts) > 1 and all(part in known for part in parts)
    at_the_end = mark in SEPARATORS and label.strip().endswith(mark)
    return at_the_end or (len(parts) > 1 and any(part in known or uses[part] > 1 for part in parts))
