"""The settings of a run: with absolute paths, as one hash, and compared with those it began with."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from multihot.errors import InputError, list_first
from multihot.files import absolute, damaged, is_address

log = logging.getLogger(__name__)

DECIDED = ("mixed_precision", "kernels", "compile")  # when a run begins
WAS = {"compile": ("auto", False)}  # defaults, and those of before: a run that has either is the same
SINCE = {
    "model.train_image_size": None,
    "data.value_range": "auto",
    "data.window": "file",
    "data.corrections": None,
    "data.answers": None,
    "data.agree": "error",
    "data.ignore_columns": None,
    "data.none_labels": None,
    "data.image_suffix": None,
    "data.replace_prefix": None,
    "data.search_images": False,
    "data.image_template": None,
    "data.rename_columns": None,
    "data.cell_parts": None,
    "data.join_path": None,
    "data.join_columns": None,
    "data.join_missing": "error",
    "data.untagged": "absent",
    "data.skip_labels": None,
    "data.split_names": None,
    "data.split_lists": None,
    "data.blank_cluster": "error",
    "augment.device": False,
}  # what runs that began before there were these settings had
SINCE_OF = {"multihot.data.readers.folders.FolderReader": {"data.untagged": None}}  # where a source had another value
OF_ANY_DATA = ("value_range", "window", "corrections")  # of SINCE, those that every source has
GONE = {
    "loss.unknown.rejection": 0.2,
    "mix.probability": 1.0,
    "ema.warmup": True,
    "checkpoint.every_updates": None,  # free on resume
    "ema.evaluate": "instead",
    "data.feature_cache": None,  # free on resume
}  # settings that there are no more, and the value that is still meant, see drop_gone
GONE_IDLE = ("loss.unknown.rejection", "ema.evaluate")  # of them, those that alone change nothing in what is trained
GONE_CHOICES = {
    "loss.unknown.strategy": {"large_loss_rejection": "negative"},
}  # choices that there are no more, and what evaluates the same
STARTS = {"random": "Random", "prior": "Prior", "fit": "Fit", "by_name": "ByName", "keep": "Keep"}
STARTS_MODULE = "multihot.model.start"
OLD_HEAD = {"class_names": None, "aliases": None, "grow": False}  # beside head.start, in runs of before
MOVED = {
    "head.start": f"start=<option>, one of {', '.join(STARTS)}",
    "head.class_names": "start.class_names (start=by_name, keep)",
    "head.aliases": "start.aliases (start=by_name)",
    "head.grow": "start.grow (start=keep)",
    "data.feature_cache": "data.cache_folder (features are in its folder features)",
    "checkpoint.every_updates": "checkpoint.every_minutes",
}  # settings that have another name now, or one in their place
FREE_ON_RESUME = (
    "resume",
    "patience",
    "tracker",
    "num_workers",
    "runs_folder",
    "data.misread",
    "data.feature_cache",
    "data.cache_folder",
    "data.cache_path",
    "data.image_cache_path",
    "data.index_path",
    "checkpoint",
    "log_every",
    "grad_checkpointing",
    "name",
    "decisions",
    "report",
)  # may differ when a run goes on


def read_config(path: Path) -> DictConfig:
    """Returns the settings of a run; raises InputError if their file is damaged."""
    try:
        cfg = OmegaConf.load(path)
        if not isinstance(cfg, DictConfig) or not cfg:
            raise ValueError("it is empty")
        OmegaConf.resolve(cfg)
        return OmegaConf.merge({"data": {name: SINCE[f"data.{name}"] for name in OF_ANY_DATA}}, move_start(cfg))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise damaged(path, error) from error


def move_start(cfg: DictConfig) -> DictConfig:
    """Returns the settings of a run of before, whose `head.start` was a name, with a `start` of its own."""
    name = OmegaConf.select(cfg, "head.start")
    if name not in STARTS:
        return cfg
    head = OmegaConf.to_container(cfg.head)
    options = {"by_name": ("class_names", "aliases"), "keep": ("class_names", "grow")}.get(name, ())
    start = {"_target_": f"{STARTS_MODULE}.{STARTS[name]}", **{option: head[option] for option in options}}
    rest = {key: value for key, value in head.items() if key not in ("start", *OLD_HEAD)}
    return OmegaConf.create({**OmegaConf.to_container(cfg), "head": rest, "start": start})


def with_old_start(settings: Mapping[str, object]) -> dict[str, object]:
    """Returns flat settings with the start of the head as runs of before had it, see `move_start`."""
    names = {f"{STARTS_MODULE}.{target}": name for name, target in STARTS.items()}
    target = settings.get("start._target_")
    rest = {key: value for key, value in settings.items() if not is_inside(key, "start")}
    old = {f"head.{key}": settings.get(f"start.{key}", value) for key, value in OLD_HEAD.items()}
    return rest | {"head.start": names.get(target, target)} | old


def drop_gone(cfg: DictConfig) -> DictConfig:
    """Returns the settings of a run for its evaluation, which depends on none of GONE and GONE_CHOICES.

    To take a setting away: delete it from conf/ and allowed/table.py, and write it into GONE with the value that the
    code now stands for. Runs that had this value go on, keep their hash and are compared with new ones as equal; those
    that had another evaluate all the same, but go on only if the setting is free on resume or in GONE_IDLE.
    """
    cfg = cfg.copy()
    for key in GONE:
        group, _, name = key.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if parent is not None:
            parent.pop(name, None)
    for key, choices in GONE_CHOICES.items():
        choice = OmegaConf.select(cfg, key)
        if choice in choices:
            OmegaConf.update(cfg, key, choices[choice])
    return cfg


def check_gone(settings: Mapping[str, object]) -> None:
    """Raises InputError if a run that is to go on had another value of GONE than is left, or one of GONE_CHOICES."""
    lost = [
        f"{key}={value}"
        for key, value in settings.items()
        if value in GONE_CHOICES.get(key, ()) or not (value == GONE.get(key, value) or key in GONE_IDLE or is_free(key))
    ]
    if lost:
        raise InputError(
            "the run began with settings that there are no more, and can be evaluated but not go on: give this one a "
            f"new name, or go on with the version that it began with (code.json):\n{list_first(lost)}"
        )


def hash_config(cfg: DictConfig) -> str:
    """Returns a hash of all settings that a result may depend on, as they were asked for; an older run has the same."""
    flat = GONE | with_old_start(flatten(cfg))
    flat |= {key: before for key, (now, before) in WAS.items() if flat.get(key) == now}
    known = since(flat)
    told = {k: value for k, value in flat.items() if not is_free(k) and not (k in known and known[k] == value)}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def since(flat: Mapping[str, object]) -> dict[str, object]:
    """Returns what runs of before had that lack these settings, by the source of a run's data."""
    return SINCE | SINCE_OF.get(flat.get("data._target_"), {})


def is_free(key: str) -> bool:
    """Returns whether a setting, or the group it is in, may differ when a run goes on."""
    return any(is_inside(key, name) for name in FREE_ON_RESUME)


def is_inside(key: str, name: str) -> bool:
    """Returns whether a setting is `name` or in the group of that name."""
    return key == name or key.startswith(f"{name}.")


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Returns the config with every local path of data and weights absolute, so that the run can be used anywhere."""
    cfg = cfg.copy()
    for key, value in cfg.data.items():
        if isinstance(value, str) and key.endswith(("path", "root", "folder", "corrections", "interface")):
            cfg.data[key] = absolute(value)
    lists = cfg.data.get("split_lists")
    if isinstance(lists, str):
        cfg.data.split_lists = absolute(lists)
    elif lists:
        cfg.data.split_lists = {split: absolute(file) for split, file in lists.items()}
    if cfg.model.weights and not is_address(cfg.model.weights.removeprefix("local-dir:")):
        cfg.model.weights = absolute(cfg.model.weights.removeprefix("local-dir:"))
    for key in ("aliases", "class_names"):
        value = OmegaConf.select(cfg, f"start.{key}")
        if isinstance(value, str) and value != "imagenet":
            cfg.start[key] = absolute(value)
    return cfg


def check_same_config(saved: DictConfig, wanted: DictConfig, overrides: Sequence[str], is_other_code: bool) -> None:
    """Raises InputError naming each setting in which a run that goes on would differ from how it began.

    Args:
        overrides: of the command line.
        is_other_code: the run began with another version: settings that are new since then, and that no override gives,
            are only warned of.
    """
    check_gone(flatten(saved))
    before, now = flatten(drop_gone(saved)), flatten(wanted)
    before |= {key: value for key, value in since(now).items() if key in now and key not in before}
    told = {name for name, text in map(parse_override, overrides) if text.startswith("{") or name in now}
    new = [
        key for key in now.keys() - before.keys() if not any(is_inside(key, name) for name in (*told, *FREE_ON_RESUME))
    ]
    ignored = new if is_other_code else []
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in ignored and not is_free(key)
    ]
    is_longer = before["epochs"] < now["epochs"]
    if is_longer:
        changed.remove(f"epochs: {before['epochs']} -> {now['epochs']}")
    if changed:
        raise InputError(
            f"the run began with other settings; take them back or give it a new name:\n{list_first(changed)}"
        )
    if ignored:
        values = ", ".join(f"{key}={now[key]}" for key in sorted(ignored))
        log.warning("the version that the run began with did not have these settings: %s", values)
    if is_longer:
        log.warning(
            "epochs: %d -> %d; the learning rate follows the longer schedule from here on, so that the result is not "
            "that of a run which began with it", before["epochs"], now["epochs"],
        )  # fmt: skip


def to_plain(value: object) -> object:
    """Returns the value of a setting without OmegaConf's classes."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def parse_override(override: str) -> tuple[str, str]:
    """Returns the setting of an override and its text.

    >>> parse_override("+data.groups={size: [big, small]}")
    ('data.groups', '{size: [big, small]}')
    """
    name, _, text = override.lstrip("+~").partition("=")
    return name, text


def flatten(cfg: DictConfig) -> dict[str, object]:
    """Returns the resolved config with dotted keys.

    >>> flatten(OmegaConf.create({"a": {"b": 1, "c": [2, 3]}}))
    {'a.b': 1, 'a.c': [2, 3]}
    """

    def walk(node: dict, prefix: str):
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(walk(OmegaConf.to_container(cfg, resolve=True), ""))
