"""Columns that a file lacks: parts of a cell, columns of another file, the path of an image, its split by a list."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence

from multihot.data.table.cells import as_text, is_blank, quote
from multihot.data.table.column_settings import ColumnSettings
from multihot.data.table.image_template import parse_template
from multihot.data.table.split_lists import SplitLists
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first, plural

log = logging.getLogger(__name__)

Rows = Iterator[tuple[int, Sequence]]  # number and cells of each row
MOST_COLUMNS = 50  # named in an error
NO_PARTNER = "rows that have none in data.join_path (data.join_missing=skip leaves them out)"


class MadeColumns:
    """The header and the rows of a file with the columns that the settings make of others.

    Args:
        open_file: opens the file of data.join_path: its header and rows.
    """

    def __init__(self, reader: ColumnSettings, open_file: Callable[[str], tuple[list[str], Rows]]):
        self.reader, self.open_file = reader, open_file
        self.lists = None if reader.split_lists is None else SplitLists(reader.split_lists, reader.split_names)
        self.joined: Joined | None = None

    def add(self, table: Table, file: str, split: str, header: list[str], rows: Rows) -> tuple[list[str], Rows]:
        """Returns the header of a file with the columns that are made, which come last, and its rows.

        Args:
            split: that the file belongs to, which data.image_template calls {split}.
        """
        reader, header = self.reader, self.reader.rename(header)
        if not reader.makes_columns:
            return header, rows
        rows = check_width(table, rows, len(header))
        for column, pattern in (reader.cell_parts or {}).items():
            header, rows = take_apart(table, file, header, rows, column, pattern)
        if reader.join_path is not None:
            self.joined = self.joined or Joined(reader, *self.open_file(reader.join_path))
            header, rows = self.joined.add(table, file, header, rows)
        if reader.image_template is not None:
            header, rows = name_images(reader, file, split, header, rows)
        if self.lists is not None:
            header, rows = self.add_split(file, header, rows)
        return header, rows

    def add_split(self, file: str, header: list[str], rows: Rows) -> tuple[list[str], Rows]:
        """Returns header and rows with the split that data.split_lists says; rows of images in no list are left out."""
        reader = self.reader
        if reader.split_column is None:
            raise InputError("data.split_lists makes the column data.split_column, which is null: give it a name")
        check_new(file, header, [reader.split_column], "data.split_lists")
        place = find(file, header, reader.image_column, "data.image_column")

        def listed() -> Rows:
            num_left = num_kept = 0
            for number, cells in rows:
                split = self.lists.of(as_text(cells[place]), reader.image_suffix or "")
                if split is None:
                    num_left += 1
                else:
                    num_kept += 1
                    yield number, [*cells, split]
            if num_left and not num_kept:
                raise InputError(
                    f"data.split_lists names no image of {file}: its first names are {self.lists.example}, and in the "
                    f"column {reader.image_column!r} other ones; give the lists of this file"
                )
            warn_of_left_out(file, num_left, "whose image is in no list of data.split_lists")

        return [*header, reader.split_column], listed()


class Joined:
    """The rows of data.join_path by what stands in data.join_columns."""

    def __init__(self, reader: ColumnSettings, header: list[str], rows: Rows):
        self.file, self.names = reader.join_path, reader.names("join_columns")
        self.skips = reader.join_missing == "skip"
        if not self.names:
            raise InputError("data.join_path needs data.join_columns, the columns that say which rows belong together")
        header = reader.rename(header)
        places = [find(self.file, header, name, "data.join_columns") for name in self.names]
        others = [place for place in range(len(header)) if place not in places]
        self.header = [header[place] for place in others]
        self.cells_of: dict[tuple[str, ...], list] = {}
        for number, cells in rows:
            if len(cells) < len(header):
                raise InputError(f"{self.file} row {number} has {plural(len(cells), 'cell')} instead of {len(header)}")
            key, cells = tuple(as_text(cells[place]) for place in places), [cells[place] for place in others]
            if self.cells_of.setdefault(key, cells) != cells:
                raise InputError(f"{self.file} row {number} is a second one of {describe(self.names, key)}: keep one")

    def add(self, table: Table, file: str, header: list[str], rows: Rows) -> tuple[list[str], Rows]:
        """Returns header and rows with the columns of the other file."""
        check_new(file, header, self.header, f"data.join_path={self.file}")
        places = [find(file, header, name, "data.join_columns") for name in self.names]

        def matched() -> Rows:
            num_left = 0
            for number, cells in rows:
                key = tuple(as_text(cells[place]) for place in places)
                others = self.cells_of.get(key)
                if others is not None:
                    yield number, [*cells, *others]
                elif self.skips:
                    num_left += 1
                else:
                    table.note(NO_PARTNER, number, describe(self.names, key))
            warn_of_left_out(file, num_left, f"that have none in {self.file}")

        return [*header, *self.header], matched()


def check_width(table: Table, rows: Rows, width: int) -> Rows:
    """Yields the rows that have a cell for each column, and notes the others."""
    for number, cells in rows:
        if len(cells) == width or (len(cells) > width and all(map(is_blank, cells[width:]))):
            yield number, cells[:width]
        else:
            table.note_width(number, len(cells), width)


def take_apart(
    table: Table, file: str, header: list[str], rows: Rows, column: str, pattern: str
) -> tuple[list[str], Rows]:
    """Returns header and rows with a column for each named group of a pattern of data.cell_parts."""
    place = find(file, header, column, "data.cell_parts")
    form = compile_pattern(column, pattern)
    check_new(file, header, list(form.groupindex), "data.cell_parts")

    def parted() -> Rows:
        for number, cells in rows:
            found = form.fullmatch(as_text(cells[place]))
            if found is None:
                table.note(f"cells of {column!r} that are not as data.cell_parts says", number, quote(cells[place]))
            else:
                yield number, [*cells, *found.groups()]

    return [*header, *form.groupindex], parted()


def compile_pattern(column: str, pattern: str) -> re.Pattern:
    """Returns a pattern of data.cell_parts; raises InputError unless each of its groups has a name."""
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise InputError(f"data.cell_parts: {pattern!r} of {column!r} is no regular expression: {error}") from error
    if not form.groupindex or len(form.groupindex) != form.groups:
        raise InputError(
            f"data.cell_parts: {pattern!r} of {column!r} must have named groups alone, as "
            "in (?P<image>[^_]+)_(?P<label>.+)"
        )
    return form


def name_images(reader: ColumnSettings, file: str, split: str, header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Returns header and rows with the paths that data.image_template makes; one of its cells empty: no path."""
    check_new(file, header, [reader.image_column], "data.image_template")
    parts = []
    for literal, name, length in parse_template(reader.image_template):
        is_split = name == "split" and name not in header
        place = None if name is None or is_split else find(file, header, name, "data.image_template")
        parts.append((literal + split * is_split, place, length))

    def path_of(cells: Sequence) -> str:
        pieces = []
        for literal, place, length in parts:
            cell = "" if place is None else as_text(cells[place])
            if place is not None and not cell:
                return ""
            pieces += literal, cell[:length]
        return "".join(pieces)

    return [*header, reader.image_column], ((number, [*cells, path_of(cells)]) for number, cells in rows)


def find(file: str, header: Sequence[str], name: str, setting: str) -> int:
    """Returns where a column is."""
    if header.count(name) != 1:
        raise InputError(
            f"{file} must have one column {name!r} of {setting}; its columns are: {name_first(header, MOST_COLUMNS)}"
        )
    return header.index(name)


def check_new(file: str, header: Sequence[str], names: Sequence[str], setting: str) -> None:
    """Raises InputError if columns that are to be made are there."""
    both = [name for name in names if name in header]
    if both:
        also = ", or name it in data.join_columns if it says which rows belong together" * ("join_path" in setting)
        raise InputError(
            f"{file} has a column {', '.join(map(repr, both))}, and {setting} makes one of that name: call it another "
            f"name by data.rename_columns{also}"
        )


def describe(names: Sequence[str], key: Sequence[str]) -> str:
    """Returns the cells that rows are joined by in words.

    >>> describe(["patient", "study"], ["7", "12"])
    "patient '7', study '12'"
    """
    return ", ".join(f"{name} {cell!r}" for name, cell in zip(names, key, strict=True))


def warn_of_left_out(file: str, count: int, which: str) -> None:
    """Warns of rows that are not used."""
    if count:
        log.warning("%s: left out %s %s", file, plural(count, "row"), which)
