"""What the rows of one file say, and which of its columns may be something else than they seem."""

import logging
from collections.abc import Sequence
from itertools import chain

import numpy as np

from multihot.command_line import write_override
from multihot.data.table.answers import NO_ANSWER, Answers, parse_weight
from multihot.data.table.cells import CellError, as_text, is_blank, quote
from multihot.data.table.column_places import ColumnPlaces
from multihot.data.table.column_settings import ColumnSettings
from multihot.data.table.doubtful_columns import (
    UnusedAnswers,
    UnusedLabels,
    find_doubtful,
    find_shares,
)
from multihot.data.table.label_cells import SAY_ABSENT, check_not_null
from multihot.data.table.made_columns import warn_of_left_out
from multihot.data.table.propose import is_name
from multihot.data.table.table import SPLIT_OF_NAME, Table, name_splits
from multihot.errors import InputError

log = logging.getLogger(__name__)

SEVERAL_ANSWERS = "answers in several columns of data.labels_column (each must hold names of labels alone)"


class Columns(ColumnPlaces):
    """The columns of one file and what a row of theirs says; its arguments are those of ColumnPlaces."""

    def __init__(
        self, reader: ColumnSettings, file: str, header: list[str], one_file: bool, says: Answers, num_own: int
    ):
        super().__init__(reader, file, header, one_file, num_own)
        self.says, self.most_labels, self.start = says, 0, None
        unused = {} if reader.layout == "columns" else self.unused()
        self.has_unused = bool(unused)
        self.further = UnusedLabels(unused, reader.separator)
        may_answer = unused if self.value is None else {}
        self.unnamed_answers = UnusedAnswers(may_answer, says, only_named=reader.layout == "cell")
        self.split_of_name = name_splits(reader.split_names)
        self.skipped = frozenset(label.casefold() for label in reader.names("skip_labels"))
        self.untagged = (reader.layout == "cell" and reader.untagged) or "absent"
        self.may_skip = bool(self.skipped) or self.untagged != "absent"
        self.num_skipped = self.num_untagged = 0
        self.counts_readings = reader.layout == "cell" and (reader.agree != "error" or self.untagged == "unknown")

    def check(self, table: Table) -> None:
        """Warns of columns that are perhaps something else, after the rows of the file; raises InputError of others."""
        answers = self.unnamed_answers.found() if self.most_labels < 2 else []
        if answers:
            layout = "data.layout=pairs " if self.reader.layout == "cell" else ""
            choice = (
                write_override("data.value_column", answers[0]) if len(answers) == 1 else "data.value_column to one"
            )
            raise InputError(
                f"{self.file}: {describe_columns(answers)} may hold the answers, and unread each row says present. Set "
                f"{layout}{choice}, or, if that says nothing about the label, "
                f"{write_override('data.ignore_columns', answers)}"
            )
        further = self.further.found(table.id_of)
        if further:
            named = self.reader.names("labels_column")
            log.warning(
                "%s: labels stand also in %s, which nothing reads: %s reads them, %s says that they do not matter",
                self.file,
                describe_columns(further),
                write_override("data.labels_column", [*named, *further]),
                write_override("data.ignore_columns", further),
            )
        if self.labels and self.start is not None:
            self.check_labels(table)
        words = ", ".join(self.reader.names("skip_labels"))
        warn_of_left_out(self.file, self.num_skipped, f"by data.skip_labels ({words})")
        if self.untagged == "skip":
            warn_of_left_out(self.file, self.num_untagged, "that have no label (data.untagged=skip)")

    def check_labels(self, table: Table) -> None:
        """Warns of label columns that may be none; says how to leave out those that hold no answers."""
        values = np.frombuffer(table.values, np.float32)[self.start :].reshape(-1, len(self.labels))
        num_known = (values >= 0).sum(axis=0)
        doubtful = [] if self.reader.label_columns is not None else find_doubtful(self.labels)
        bad = [
            label
            for label, known in zip(self.labels, num_known, strict=True)
            if table.bad_answers[label] > (0 if label in doubtful else known)
        ]
        if bad:
            one = {name for name in bad if name in self.reader.names("labels_column")}
            layout = "; if all labels of an image stand in one, data.layout=cell, or pairs" if one else ""
            splits = [label for label in bad if holds_splits(label, table.problems[NO_ANSWER].first)]
            others = [label for label in bad if label not in splits]
            ways = "".join(f"; a column of splits: {write_override('data.split_column', label)}" for label in splits)
            if len(bad) < len(self.labels):
                table.forget_names_in(bad)
                ways += f"; columns that are no labels: {write_override('data.ignore_columns', others)}" * bool(others)
            elif all(map(is_name, table.bad_cells)):
                columns = write_override("data.labels_column", self.labels)
                ways += f"; if these words are the labels: data.layout=cell {columns}"
            places = table.problems.pop(NO_ANSWER)
            table.problems[NO_ANSWER + ways + layout].extend(places)
        table.bad_answers.clear()
        if self.reader.label_columns is not None:
            return
        doubtful = dict.fromkeys([*doubtful, *find_shares(self.labels, values)])
        doubtful = [label for label in doubtful if label not in bad]
        if doubtful:
            log.warning(
                "%s: %d columns are taken for labels, also %s. If that is none: %s (or data.weight_column, "
                "data.cluster_column, data.split_column); if it is one, name all in data.label_columns",
                self.file,
                len(self.labels),
                describe_columns(doubtful),
                write_override("data.ignore_columns", doubtful),
            )

    def add_row(self, table: Table, number: int, cells: Sequence, file_split: str) -> None:
        """Adds one row to the table; if it names no split it belongs to `file_split`."""
        if len(cells) != len(self.header):
            more = cells[len(self.header) :]
            if len(cells) < len(self.header) or not all(map(is_blank, more)):  # commas at the end of a line are nothing
                table.note_width(number, len(cells), len(self.header))
                return
        weight = None if self.weight is None else parse_weight(cells[self.weight])
        if self.weight is not None and weight is None:
            table.note_weight(number, cells[self.weight])
            return
        if self.start is None:
            self.start = len(table.values)
        try:
            labels, values = self.answers(table, number, cells)
        except CellError as error:
            table.note(error.problem, number, error.details)
            return
        if self.has_unused:
            self.look_at_unused(cells, labels)
        if self.may_skip and self.is_skipped(labels):
            return
        image = cells[self.image]
        is_path = isinstance(image, str) and not self.reader.image_suffix
        image = image.strip() if is_path else self.name_image(image)
        split = file_split if self.split is None else as_text(cells[self.split])
        table.add(
            number,
            image,
            labels,
            values,
            split=self.split_of_name.get(split.lower(), split),
            weight=weight,
            cluster=None if self.cluster is None else self.name_cluster(table, number, cells[self.cluster]),
            again=table.agree is not None,
            num_readings=int(bool(labels) or self.untagged != "unknown") if self.counts_readings else None,
        )

    def is_skipped(self, labels: Sequence[str]) -> bool:
        """Returns whether the settings leave out an image with these labels, and counts it."""
        is_untagged = self.untagged != "absent" and not labels
        is_skipped = any(label.casefold() in self.skipped for label in labels)
        self.num_untagged += is_untagged
        self.num_skipped += is_skipped
        return is_skipped or (is_untagged and self.untagged == "skip")

    def name_cluster(self, table: Table, number: int, cell: object) -> str:
        """Returns what an image's cell says it belongs to; an empty one may say that it belongs to no other."""
        cluster = as_text(cell)
        return f"{table.files[-1]} {number}" if not cluster and self.reader.blank_cluster == "own" else cluster

    def look_at_unused(self, cells: Sequence, labels: Sequence[str]) -> None:
        """Looks for labels and answers in the columns that no setting names."""
        if self.unnamed_answers.asked and labels:
            self.most_labels = max(self.most_labels, len(labels))
            self.unnamed_answers.look(cells)
        if self.further.is_looking:
            self.further.look(cells, labels)

    def name_image(self, cell: object) -> object:
        """Returns the path in a cell, with the ending that all of them lack; what is no text stays as it is."""
        if self.reader.image_suffix and not is_blank(cell) and isinstance(cell, str | int):
            return f"{str(cell).strip()}{self.reader.image_suffix}"
        return cell

    def answers(self, table: Table, number: int, cells: Sequence) -> tuple[Sequence[str], list[float] | None]:
        """Returns the labels that a row speaks of and its answers; None: all are present."""
        if self.reader.layout == "columns":
            answers = [cells[k] for k in self.places]
            return self.labels, table.read_answers(self.says, number, self.labels, answers)
        if self.reader.layout == "pairs":
            cell = cells[self.labels_columns[0]]
            labels = [] if is_blank(cell) else [self.reader.cells.read_one(cell)]
            if self.value is None or not labels:
                return labels, None
            cell = cells[self.value]
            value = self.says.get(cell) if isinstance(cell, str) else None  # what has been read before
            if value is not None:
                return labels, [value]
            return labels, table.read_answers(self.says, number, labels, [cell], self.header[self.value])
        present, answers = self.read_labels(cells)
        if answers is not None:
            return present, table.read_answers(self.says, number, present, answers)
        if self.unknown is None:
            return present, None
        unknown = self.reader.cells.names_in(cells[self.unknown])
        return present + unknown, [1.0] * len(present) + [-1.0] * len(unknown)

    def read_labels(self, cells: Sequence) -> tuple[list[str], Sequence | None]:
        """Returns the labels in the columns of labels and the cells of their answers; None: all are present."""
        places = self.labels_columns
        first = cells[places[0]]
        filled = [cells[place] for place in places if not is_blank(cells[place])] if len(places) > 1 else ()
        if len(filled) < 2:
            cell = filled[0] if filled else first
            if not isinstance(cell, str):
                check_not_null(cell, is_none=self.reader.blank == "absent", way_out=SAY_ABSENT)
            return self.reader.cells.read(cell)
        labels, answers = zip(*map(self.reader.cells.read, filled), strict=True)
        if any(cells is not None for cells in answers):
            raise CellError(SEVERAL_ANSWERS, f"{quote(filled[0])}, {quote(filled[1])}")
        return list(dict.fromkeys(chain.from_iterable(labels))), None  # a label may stand in two columns


def holds_splits(label: str, places: Sequence[str]) -> bool:
    """Returns whether the first cell of a column that is no answer is the name of a split.

    >>> holds_splits("Set", ["my.csv line 2: 'Set' is 'Train'"]), holds_splits("Set", ["my.csv line 2: 'Set' is 'red'"])
    (True, False)
    """
    cells = (place.partition(f"{label!r} is ")[2] for place in places)
    return next((cell.strip("' ").lower() in SPLIT_OF_NAME for cell in cells if cell), False)


def describe_columns(names: Sequence[str]) -> str:
    """Returns the names of columns in words.

    >>> describe_columns(["fold"]), describe_columns(["fold", "sex"])
    ("the column 'fold'", "the columns 'fold', 'sex'")
    """
    return f"the column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
