"""The settings of a run: with absolute paths, as one hash, and compared with those it began with."""

import hashlib
import json
import logging
import os

from omegaconf import DictConfig, OmegaConf

from multihot.errors import InputError, list_first

log = logging.getLogger(__name__)

DECIDED = ("mixed_precision", "kernels")  # when a run begins
FREE_ON_RESUME = (
    "resume",
    "patience",
    "tracker",
    "num_workers",
    "runs_folder",
    "data.feature_cache",
    "data.cache_folder",
    "data.cache_path",
    "data.image_cache_path",
    "data.index_path",
    "checkpoint",
    "log_every",
    "name",
)  # may differ when a run goes on


def hash_config(cfg: DictConfig) -> str:
    """Returns a hash of all settings that a result may depend on, as they were asked for."""
    told = {key: value for key, value in flatten(cfg).items() if not is_free(key)}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def is_free(key: str) -> bool:
    """Returns whether a setting, or the group it is in, may differ when a run goes on."""
    return any(key == name or key.startswith(f"{name}.") for name in FREE_ON_RESUME)


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Returns the config with every local path of data and weights absolute, so that the run can be used anywhere."""
    cfg = cfg.copy()
    for key, value in cfg.data.items():
        if isinstance(value, str) and key.endswith(("path", "root", "folder", "_cache")):
            cfg.data[key] = absolute(value)
    if cfg.model.weights and not cfg.model.weights.startswith("shipped:"):
        cfg.model.weights = absolute(cfg.model.weights.removeprefix("local-dir:"))
    for key in ("aliases", "class_names"):
        if isinstance(cfg.head[key], str) and cfg.head[key] != "imagenet":
            cfg.head[key] = absolute(cfg.head[key])
    return cfg


def absolute(path: str) -> str:
    """Returns the absolute path, `~` resolved."""
    return os.path.abspath(os.path.expanduser(path))


def check_same_config(saved: DictConfig, wanted: DictConfig) -> None:
    """Raises InputError naming each setting in which a run that goes on would differ from how it began."""
    before, now = flatten(saved), flatten(wanted)
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not is_free(key)
    ]
    if before["epochs"] < now["epochs"]:
        changed.remove(f"epochs: {before['epochs']} -> {now['epochs']}")
        log.warning(
            "epochs: %d -> %d; the learning rate follows the longer schedule from here on, so that the result is not "
            "that of a run which began with it", before["epochs"], now["epochs"],
        )  # fmt: skip
    if changed:
        raise InputError(
            f"the run began with other settings; take them back or give it a new name:\n{list_first(changed)}"
        )


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
