"""What CSV, JSON lines and Parquet share: rows whose columns have names, in one of three layouts."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from multihot.command_line import write_override
from multihot.data.formats.recognize import check_format
from multihot.data.table.answers import Answers
from multihot.data.table.cells import SEPARATORS
from multihot.data.table.column_settings import ColumnSettings
from multihot.data.table.doubtful_columns import (
    find_mixed,
    is_joined,
)
from multihot.data.table.lookalikes import name_alike
from multihot.data.table.made_columns import MadeColumns, Rows
from multihot.data.table.named_columns import Columns
from multihot.data.table.reader import warn_of_several_splits
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first

log = logging.getLogger(__name__)

SEVERAL = "rows of several people about an image are data.agree=majority, any, all or mean"


@dataclass(kw_only=True)
class ColumnReader(ColumnSettings):
    """Reads files of rows; its arguments are those of ColumnSettings."""

    unit = "line"  # what the numbers of its rows count
    way_to_split = (
        "write it into the split column, or give each split a file of its own (data.path for train, data.val_path, "
        "data.test_path)"
    )

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
        files = self.paths()
        self.check_ignored()
        self.check_agree(table)
        if self.layout == "pairs" and self.unlisted_pairs == "unknown":
            table.unlisted = -1
        one_file = set(files) == {"train"}
        says = Answers(self.answers, self.blank)
        headers, made = [], MadeColumns(self, self.open)
        parts = {split: self.parts(path) for split, path in files.items()}
        for split, file in ((name, file) for name, files_of in parts.items() for file in files_of):
            check_format(file, self.misread)
            own, rows = self.open(file)
            header, rows = made.add(table, file, split, own, rows)
            headers += header
            if file == parts[split][0] and self.split_column not in header:
                warn_of_several_splits(files[split], parts[split])
            table.begin(file, self.root, self.unit, embedded=self.holds_images(file))
            columns = Columns(self, file, header, one_file, says, len(own))
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
