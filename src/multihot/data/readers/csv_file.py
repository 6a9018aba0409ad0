"""Reads a data set from CSV (or TSV): a line an image, or an image and a label."""

import codecs
import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from multihot.command_line import write_override
from multihot.data.formats.text_files import open_text
from multihot.data.readers.folders import is_image
from multihot.data.table.cells import SEPARATORS
from multihot.data.table.columns import ColumnReader, Rows
from multihot.errors import InputError

DECLARED = re.compile(r'\s*"?sep=(.)"?[,;\t]*\s*', re.IGNORECASE)  # the first line of files made for Excel
JSON = re.compile(r'\s*(\{|\[\s*([{"\[]|$))')
BLANKS = "blanks"  # any number of them, as a delimiter
MOST_DIGITS = 19  # of a number of rows
TABS = re.compile(r"\.(tsv|tab)(\.\w+)?$", re.IGNORECASE)


@dataclass(kw_only=True)
class CsvReader(ColumnReader):
    """A file of comma-separated values, or tab-separated if it is called .tsv or .tab; see ColumnReader.

    Args:
        delimiter: stands between the cells; None: a tab in files of these names, else a comma; "blanks": any number of
            them. Such a file may begin with the number of its rows, and need not name the column of the images.
    """

    delimiter: str | None = None  # runs that began before there was this setting do not have it

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the names in the first line and the lines below it."""
        by_blanks = self.delimiter == BLANKS
        if not by_blanks and self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in ' "\r\n'):
            raise InputError(
                f"data.delimiter={self.delimiter!r}: expected one character, no space, quote or line end, or {BLANKS}"
            )
        rows = read_words(file) if by_blanks else read_rows(file, self.delimiter)
        header, first = next(rows, (0, []))[1], next(rows, None)
        if not header or first is None:
            raise InputError(f"{file} is empty: its first line must name the columns, and each line below it an image")
        header = [cell.strip() for cell in header]
        if by_blanks and len(header) + 1 == len(first[1]):
            header = [self.image_column, *header]
        check_delimiter(file, header, first[1])
        while len(header) > 1 and not header[-1] and not any(cell.strip() for cell in first[1][len(header) - 1 :]):
            header.pop()  # a comma at the end of the line
        if self.image_column not in header:
            self.check_header(file, header)
        return header, chain([first], rows)

    def check_header(self, file: str, header: list[str]) -> None:
        """Raises InputError if the first line is a comment or the first row of a file without a header."""
        if header[0].startswith("#"):
            raise InputError(f"{file} begins with a comment ({header[0]!r}): take out the lines that begin with #")
        folder = os.path.dirname(file) if self.root is None else self.root
        for cell in header:
            if is_image(cell) or (cell and os.path.isfile(os.path.join(folder, cell))):
                raise InputError(
                    f"{file} has no header: its first line is the row of {cell!r}. Write a line above it that names "
                    f"the columns, such as {self.image_column},{self.labels_column}"
                )


def check_delimiter(file: str, header: list[str], first: list[str]) -> None:
    """Raises InputError if the first line is one cell that something else seems to divide."""
    if len(header) > 1:
        return
    marks = [mark for mark in SEPARATORS if mark in header[0]]
    if marks:
        mark = max(marks, key=header[0].count)
        raise InputError(
            f"{file} seems to be divided by {mark!r}: its first line is the one cell {header[0]!r}. Set "
            f"{write_override('data.delimiter', mark)}, or save it with commas"
        )
    if len(first) == 1 and len(first[0].split()) > 1 and not header[0].startswith("#"):
        raise InputError(
            f"{file} seems to be divided by blanks: its first lines are {header[0]!r} and {first[0]!r}. Set "
            f"data.delimiter={BLANKS}, or save it with commas or tabs between the cells"
        )


def read_words(file: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the words of each line of a file, blank lines left out.

    A first line that is one number says how many images follow, which is checked.
    """
    expected = found = None
    with open_text(file) as text:
        for number, line in enumerate(text, start=1):
            words = line.split()
            if number == 1 and len(words) == 1 and words[0].isdecimal() and len(words[0]) < MOST_DIGITS:
                expected, found = int(words[0]), -1  # the names of the columns are none
            elif words:
                found = None if expected is None else found + 1
                yield number, words
    if found != expected:
        raise InputError(f"{file} says that it lists {expected} images, and lists {max(found, 0)}: restore it")


def read_rows(file: str, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the cells of each row of a file, the header first, blank lines left out.

    A row of several lines (a quoted cell may hold line ends) has the number of its last one. Without a delimiter it is
    what the first line declares (sep=;), else a tab if the file is called .tsv or .tab, else a comma.
    """
    with open_text(file, newline="") as text:
        lines, before = iter(text), 0
        reader = csv.reader(())
        try:
            first = next(lines, "")
            declared = DECLARED.fullmatch(first)
            before = int(declared is not None)
            if JSON.match(first):
                raise InputError(f"{file} is JSON: set data=jsonl (an object a line, or a list of them) or data=coco")
            delimiter = delimiter or (declared and declared[1]) or ("\t" if TABS.search(file) else ",")
            reader = csv.reader(
                lines if declared else chain([first], lines), delimiter=delimiter, skipinitialspace=True, strict=True
            )
            for cells in reader:
                if cells:
                    yield reader.line_num + before, cells
        except UnicodeDecodeError as error:
            line = reader.line_num + before + error.object.count(b"\n", 0, error.start) + 1  # it begins below line_num
            if line == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError(f"{file} is UTF-16: save it as UTF-8") from error
            raise InputError(f"{file} is not UTF-8 from line {line} on; save it as UTF-8") from error
        except csv.Error as error:
            line = reader.line_num + before
            raise InputError(f"{file} line {line} is not CSV: {error}; correct the quotes") from error
