"""Images in the rows of a Parquet file: copied once to where every process reaches each of them alone."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from multihot.data.images import decode_image
from multihot.data.value_range import ValueRange
from multihot.errors import InputError
from multihot.files import check_disk_space, file_stamp, name_irregular

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20  # of a column at once; unbuffered or pre-buffered, it is a row group, often the whole file
IMAGES_AT_ONCE = 64  # copied in one piece


class EmbeddedImages:
    """Reads the picture "<file>#<row>"; each process maps a file at its first picture, and no process holds it."""

    def __init__(self, copies: dict[str, str]):
        self.copies = copies  # Parquet file -> copy of its images
        self.mapped = {}

    def __getstate__(self) -> dict:
        return {"copies": self.copies, "mapped": {}}

    def __call__(self, image: str, min_side: int | None = None, value_range: ValueRange = None) -> Image.Image:
        return decode_image(*self.source_of(image), min_side, value_range)

    def source_of(self, image: str) -> tuple[BytesIO, str]:
        """Returns the bytes of an image, and what errors call it."""
        file, _, row = image.rpartition("#")
        if file not in self.mapped:
            self.mapped[file] = map_images(self.copies[file])
        picture = self.mapped[file][int(row)].as_buffer()
        return BytesIO(picture), f"{file} row {row}"


def import_pyarrow():
    """Returns pyarrow, or says how to install it."""
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise InputError('data=parquet needs pyarrow: pip install -e ".[data]"') from error
    return pyarrow


def open_parquet(file: str):
    """Returns the open Parquet file."""
    pyarrow = import_pyarrow()
    with naming(file):
        if what := name_irregular(file):
            raise InputError(f"{file} is {what} and no file; correct its path in data or restore it")
        parquet = pyarrow.parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False)
    if not parquet.metadata.num_rows:
        raise InputError(f"{file} has no rows: each of them must be an image (remove an empty part file)")
    return parquet


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Turns what pyarrow raises into an InputError that names the file."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise InputError(f"cannot read {file}: {reason}; correct its path in data or restore it") from error
    except import_pyarrow().ArrowException as error:
        raise InputError(f"{file} is broken or not Parquet: {error}") from error


def read_batches(parquet, file: str, columns: list[str], num_rows: int) -> Iterator:
    """Yields the record batches of some columns."""
    with naming(file):
        yield from parquet.iter_batches(num_rows, columns=columns)


def is_bytes(type) -> bool:
    """Returns whether an Arrow type is bytes and no text."""
    types = import_pyarrow().types
    return types.is_binary(type) or types.is_large_binary(type) or types.is_binary_view(type)


def holds_pictures(type) -> bool:
    """Returns whether an Arrow type is {bytes, ...}."""
    if not import_pyarrow().types.is_struct(type):
        return False
    place = type.get_field_index("bytes")
    return place >= 0 and is_bytes(type.field(place).type)


def find_bytes(parquet, column: str, file: str) -> str | None:
    """Returns where in the file the bytes of its images are; None if the column holds paths alone."""
    types, type = import_pyarrow().types, parquet.schema_arrow.field(column).type
    if is_bytes(type):
        return column
    if holds_pictures(type):
        place = f"{column}.bytes"
        return place if any(map(has_values, column_chunks(parquet, place))) else None
    text = type.value_type if types.is_dictionary(type) else type
    if types.is_string(text) or types.is_large_string(text) or types.is_string_view(text) or types.is_null(text):
        return None
    raise InputError(
        f"the column {column!r} of {file} holds {type}, but images must be paths, bytes or {{bytes, path}}; choose "
        "another by data.image_column"
    )


def column_chunks(parquet, place: str) -> Iterator:
    """Yields the facts of a column in each row group."""
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        columns = (group.column(k) for k in range(group.num_columns))
        yield from (column for column in columns if column.path_in_schema == place)


def has_values(chunk) -> bool:
    """Returns whether a column of a row group may hold more than nulls."""
    facts = chunk.statistics
    return facts is None or not facts.has_null_count or facts.null_count < chunk.num_values


def path_of_copy(file: str, column: str, folder: str) -> str:
    """Returns where the copy of a file's images is; another if the file has changed."""
    size, time = file_stamp(file)
    key = f"{os.path.abspath(file)} {size} {time} {column}"
    return os.path.join(folder, f"{Path(file).stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.arrow")


def copy_images(parquet, file: str, column: str, copy: str) -> None:
    """Writes the images of a file as Arrow IPC, unless that is done; the processes that want the same one wait."""
    from filelock import FileLock

    if os.path.exists(copy):
        return
    temporary = f"{copy}.tmp"
    try:
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with FileLock(f"{copy}.lock"):
            if not os.path.exists(copy):
                try:
                    write_images(parquet, file, find_bytes(parquet, column, file), temporary)
                    os.replace(temporary, copy)
                finally:
                    Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise InputError(f"cannot copy the images of {file} to {copy}: {reason}; see data.image_cache_path") from error


def write_images(parquet, file: str, place: str, path: str) -> None:
    """Writes the column `place` as one column "image" of Arrow's large_binary, IMAGES_AT_ONCE rows a batch."""
    pyarrow = import_pyarrow()
    num_bytes = sum(chunk.total_uncompressed_size for chunk in column_chunks(parquet, place))
    way_out = "set data.image_cache_path to a folder with more"
    check_disk_space(os.path.dirname(path), num_bytes, f"the images of {file} take", way_out)
    log.info("the images of %s (%.1f GB) are copied once, to %s", file, num_bytes / 1e9, os.path.dirname(path))
    schema = pyarrow.schema([("image", pyarrow.large_binary())])
    title = os.path.basename(file)
    with (
        tqdm(total=parquet.metadata.num_rows, desc=title, unit=" images", disable=None, leave=False) as bar,
        pyarrow.OSFile(path, "wb") as sink,
        pyarrow.ipc.new_file(sink, schema) as writer,
    ):
        for batch in read_batches(parquet, file, [place], IMAGES_AT_ONCE):
            images = batch.column(0)
            if pyarrow.types.is_struct(images.type):
                images = pyarrow.compute.struct_field(images, "bytes")
            writer.write_batch(pyarrow.record_batch([images.cast(pyarrow.large_binary())], schema=schema))
            bar.update(batch.num_rows)


def map_images(copy: str):
    """Returns the images of a copy (pyarrow.ChunkedArray), mapped from the disk, not read."""
    pyarrow = import_pyarrow()
    with naming(copy):
        return pyarrow.ipc.open_file(pyarrow.memory_map(copy)).read_all().column(0)


def locate_images(file: str, copy: str) -> Iterator[str | None]:
    """Yields "<file>#<row>" for each row of a file, None where it has no image."""
    for row, exists in enumerate(map_images(copy).is_valid()):
        yield f"{file}#{row}" if exists.as_py() else None
