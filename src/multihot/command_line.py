"""What a user types: an override in the form that the shell hands on and hydra takes as it is meant."""

import re
import shlex
from collections.abc import Mapping

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

PLAIN = re.compile(r"[A-Za-z_./][-A-Za-z0-9_./]*")  # what hydra takes for a text without quotes

WORD = re.compile(r"(?!(?:null|true|false|inf|nan)$)[a-z_][a-z0-9_]*", re.IGNORECASE | re.ASCII)  # a text for certain


def quote(text: str) -> str:
    """Returns a text that hydra takes as it is."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and '\\"'), text) + '"'


def write_value(value: object) -> str:
    """Returns a value as hydra reads it.

    >>> [write_value(value) for value in (None, True, 0.5, "a.csv", "6", "big cat", ["a b", 1], {"a": [1]})]
    ['null', 'true', '0.5', 'a.csv', '"6"', '"big cat"', '["a b",1]', '{a:[1]}']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{write_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(write_value, value)) + "]"
    if isinstance(value, str):
        is_read_as_it_is = WORD.fullmatch(value) or (PLAIN.fullmatch(value) and read_value(value) == value)
        return value if is_read_as_it_is else quote(value)
    return str(value)


def read_value(text: str) -> object:
    """Returns what hydra takes a text for; None if it does not take it."""
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
        return None if override.is_sweep_override() else override.value()
    except HydraException:
        return None


def write_override(key: str, value: object) -> str:
    r"""Returns a setting as it is typed in a shell.

    >>> print(write_override("data.path", "split.csv"), write_override("data.separator", ";"), write_override("lr", 2))
    data.path=split.csv 'data.separator=";"' lr=2
    >>> print(write_override("data.separator", "\t"))
    $'data.separator="\t"'
    """
    return quote_for_shell(f"{key}={write_value(value)}")


def quote_for_shell(override: str) -> str:
    r"""Returns an override in the quotes that a shell needs.

    >>> print(quote_for_shell("epochs=3"), quote_for_shell("data.labels=[a b,c]"), quote_for_shell('name="größe"'))
    epochs=3 'data.labels=[a b,c]' 'name="größe"'
    """
    if "\t" in override or "\n" in override:
        escaped = override.replace("\\", "\\\\").replace("'", r"\'").replace("\t", r"\t").replace("\n", r"\n")
        return f"$'{escaped}'"
    return shlex.quote(override)
