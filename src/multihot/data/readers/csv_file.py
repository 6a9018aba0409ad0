"""Reads a data set from CSV (or TSV): a line an image, or an image and a label."""

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass

from multihot.data.readers.cells import SEPARATORS, write_override
from multihot.data.readers.columns import ColumnReader, Rows
from multihot.errors import InputError
from multihot.files import reading


@dataclass(kw_only=True)
class CsvReader(ColumnReader):
    """A file of comma-separated values, or tab-separated if it is called .tsv or .tab; see ColumnReader.

    Args:
        delimiter: stands between the cells; None: a tab in files of these names, else a comma.
    """

    delimiter: str | None = None  # runs that began before there was this setting do not have it

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the names in the first line and the lines below it."""
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in ' "\r\n'):
            raise InputError(f"data.delimiter={self.delimiter!r}: expected one character, no space, quote or line end")
        rows = read_rows(file, self.delimiter)
        header = next(rows, None)
        first = next(rows, None)
        if header is None or first is None:
            raise InputError(f"{file} is empty: its first line must name the columns, and each line below it an image")

        check_delimiter(file, header[1])

        def all_rows() -> Rows:
            yield first
            yield from rows

        return [cell.strip() for cell in header[1]], all_rows()


def check_delimiter(file: str, header: list[str]) -> None:
    """Raises InputError if the first line is one cell that something else seems to divide."""
    marks = [mark for mark in SEPARATORS if len(header) == 1 and mark in header[0]]
    if marks:
        mark = max(marks, key=header[0].count)
        raise InputError(
            f"{file} seems to be divided by {mark!r}: its first line is the one cell {header[0]!r}. Set "
            f"{write_override('data.delimiter', mark)}, or save it with commas"
        )


def read_rows(file: str, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the cells of each row of a file, the header first, blank lines left out.

    A row of several lines (a quoted cell may hold line ends) has the number of its last one. Without a delimiter it is
    a tab if the file is called .tsv or .tab, else a comma.
    """
    if delimiter is None:
        delimiter = "\t" if file.endswith((".tsv", ".tab")) else ","
    with reading(file), open(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            line = reader.line_num + error.object.count(b"\n", 0, error.start) + 1  # the object begins below line_num
            if line == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError(f"{file} is UTF-16: save it as UTF-8") from error
            raise InputError(f"{file} is not UTF-8 from line {line} on; save it as UTF-8") from error
        except csv.Error as error:
            raise InputError(f"{file} line {reader.line_num} is not CSV: {error}; correct the quotes") from error
