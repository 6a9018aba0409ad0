"""Reads a data set from Parquet: a row an image, whose picture is a file or bytes in the table itself."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from multihot.data.readers.parquet_images import (
    EmbeddedImages,
    copy_images,
    find_bytes,
    holds_pictures,
    import_pyarrow,
    is_bytes,
    locate_images,
    open_parquet,
    path_of_copy,
    read_batches,
)
from multihot.data.table.columns import ColumnReader, Rows
from multihot.data.table.table import Table
from multihot.errors import InputError

ROWS_AT_ONCE = 1024  # without their pictures


@dataclass(kw_only=True)
class ParquetReader(ColumnReader):
    """A Parquet file, or the part files of a folder or a pattern (`train-*.parquet`) by name; see ColumnReader.

    Labels are a list, text with separators, {label: answer} (map or struct), or a column a label. The image column
    holds paths, or whole image files: bytes, or {bytes, path} as Hugging Face datasets writes them
    (huggingface.co/docs/datasets/image_load). Parquet has no short way to a single row, so such a column is copied
    once, uncompressed, and each process maps the copy. Rows count from 0, as in pandas.

    Args:
        image_cache_path: folder of these copies, each as large as its Parquet file.
    """

    image_cache_path: str

    unit = "row"

    def __post_init__(self):
        self.copies: dict[str, str | None] = {}  # opened file -> copy of its images; None: it has their paths

    def parts(self, path: str) -> list[str]:
        """Returns the files that a path stands for, sorted."""
        if os.path.isdir(path):
            files = glob.glob(os.path.join(glob.escape(path), "**", "*.parquet"), recursive=True)
        else:
            files = [path] if os.path.exists(path) or not glob.has_magic(path) else glob.glob(path)
        if not files:
            raise InputError(f"there is no Parquet file (*.parquet) in {path}; correct its path in data or restore it")
        return sorted(files)

    def open(self, file: str) -> tuple[list[str], Rows]:
        """Returns the names of the columns of a file and its rows."""
        parquet = open_parquet(file)
        schema = parquet.schema_arrow
        self.copies[file] = None
        if self.image_column in schema.names and find_bytes(parquet, self.image_column, file):
            if self.layout == "pairs":
                raise InputError(
                    f"data.layout=pairs needs paths of images, but {file} holds the images themselves: choose "
                    "data.layout=cell or columns"
                )
            if self.image_suffix:
                raise InputError(f"data.image_suffix is for paths, but {file} holds its images: set it to null")
            self.copies[file] = path_of_copy(file, self.image_column, self.image_cache_path)
        return schema.names, self.read_rows(parquet, file)

    def holds_images(self, file: str) -> bool:
        """Returns whether the images of an opened file are in it, and no files of their own."""
        with_images = self.copies[file] is not None
        others = [(other, copy) for other, copy in self.copies.items() if other != self.join_path]
        different = [other for other, copy in others if (copy is not None) != with_images]
        if different:
            first, second = (file, different[0]) if with_images else (different[0], file)
            raise InputError(
                f"{first} holds its images and {second} paths of images; all files of data.path, data.val_path and "
                "data.test_path must do the same"
            )
        return with_images

    def fill(self, table: Table) -> None:
        """Adds the rows of all files to the table."""
        super().fill(table)
        if any(self.copies.values()):
            table.read = EmbeddedImages(self.copies)

    def read_rows(self, parquet, file: str) -> Rows:
        """Yields the number and the cells of each row; the cell of an image in the file is "<file>#<row>"."""
        names = parquet.schema_arrow.names
        used = self.used_columns(names, plain_columns(parquet.schema_arrow))
        images = iter(())
        if self.copies[file]:
            used.remove(self.image_column)
            copy_images(parquet, file, self.image_column, self.copies[file])
            images = locate_images(file, self.copies[file])
        number = 0
        for batch in read_batches(parquet, file, used, ROWS_AT_ONCE):
            cells = {name: to_cells(file, name, column) for name, column in zip(used, batch.columns, strict=True)}
            if self.copies[file]:
                cells[self.image_column] = list(islice(images, batch.num_rows))
            nothing = [None] * batch.num_rows
            yield from enumerate(zip(*(cells.get(name, nothing) for name in names), strict=True), start=number)
            number += batch.num_rows

    def used_columns(self, names: list[str], plain: Sequence[str] = ()) -> list[str]:
        """Returns the columns that say something of an image.

        Args:
            plain: those that hold numbers or words.
        """
        ignored = self.names("ignore_columns")
        if self.makes_columns or (self.layout == "columns" and self.label_columns is None):
            return [name for name in names if name not in ignored]
        labels = self.names("label_columns" if self.layout == "columns" else "labels_column")
        others = (self.unknown_column, self.value_column, self.split_column, self.weight_column, self.cluster_column)
        wanted = {self.image_column, *labels, *others}
        if self.layout == "pairs" and self.value_column is None:
            wanted |= set(plain) - set(ignored)  # one of them may be the answer
        return [name for name in names if name in wanted]


def plain_columns(schema) -> list[str]:
    """Returns the names of the columns that hold numbers, booleans or texts."""
    types = import_pyarrow().types
    are_plain = (
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_string,
        types.is_large_string,
    )
    return [field.name for field in schema if any(is_plain(field.type) for is_plain in are_plain)]


def to_cells(file: str, name: str, column) -> list:
    """Returns the values of an Arrow array: map and struct as a dict, {bytes, path} as the path, lists without null."""
    types = import_pyarrow().types
    if is_bytes(column.type):
        way_out = "store it as text or numbers, or leave it out by data.ignore_columns"
        raise InputError(f"the column {name!r} of {file} holds bytes; {way_out}")
    cells = column.to_pylist()
    if types.is_map(column.type):
        return [cell if cell is None else dict(cell) for cell in cells]
    if types.is_struct(column.type):
        if holds_pictures(column.type):
            return [cell and cell.get("path") for cell in cells]
        return [cell and {key: value for key, value in cell.items() if value is not None} for cell in cells]
    if hasattr(column.type, "value_type") and not types.is_dictionary(column.type):
        return [cell and [value for value in cell if value is not None] for cell in cells]
    return cells
