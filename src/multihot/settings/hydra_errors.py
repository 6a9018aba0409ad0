"""Hydra's and OmegaConf's complaints in the words of the settings."""

import difflib
from collections.abc import Sequence
from pathlib import PurePath

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from multihot.command_line import write_value
from multihot.data.formats.recognize import recognize
from multihot.settings.check import list_arguments
from multihot.settings.saved import GONE, MOVED
from multihot.settings.table import SCRIPTS

KIND_OF_FILE = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".gz": "csv", ".jsonl": "jsonl", ".json": "coco",
    ".parquet": "parquet", ".tar": "webdataset", "": "folder",
}  # fmt: skip
NO_OPTION = "Config group override must be"  # what hydra says of data=null and data=3


def explain_hydra(error: Exception) -> str:
    """Returns what is wrong with a setting, and what there is instead."""
    cause = error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.options:
        return describe_options(str(error.missing_cfg_file), error.options)
    if str(error).startswith(NO_OPTION):
        return "an option of a group is a name, as in data=csv, and not null, a number or a mapping: leave it out"
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} has no value; set it: {cause.full_key}=..."
    if isinstance(cause, InterpolationResolutionError):
        ways = "${...} names another setting, and ${oc.env:NAME} a variable of the shell"
        return f"{str(cause).splitlines()[0]}; {ways}"
    parent, key = getattr(cause, "parent_node", None), getattr(cause, "key", None)
    if not isinstance(parent, DictConfig) or key is None:
        return str(error)
    words = str(error).splitlines()[0] if isinstance(error, HydraException) else str(error)
    return f"{words}{describe_choices(parent, str(key))}"


def describe_choices(parent: DictConfig, key: str) -> str:
    """Returns the settings that stand where a mistyped one was looked for, and what was probably meant."""
    place = parent._get_full_key(None)
    name = f"{place}.{key}" if place else key
    arguments = list_arguments(str(parent["_target_"])) if "_target_" in parent else None
    if name in MOVED:
        return f"\n{name} is now {MOVED[name]}"
    if name in GONE:
        return f"\n{name} is no setting any more: leave it out, which is what {write_value(GONE[name])} was"
    if place == "model.kwargs" or not parent or key in (arguments or ()):
        return f"\nIt is new there: write +{name}=..."
    names = [str(known) for known in parent if not str(known).startswith("_") and known != "hydra"]
    near = difflib.get_close_matches(key, names, n=1)
    known = {setting for table in SCRIPTS.values() for setting in table}
    if not near and not place:
        near = sorted(setting for setting in known if setting.endswith(f".{key}"))[:3]
    choices = f"\nThe settings{f' of {place}' if place else ''} are: {', '.join(names) or 'none'}"
    if name in known and place:
        choices += f"\n{name} is a setting of another option of {place}: choose that first, {place}=<option>"
    return choices + (f"\nDid you mean {' or '.join(near)}?" if near else "")


def describe_options(asked: str, options: Sequence[str]) -> str:
    """Returns what can be chosen in the place of an option that there is not.

    >>> print(describe_options("loss/bcee", ["asymmetric", "bce"]))
    loss=bcee: there is no such option. Choose from asymmetric, bce
    Did you mean bce?
    >>> print(describe_options("data/my.csv", ["csv", "folder"]).splitlines()[1])
    A file of your own: data=csv data.path=my.csv
    """
    group, _, name = asked.partition("/")
    words = f"{group}={name}: there is no such option. Choose from {', '.join(options)}"
    found = recognize(name) if group == "data" else None
    kind = found.known.data if found else KIND_OF_FILE.get(PurePath(name).suffix)
    if group == "data" and kind in options and ("/" in name or "." in name):
        return f"{words}\nA {'folder' if kind == 'folder' else 'file'} of your own: data={kind} data.path={name}"
    if group == "model":
        words += "\nA file of weights: model.weights=<file>; any other timm model: model.name=<name>"
    near = difflib.get_close_matches(name, options, n=1)
    return words + (f"\nDid you mean {near[0]}?" if near else "")
