"""Reads a data set of Hugging Face `datasets`: from the hub, a saved folder, or local files."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from multihot.data.manifest import SPLITS
from multihot.data.readers.hugging_face_images import (
    DatasetImages,
    holds_bytes,
    import_datasets,
    locate_images,
    select_images,
)
from multihot.data.table.answers import Answers, parse_weight
from multihot.data.table.cells import BLANK, CellError, as_list, as_text
from multihot.data.table.label_cells import SAY_ABSENT, check_not_null
from multihot.data.table.reader import TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1024  # without their pictures
BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
LONGEST_REASON = 300  # characters of what `datasets` says

Cells = tuple[Sequence[str], Sequence | None]  # labels and the answer to each; None: all are present


@dataclass(kw_only=True)
class HuggingFaceReader(TableReader):
    """Reads the splits of one data set (huggingface.co/docs/datasets); see TableReader.

    What the labels column means is known from its feature: ClassLabel is one label, a list of ClassLabel or of strings
    several, a string has separators between them. Pictures stay where `datasets` maps them from the disk, and are
    decoded one at a time. Rows count from 0, as there.

    Args:
        name: of the data set on the hub; or else `path`.
        path: a folder of `save_to_disk`, a folder of data files, or one Parquet or Arrow file (which is for training).
        config_name: which of its configurations ("subset" on the hub); None: its only one.
        cache_path: folder that `datasets` prepares its files in; None: its own (HF_DATASETS_CACHE).
        train_split: what the source calls the split; None: it has none.
        labels_column: a dot leads into a struct ("objects.category").
        label_columns: columns that are labels, with 1, 0, a soft answer between them, -1 for unknown, or nothing; in
            the place of `labels_column`.
        answers: what stands in the cells of answers, if it is not 1, 0, ...: see Answers.
        numbers: what plain numbers in the labels column are: "multi_hot", an answer for each label, or "ids", places in
            the list of labels. Both need `labels`.
        unlisted: what is true of a label that is not listed for an image.
    """

    name: str | None
    path: str | None
    config_name: str | None
    cache_path: str | None
    train_split: str | None
    val_split: str | None
    test_split: str | None
    image_column: str
    labels_column: str
    label_columns: Sequence[str] | None
    separator: str
    blank: str
    numbers: str
    unlisted: str
    weight_column: str | None
    cluster_column: str | None
    answers: Mapping[object, str | float] | None = None  # runs that began before there was this setting do not have it

    way_to_split = "name what the source calls it by data.train_split, data.val_split or data.test_split"

    @property
    def source(self) -> str:
        """The name or the path."""
        return self.name or self.path

    def fill(self, table: Table) -> None:
        """Adds the rows of all splits to the table."""
        if bool(self.name) == bool(self.path):
            raise InputError("give one of data.name (on the Hugging Face hub) and data.path (a folder or a file)")
        says = Answers(self.answers, self.blank)
        with quiet():
            splits = self.choose(self.load())
            parts = {split: self.divide_columns(data) for split, data in splits.items()}
            has_bytes = any(holds_bytes(images, self.image_column) for images, _ in parts.values())
            table.unlisted = int(BLANK[self.unlisted])
            if has_bytes:
                pictures = {self.place(split): images for split, (images, _) in parts.items()}
                table.read = DatasetImages(pictures, self.image_column)
            for split, (images, others) in parts.items():
                table.begin(self.place(split), self.root, "row", embedded=has_bytes)
                self.add_rows(table, split, images, others, says)
        says.warn_of_unused(self.source)

    def place(self, split: str) -> str:
        """Returns what its rows are called by: the file, or the source and what that calls the split."""
        if self.path and os.path.isfile(self.path):
            return self.path
        return f"{self.source}/{self.name_of(split)}"

    def load(self) -> Mapping:
        """Returns the splits of the source by their names."""
        datasets = import_datasets()
        try:
            if self.path and is_saved(self.path):
                data = datasets.load_from_disk(self.path)
            else:
                log.info("loading %s; the first time, datasets prepares it in its cache", self.source)
                data = datasets.load_dataset(**self.arguments())
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise InputError(f"cannot load {self.source}: {shorten(error)}; {self.way_out()}") from error
        if isinstance(data, Mapping):
            return data
        names = (self.train_split, self.val_split, self.test_split)
        return {next((name for name in names if name), "train"): data}

    def arguments(self) -> dict:
        """Returns what `datasets.load_dataset` must be told."""
        if self.path and os.path.isfile(self.path):
            builder = BUILDERS.get(os.path.splitext(self.path)[1])
            if builder is None:
                raise InputError(f"{self.path} must be a folder or end with {' or '.join(BUILDERS)}")
            files = {self.train_split or "train": self.path}
            return {"path": builder, "data_files": files, "cache_dir": self.cache_path}
        if self.path and not os.path.isdir(self.path):
            raise InputError(f"there is no {self.path}; correct data.path, or set data.name to read from the hub")
        return {"path": self.source, "name": self.config_name, "cache_dir": self.cache_path}

    def way_out(self) -> str:
        """Returns what may help if the source cannot be loaded."""
        if self.path:
            return "correct data.path or data.config_name, or restore the files"
        return (
            "correct data.name or data.config_name, or check the network; without one, copy the data set to this "
            "machine and set data.path"
        )

    def name_of(self, split: str) -> str | None:
        """Returns what the source calls a split."""
        return getattr(self, f"{split}_split")

    def choose(self, data: Mapping) -> dict:
        """Returns the data of train, val and test; those of them that the source does not have are left out.

        A split that is not found is an error while the source has one that is not used: it may have another name.
        """
        wanted = {split: self.name_of(split) for split in SPLITS if self.name_of(split)}
        missing = {split: name for split, name in wanted.items() if name not in data}
        unused = [name for name in data if name not in wanted.values()]
        if len(missing) == len(wanted) or "train" in missing or (missing and unused):
            settings = ", ".join(f"data.{split}_split={name}" for split, name in missing.items()) or "data.train_split"
            raise InputError(
                f"{self.source} has the splits {', '.join(map(str, data))}, but not {settings}: choose another, or null"
            )
        if len(set(wanted.values())) < len(wanted):
            raise InputError("data.train_split, data.val_split and data.test_split must differ from each other")
        return {split: data[name] for split, name in wanted.items() if name in data}

    def divide_columns(self, data) -> tuple:
        """Returns a split's images, not decoded, and its other columns; reading the second touches no picture."""
        used = [*self.answer_columns(), self.weight_column, self.cluster_column]
        used = {name if name in data.features else name.split(".")[0] for name in used if name is not None}
        for name in [self.image_column, *used]:
            self.check_column(name, data.features)
        others = data.select_columns(sorted(used)).flatten()
        for name in self.answer_columns():
            self.check_column(name, others.features)
        return select_images(data, self.image_column), others.with_format("arrow")

    def answer_columns(self) -> list[str]:
        """Returns the columns that hold the labels."""
        return [self.labels_column] if self.label_columns is None else list(map(str, self.label_columns))

    def check_column(self, name: str, columns: Mapping) -> None:
        """Raises InputError unless there is a column of that name."""
        if name not in columns:
            raise InputError(
                f"{self.source} has no column {name!r}; its columns are: {', '.join(columns)}. Choose by "
                "data.image_column, data.labels_column or data.label_columns, data.weight_column, data.cluster_column"
            )

    def add_rows(self, table: Table, split: str, images, others, says: Answers) -> None:
        """Adds the rows of a split to the table."""
        place = table.files[-1]
        read_cells, names = self.interpret(others.features)
        if self.label_columns is not None:
            table.labels_of_file[len(table.files) - 1] = frozenset(names)
        if names:
            table.labels = tuple(dict.fromkeys([*(table.labels or ()), *names]))
        for start in range(0, len(images), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(images)))
            columns = others[start : rows.stop].to_pydict()
            nothing = [None] * len(rows)
            cells = zip(*(columns[name] for name in self.answer_columns()), strict=True)
            weights, clusters = (columns.get(name, nothing) for name in (self.weight_column, self.cluster_column))
            pictures = locate_images(images[start : rows.stop].column(self.image_column), place, start, table.embedded)
            for number, image, answers, weight_cell, cluster in zip(
                rows, pictures, cells, weights, clusters, strict=True
            ):
                try:
                    labels, answers = read_cells(*answers)
                except CellError as error:
                    table.note(error.problem, number, error.details)
                    continue
                weight = None if self.weight_column is None else parse_weight(weight_cell)
                if self.weight_column is not None and weight is None:
                    table.note_weight(number, weight_cell)
                    continue
                cluster = None if self.cluster_column is None else as_text(cluster)
                values = None if answers is None else table.read_answers(says, number, labels, answers)
                table.add(number, image, labels, values, split=split, weight=weight, cluster=cluster)

    def interpret(self, features: Mapping) -> tuple[Callable[..., Cells], Sequence[str]]:
        """Returns what makes labels and answers of a row's cells, and the labels if the source has them in an order."""
        if self.label_columns is not None:
            names = self.answer_columns()
            words = [getattr(features[name], "names", None) for name in names]  # of columns that are ClassLabel
            return lambda *cells: (names, list(map(name_class, words, cells))), names
        feature = features[self.labels_column]
        if hasattr(feature, "names"):
            return partial(self.pick, feature.names), feature.names
        item = getattr(feature, "feature", feature)  # of a list
        if hasattr(item, "names"):
            return partial(self.pick, item.names), item.names
        kind = str(getattr(item, "dtype", "")) or "no"
        if "string" in kind:
            return self.split_cell, ()
        if kind.startswith(("int", "uint", "float", "bool")):
            return self.interpret_numbers(), ()
        raise InputError(
            f"the column {self.labels_column!r} of {self.source} holds {feature}, which are no labels; choose another "
            'by data.labels_column (a dot leads into a struct: "objects.category") or data.label_columns'
        )

    def interpret_numbers(self) -> Callable[..., Cells]:
        """Returns what makes labels and answers of plain numbers."""
        if self.labels is None:
            raise InputError(
                f"the column {self.labels_column!r} of {self.source} holds plain numbers: give data.labels, the names "
                "in the order of the numbers, and data.numbers (multi_hot or ids)"
            )
        labels = list(map(str, self.labels))
        return partial(self.pick, labels) if self.numbers == "ids" else partial(self.answer_each, labels)

    def pick(self, names: Sequence[str], cell: int | list[int] | None) -> Cells:
        """Returns the labels of an id or a list of them; an object each (objects.category) may name a label twice."""
        self.check_not_null(cell)
        ids = [] if cell is None else as_list(cell)
        if not all(isinstance(number, int) and 0 <= number < len(names) for number in ids):
            problem = "labels that are unknown or have no name (where a split has none: data.test_split=null)"
            raise CellError(problem, repr(cell))
        labels = [names[number] for number in ids]
        return list(dict.fromkeys(labels)) if "." in self.labels_column else labels, None

    def answer_each(self, labels: Sequence[str], cell: list | None) -> Cells:
        """Returns an answer for each label."""
        answers = as_list(cell)
        if len(answers) != len(labels):
            problem = "rows that have not one answer for each of data.labels (are they data.numbers=ids?)"
            raise CellError(problem, f"{len(answers)} instead of {len(labels)}")
        return labels, answers

    def split_cell(self, cell: str | list[str] | None) -> Cells:
        """Returns the labels in a text with separators, a list of texts, or the text of a list or an object."""
        self.check_not_null(cell)
        labels, answers = self.cells.read(cell)
        if answers is not None:
            return labels, answers
        return list(dict.fromkeys(labels)) if "." in self.labels_column else labels, None

    def check_not_null(self, cell: object) -> None:
        """Raises CellError if a cell holds nothing at all and nothing says what that means."""
        check_not_null(cell, is_none=self.unlisted == "unknown" or self.blank == "absent", way_out=SAY_ABSENT)


def name_class(names: Sequence[str] | None, cell: object) -> object:
    """Returns the word that the number of a class stands for, None for -1; without names the cell itself.

    >>> name_class(["yes", "no"], 1), name_class(["yes", "no"], -1), name_class(None, 1)
    ('no', None, 1)
    """
    if names is None or cell is None:
        return cell
    return names[cell] if cell >= 0 else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps `datasets` and the hub from printing; what matters becomes an error."""
    from huggingface_hub import utils as hub

    datasets = import_datasets()
    libraries = [(library.logging, library.logging.get_verbosity()) for library in (datasets.utils, hub)]
    shown = [library for library in (datasets.utils, hub) if not library.are_progress_bars_disabled()]
    try:
        for logging_of, _ in libraries:
            logging_of.set_verbosity_error()
        for library in shown:
            library.disable_progress_bars()
        yield
    finally:
        for logging_of, verbosity in libraries:
            logging_of.set_verbosity(verbosity)
        for library in shown:
            library.enable_progress_bars()


def is_saved(path: str) -> bool:
    """Returns whether a folder is from `save_to_disk`."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_dict.json", "state.json"))


def shorten(error: Exception) -> str:
    """Returns what an error says, in one line that is not too long."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
