"""Finds every setting that is none, is of the wrong kind or out of its range: all of them at once."""

import difflib
import inspect
import math
from collections.abc import Iterator, Mapping

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from multihot.command_line import write_value
from multihot.errors import InputError
from multihot.known_classes import check_targets
from multihot.settings.kinds import Kind
from multihot.settings.saved import MOVED, is_inside
from multihot.settings.table import MODEL_KWARGS, PREPROCESSING, SCRIPTS, TARGET_KEYS, TARGETS

BUILT = ("start", "loss.function", "optimizer.factory", "schedule.factory", "augment", "finetune")  # from a class each
OF_A_RUN = ("evaluate", "export_onnx", "find_label_errors", "predict", "report")  # scripts that change a run's data
BY_OPTION = ("data.", "start.", "tracker.")  # which settings there are depends on the option of the group
OUTSIDE = ("multihot.", "timm.", "torch.")  # where a class may come from
ARGUMENTS = {"model.kwargs": MODEL_KWARGS, "model.kwargs.pretrained_cfg_overlay": PREPROCESSING}


def check_settings(cfg: DictConfig, script: str) -> None:
    """Raises InputError with all settings of a script that are wrong; no data is read and no file is written."""
    check_targets(cfg)
    faults = find_faults(cfg, script)
    if not faults and script in ("train", "benchmark"):
        from multihot.settings.build_once import find_misfits  # imports torch, which other scripts need not wait for

        faults = find_misfits(cfg)
    if faults:
        raise InputError("\n".join(faults))


def find_faults(cfg: DictConfig, script: str) -> list[str]:
    """Returns what is wrong with each setting by itself."""
    table = SCRIPTS[script]
    settings = OmegaConf.to_container(cfg, resolve=True)
    faults, values, groups = [], set(), set()
    for key, value, kind in walk(settings, table):
        (groups if kind is None else values).add(key)
        if script in OF_A_RUN and key.startswith("data.") and isinstance(kind, Refused):
            continue  # load_run knows which settings the data of the run has
        if kind is not None and not (value == "???" and key == "fractions"):  # of split_data, which has num_folds too
            faults.append(f"{key} has no value; set it: {key}=..." if value == "???" else kind.find_fault(key, value))
    needed = [key for key in table if not key.startswith(BY_OPTION)]
    needed += ["tracker.kind", *BUILT] if script in ("train", "benchmark") else []
    gone = [key for key in needed if key not in groups and not any(is_inside(key, name) for name in values)]
    faults += [f"{key} is gone: leave out the ~ or =null that took it away" for key in gone]
    return [fault for fault in faults if fault]


def walk(settings: Mapping, table: Mapping[str, Kind], prefix: str = "") -> Iterator[tuple[str, object, Kind | None]]:
    """Yields dotted name, value and kind of each setting; None for a group. That of an unknown one takes nothing."""
    target = settings.get("_target_")
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and "_target_" in value:
            yield key, value, None
            yield from walk(value, table, f"{key}.")
            continue
        kind = find_kind(key, str(name), target, prefix, table)
        if kind is not None:
            yield key, value, kind
        if isinstance(value, Mapping) and (kind is None or key in ARGUMENTS):
            yield key, value, None
            yield from walk(value, table, f"{key}.")
        elif kind is None:
            yield key, value, refuse(key, settings, prefix, table)


def find_kind(key: str, name: str, target: object, prefix: str, table: Mapping[str, Kind]) -> Kind | None:
    """Returns what a setting may be: an argument of a class or of the timm model, or one of the table; else None."""
    arguments = TARGETS.get(target, {}) | (TARGET_KEYS if target else {})
    arguments |= ARGUMENTS.get(prefix.rstrip("."), {})
    if name in arguments:
        return arguments[name]
    if key in table:
        return table[key]
    if any(known.startswith(f"{key}.") for known in table):
        return None
    if prefix.rstrip(".") in ARGUMENTS or (target and name in (list_arguments(target) or [name])):
        return FINITE
    return None


def is_finite(value: object) -> bool:
    """Returns whether no number in a value is infinite or NaN."""
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


FINITE = Kind("a finite number", is_finite)  # of a setting of which nothing else is known


def list_arguments(target: str) -> list[str] | None:
    """Returns the names of the arguments of a class or function; None if it takes any, or is not ours to look at."""
    if not str(target).startswith(OUTSIDE):
        return None
    try:
        parameters = inspect.signature(get_object(target)).parameters.values()
    except (ImportError, AttributeError, ValueError, TypeError):  # what is no class is refused where it is called
        return None
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]


def refuse(key: str, beside: Mapping, prefix: str, table: Mapping[str, Kind]) -> Kind:
    """Returns the kind of a setting that there is not, or that is a group: it takes nothing and names the choices."""
    parts = [known[len(key) + 1 :] for known in [*table, *BUILT, *ARGUMENTS] if known.startswith(f"{key}.")]
    if key in MOVED:
        return Refused(f"it is now {MOVED[key]}", "")
    if key in BUILT:
        return Refused(f"settings of a class, {{_target_: ..., ...}}; {key.split('.')[0]}=<option> chooses one")
    if key in ARGUMENTS:
        return Refused("{name: value, ...}")
    if parts:
        return Refused(f"settings in it: {', '.join(f'{key}.{part}' for part in parts)}")
    names = [str(name) for name in beside if f"{prefix}{name}" != key and not str(name).startswith("_")]
    if "_target_" in beside and prefix != "data.":
        names = list_arguments(beside["_target_"]) or names
    near = difflib.get_close_matches(key.removeprefix(prefix), names, n=1)
    where = f" of {prefix.rstrip('.')}" if prefix else ""
    return Refused(
        f"there is no such setting. The settings{where} are: {', '.join(names)}"
        + (f". Did you mean {near[0]}?" if near else ""),
        "",
    )


class Refused(Kind):
    """A kind that no value is of."""

    def __init__(self, words: str, before: str = "expected "):
        super().__init__(before + words, lambda value: False)

    def find_fault(self, key: str, value: object) -> str:
        """Returns what is expected instead."""
        return f"{key}={write_value(value)}: {self.words}"
