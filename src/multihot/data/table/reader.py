"""What all readers of listed images are: a table that they fill once, and the Manifest of each split of it."""

import logging
import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from multihot.data.formats.recognize import explaining
from multihot.data.manifest import SPLITS, Manifest
from multihot.data.splitting import stratify
from multihot.data.table.image_finder import ImageFinder, warn_of_unused
from multihot.data.table.image_paths import read_prefixes
from multihot.data.table.label_cells import LabelCells
from multihot.data.table.lookalikes import warn_of_lookalikes
from multihot.data.table.none_labels import take_out, warn_of_words
from multihot.data.table.places import Cases, Problems
from multihot.data.table.table import SPLIT_OF_NAME, Table
from multihot.data.table.targets import NOT_LISTED, check_existence, create_manifest, create_targets, find_lacking
from multihot.errors import InputError, MissingSplitError, check_choice, list_kinds, name_first
from multihot.labels import read_groups

log = logging.getLogger(__name__)

MOST_FILES = 3  # named in an error
NO_ROWS = "splits without rows"
NOT_IN_MODEL = (
    "labels that the model does not have (correct their rows or take them out; or leave these answers out of the "
    "evaluation by data.unseen_labels=drop, for evaluate.py +data.unseen_labels=drop; a new training learns labels "
    "that have train rows or are in data.labels)"
)
UNSEEN = {"error": NOT_IN_MODEL, "drop": None}
SPLIT_BY_PATHS = "give each split its own source (data.path for train, data.val_path, data.test_path)"


@dataclass(kw_only=True)
class TableReader(ABC):
    """A reader, (split, labels=None, must_exist=True) -> Manifest; its files are read once for all splits.

    If no row is for validation, `val_fraction` of the train rows is, drawn with `split_seed` so that every label has
    its share of positives in both parts, and that rows of one cluster stay together; 0 leaves val empty. The text of
    all files is checked whichever split is read, so that no image is in two of them; whether the images exist is
    checked for this split alone. The problems of all rows are raised together as one InputError.

    Args:
        root: folder that image paths start from and must not leave; None is the folder of the file that names them.
        labels: the label list in its order; None is the source's own, or all labels of the train rows, sorted.
        groups: labels that exclude each other, `{name: [label, ...]}` or `{name: {labels: [...], none: true}}`.
        none_labels: words that stand where labels do and mean none of them, in small or capital letters.
        misread: what is done where something looks as if it would be misread, an export that has a reader of its own or
            a label such as "No Finding": "error" or "warn".
        unseen_labels: what answers about labels are that the model does not have: "error", or "drop": left out.
        replace_prefix: {how images begin in the files: what stands there instead}.
        search_images: images are looked for by their names in all folders below their root.
    """

    root: str | None
    labels: Sequence[str] | None
    groups: Mapping | None
    val_fraction: float
    split_seed: int
    none_labels: Sequence[str] | None = None  # runs that began before there were these settings do not have them
    unseen_labels: str = "error"
    replace_prefix: Mapping[str, str] | None = None
    search_images: bool = False
    misread: str = "warn"

    names_none: ClassVar[bool] = False  # whether a label such as "No Finding" is meant as one
    way_to_split: ClassVar[str]  # what gives a split rows, said of one that has none

    def paths(self) -> dict[str, str]:
        """Returns the path of each split that has one."""
        paths = dict(zip(SPLITS, (self.path, self.val_path, self.test_path), strict=True))
        if not any(paths.values()):
            raise InputError("one of data.path, data.val_path and data.test_path must not be empty")
        return {split: path for split, path in paths.items() if path}

    @abstractmethod
    def fill(self, table: Table) -> None:
        """Adds the rows of all files to the table."""

    @cached_property
    def table(self) -> Table:
        """The rows of all files."""
        table = Table()
        table.finder = ImageFinder(read_prefixes(self.replace_prefix or {}), search=self.search_images)
        with explaining(self):
            self.fill(table)
        warn_of_unused(table.finder.unused, name_first(table.files, MOST_FILES))
        table.propose_answers()
        if table.labels is None:
            self.cells.check(name_first(table.files, MOST_FILES), table.id_of)
        if self.none_labels:
            take_out(table, self.none_labels, self.labels)
        return table

    @cached_property
    def cells(self) -> LabelCells:
        """What reads the cells of labels."""
        return LabelCells(getattr(self, "separator", " "), self.labels, keeps_none=self.misread == "error")

    def __call__(self, split: str, labels: Sequence[str] | None = None, must_exist: bool = True) -> Manifest:
        """Returns the images and labels of one split ("train", "val" or "test"), in the order of the files.

        Args:
            labels: the label list; None is that of the settings.
            must_exist: images for which there is no file are an error.
        """
        check_choice("split of the data", split, SPLITS)
        problems = defaultdict(Cases, {kind: places.copy() for kind, places in self.table.problems.items()})
        rows = self.select(split, problems)
        of_model = labels is not None
        if self.cells.has_text:
            self.cells.has_text = False  # one warning a source
            known = (labels if of_model else self.labels) or ()
            self.cells.warn_of_separator(name_first(self.table.files, MOST_FILES), self.table.id_of, known)
        labels = tuple(map(str, labels)) if of_model else self.own_labels()
        if must_exist:
            check_existence(self.table, rows, problems)
        if split == "train" and self.table.weights and len(rows) and not np.asarray(self.table.weights)[rows].any():
            problems["weights that are all 0: nothing would be learnt"].append("those of all train rows")
        unseen = UNSEEN[self.unseen_labels] if of_model else NOT_LISTED
        targets = create_targets(self.table, rows, labels, problems, unseen)
        if problems:
            files = name_first(self.table.files, MOST_FILES)
            error = MissingSplitError if list(problems) == [NO_ROWS] else InputError
            with nullcontext() if len(self.table) else explaining(self):  # another reader may read what this one cannot
                raise error(f"{files} cannot be used. There are\n{list_kinds(problems)}")
        self.warn_of_lacking(rows, labels)
        if split == "train" and not of_model:
            warn_of_lookalikes(labels)
            self.warn_of_unseen(labels)
            if not self.names_none:
                known = {*map(str, self.labels or ()), *self.table.none_labels}
                must_choose = self.misread == "error" and self.none_labels is None
                warn_of_words(self.table, known, name_first(self.table.files, MOST_FILES), must_choose=must_choose)
        return create_manifest(self.table, rows, labels, targets, read_groups(self.choose_groups(labels)))

    def choose_groups(self, labels: Sequence[str]) -> Mapping | None:
        """Returns the groups of the settings, else what the source says of these labels."""
        return restrict(self.table.groups, labels) if self.groups is None else self.groups

    def own_labels(self) -> tuple[str, ...]:
        """Returns the labels of the settings, of the source, or of the train rows."""
        wanted = self.table.labels if self.labels is None else self.labels
        return self.table.train_labels() if wanted is None else tuple(map(str, wanted))

    def warn_of_lacking(self, rows: np.ndarray, labels: Sequence[str]) -> None:
        """Warns of files with a column a label that have none for some of the labels."""
        lacking = find_lacking(self.table, rows, labels)
        if lacking:
            described = [f"{self.table.files[file]}: {name_first(missing)}" for file, missing in lacking.items()]
            log.warning("labels without a column are unknown in the rows of their file: %s", "; ".join(described))

    def warn_of_unseen(self, labels: tuple[str, ...]) -> None:
        """Warns of labels that rows of other splits have and that are not to be trained."""
        unseen = self.table.count_unseen(labels)
        if not unseen:
            return
        described = [
            f"{label!r} ({', '.join(f'{split} {counts[split]}' for split in counts)})" for label, counts in unseen
        ]
        refused = (
            "evaluate.py will refuse rows that name them: add train rows, correct these, or data.unseen_labels=drop"
        )
        by_rows = "has no train row", "have no train row"
        lacks = by_rows if self.labels is None else ("is not in data.labels", "are not in data.labels")
        log.warning(
            "%s: %s; the model will not know them, and %s",
            f"1 label {lacks[0]}" if len(unseen) == 1 else f"{len(unseen)} labels {lacks[1]}",
            name_first(described),
            refused if self.unseen_labels == "error" else "evaluation leaves them out (data.unseen_labels=drop)",
        )

    def select(self, split: str, problems: Problems) -> np.ndarray:
        """Returns the rows of a split; without rows for validation, train and val divide the train rows."""
        split_ids = np.asarray(self.table.split_ids)
        parts = {name: np.flatnonzero(split_ids == number) for number, name in enumerate(SPLITS)}
        if split != "test" and len(parts["train"]) and not len(parts["val"]):
            parts = self.divide(parts["train"])
            if self.val_fraction > 0 and not (len(parts["val"]) and len(parts["train"])):
                problems["unusable data.val_fraction"].append(
                    f"{self.val_fraction} of {sum(map(len, parts.values()))} train rows leaves none for val or none "
                    "for train; choose another, or give val rows of its own"
                )
        elif not len(parts[split]) and not problems:  # which may be why
            there = ", ".join(name for name in SPLITS if len(parts[name])) or "no split"
            problems[NO_ROWS].append(f"{split}: {self.way_to_split}; {there} has rows")
        return parts[split]

    def divide(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the train rows in two parts, "train" and "val", each in their order."""
        if self.val_fraction == 0:
            return {"train": rows, "val": rows[:0]}
        targets = create_targets(self.table, rows, tuple(self.table.id_of), defaultdict(Cases))
        clusters = np.asarray(self.table.clusters)[rows] if self.table.clusters else None
        fraction = max(self.val_fraction, 1 / len(rows))  # one row at least
        part = stratify(targets, (1 - fraction, fraction), self.split_seed, clusters)
        return {"train": rows[part == 0], "val": rows[part == 1]}


def restrict(groups: Mapping[str, Mapping], labels: Sequence[str]) -> dict[str, dict]:
    """Returns the groups of the labels that there are; one that lacks some of its labels may have none of the others.

    >>> restrict({"colour": {"labels": ["red", "blue", "green"], "none": False}}, ["red", "blue", "cat"])
    {'colour': {'labels': ['red', 'blue'], 'none': True}}
    """
    result = {}
    for name, group in groups.items():
        kept = [label for label in group["labels"] if label in labels]
        if len(kept) > 1:
            result[name] = {"labels": kept, "none": group["none"] or len(kept) < len(group["labels"])}
    return result


def split_named_by(file: str) -> str | None:
    """Returns the split that a file's name tells, None if it tells none or several.

    >>> split_named_by("photos_train-00000-of-00002.parquet"), split_named_by("validation000.tar")
    ('train', 'val')
    >>> split_named_by("trains.tar"), split_named_by("train_test.tar")
    (None, None)
    """
    words = re.findall("[a-z]+", os.path.basename(file).lower())
    splits = {SPLIT_OF_NAME[word] for word in words if word in SPLIT_OF_NAME}
    return splits.pop() if len(splits) == 1 else None


def warn_of_several_splits(path: str, files: Sequence[str]) -> None:
    """Warns where the files that a path stands for, which are read as one split, are named after several."""
    first_of = {}
    for file in files:
        first_of.setdefault(split_named_by(file), file)
    first_of.pop(None, None)
    if len(first_of) > 1:
        log.warning(
            "%s is read as one split, but its files are named after several: %s; give each split its own, as "
            "data.path='folder/train*' data.val_path='folder/val*' data.test_path='folder/test*'",
            path,
            name_first(list(first_of.values())),
        )
