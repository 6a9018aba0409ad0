"""The rows of all files of a source in one table, and everything that is wrong with them."""

import difflib
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from multihot.data.images import read_image
from multihot.data.manifest import SPLITS
from multihot.data.table.answers import NO_ANSWER, Answers
from multihot.data.table.cells import CellError, is_blank, quote
from multihot.data.table.image_finder import ImageFinder
from multihot.data.table.places import MOST_NOTED, Cases, Places, Problems
from multihot.data.table.propose import guess_meaning, propose_answers
from multihot.errors import plural

SPLIT_OF_NAME = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
UNKNOWN_SPLIT = f"splits other than {', '.join(SPLITS)}"
TWICE_IN_A_ROW = "labels that an image has twice"


class Table:
    """The rows of all files, and what is wrong with them.

    Everything is in flat arrays, because lists of strings would fill the memory: the k-th answer in the files belongs
    to row `answer_rows[k]`, is about label number `label_ids[k]` and is `values[k]`.
    """

    def __init__(self):
        self.files: list[str] = []
        self.roots: list[str] = []  # folder of the images of each file
        self.units: list[str] = []  # what the numbers of each file count: lines, rows, ...
        self.labels: tuple[str, ...] | None = None  # those that the source lists itself
        self.agree: str | None = None  # how several answers about an image and label agree; None: there must be one
        self.twice = "keep one row"  # what to do about an image in two rows
        self.unlisted = 0  # what an answer that is not there means: 0 absent, -1 unknown
        self.read: Callable[..., Image.Image] = read_image
        self.row_of: dict[str, int] = {}  # image -> row
        self.id_of: dict[str, int] = {}  # label -> number, in the order of appearance
        self.file_ids, self.numbers, self.split_ids = array("i"), array("q"), array("b")
        self.answer_rows, self.label_ids, self.values = array("i"), array("i"), array("f")
        self.line_files, self.lines = array("i"), array("q")  # of each answer; empty: that of its row
        self.labels_of_file: dict[int, frozenset[str]] = {}  # the label columns of a file, if it has such
        self.bad_answers: Counter[str] = Counter()  # cells about a label that are no answers
        self.bad_cells: dict[str, str] = {}  # the first of them that differ, as text, and a label of each
        self.num_readings = array("i")  # of each row, if a label that one of them does not list is absent to it
        self.readings = array("i")  # of each answer, which of its row's it is from; empty: rows have no readings
        self.groups: dict[str, Mapping] = {}  # of labels that exclude each other, see `exclude`
        self.finder = ImageFinder()
        self.weights, self.clusters, self.shards = array("f"), array("q"), array("i")  # empty: the source has none
        self.cluster_of: dict[str, int] = {}
        self.none_labels: frozenset[str] = frozenset()  # names in `id_of` that meant none of the labels
        self.rows_of_none: np.ndarray | None = None  # rows that said so, sorted
        self.problems: Problems = defaultdict(Cases)
        self.may_mean = True  # whether data.answers can say what such a cell means

    def __len__(self) -> int:
        return len(self.numbers)

    def begin(self, file: str, root: str | None = None, unit: str = "line", *, embedded: bool = False) -> None:
        """Says which file the rows that follow are from, and the folder of their images; None is the file's own.

        Args:
            unit: what the numbers of its rows count.
            embedded: the images are no files of their own.
        """
        self.files.append(file)
        self.units.append(unit)
        self.embedded = embedded
        folder = os.path.abspath(os.path.dirname(file) if root is None else root)
        self.root = self.roots[-1] if self.roots[-1:] == [folder] else folder  # one text for many
        self.finder.begin(self.root, is_given=root is not None)
        self.roots.append(self.root)

    def add(
        self,
        number: int,
        image: str,
        labels: Sequence[str],
        values: Iterable[float] | None = None,
        *,
        split: str,
        weight: float | None = None,
        cluster: str | None = None,
        shard: int | None = None,
        again: bool = False,
        num_readings: int | None = None,
    ) -> None:
        """Adds the row `number` of the current file; None as values: its labels are present.

        Args:
            again: the image may have rows already, whose answers these are added to.
            num_readings: of such rows, 1 is a reading of the whole image: labels that it does not list are absent to
                it; 0 is none: nobody has answered. All rows of a table have it, or None.
        """
        image = self.check_row(number, image, split, cluster)
        if image is None:
            return
        row = self.row_of.setdefault(image, len(self))
        if row < len(self):
            if not again or SPLITS[self.split_ids[row]] != split:
                twice = f"images that have a row already; in two splits they make scores too good ({self.twice})"
                self.note(twice, number, f"{image}, as in {self.place(row)}")
                return
            if weight is not None or cluster is not None:
                self.check_same(row, number, image, weight, cluster)
        else:
            self.file_ids.append(len(self.files) - 1)
            self.numbers.append(number)
            self.split_ids.append(SPLITS.index(split))
            if weight is not None:
                self.weights.append(weight)
            if cluster is not None:
                self.clusters.append(self.cluster_of.setdefault(cluster, len(self.cluster_of)))
            if shard is not None:
                self.shards.append(shard)
            if num_readings is not None:
                self.num_readings.append(0)
        if again:
            self.line_files.extend([len(self.files) - 1] * len(labels))
            self.lines.extend([number] * len(labels))
        if num_readings is not None:
            self.readings.extend([self.num_readings[row]] * len(labels))
            self.num_readings[row] += num_readings
            if len(set(labels)) < len(labels):
                self.note(TWICE_IN_A_ROW, number, quote(next(label for label in labels if labels.count(label) > 1)))
        self.answer_rows.extend([row] * len(labels))
        self.label_ids.extend([self.id_of.setdefault(label, len(self.id_of)) for label in labels])
        self.values.extend([1.0] * len(labels) if values is None else values)

    def check_row(self, number: int, image: object, split: str, cluster: str | None) -> str | None:
        """Returns the path of a row's image, or its name where images are no files; notes why it can be no row."""
        if not isinstance(image, str) or not image:
            if is_blank(image):
                self.note("rows without an image", number)
            else:
                self.note("images that are no text (write the path of a file)", number, quote(image))
        elif split not in SPLITS:
            self.note(UNKNOWN_SPLIT, number, f"{split!r}{suggest_split(split)}" if split else "it has none")
        elif cluster == "":
            self.note("rows whose data.cluster_column is empty (each image needs one, if only of its own)", number)
        elif self.embedded:
            return image
        else:
            try:
                return self.finder.find(image)
            except CellError as error:
                self.note(error.problem, number, error.details)
        return None

    def list_labels(self, labels: Sequence[str]) -> None:
        """Says which labels the source lists; the place of each is its number."""
        self.labels = tuple(labels)
        self.id_of = {label: number for number, label in enumerate(self.labels)}

    def exclude(self, name: str, labels: Sequence[str], *, none: bool = True) -> None:
        """Says that labels of the source exclude each other.

        Args:
            none: an image may have none of them.
        """
        self.groups[name] = {"labels": list(labels), "none": none}

    def add_answers(self, rows: np.ndarray, label_ids: np.ndarray, values: np.ndarray) -> None:
        """Adds answers about rows that are there, (A,) each."""
        for own, new in ((self.answer_rows, rows), (self.label_ids, label_ids), (self.values, values)):
            own.frombytes(new.astype(own.typecode).tobytes())

    def keep_answers(self, is_kept: np.ndarray) -> None:
        """Takes all answers out but those of a mask (A,)."""
        for name in ("answer_rows", "label_ids", "values", "line_files", "lines", "readings"):
            own = getattr(self, name)
            if own:
                setattr(self, name, array(own.typecode, np.asarray(own)[is_kept].tobytes()))

    def check_same(self, row: int, number: int, image: str, weight: float | None, cluster: str | None) -> None:
        """Notes that a further row of an image has another weight or cluster than the first one."""
        for name, values, value in (
            ("weights", self.weights, weight),
            ("clusters", self.clusters, None if cluster is None else self.cluster_of.get(cluster, -1)),
        ):
            if value is not None and abs(values[row] - value) > 1e-6 * max(1, abs(value)):
                self.note(
                    f"rows that differ from the first one of their image in data.{name[:-1]}_column", number, image
                )

    def note(self, problem: str, number: int, details: str = "") -> None:
        """Notes what is wrong with the row `number` of the current file."""
        self.problems[problem].append(
            f"{self.files[-1]} {self.units[-1]} {number}" + (f": {details}" if details else "")
        )

    def read_answers(
        self, says: Answers, number: int, labels: Sequence[str], cells: Sequence, column: str | None = None
    ) -> list[float]:
        """Returns what the cells of the row `number` say of its labels, and notes those that are no answer.

        Args:
            column: that holds them, if it is not called by the label.
        """
        values = says.of(cells)
        if None not in values:
            return values
        for label, cell, value in zip(labels, cells, values, strict=True):
            if value is None:
                self.bad_answers[label] += 1
                if len(self.bad_cells) < MOST_NOTED:
                    self.bad_cells.setdefault(str(cell), label)
                where = "" if column is None else f" in the column {column!r}"
                self.note(NO_ANSWER, number, f"{label!r} is {quote(cell)}{where}")
        return [-1.0 if value is None else value for value in values]

    def forget_names_in(self, labels: Collection[str]) -> None:
        """Leaves cells that look like names out of what is proposed: these columns are likely no labels."""
        kept = self.bad_cells.items()
        self.bad_cells = {cell: label for cell, label in kept if label not in labels or guess_meaning(cell)}

    def propose_answers(self) -> None:
        """Says in the problem of cells that are no answers what they may mean."""
        way_out = propose_answers(self.bad_cells, self.id_of) if self.may_mean else ""
        for problem in [problem for problem in self.problems if problem.startswith(NO_ANSWER)]:
            text = f"{NO_ANSWER}{way_out}{problem.removeprefix(NO_ANSWER)}"
            self.problems[text] = self.problems.pop(problem)

    def note_width(self, number: int, num_cells: int, num_columns: int) -> None:
        """Notes that the row `number` of the current file has a cell too few or too many."""
        more = " (a cell that holds what divides the cells needs quotes)" * (num_cells > num_columns)
        self.note("rows of the wrong length", number, f"{plural(num_cells, 'cell')} instead of {num_columns}{more}")

    def note_weight(self, number: int, cell: object) -> None:
        """Notes that a cell of the row `number` is no weight."""
        self.note("weights that are no number from 0 up", number, quote(cell))

    def place(self, row: int) -> str:
        """Returns the file and the line of a row."""
        return Places(self.files, self.units, self.file_ids, self.numbers)[row]

    def place_of(self, answer: int) -> str:
        """Returns the file and the line of an answer, which in pairs is not that of its image."""
        if not self.lines:
            return self.place(self.answer_rows[answer])
        return Places(self.files, self.units, self.line_files, self.lines)[answer]

    def train_labels(self) -> tuple[str, ...]:
        """Returns the labels of the train rows, sorted."""
        in_train = np.asarray(self.split_ids)[np.asarray(self.answer_rows, np.int64)] == SPLITS.index("train")
        found = set(np.unique(np.asarray(self.label_ids)[in_train]).tolist())
        return tuple(sorted(label for label, number in self.id_of.items() if number in found))

    def count_unseen(self, labels: Sequence[str]) -> list[tuple[str, dict[str, int]]]:
        """Returns each label that is none of `labels`, with the number of answers about it in each split."""
        known = set(labels)
        known |= self.none_labels
        unseen = {number: label for label, number in self.id_of.items() if label not in known}
        if not unseen:
            return []
        label_ids = np.asarray(self.label_ids)
        answers = np.flatnonzero(np.isin(label_ids, list(unseen)))
        split_ids = np.asarray(self.split_ids)[np.asarray(self.answer_rows)[answers]]
        counts = Counter(zip(label_ids[answers].tolist(), split_ids.tolist(), strict=True))
        return [
            (label, {split: counts[number, k] for k, split in enumerate(SPLITS) if counts[number, k]})
            for number, label in unseen.items()
        ]


def name_splits(names: Mapping[object, str] | None) -> dict[str, str]:
    """Returns {name in small letters: train, val or test} of the names of data.split_names and of the usual ones.

    >>> name_splits({"Batch 1": "train"})["batch 1"], name_splits(None)["valid"]
    ('train', 'val')
    """
    return SPLIT_OF_NAME | {str(name).lower(): split for name, split in (names or {}).items()}


@cache
def suggest_split(name: str) -> str:
    """Returns the split that a name comes near to, as a question.

    >>> suggest_split("Trian"), suggest_split("fold 3")
    (', train?', '')
    """
    return "".join(f", {near}?" for near in difflib.get_close_matches(name.lower(), SPLIT_OF_NAME, n=1))
