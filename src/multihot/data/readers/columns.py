"""What CSV, JSON lines and Parquet share: rows whose columns have names, in one of three layouts."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.readers.agreement import AGREE
from multihot.data.readers.answers import Answers, parse_weight
from multihot.data.readers.cells import BLANK, CellError, is_blank
from multihot.data.readers.label_cells import check_not_null
from multihot.data.readers.reader import TableReader
from multihot.data.readers.table import SPLIT_OF_NAME, SPLITS, Table, name_first
from multihot.errors import InputError, check_choice

SEVERAL = "rows of several people about an image are data.agree=majority, any, all or mean"
LAYOUTS = ("cell", "columns", "pairs")

Rows = Iterator[tuple[int, Sequence]]  # number and cells of each row


@dataclass(kw_only=True)
class ColumnReader(TableReader):
    """Reads one file with a split column, or, as soon as `val_path` or `test_path` is given, one file a split.

    Args:
        layout: "cell": all labels of an image in `labels_column`; "columns": a column a label, with 1, 0, a soft answer
            between them, -1 for unknown, or nothing; "pairs": a row an image and a label (of `labels_column`).
        separator: stands between the labels of a cell. An empty cell is an image with none of the labels.
        unknown_column: for "cell": the labels about which nothing is known.
        label_columns: for "columns": which; None is all that have no other meaning.
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
    labels_column: str
    separator: str
    unknown_column: str | None
    label_columns: Sequence[str] | None
    blank: str
    value_column: str | None
    unlisted_pairs: str
    split_column: str | None
    weight_column: str | None
    cluster_column: str | None
    answers: Mapping[object, str | float] | None = None  # runs that began before there were these settings have none
    agree: str = "error"

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
        files = dict(zip(SPLITS, (self.path, self.val_path, self.test_path), strict=True))
        files = {split: file for split, file in files.items() if file}
        if not files or not self.separator:
            raise InputError("data.separator and one of data.path, data.val_path, data.test_path must not be empty")
        check_choice("data.layout", self.layout, LAYOUTS)
        for setting in ("blank", "unlisted_pairs"):
            check_choice(f"data.{setting}", getattr(self, setting), list(BLANK))
        check_choice("data.agree", self.agree, AGREE)
        self.check_agree(table)
        if self.layout == "pairs" and self.unlisted_pairs == "unknown":
            table.unlisted = -1
        one_file = set(files) == {"train"}
        says = Answers(self.answers, self.blank)
        for split, file in ((split, file) for split, path in files.items() for file in self.parts(path)):
            header, rows = self.open(file)
            table.begin(file, self.root, self.unit, embedded=self.holds_images(file))
            columns = Columns(self, file, header, one_file, says)
            if self.layout == "columns":
                table.labels = tuple(dict.fromkeys([*(table.labels or ()), *columns.labels]))
            for number, cells in rows:
                columns.add_row(table, number, cells, split)
        says.warn_of_unused(name_first(table.files))

    def check_agree(self, table: Table) -> None:
        """Tells the table how several answers agree; raises InputError where they cannot."""
        if self.layout == "pairs" or self.agree != "error":
            table.agree = self.agree
        if self.layout == "cell":
            table.twice = f"keep one row; a row an image and a label is data.layout=pairs; {SEVERAL}"
        elif self.layout == "columns":
            table.twice = f"keep one row; {SEVERAL}"
        if self.layout == "pairs" and self.value_column is None and self.agree not in ("error", "any"):
            raise InputError(
                f"data.agree={self.agree} needs data.value_column: without it every pair says present, and nobody is "
                "seen to say absent. Set it, or data.agree=any"
            )


class Columns:
    """Where the columns of one file are, and what a row of theirs says."""

    def __init__(self, reader: ColumnReader, file: str, header: list[str], one_file: bool, says: Answers):
        self.reader, self.file, self.header = reader, file, header
        self.image = self.find("image_column", required=True)
        has_labels = reader.layout != "columns"
        self.answer = self.find("labels_column", required=True) if has_labels else None
        self.unknown = self.find("unknown_column") if reader.layout == "cell" else None
        self.value = self.find("value_column") if reader.layout == "pairs" else None
        self.weight, self.cluster = self.find("weight_column"), self.find("cluster_column")
        self.split = self.find_split(one_file)
        self.labels = [] if has_labels else self.find_labels()
        self.places = [header.index(label) for label in self.labels]
        self.says = says

    def find(self, setting: str, required: bool = False) -> int | None:
        """Returns where the column of a setting is; None if the setting is."""
        name = getattr(self.reader, setting)
        if name is None and not required:
            return None
        if self.header.count(name) != 1:
            must = "must have one" if required else "has no"
            way_out = "" if required else ", or null"
            raise InputError(
                f"{self.file} {must} column {name!r}; {self.columns}. Choose one by data.{setting}{way_out}"
            )
        return self.header.index(name)

    def find_split(self, one_file: bool) -> int | None:
        """Returns where the split column is; None if there is none and none is needed."""
        name = self.reader.split_column
        if name in self.header:
            if not one_file:
                divided = f"{self.file} has a column {name!r}, and data.val_path or data.test_path is given too"
                raise InputError(f"{divided}: set data.split_column or these paths to null")
            return self.header.index(name)
        used = [self.image, self.answer, self.unknown, self.value, self.weight, self.cluster]
        has_others = len(self.header) > sum(place is not None for place in used)
        if name is not None and one_file and has_others and self.reader.layout != "columns":
            raise InputError(
                f"{self.file} has no column {name!r}; {self.columns}. Choose one by data.split_column, or null"
            )
        return None

    def find_labels(self) -> list[str]:
        """Returns the names of the columns that are labels."""
        if self.reader.label_columns is not None:
            labels = list(map(str, self.reader.label_columns))
            missing = [label for label in labels if label not in self.header]
            if missing:
                raise InputError(f"{self.file} has no column {', '.join(map(repr, missing))} of data.label_columns")
            return labels
        used = (self.image, self.split, self.weight, self.cluster)
        return [name for place, name in enumerate(self.header) if place not in used]

    @property
    def columns(self) -> str:
        """The columns in words."""
        return f"its columns are: {', '.join(self.header)}"

    def add_row(self, table: Table, number: int, cells: Sequence, file_split: str) -> None:
        """Adds one row to the table; if it names no split it belongs to `file_split`."""
        if len(cells) != len(self.header):
            table.note_width(number, len(cells), len(self.header))
            return
        weight = None if self.weight is None else parse_weight(cells[self.weight])
        if self.weight is not None and weight is None:
            table.note_weight(number, cells[self.weight])
            return
        try:
            labels, values = self.answers(table, number, cells)
        except CellError as error:
            table.note(error.problem, number, error.details)
            return
        image = cells[self.image]
        split = file_split if self.split is None else str(cells[self.split]).strip()
        table.add(
            number,
            image.strip() if isinstance(image, str) else image or "",
            labels,
            values,
            split=SPLIT_OF_NAME.get(split.lower(), split),
            weight=weight,
            cluster=None if self.cluster is None else str(cells[self.cluster]),
            again=table.agree is not None,
            is_whole=table.agree is not None and self.reader.layout == "cell",
        )

    def answers(self, table: Table, number: int, cells: Sequence) -> tuple[Sequence[str], list[float] | None]:
        """Returns the labels that a row speaks of and its answers; None: all are present."""
        if self.reader.layout == "columns":
            answers = [cells[k] for k in self.places]
            return self.labels, table.read_answers(self.says, number, self.labels, answers)
        cell = cells[self.answer]
        if self.reader.layout == "pairs":
            labels = [] if is_blank(cell) else [str(cell).strip()]
            if self.value is None or not labels:
                return labels, None
            column = self.header[self.value]
            return labels, table.read_answers(self.says, number, labels, [cells[self.value]], column)
        check_not_null(cell, self.reader.blank)
        present, answers = self.reader.cells.read(cell)
        if answers is not None:
            return present, table.read_answers(self.says, number, present, answers)
        if self.unknown is None:
            return present, None
        unknown = self.reader.cells.names_in(cells[self.unknown])
        return present + unknown, [1.0] * len(present) + [-1.0] * len(unknown)
