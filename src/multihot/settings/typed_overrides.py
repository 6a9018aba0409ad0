"""What was typed on the command line, before hydra reads it: for what it would not take, the form that works."""

import re
from collections.abc import Iterator, Sequence

from hydra._internal.utils import get_args_parser  # private: the one place that knows hydra's own flags
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from multihot.command_line import quote, quote_for_shell
from multihot.errors import InputError
from multihot.settings.kinds import Kind
from multihot.settings.table import SCRIPTS

KEY = re.compile(r"[+~]*[A-Za-z_][\w/@.-]*")
KINDS: dict[str, Kind] = {key: kind for table in reversed(SCRIPTS.values()) for key, kind in table.items()}
GROUPS = {*(key.partition(".")[0] for key in KINDS if "." in key), "augment", "finetune", "experiment", "debug"}
CLOSING = {"[": "]", "{": "}", "(": ")"}


def check_typed(arguments: Sequence[str]) -> None:
    """Raises InputError for all arguments that hydra would not take, or would take for several values without -m."""
    is_sweep = any(re.match(r"-m$|--multirun$|hydra\.mode=MULTIRUN", argument) for argument in arguments)
    faults = [find_fault(*item, is_sweep) for item in read_items(arguments)]
    faults = [fault for fault in faults if fault]
    if faults:
        raise InputError("\n".join(faults))


def read_items(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each setting as it may have been meant, and its parts: a shell takes it apart at blanks.

    >>> [item for item, _ in read_items(["--epochs", "3", "seed", "=", "1", "data.labels=[a", "b]", "-m"])]
    ['--epochs=3', 'seed = 1', 'data.labels=[a b]']
    """
    options = {name: action for action in get_args_parser()._actions for name in action.option_strings}
    parts, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, has_value, _ = argument.partition("=")
        follows = bool(rest) and "=" not in rest[0] and not rest[0].startswith(("-", "~"))
        takes_value = name in options and options[name].nargs != 0
        if takes_value or (name in options and not has_value and not (name == "--run" and follows)):
            rest = rest[1:] if takes_value and not has_value else rest
        elif name not in options and argument[:2] == "--" and any(option.startswith(name) for option in options):
            continue  # shortened, as argparse lets one
        elif parts and goes_on(" ".join(parts), argument):
            parts.append(argument)
        else:
            if parts:
                yield " ".join(parts), parts
            parts = [argument]
            if re.match(r"--?[A-Za-z_]", argument):  # a flag takes one value
                yield (argument, parts) if has_value or not follows else (f"{argument}={rest.pop(0)}", parts)
                parts = []
    if parts:
        yield " ".join(parts), parts


def goes_on(item: str, argument: str) -> bool:
    """Returns whether an argument belongs to what stands before it, from which a blank has parted it."""
    is_open = any(item.count(bracket) > item.count(closing) for bracket, closing in CLOSING.items())
    return is_open or argument.startswith("=") or not ("=" in argument or argument.startswith(("~", "-")))


def find_fault(item: str, parts: Sequence[str], is_sweep: bool) -> str | None:
    """Returns what to type instead of a setting; None if it is right."""
    override = None if item.startswith("-") or len(parts) > 1 else parse(item)
    if override is not None:
        is_right = not override.is_sweep_override() or is_sweep or item.startswith("hydra")
        return None if is_right else describe_several(item)
    key, value = take_apart(item)
    stray = "{}: a setting is written <name>=<value>, as in epochs=3 or data.path=my.csv"
    if key is None or (len(parts) > 1 and key in GROUPS):
        return stray.format(item if key is None else parts[-1])
    if value is None:
        return f"{item}: it has no value; write {key}=..." if key in {*KINDS, *GROUPS} else stray.format(item)
    kind = KINDS.get(key.lstrip("+"))
    for form in forms(value, is_sweep):
        meant = parse(f"{key}={form}")
        if meant is None or (meant.is_sweep_override() and not is_sweep):
            continue
        if kind is None or meant.is_sweep_override() or kind.fits(meant.value()):
            return f"{item}: write {quote_for_shell(f'{key}={form}')}"
    if len(parts) > 1:
        return stray.format(parts[-1])
    if kind is not None and not value.startswith("{"):
        return f"{item}: {key} takes {kind.words}"
    return f"{item}: hydra cannot read it; put it into a file, conf/experiment/<name>.yaml, and take experiment=<name>"


def parse(text: str) -> Override | None:
    """Returns what hydra reads; None if it does not."""
    try:
        override = OverridesParser.create().parse_override(text)
        return None if override.key_or_group == "" else override
    except HydraException:
        return None


def take_apart(item: str) -> tuple[str | None, str | None]:
    """Returns the name and the value that were meant.

    >>> take_apart("--epochs=3"), take_apart("epochs : 3"), take_apart("epochs 3"), take_apart("epochs")
    (('epochs', '3'), ('epochs', '3'), ('epochs', '3'), ('epochs', None))
    """
    found = re.fullmatch(rf"-*({KEY.pattern})(?:\s*=\s*|\s*:\s*|\s+)(.+)", item, re.DOTALL)
    found = found or re.fullmatch(rf"-*({KEY.pattern})\s*[=:]?\s*()", item)
    if not found:
        return None, None
    key = found[1].replace("-", "_") if found[1].replace("-", "_") in KINDS else found[1]
    return key, found[2].strip() or None


def forms(value: str, is_sweep: bool) -> Iterator[str]:
    """Yields ways to write a value, from the nearest to what was typed to one text in quotes."""
    yield value
    yield re.sub(r",\s*(?=[\]}]|$)", "", value)  # a comma too many
    if value.startswith("="):
        yield value.lstrip("= ")
    if value.count('"') % 2 or value.count("'") % 2:
        yield value.strip("\"'")
        yield quote(value.strip("\"'"))
    if value.startswith(("[", "{")):
        closed = close(value)
        yield closed
        yield quote_entries(closed)
    if is_sweep and "," in value:
        yield ",".join(quote(part.strip()) for part in value.split(","))
    yield quote(value)


def close(value: str) -> str:
    """Returns a value with the brackets that it lacks.

    >>> close("{colour: [red, blue"), close("{colour: [red, blue}")
    ('{colour: [red, blue]}', '{colour: [red, blue]}')
    """
    closed, waiting = "", []
    for mark in value:
        if mark in CLOSING:
            waiting.append(CLOSING[mark])
        elif mark in waiting:
            while waiting[-1] != mark:
                closed += waiting.pop()
            waiting.pop()
        closed += mark
    return closed + "".join(reversed(waiting))


def quote_entries(value: str) -> str:
    """Returns a list or a mapping with each text in it in quotes, but for names, which hydra takes without.

    >>> quote_entries("[größe, 2, 'a b']"), quote_entries('{"size": [big (a), small]}')
    ('["größe", 2, "a b"]', '{size: ["big (a)", "small"]}')
    """

    def write(found: re.Match) -> str:
        text, mark = found[1].strip(), found[2]
        text = text[1:-1] if re.fullmatch(r"""(["']).*\1""", text) else text
        is_plain = mark == ":" or re.fullmatch(r"-?[\d.]+(e-?\d+)?|true|false|null", text)
        return found[0].replace(found[1].strip(), text if is_plain else quote(text), 1)

    return re.sub(
        r"([^\[\]{},:]+)(:|(?=[\]},])|$)", lambda found: write(found) if found[1].strip() else found[0], value
    )


def describe_several(item: str) -> str:
    """Returns what to type for a value with commas, by what the setting takes."""
    key, _, value = item.partition("=")
    kind = KINDS.get(key.lstrip("+"))
    ways = {f"-m {quote_for_shell(item)}": "starts a run for each"}
    for meaning, form in (
        ("is one number", value.replace(",", ".")),
        ("is a list", f"[{value}]"),
        ("is a text", quote(value)),
    ):
        meant = parse(f"{key}={form}")
        if (
            key not in GROUPS
            and meant is not None
            and not meant.is_sweep_override()
            and kind
            and kind.fits(meant.value())
        ):
            ways[quote_for_shell(f"{key}={form}")] = meaning
    return f"{item}: these are several values. " + "; ".join(f"{way} {meaning}" for way, meaning in ways.items())
