"""The run folder: everything about one run in one place, known by its path alone."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from multihot.data.manifest import SPLITS
from multihot.decisions.decisions import DECISIONS_FILE, Decisions
from multihot.errors import InputError, check_choice, list_first
from multihot.files import damaged, read_json, recover_folder, write_json, write_text, writing
from multihot.json_shapes import CODE, CONFIG, COUNTS, FINISHED, HISTORY, LABELS, MANIFESTS, find_misfit
from multihot.known_classes import check_targets
from multihot.ownership import CHECKPOINT, EVALUATION, MODEL, Kind, check_replaceable
from multihot.run.checkpoint import list_checkpoints
from multihot.run.code import code_version
from multihot.settings.saved import drop_gone, read_config, with_absolute_paths

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"  # all settings, resolved
LABELS_FILE = "labels.json"  # the label list: the columns of every (.., C) tensor in their order
COUNTS_FILE = "train_counts.json"  # label counts of the train split, which weights of the loss may follow
SPLITS_FILE = "manifests.json"  # size and hash of each split that the run has seen
START_FILE = "head_start.csv"  # where each label's first weights come from
HISTORY_FILE = "history.json"  # one row of scores an epoch
FINISHED_FILE = "finished.json"  # score and settings of a training that has come to its end
CODE_FILE = "code.json"  # version and commit of the code
TRACKER_FILE = "tracker.json"  # the run's id in W&B, and what its tracker has been told
LOCK = ".lock"  # in a run folder, from when the first training enters it
UNWRITABLE = "Make space or set that right, or set runs_folder to another"


@dataclass(frozen=True)
class Run:
    """One run: its folder, and how a training has entered it."""

    folder: Path
    goes_on: bool = False  # from a checkpoint
    config_sha256: str = ""  # of the settings as they were asked for
    is_trial: bool = False  # of a search, which may give it up
    batch_size: int | None = None  # as it was asked for: another number of processes trains with another

    @property
    def best(self) -> Path:
        """The model of the best epoch, as a timm folder."""
        return self.folder / "best"

    @property
    def last(self) -> Path:
        """The newest checkpoint: the whole state."""
        return self.folder / "last"

    def dropped(self, split: str) -> Path:
        """The listed images of a split that could not be used."""
        return self.folder / f"bad_images_{split}.csv"

    def split(self, split: str) -> Path:
        """Predictions and scores of a split."""
        return self.folder / split

    @property
    def parts(self) -> dict[Path, Kind]:
        """The folders in it that a training replaces, and what each holds."""
        checkpoints = dict.fromkeys(list_checkpoints(self.last), CHECKPOINT)
        return {self.best: MODEL, self.split("val"): EVALUATION, **checkpoints}

    def owns(self, name: str) -> bool:
        """Returns whether a folder of this name in it is one that the run itself makes."""
        return name in ("best", *SPLITS) or bool(re.fullmatch(r"last(\.\d+)?", name))

    def read_config(self) -> DictConfig:
        """Returns all settings; raises InputError if their file is damaged."""
        saved = read_config(self.folder / CONFIG_FILE)
        fault = find_misfit(OmegaConf.to_container(saved), CONFIG)
        if fault is not None:
            raise damaged(self.folder / CONFIG_FILE, fault)
        return saved

    def recover(self) -> None:
        """Puts back what a kill in the middle of a replacement has moved away."""
        with writing(self.folder, UNWRITABLE):
            for old in self.folder.glob(".*.old"):
                name = old.name.removeprefix(".").removesuffix(".old")
                if self.owns(name):
                    recover_folder(self.folder / name)

    def check_parts(self) -> None:
        """Raises InputError if a folder that a training replaces holds what none has written."""
        way_out = "give the run another name"
        with writing(self.folder, way_out):
            for folder, kind in self.parts.items():
                if not folder.is_symlink():  # of a link, the link alone is replaced
                    check_replaceable(folder, kind, way_out)

    def check_unused(self) -> None:
        """Raises InputError if the folder holds files of the names of ours, and no training has begun in it."""
        if (self.folder / LOCK).exists() or self.has_ended() or list_checkpoints(self.last):
            return
        ours = (
            CONFIG_FILE, LABELS_FILE, COUNTS_FILE, SPLITS_FILE, START_FILE, HISTORY_FILE, CODE_FILE, FINISHED_FILE,
            TRACKER_FILE,
        )  # fmt: skip
        there = [name for name in ours if os.path.lexists(self.folder / name)]
        there += [f"{path.name}/" for path in self.parts if path.is_dir() and any(path.iterdir())]
        if there:
            raise InputError(
                f"{self.folder} holds files that no training has written and that this one would replace: give it "
                f"another name\n{list_first(there)}"
            )

    def save(self, settings: Mapping, labels: tuple[str, ...], counts: Mapping, splits: Mapping[str, Mapping]) -> None:
        """Writes what a training begins or goes on with: config, label list, counts, the splits, the code.

        Raises:
            InputError: a run that goes on had other labels or other data.
        """
        with writing(self.folder, UNWRITABLE):
            self.note_code()
            if self.goes_on:
                self.check_same_data(labels, splits)
            (self.folder / FINISHED_FILE).unlink(missing_ok=True)
            write_json(self.folder / LABELS_FILE, list(labels))
            write_json(self.folder / COUNTS_FILE, counts)
            write_json(self.folder / SPLITS_FILE, {**self.read_splits(), **splits})
            as_asked = OmegaConf.create({**settings, "batch_size": self.batch_size})
            write_text(self.folder / CONFIG_FILE, OmegaConf.to_yaml(as_asked, resolve=True))

    def note_code(self) -> None:
        """Writes down the version of the code, and warns if the run began with another."""
        path, now = self.folder / CODE_FILE, code_version()
        before = read_json(path, CODE) if self.goes_on and path.exists() else now
        if before != now:
            log.warning("the code is not what the run began with (%s): %s then, %s now", path, before, now)
        write_json(path, before | ({"went_on_with": now} if before != now else {}))

    def has_other_code(self) -> bool:
        """Returns whether the run began with another version of the code, or with one that did not write it down."""
        return not (self.folder / CODE_FILE).exists() or read_json(self.folder / CODE_FILE, CODE) != code_version()

    def check_same_data(self, labels: tuple[str, ...], splits: Mapping[str, Mapping]) -> None:
        """Raises InputError if labels or splits are not those that the run began with."""
        if self.read_labels() != labels:
            raise InputError(f"the data has other labels than {self.folder / LABELS_FILE}; a new name starts a new run")
        faults = [fault for split in splits if (fault := self.find_other_data(split, splits[split]))]
        if faults:
            raise InputError(
                f"the data is not what the run began with; bring it back or give it a new name:\n{list_first(faults)}"
            )

    def has_ended(self) -> bool:
        """Returns whether a training has come to its end here, of whatever settings."""
        return (self.folder / FINISHED_FILE).exists()

    def read_finished(self, epochs: int, patience: int | None) -> dict | None:
        """Returns score and epoch of a training of the same settings that has come to its end, else None.

        An end that more patience, or training it by itself after a search gave it up, would put off is none.
        """
        finished = read_json(self.folder / FINISHED_FILE, FINISHED) if self.has_ended() else None
        if finished is None or finished["config_sha256"] != self.config_sha256:
            return None
        if finished.get("pruned"):
            return finished if self.is_trial else None
        last = finished.get("last_epoch", epochs)
        has_waited = patience is not None and last - finished["epoch"] >= patience
        return finished if last >= epochs or has_waited else None

    def finish(self, *, score: float | None, epoch: int, last_epoch: int, pruned: bool, global_batch_size: int) -> None:
        """Notes that the training has come to its end, and with what.

        Args:
            score, epoch: of the best epoch.
            pruned: a search gave it up after `last_epoch`.
            global_batch_size: images of a batch in all processes.
        """
        end = {"score": score, "epoch": epoch, "last_epoch": last_epoch, "pruned": pruned}
        end |= {"global_batch_size": global_batch_size, "config_sha256": self.config_sha256}
        with writing(self.folder, "What is trained is in best/; the same command writes the rest"):
            write_json(self.folder / FINISHED_FILE, end)

    def note_split(self, split: str, identity: Mapping) -> None:
        """Writes down the data of an evaluation, and warns if it is not what the run has seen before."""
        fault = self.find_other_data(split, identity)
        if fault is None:
            with writing(self.folder, "give another folder by out="):
                write_json(self.folder / SPLITS_FILE, {**self.read_splits(), split: dict(identity)})
        else:
            log.warning("%s; scores cannot be compared. out=<folder> would leave the run's own as they are", fault)

    def find_other_data(self, split: str, identity: Mapping) -> str | None:
        """Returns in what a split is not the one that the run has seen; None if it is, or is the first."""
        before = self.read_splits().get(split, identity)
        if before == identity:
            return None
        num_before = before.get("num_images", "other")
        return (
            f"the {split} split is not the one that this run has seen: {num_before} images then, "
            f"{identity['num_images']} now; their names, order, answers or labels differ ({self.folder / SPLITS_FILE})"
        )

    def read_decisions(self) -> Decisions | None:
        """Returns the decisions that were fitted for the best model; None if none were."""
        return Decisions.load(self.best) if (self.best / DECISIONS_FILE).exists() else None

    def read_splits(self) -> dict[str, dict]:
        """Returns size and hash of each split that the run has seen."""
        return read_json(self.folder / SPLITS_FILE, MANIFESTS) if (self.folder / SPLITS_FILE).exists() else {}

    def read_history(self) -> list[dict]:
        """Returns one row of scores an epoch; none before the first measurement."""
        return read_json(self.folder / HISTORY_FILE, HISTORY) if (self.folder / HISTORY_FILE).exists() else []

    def read_counts(self, num_labels: int) -> dict[str, int | list[int]]:
        """Returns what the loss knows of the train split."""
        counts = read_json(self.folder / COUNTS_FILE, COUNTS)
        if {len(counts["label_count"]), len(counts["num_known"])} != {num_labels}:
            raise damaged(self.folder / COUNTS_FILE, f"it does not count {num_labels} labels")
        return counts

    def read_labels(self) -> tuple[str, ...]:
        """Returns the label list."""
        labels = tuple(read_json(self.folder / LABELS_FILE, LABELS))
        if not labels or len(set(labels)) < len(labels):
            raise damaged(self.folder / LABELS_FILE, "it names a label twice" if labels else "it names no label")
        return labels


def in_process_0(action: Callable[[], object]) -> object:
    """Returns in all processes what a function returns in process 0, which alone calls it, or raises its InputError."""
    result = fault = None
    if PartialState().is_main_process:
        try:
            result = action()
        except InputError as error:
            fault = str(error)
    result, fault = broadcast_object_list([result, fault])
    if fault is not None:
        raise InputError(fault)
    return result


def known_settings(data: DictConfig) -> list[str]:
    """Returns the settings of a source: those that a run has, and those that its reader has been given since then."""
    reader = signature(get_object(data["_target_"])).parameters
    return [key for key in dict.fromkeys([*map(str, data), *reader]) if not key.startswith("_")]


def load_run(folder: str, changes: Mapping) -> tuple[Run, DictConfig, tuple[str, ...]]:
    """Returns a run, its settings with those changes that are not None, and its labels.

    Raises:
        InputError: the folder holds no run that has finished its first measurement, or its data has no such setting.
    """
    run = Run(Path(folder))
    in_process_0(run.recover)
    missing = [name for name in (CONFIG_FILE, LABELS_FILE, run.best.name) if not (run.folder / name).exists()]
    if missing:
        known = sorted(str(path.parent) for path in run.folder.parent.glob("*/config.yaml"))
        beside = f"; runs beside it:\n{list_first(known, limit=10)}" if known else ""
        raise InputError(f"run={folder} is no complete run: {', '.join(missing)} missing{beside}")
    saved = drop_gone(run.read_config())
    check_targets(saved, is_called=False)
    for key in changes.get("data", {}):
        if key not in saved.data:
            check_choice("a setting of data", key, known_settings(saved.data))
    changes = OmegaConf.create({key: value for key, value in changes.items() if value is not None})
    cfg = with_absolute_paths(OmegaConf.merge(saved, changes))
    return run, cfg, run.read_labels()
