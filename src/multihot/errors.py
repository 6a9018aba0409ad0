"""The one exception that means: the input or the settings are wrong, not the program; and what else is no bug."""

from collections.abc import Mapping, Sequence

# what the backends of torch.distributed say of a process that has ended
LOST_PROCESS = ("closed by peer", "reset by peer", "Broken pipe", "Connection was likely closed", "process exited")


class InputError(ValueError):
    """A user's mistake: the message says what is wrong, where, and the way out; the scripts print it alone."""


class MissingSplitError(InputError):
    """A source is right but has no images for the split that is asked for."""


class ShardError(InputError):
    """A file that holds many images cannot be read: none of them is bad for it."""


def is_lost(error: Exception) -> bool:
    """Returns whether an error says that another process has ended, which says itself why."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_PROCESS)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its kind if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def list_first(problems: Sequence[str], limit: int = 5) -> str:
    """Returns the first problems, one a line, and how many more there are.

    >>> print(list_first(["a", "b", "c"], limit=2))
      a
      b
      ... and 1 more
    """
    lines = [f"  {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  ... and {len(problems) - limit} more")
    return "\n".join(lines)


def name_first(names: Sequence[str], limit: int = 5) -> str:
    """Returns the first names in one line.

    >>> name_first(["a", "b", "c"], limit=2)
    'a, b, ...'
    """
    return ", ".join([*names[:limit], *["..."] * (len(names) > limit)])


def list_kinds(problems: Mapping[str, Sequence[str]]) -> str:
    """Returns the kinds of problems (what is wrong -> where), each with the first of its places, and how many there
    are where it is more than one.

    >>> print(list_kinds({"rows without an image": ["line 2"], "empty labels": ["line 3", "line 7"]}))
    rows without an image:
      line 2
    2 empty labels:
      line 3
      line 7
    """
    counts = {kind: f"{len(places)} " if len(places) > 1 else "" for kind, places in problems.items()}
    return "\n".join(f"{counts[kind]}{kind}:\n{list_first(places)}" for kind, places in problems.items())


def plural(number: int, noun: str) -> str:
    """Returns a number of things in words.

    >>> plural(1, "label"), plural(1200, "image"), plural(2, "process")
    ('1 label', '1,200 images', '2 processes')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def check_choice(setting: str, value: str, choices: Sequence[str]) -> None:
    """Raises InputError with the choices if a setting has none of them."""
    if value not in choices:
        raise InputError(f"{setting}={value}: choose from {', '.join(choices)}")
