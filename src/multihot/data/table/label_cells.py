"""Reads cells of labels: words with separators, lists, objects, or the text of such, and what only all of them tell."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from multihot.command_line import write_override
from multihot.data.table.answers import parse_number
from multihot.data.table.cells import SAYS_NONE, CellError, find_other_separator, is_blank, quote, split_labels
from multihot.data.table.label_values import NUMBERS, is_answer, name_labels, simplify
from multihot.data.table.literals import parse_literal
from multihot.errors import InputError

log = logging.getLogger(__name__)

LITERAL = tuple("[{( ")  # what a list or an object may begin with
ONLY_TEXT = {str}
YES = ("1", "1.0", "true", "yes")
WITH_SCORE = re.compile(r".*[^\d\W].*[:=]\s*(0?[.,]\d+|[01]([.,]0*)?|\d+%)")  # cat:0.9
BITS = re.compile(r"[01]{2,}")
PATTERN = re.compile(r"\\[a-z]|[\[\]()*+^$]")  # what stands in regular expressions and hardly between labels

NULL = "rows whose labels are null or missing (write [] for none of the labels, take out rows of which nobody knows{})"
SAY_ABSENT = ", or set data.blank=absent if null says none"
ONE_LABEL = "pairs with a list where one label must be (write a row a label, or set data.layout=cell)"
UNKNOWN = "unknown labels with an answer (data.unknown_column holds names alone)"

Said = tuple[list[str], Sequence | None]  # labels and the cell that answers for each; None: all are present


class LabelCells:
    """The cells of labels of one source.

    Args:
        separator: stands between the labels of a text; blanks around it do not count.
        labels: those of the settings: a list of as many numbers has an answer for each of them.
        keeps_none: words that hardly mean anything but none of the labels, as "No Finding", are never divided.
    """

    def __init__(self, separator: str, labels: Sequence[str] | None, *, keeps_none: bool = False):
        self.may_be_none = tuple("nNuU_ ") if keeps_none and not separator.strip() else ()  # how such words begin
        plain = separator.strip()
        self.separator = separator if not plain or plain.isalpha() else plain  # " and " is not in "sand"
        self.names = None if labels is None else list(map(str, labels))
        self.known = frozenset(self.names or ())
        self.literal: str | None = None  # the first text that is a list or an object
        self.divided: str | None = None  # the first text in which the separator is
        self.has_text = False  # whether any is plain

    def read(self, cell: object) -> Said:
        """Returns what a cell says; raises CellError if that is in doubt."""
        if isinstance(cell, str):
            if (cell.startswith(LITERAL) or cell.endswith(")")) and cell.strip() not in self.known:
                value = parse_literal(cell)
                if not isinstance(value, str):
                    self.literal = self.literal or cell
                    return self.interpret(value)
            return self.divide(cell)
        return self.interpret(cell)

    def read_one(self, cell: object) -> str:
        """Returns the one label that a cell is; raises CellError for a list or an object, also as text."""
        if isinstance(cell, str):
            is_plain = (
                not cell.startswith(LITERAL) or cell.strip() in self.known or isinstance(parse_literal(cell), str)
            )
        else:
            is_plain = not isinstance(cell, list | tuple | Mapping)
        if not is_plain:
            raise CellError(ONE_LABEL, quote(cell))
        return cell.strip() if isinstance(cell, str) else str(cell)

    def names_in(self, cell: object) -> list[str]:
        """Returns the labels that a cell names; raises CellError if it answers too."""
        labels, answers = self.read(cell)
        if answers is not None:
            raise CellError(UNKNOWN, quote(cell))
        return labels

    def divide(self, text: str) -> Said:
        """Returns what a plain text says."""
        self.has_text = True
        if text[:1] in self.may_be_none and SAYS_NONE.fullmatch(text):
            return [text.strip()], None
        labels = split_labels(text, self.separator)
        if len(labels) > 1 and self.divided is None:
            self.divided = text
        if self.names is not None and self.are_answers(labels):
            return self.names, labels
        return labels, None

    def are_answers(self, labels: Sequence[str]) -> bool:
        """Returns whether the words of a text are an answer for each label of the settings."""
        if len(labels) != len(self.names) or not labels:
            return False
        return is_answer(labels[0]) and self.known.isdisjoint(labels) and all(map(is_answer, labels))

    def interpret(self, cell: object) -> Said:
        """Returns what a list, an object or a number says; null in a list is no label."""
        if isinstance(cell, list) and set(map(type, cell)) <= ONLY_TEXT:  # nothing to unwrap
            return [label for item in cell if (label := item.strip())], None
        value = simplify(cell)
        if isinstance(value, Mapping):
            return list(map(str, value)), list(value.values())
        filled = [item for item in value if not is_blank(item)]
        if filled and all(isinstance(item, bool | int | float) for item in filled):
            return self.read_numbers(value, filled)
        return name_labels(filled), None

    def read_numbers(self, values: Sequence, filled: Sequence) -> Said:
        """Returns what a list of numbers says: labels that are called so, or an answer for each of the settings."""
        if self.names is not None and self.known.isdisjoint(map(str, filled)):
            if len(values) == len(self.names) and all(map(is_answer, filled)):
                return self.names, values
            raise CellError(NUMBERS, quote(values))
        return name_labels(filled), None

    def check(self, source: str, labels: Iterable[str]) -> None:
        """Raises InputError if all cells together show that their labels are none.

        Args:
            source: the files, in words.
            labels: all labels that were found.
        """
        if self.literal is not None and self.divided is not None:
            raise InputError(
                f"{source}: cells of labels hold lists ({quote(self.literal)}) and also texts that data.separator "
                f"divides ({self.divided!r}). If such a text is one label, set data.separator to what stands in none "
                f"({write_override('data.separator', ';')}); else write all cells as lists"
            )
        check_no_answers(source, [label for label in labels if label not in self.known])

    def warn_of_separator(self, source: str, labels: Iterable[str], known: Iterable[str]) -> None:
        """Warns if the labels of texts look as if something else divided them; known ones are meant so."""
        known = set(map(str, known))
        labels = [label for label in labels if label not in known]
        scored = [label for label in labels if WITH_SCORE.fullmatch(label)]
        if scored and 2 * len(scored) >= len(labels):
            log.warning(
                "%s: %d of %d labels end in what may be an answer, as %s: each is a label of its own now. Write "
                '{"cat": 0.9, "dog": 0}, or a column a label (data.layout=columns), where they do',
                source,
                len(scored),
                len(labels),
                ", ".join(map(repr, scored[:3])),
            )
            return
        is_used = self.divided is not None and bool(self.separator.strip())
        found = find_other_separator(labels, self.separator, is_used=is_used)
        if found is not None:
            mark, having = found
            log.warning(
                "%s: %d of %d labels have a %r in them, as %s. If it stands between labels, set %s (data.separator is "
                "%r now); if it is a part of these labels, all is well",
                source,
                len(having),
                len(labels),
                mark,
                ", ".join(map(repr, having[:3])),
                write_override("data.separator", mark),
                self.separator,
            )
        elif self.divided is None and len(self.separator) > 1 and PATTERN.search(self.separator):
            log.warning(
                "%s: data.separator=%r stands in no cell; it is taken as it is, not as a regular expression",
                source,
                self.separator,
            )


def check_not_null(cell: object, *, is_none: bool, way_out: str = "") -> None:
    """Raises CellError for null unless that says none; an empty text or list always does."""
    if not is_none and (cell is None or cell != cell):
        raise CellError(NULL.format(way_out), str(cell))


def check_no_answers(source: str, labels: Sequence[str]) -> None:
    """Raises InputError if all labels are words for yes and no: 0 and 1, true and false, and numbers between."""
    if labels and all(map(is_answer, labels)) and any(label.lower() not in YES for label in labels):
        found = ", ".join(map(repr, sorted(labels)[:5]))
        raise InputError(
            f"{source}: all labels are answers ({found}). If a cell has one for each label, as [0, 1, 1, 0], give "
            "data.labels, the names in that order; for a column a label set data.layout=columns; if these are names of "
            "labels, give them as data.labels"
        )
    is_bits = len(labels) > 1 and all(map(BITS.fullmatch, labels)) and len({*map(len, labels)}) == 1
    if is_bits and min(labels)[0] == "0":
        found = ", ".join(map(repr, sorted(labels)[:5]))
        raise InputError(
            f"{source}: all labels are as long and of 0 and 1 ({found}). If each is an answer for each label, write "
            "[0, 1, 1, 0] and give data.labels, the names in that order; if these are names, give them as data.labels"
        )
    numbers = [parse_number(label) for label in labels]
    fractions = [label for label, number in zip(labels, numbers, strict=True) if number is not None and number % 1]
    if fractions and None not in numbers:
        raise InputError(
            f"{source}: all labels are numbers, also {', '.join(map(repr, fractions[:5]))}: scores, boxes? Choose "
            "another data.labels_column, or give those that are names as data.labels"
        )
