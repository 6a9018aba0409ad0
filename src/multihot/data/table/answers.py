"""What a cell answers: present, absent, unknown, or a number between; words and codes of the user's own."""

import logging
import math
from collections.abc import Mapping, Sequence

from multihot.data.table.cells import BLANK, is_blank
from multihot.errors import InputError

log = logging.getLogger(__name__)

MEANINGS = {"present": 1.0, **BLANK}
YES, NO = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
WORDS = {**dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0), **MEANINGS}
BOOLEANS = {"true": ("on", *YES), "false": ("off", *NO)}  # what YAML may have made of a key that is one of these words
NOTHING = ("nan", "null")  # how programs write an empty cell of numbers
MOST_KEPT = 4096  # cells whose meaning is remembered
NO_ANSWER = "answers that are not 1, 0, between them, or -1 for unknown"


class Answers(dict):
    """What each cell says: 1 present, 0 absent, -1 unknown, between them a soft answer; None: it is no answer.

    Without `answers`, numbers (also "0,5"), true and false, yes and no, t, f, y, n (in any case), and the words
    present, absent and unknown are read.

    Args:
        answers: {cell: present | absent | unknown | a number from 0 to 1}, read before all that. Cells are compared by
            number (1 = "1" = 1.0), then as they are written, then in small letters; spaces around them do not count.
            The key "" is the empty cell, in the place of `blank`.
        blank: what an empty cell says, also one of "nan" or "null": unknown | absent.

    >>> says = Answers({-1: "absent", "?": "unknown", "Likely": 0.8})
    >>> [says[cell] for cell in ("-1", -1.0, " ? ", "likely", "yes", "0,5", None, "maybe", 2)]
    [0.0, 0.0, -1.0, 0.8, 1.0, 0.5, -1.0, None, None]
    """

    def __init__(self, answers: Mapping | None = None, blank: str = "unknown"):
        super().__init__()
        self.keys_of = read_keys(answers)  # as a cell may be written -> key of `answers`
        self.meaning_of = {key: float(MEANINGS.get(value, value)) for key, value in (answers or {}).items()}
        self.unused = set(self.meaning_of)
        self.blank = BLANK[blank]
        if "" in self.keys_of and blank == "absent" and self.meaning_of[self.keys_of[""]] != self.blank:
            raise InputError("data.blank=absent and data.answers say different things of an empty cell; set one alone")

    def __missing__(self, cell: object) -> float | None:
        value = self.interpret(cell)
        is_text = isinstance(cell, str)
        if len(self) < MOST_KEPT and (is_text or not self.meaning_of) and cell == cell:  # true and 1 are one key
            self[cell] = value
        return value

    def of(self, cells: Sequence) -> list[float | None]:
        """Returns what each cell says."""
        try:
            return [self[cell] for cell in cells]
        except TypeError:  # a list or an object, which is no key
            return [self.interpret(cell) for cell in cells]

    def interpret(self, cell: object) -> float | None:
        """Returns what a cell says."""
        form = next((form for form in forms(cell) if form in self.keys_of), None) if self.keys_of else None
        if form is not None:
            self.unused.discard(self.keys_of[form])
            return self.meaning_of[self.keys_of[form]]
        is_nothing = is_blank(cell) or (isinstance(cell, str) and cell.strip().casefold() in NOTHING)
        return self.blank if is_nothing else parse_answer(cell)

    def warn_of_unused(self, files: str) -> None:
        """Warns of keys that no cell has matched."""
        if self.unused:
            log.warning(
                "data.answers: no cell of %s is %s; correct or remove what was meant",
                files,
                ", ".join(sorted(map(repr, self.unused))),
            )


def forms(cell: object) -> list[object]:
    """Returns how a cell or a key can be compared: as a number, as it is written, in small letters.

    >>> forms(" Yes "), forms("1.0"), forms(True), forms(None)
    (['Yes', ('any case', 'yes')], [1.0, '1.0', ('any case', '1.0')], ['True', ('any case', 'true')], [''])
    """
    if is_blank(cell):
        return [""]
    text = str(cell).strip()
    number = None if isinstance(cell, bool) else parse_number(cell)
    return [form for form in (number, text, ("any case", text.casefold())) if form is not None]


def forms_of_key(key: object) -> list[object]:
    """Returns how a key can be compared; YAML makes true or false of several words, and a number of nan."""
    if isinstance(key, bool):
        return [("any case", word) for word in BOOLEANS[str(key).lower()]]
    return forms(key) if key == key else ["", ("any case", "nan")]


def read_keys(answers: Mapping | None) -> dict[object, object]:
    """Returns the key for each way to write it; a way in small letters that two keys share belongs to neither.

    >>> read_keys({"P": "present", "p": 0.5})
    {'P': 'P', 'p': 'p'}
    >>> sorted(map(str, read_keys({True: "present"})))
    ["('any case', 'on')", "('any case', 't')", "('any case', 'true')", "('any case', 'y')", "('any case', 'yes')"]
    """
    keys, shared = {}, set()
    for key in answers or ():
        for way in forms_of_key(key):
            if way in keys and isinstance(way, tuple):
                shared.add(way)
            elif way in keys:
                raise InputError(f"data.answers names the same cell twice, as {keys[way]!r} and as {key!r}")
            keys[way] = key
    return {way: key for way, key in keys.items() if way not in shared}


def parse_number(cell: object) -> float | None:
    """Returns a finite number, which may have a decimal comma, else None.

    >>> parse_number("0,5"), parse_number("-1"), parse_number("nan"), parse_number("cat"), parse_number([1])
    (0.5, -1.0, None, None, None)
    """
    try:
        value = float(cell.replace(",", ".", 1) if isinstance(cell, str) else cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def parse_answer(cell: object) -> float | None:
    """Returns an answer as a number: 1 present, 0 absent, -1 unknown, or soft; None: it is no answer.

    >>> [parse_answer(cell) for cell in ("1", "0.0", -1.0, True, " 0,25 ", "Yes", "F", "cat", 1.5, float("inf"))]
    [1.0, 0.0, -1.0, 1.0, 0.25, 1.0, 0.0, None, None, None]
    """
    if isinstance(cell, str) and (word := cell.strip().casefold()) in WORDS:
        return WORDS[word]
    value = parse_number(cell)
    return value if value is not None and (value == -1 or 0 <= value <= 1) else None


def parse_weight(cell: object) -> float | None:
    """Returns a finite number from 0 up, else None.

    >>> parse_weight("0.5"), parse_weight("1,5"), parse_weight("-1"), parse_weight("nan"), parse_weight("much")
    (0.5, 1.5, None, None, None)
    """
    value = None if isinstance(cell, bool) else parse_number(cell)
    return value if value is not None and value >= 0 else None
