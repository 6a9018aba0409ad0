"""The kinds of values that settings have: numbers in a range, words, lists. `whole(1) | NULL` is one or the other."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import yaml

from multihot.command_line import write_override, write_value

SPOKEN = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True)
class Kind:
    """What a value must be, in words, and whether one is."""

    words: str
    fits: Callable[[object], bool]

    def __or__(self, other: "Kind") -> "Kind":
        return Kind(f"{self.words} or {other.words}", lambda value: self.fits(value) or other.fits(value))

    def find_fault(self, key: str, value: object) -> str | None:
        """Returns what is wrong with the value of a setting, and what to type if that can be told; None if nothing is.

        >>> whole(1).find_fault("epochs", 2.0)
        'epochs=2.0: expected a whole number from 1 up; write epochs=2'
        >>> whole(1).find_fault("epochs", 2) is None
        True
        """
        if self.fits(value):
            return None
        meant = next((repaired for repaired in repairs(value) if self.fits(repaired)), value)
        way_out = "" if meant is value else f"; write {write_override(key, meant)}"
        return f"{key}={write_value(value)}: expected {self.words}{way_out}"


def repairs(value: object) -> Iterator[object]:
    """Yields what may have been meant by a value: a number in quotes, a number as a name, one that is to be a list.

    >>> list(repairs("6")), list(repairs(2.0)), list(repairs([3]))
    ([6, ['6']], [2, '2.0', [2.0]], [3])
    """
    if isinstance(value, str):
        if value.strip().lower() in SPOKEN:
            yield SPOKEN[value.strip().lower()]
        try:
            parsed = yaml.safe_load(value)
            yield float(parsed) if isinstance(parsed, str) else parsed  # YAML takes 1e-3 for a word
        except (yaml.YAMLError, ValueError):
            pass
        if value.strip():
            yield [part.strip() for part in value.split(",")]
    elif isinstance(value, bool):
        yield from (("true", "false") if value else ("false", "no"))[:: 1 if value else -1]
    elif isinstance(value, int | float) and math.isfinite(value):
        if value == int(value) and not isinstance(value, int):
            yield int(value)
        if value in (0, 1):
            yield bool(value)
        yield str(value)
        yield [value]
    elif isinstance(value, list) and len(value) == 1:
        yield value[0]


def is_number(value: object) -> bool:
    """Returns whether a value is a finite number; true and false are none.

    >>> [is_number(value) for value in (1, 0.5, True, "1", float("nan"))]
    [True, True, False, False, False]
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(
    low: float | None = None, high: float | None = None, *, above: float | None = None, below: float | None = None
) -> Kind:
    """Returns the kind of numbers in a range; `above` and `below` are left out of it.

    >>> number(0, below=1).words, number(above=0).words, number(0, below=1).fits(1.0)
    ('a number from 0 to below 1', 'a number above 0', False)
    """

    def is_inside(value: float) -> bool:
        is_high = (low is None or value >= low) and (above is None or value > above)
        return is_high and (high is None or value <= high) and (below is None or value < below)

    words = describe_range("a number", low, high, above, below)
    return Kind(words, lambda value: is_number(value) and is_inside(value))


def whole(low: int, high: int | None = None) -> Kind:
    """Returns the kind of whole numbers in a range.

    >>> whole(1).words, whole(0, 64).words
    ('a whole number from 1 up', 'a whole number from 0 to 64')
    """
    inside = number(low, high)
    words = describe_range("a whole number", low, high, None, None)
    return Kind(words, lambda value: isinstance(value, int) and inside.fits(value))


def describe_range(noun: str, low, high, above, below) -> str:
    """Returns a noun with its range in words."""
    start = f" from {low}" if low is not None else f" above {above}" if above is not None else ""
    ends = {True: f" {'to' if start else 'up to'} {high}", False: f" {'to ' if start else ''}below {below}"}
    if high is None and below is None:
        return noun + (f"{start} up" if low is not None else start)
    return noun + start + ends[high is not None]


def choice(*values: object) -> Kind:
    """Returns the kind of these values alone.

    >>> choice("keep", "drop").words, choice(True, 1).fits(1), choice(True, "auto").fits(1)
    ('one of keep, drop', True, False)
    """
    return Kind(
        "one of " * (len(values) > 1) + ", ".join(map(write_value, values)),
        lambda value: any(value == known and type(value) is type(known) for known in values),
    )


def list_of(
    kind: Kind, sizes: Sequence[int] = (), *, rising: bool = False, once: bool = False, empty: bool = False
) -> Kind:
    """Returns the kind of lists of a kind, of one of these sizes.

    Args:
        rising: no entry is below the one before it.
        once: no entry is there twice.
        empty: it may have no entry.

    >>> list_of(number(0, 1), [2], rising=True).words
    'a list of 2, each a number from 0 to 1 and none below the one before it'
    """

    def is_one(value: object) -> bool:
        if not isinstance(value, list | tuple) or not all(map(kind.fits, value)) or not (value or empty):
            return False
        has_size = not sizes or len(value) in sizes
        in_order = not rising or all(one <= other for one, other in pairwise(value))
        return has_size and in_order and not (once and len(set(map(str, value))) < len(value))

    size = f" of {' or '.join(map(str, sizes))}, each" if sizes else ", each"
    rules = " and none below the one before it" * rising + " and none twice" * once
    return Kind(f"a list{size} {kind.words}{rules}", is_one)


def mapping_of(kind: Kind, keys: Sequence[str] = (), *, empty: bool = True) -> Kind:
    """Returns the kind of mappings whose values are of a kind, with these keys alone if there are any.

    >>> mapping_of(number(0), ["train", "val"]).fits({"train": 2}), mapping_of(number(0), ["train"]).fits({"tain": 2})
    (True, False)
    """

    def is_one(value: object) -> bool:
        if not isinstance(value, Mapping) or not (value or empty):
            return False
        return all(not keys or key in keys for key in value) and all(map(kind.fits, value.values()))

    names = ", ".join(keys) if keys else "name"
    return Kind(f"{{{names}: ...}}, each {kind.words}", is_one)


NULL = choice(None)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
SHARE = number(0, 1)
TEXT = Kind("a text", lambda value: isinstance(value, str) and bool(value.strip()))
ANY_TEXT = Kind('a text, which may be empty ("")', lambda value: isinstance(value, str))
MARK = Kind("""a text that is not empty (a blank: '...=" "')""", lambda value: isinstance(value, str) and value != "")
PATH = Kind("a path", TEXT.fits)
NAME = Kind("a name", lambda value: TEXT.fits(value) or (is_number(value) and isinstance(value, int)))
LABELS = Kind("a list of labels, none twice", list_of(NAME, once=True).fits)
COLUMN = Kind("a name", lambda value: isinstance(value, str) or NAME.fits(value))  # that of an index may be empty
COLUMNS = Kind("a list of columns, none twice", list_of(COLUMN, once=True).fits)
ANYTHING = Kind("anything", lambda value: True)
