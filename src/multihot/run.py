"""The run folder: everything about one run in one place, named by process 0, and known by its path alone."""

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from omegaconf import DictConfig, OmegaConf

from multihot.checkpoint import recover_folder
from multihot.errors import InputError, check_choice, list_first

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
)  # may differ when a run goes on


@dataclass(frozen=True)
class Run:
    """The paths of one run's files."""

    folder: Path
    goes_on: bool = False  # from last/

    @property
    def config(self) -> Path:
        """All settings, resolved."""
        return self.folder / "config.yaml"

    @property
    def labels(self) -> Path:
        """The label list: the columns of every (.., C) tensor in their order."""
        return self.folder / "labels.json"

    @property
    def counts(self) -> Path:
        """Label counts of the train split, which weights of the loss may follow."""
        return self.folder / "train_counts.json"

    @property
    def manifests(self) -> Path:
        """Size and hash of each split that the run has seen."""
        return self.folder / "manifests.json"

    @property
    def head_start(self) -> Path:
        """Where each label's first weights come from."""
        return self.folder / "head_start.csv"

    @property
    def history(self) -> Path:
        """One row of scores an epoch."""
        return self.folder / "history.json"

    @property
    def tracker(self) -> Path:
        """The id under which the tracker knows the run."""
        return self.folder / "tracker.json"

    @property
    def best(self) -> Path:
        """The model of the best epoch, as a timm folder."""
        return self.folder / "best"

    @property
    def last(self) -> Path:
        """The whole state after the last epoch."""
        return self.folder / "last"

    def dropped(self, split: str) -> Path:
        """The listed images of a split that could not be used."""
        return self.folder / f"bad_images_{split}.csv"

    def split(self, split: str) -> Path:
        """Predictions and scores of a split."""
        return self.folder / split

    def recover(self) -> None:
        """Puts back what a kill in the middle of a replacement has moved away."""
        for old in self.folder.glob(".*.old"):
            recover_folder(self.folder / old.name.removeprefix(".").removesuffix(".old"))

    def save(self, cfg: DictConfig, labels: tuple[str, ...], counts: Mapping) -> None:
        """Writes config, label list and counts; raises InputError if a run that goes on had other labels."""
        if self.goes_on and json.loads(self.labels.read_text()) != list(labels):
            raise InputError(f"the data has other labels than {self.labels}; a new name starts a new run")
        write_json(self.labels, list(labels))
        write_json(self.counts, counts)
        write_text(self.config, OmegaConf.to_yaml(cfg, resolve=True))

    def note_split(self, split: str, num_images: int, num_dropped: int, fingerprint: str) -> None:
        """Writes down what a split is, and warns if it is not what the run has seen before."""
        manifests = json.loads(self.manifests.read_text()) if self.manifests.exists() else {}
        now = {"num_images": num_images, "num_dropped": num_dropped, "sha256": fingerprint}
        before = manifests.get(split, now)
        if before != now:
            log.warning(
                "the %s split is not the one that this run has seen: %d images then, %d now; their names, answers or "
                "labels differ, and scores cannot be compared (%s)",
                split, before["num_images"], num_images, self.manifests,
            )  # fmt: skip
        write_json(self.manifests, {**manifests, split: before})


def name_run(name: str | None, overrides: list[str], job: int | None) -> str:
    """Returns the run's name: `name`, or the time and the overrides; in a sweep, job by job.

    >>> name_run("baseline", ["loss=bce", "seed=1"], job=None)
    'baseline'
    >>> name_run("sweep", ["name=sweep", "loss=bce", "optimizer.lr=1e-4"], job=3)
    'sweep-3-loss_bce-lr_1e-4'
    """
    told = [override for override in overrides if not override.startswith(("name=", "resume=", "runs_folder="))]
    # of a dotted key the last word; of a path the last part; nothing that a command line would take apart
    short = "-".join(re.sub(r"^[+~]*([\w/]+\.)*", "", override).split("/")[-1] for override in told)
    slug = re.sub(r"[^\w.-]+", "_", short)[:80].strip("-_")
    if name is not None and job is None:
        return name
    parts = [name or datetime.now().strftime("%Y%m%d-%H%M%S"), str(job) if job is not None else "", slug]
    return "-".join(part for part in parts if part)


def open_run(cfg: DictConfig, overrides: list[str], job: int | None) -> tuple[Run, DictConfig]:
    """Returns the run that all processes share and its settings: what an earlier start decided stays decided.

    Args:
        job: number in a sweep, None outside of one.

    Raises:
        InputError: the folder holds a run and `resume` is off, or that run began with other settings.
    """
    if cfg.resume and cfg.name is None:
        raise InputError("resume=true needs name=<name of the run>")
    cfg = with_absolute_paths(cfg)
    folder = Path(cfg.runs_folder) / broadcast_object_list([name_run(cfg.name, overrides, job)])[0]
    run = Run(folder)
    if PartialState().is_main_process:
        run.recover()
    PartialState().wait_for_everyone()
    goes_on = run.last.exists()  # a start that failed before its first measurement has left nothing to lose
    if goes_on and not cfg.resume:
        raise InputError(f"{folder} holds a run already: resume=true goes on with it, another name starts a new one")
    if goes_on:
        saved = OmegaConf.load(run.config)
        for key in DECIDED:
            cfg[key] = saved[key] if cfg[key] in ("auto", "default") else cfg[key]
        check_same_config(saved, cfg)
    PartialState().wait_for_everyone()  # none may see what another has begun to write
    folder.mkdir(parents=True, exist_ok=True)
    return replace(run, goes_on=goes_on), cfg


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
        if before.get(key) != now.get(key) and not {key, key.split(".")[0]} & set(FREE_ON_RESUME)
    ]
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


def load_run(folder: str, changes: Mapping) -> tuple[Run, DictConfig, tuple[str, ...]]:
    """Returns a run, its settings with those changes that are not None, and its labels.

    Raises:
        InputError: the folder holds no run that has finished its first measurement, or its data has no such setting.
    """
    run = Run(Path(folder))
    if PartialState().is_main_process:
        run.recover()
    PartialState().wait_for_everyone()
    missing = [path.name for path in (run.config, run.labels, run.best) if not path.exists()]
    if missing:
        known = sorted(str(path.parent) for path in run.folder.parent.glob("*/config.yaml"))
        beside = f"; runs beside it:\n{list_first(known, limit=10)}" if known else ""
        raise InputError(f"run={folder} is no complete run: {', '.join(missing)} missing{beside}")
    saved = OmegaConf.load(run.config)
    for key in changes.get("data", {}):
        check_choice("a setting of data", key, [str(known) for known in saved.data if not known.startswith("_")])
    changes = OmegaConf.create({key: value for key, value in changes.items() if value is not None})
    cfg = with_absolute_paths(OmegaConf.merge(saved, changes))
    return run, cfg, tuple(json.loads(run.labels.read_text()))


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name and moves it into place, so that it is there in full or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """Writes JSON as `write_text` does; NaN becomes null, which every reader of JSON understands."""
    write_text(path, json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n")


def without_nan(value: object) -> object:
    """Returns the value with None for each NaN in it.

    >>> without_nan([{"map": float("nan"), "epoch": 1}])
    [{'map': None, 'epoch': 1}]
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
