"""Reads a data set from CSV (or TSV): a line an image, or an image and a label."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from multihot.data.readers.columns import ColumnReader, Rows
from multihot.errors import InputError
from multihot.files import reading


@dataclass(kw_only=True)
class CsvReader(ColumnReader):
    """A file of comma-separated values, or tab-separated if it is called .tsv or .tab; see ColumnReader."""

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the names in the first line and the lines below it."""
        rows = read_rows(file)
        header = next(rows, None)
        first = next(rows, None)
        if header is None or first is None:
            raise InputError(f"{file} is empty: its first line must name the columns, and each line below it an image")

        def all_rows() -> Rows:
            yield first
            yield from rows

        return [cell.strip() for cell in header[1]], all_rows()


def read_rows(file: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the cells of each row of a file, the header first, blank lines left out.

    A row of several lines (a quoted cell may hold line ends) has the number of its last one.
    """
    delimiter = "\t" if file.endswith((".tsv", ".tab")) else ","
    with reading(file), open(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not UTF-8 below line {reader.line_num}; save it as UTF-8") from error
        except csv.Error as error:
            raise InputError(f"{file} line {reader.line_num} is not CSV: {error}; correct the quotes") from error
