"""Records of images as CSV, JSON lines or Parquet: written in parts, and joined without reading a part as a whole."""

import csv
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from multihot.data.csv_writer import SEPARATORS
from multihot.data.table.image_paths import replace_prefix
from multihot.errors import InputError
from multihot.labels import LabelSpace

SCORES_AT_ONCE = 1 << 18  # in a row group of Parquet

Write = Callable[[Sequence[dict]], int | None]  # of records; returns how many the format leaves out, None: none


class Writer(Protocol):
    """A format."""

    def __init__(self, space: LabelSpace, top_k: int | None):
        """Raises InputError if the labels cannot be written.

        Args:
            top_k: labels that have scores in each record; None: all.
        """

    def open(self, path: Path) -> AbstractContextManager[Write]:
        """Gives a function that writes records (see Describer) to a new file, a part."""

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one new file."""


class LineWriter(ABC):
    """A format whose parts have a line an image."""

    @abstractmethod
    def line(self, record: dict) -> str:
        """Returns the line of a record, with its end; "" leaves the image out."""

    @contextmanager
    def open(self, path: Path) -> Iterator[Write]:
        """Gives a function that writes records to a new file."""
        with path.open("w", encoding="utf-8") as file:

            def write(records: Sequence[dict]) -> int:
                lines = list(map(self.line, records))
                file.writelines(lines)
                return lines.count("")

            yield write


class JsonLines(LineWriter):
    """A JSON object a line, as `Describer` has made it."""

    def __init__(self, space: LabelSpace, top_k: int | None):
        pass

    def line(self, record: dict) -> str:
        """Returns the line of a record."""
        return json.dumps(record, ensure_ascii=False) + "\n"

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one file."""
        with path.open("wb") as whole:
            for part in parts:
                append(part, whole)


class Csv:
    """A line an image: its labels in one cell, and a probability and a logit for each label, or for the top k."""

    def __init__(self, space: LabelSpace, top_k: int | None):
        self.labels, self.top_k = space.labels, top_k
        free = [mark for mark in SEPARATORS if not any(mark in label for label in self.labels)]
        if not free:
            raise InputError(
                f"labels contain each of {SEPARATORS}, so that no cell of a CSV can list them: give out= the ending "
                ".jsonl or .parquet"
            )
        self.separator = free[0]

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        names = ("probability", "logit")
        if self.top_k is None:
            scores = [f"{name} {label}" for label in self.labels for name in names]
        else:
            count = min(self.top_k, len(self.labels))
            scores = [f"{name} {place}" for place in range(1, count + 1) for name in ("label", *names)]
        return ["image", "labels", "error", *scores]

    def cells(self, record: dict) -> list:
        """Returns the cells of a record."""
        first = [record["image"], self.separator.join(record["labels"]), record["error"]]
        if self.top_k is not None:
            return first + [score[name] for score in record["scores"] for name in ("label", "probability", "logit")]
        scores = {score["label"]: (score["probability"], score["logit"]) for score in record["scores"]}
        return first + [value for label in self.labels for value in scores.get(label, (None, None))]

    @contextmanager
    def open(self, path: Path) -> Iterator[Write]:
        """Gives a function that writes records to a new file, without a header."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")

            def write(records: Sequence[dict]) -> None:
                writer.writerows(map(self.cells, records))  # which returns how many characters the last one has

            yield write

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes the header and all parts into one file."""
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(self.header)
        with path.open("ab") as whole:
            for part in parts:
                append(part, whole)


class Parquet:
    """A row an image, with lists of its labels and of its scores."""

    def __init__(self, space: LabelSpace, top_k: int | None):
        try:
            import pyarrow
        except ImportError as error:
            raise InputError('a .parquet file needs pyarrow: pip install -e ".[data]"') from error
        text, number = pyarrow.string(), pyarrow.float32()
        score = pyarrow.struct(
            {"label": text, "probability": number, "logit": number, "threshold": pyarrow.float64()}
            | {"predicted": pyarrow.bool_()}
        )
        columns = {"image": text, "labels": pyarrow.list_(text), "scores": pyarrow.list_(score), "error": text}
        self.schema = pyarrow.schema(list(columns.items()))

    @contextmanager
    def open(self, path: Path) -> Iterator[Write]:
        """Gives a function that writes records to a new file."""
        import pyarrow
        from pyarrow import parquet

        kept: list[dict] = []
        with parquet.ParquetWriter(path, self.schema) as writer:

            def flush() -> None:
                writer.write_table(pyarrow.Table.from_pylist(kept, self.schema))
                kept.clear()

            def write(records: Sequence[dict]) -> None:
                kept.extend(records)
                if sum(len(record["scores"]) for record in kept) > SCORES_AT_ONCE:
                    flush()

            yield write
            flush()

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes the row groups of all parts into one file."""
        from pyarrow import parquet

        with parquet.ParquetWriter(path, self.schema) as writer:
            for part in parts:
                with parquet.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))


@dataclass(frozen=True)
class Renaming:
    """A format in which images are called as elsewhere; records have their path here as `file`.

    Args:
        prefixes: {how paths begin here: what stands there instead}.
    """

    writer: Writer
    prefixes: Mapping[str, str]

    @contextmanager
    def open(self, path: Path) -> Iterator[Write]:
        """Gives a function that writes records to a new file."""
        with self.writer.open(path) as write:
            yield lambda records: write([*map(self.rename, records)])

    def rename(self, record: dict) -> dict:
        """Returns a record with the image's other name."""
        return record | {"image": replace_prefix(record["image"], self.prefixes), "file": record["image"]}

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one file."""
        self.writer.join(parts, path)


WRITERS = {".csv": Csv, ".jsonl": JsonLines, ".parquet": Parquet}


def append(part: Path, whole: BinaryIO) -> None:
    """Adds the bytes of a file to an open one."""
    with part.open("rb") as file:
        shutil.copyfileobj(file, whole, 1 << 20)


def read_lines(file: Path) -> Iterator[str]:
    """Yields the lines of a file without their ends."""
    with file.open(encoding="utf-8") as lines:
        yield from (line.rstrip("\n") for line in lines)
