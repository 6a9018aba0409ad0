"""What CSV, JSON lines and Parquet share: rows whose columns have names, in one of three layouts."""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.command_line import write_override
from multihot.data.table.agreement import AGREE
from multihot.data.table.answers import Answers
from multihot.data.table.cells import BLANK, SEPARATORS, as_list
from multihot.data.table.doubtful_columns import (
    find_mixed,
    is_joined,
)
from multihot.data.table.lookalikes import name_alike
from multihot.data.table.named_columns import Columns
from multihot.data.table.reader import TableReader, warn_of_several_splits
from multihot.data.table.table import SPLITS, Table
from multihot.errors import InputError, check_choice, name_first

log = logging.getLogger(__name__)

SEVERAL = "rows of several people about an image are data.agree=majority, any, all or mean"
LAYOUTS = ("cell", "columns", "pairs")

Rows = Iterator[tuple[int, Sequence]]  # number and cells of each row


@dataclass(kw_only=True)
class ColumnReader(TableReader):
    """Reads one file with a split column, or, as soon as `val_path` or `test_path` is given, one file a split.

    Args:
        image_suffix: added to each image, as ".jpg" where the cells are ids; None: nothing.
        layout: "cell": all labels of an image in `labels_column`, or in a list of columns; "columns": a column a label,
            with 1, 0, a soft answer between them, -1 for unknown, or nothing; "pairs": a row an image and a label (of
            `labels_column`).
        separator: stands between the labels of a cell. An empty cell is an image with none of the labels.
        unknown_column: for "cell": the labels about which nothing is known.
        label_columns: for "columns": which; None is all that have no other meaning.
        ignore_columns: columns that say nothing here; None: none.
        answers: what stands in the cells of answers, if it is not 1, 0, ...: see Answers.
        blank: what an empty cell says where an answer belongs.
        value_column: for "pairs": the answer; None: every pair says that the label is present.
        agree: how several answers about an image and a label go together, of pairs, or of the rows that several people
            have filled in for an image. "error": they must be equal, and in "cell" and "columns" an image has one row;
            "majority": what more than half of them say, a tie is unknown; "any": the largest answer, present if one
            says so; "all": the smallest; "mean": the mean, a soft answer. Who says unknown does not vote; a soft answer
            votes for present from 0.5 up. A label that a row of "cell" does not list is absent to it and votes so; in
            "columns" a blank cell votes as `blank` says; in "pairs" only those vote who have a row for the label.
        unlisted_pairs: for "pairs": what is true of a label that has no row.
        split_column: train, val (or valid, validation, dev) or test, in small or capital letters; None, or missing in a
            file that has only the columns of image and labels: all is for training.
        weight_column: how much each image counts in the loss, 0 or more; None: all the same.
        cluster_column: images of one patient, scene, ... that must not be divided between train and val.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    layout: str
    image_column: str
    labels_column: str | Sequence[str]
    separator: str
    unknown_column: str | None
    label_columns: Sequence[str] | None
    blank: str
    value_column: str | None
    unlisted_pairs: str
    split_column: str | None
    weight_column: str | None
    cluster_column: str | None
    image_suffix: str | None = None  # runs that began before there was this setting do not have it
    answers: Mapping[object, str | float] | None = None  # runs that began before there were these settings have none
    agree: str = "error"
    ignore_columns: Sequence[str] | None = None

    unit = "line"  # what the numbers of its rows count
    way_to_split = (
        "write it into the split column, or give each split a file of its own (data.path for train, data.val_path, "
        "data.test_path)"
    )

    @property
    def names_none(self) -> bool:
        """Whether a label such as "No Finding" is meant as one: a column of its own is."""
        return self.layout == "columns"

    @abstractmethod
    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the names of the columns of a file and its rows."""

    def parts(self, path: str) -> list[str]:
        """Returns the files that a path stands for."""
        return [path]

    def holds_images(self, file: str) -> bool:
        """Returns whether the images of an opened file are in it, and no files of their own."""
        return False

    def fill(self, table: Table) -> None:
        """Adds the rows of all files to the table."""
        files = dict(zip(SPLITS, (self.path, self.val_path, self.test_path), strict=True))
        files = {split: file for split, file in files.items() if file}
        if not files or not self.separator:
            raise InputError("data.separator and one of data.path, data.val_path, data.test_path must not be empty")
        check_choice("data.layout", self.layout, LAYOUTS)
        for setting in ("blank", "unlisted_pairs"):
            check_choice(f"data.{setting}", getattr(self, setting), list(BLANK))
        check_choice("data.agree", self.agree, AGREE)
        self.check_ignored()
        self.check_agree(table)
        if self.layout == "pairs" and self.unlisted_pairs == "unknown":
            table.unlisted = -1
        one_file = set(files) == {"train"}
        says = Answers(self.answers, self.blank)
        headers = []
        parts = {split: self.parts(path) for split, path in files.items()}
        for split, file in ((name, file) for name, files_of in parts.items() for file in files_of):
            header, rows = self.open(file)
            headers += header
            if file == parts[split][0] and self.split_column not in header:
                warn_of_several_splits(files[split], parts[split])
            table.begin(file, self.root, self.unit, embedded=self.holds_images(file))
            columns = Columns(self, file, header, one_file, says)
            if self.layout == "columns":
                self.add_labels(table, columns.labels, split == next(iter(files)))
            for number, cells in rows:
                columns.add_row(table, number, cells, split)
            columns.check(table)
        says.warn_of_unused(name_first(table.files))
        if self.layout == "pairs":
            self.warn_of_joined(table)
        missing = [name for name in self.names("ignore_columns") if name not in headers]
        if missing:
            raise InputError(
                f"{name_first(table.files)} has no column {', '.join(map(repr, missing))} of data.ignore_columns"
            )

    def warn_of_joined(self, table: Table) -> None:
        """Warns of labels of pairs that are made of others, or all of the same parts: cells with several labels."""
        labels = list(table.id_of)
        joined = [label for label in labels if is_joined(label, (self.separator, *SEPARATORS), table.id_of)]
        if not joined and len(table.row_of) == len(table.values):  # no image is in two rows
            joined = find_mixed(labels, self.separator)
        if joined:
            log.warning(
                "%s: the labels %s seem to be several. If a cell holds several, set data.layout=cell",
                name_first(table.files),
                name_first(list(map(repr, joined))),
            )

    def check_ignored(self) -> None:
        """Raises InputError if a column is ignored and used."""
        using = [setting for setting in self.__dataclass_fields__ if setting.endswith(("_column", "_columns"))]
        for setting in using:
            both = [name for name in self.names("ignore_columns") if name in self.names(setting)]
            if both and setting != "ignore_columns":
                raise InputError(f"data.ignore_columns and data.{setting} both name {', '.join(map(repr, both))}")

    def names(self, setting: str) -> list[str]:
        """Returns the columns that a setting names, one, several, or none."""
        value = getattr(self, setting)
        return [] if value is None else list(map(str, as_list(value)))

    def add_labels(self, table: Table, labels: Sequence[str], is_first_split: bool) -> None:
        """Adds the label columns of a file to the table; raises InputError if only a later split has some of them."""
        table.labels_of_file[len(table.files) - 1] = frozenset(labels)
        if is_first_split:
            table.labels = tuple(dict.fromkeys([*(table.labels or ()), *labels]))
            return
        new = [label for label in labels if label not in table.labels]
        if new and self.unseen_labels == "error":
            raise InputError(
                f"{table.files[-1]} has columns that {table.files[0]} does not have: {', '.join(map(repr, new))}"
                f"{name_alike(new, table.labels)}. Add "
                f"them there, or leave them out by {write_override('data.ignore_columns', new)} or "
                "data.unseen_labels=drop"
            )

    def check_agree(self, table: Table) -> None:
        """Tells the table how several answers agree; raises InputError where they cannot."""
        if self.layout == "pairs" or self.agree != "error":
            table.agree = self.agree
        if self.layout == "cell":
            table.twice = f"keep one row; a row an image and a label is data.layout=pairs; {SEVERAL}"
        elif self.layout == "pairs":
            table.twice = "all rows of an image belong to one split"
        elif self.layout == "columns":
            table.twice = f"keep one row; {SEVERAL}"
        if self.layout == "pairs" and self.value_column is None and self.agree not in ("error", "any"):
            raise InputError(
                f"data.agree={self.agree} needs data.value_column: without it every pair says present, and nobody is "
                "seen to say absent. Set it, or data.agree=any"
            )
