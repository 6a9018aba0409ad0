"""The rows of all files of a source in one table, everything that is wrong with them, and their Manifest."""

import difflib
import logging
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy.sparse import csr_array

from multihot.data.images import read_image
from multihot.data.manifest import Manifest
from multihot.data.strings import PackedStrings
from multihot.data.table.agreement import clear_rows, settle
from multihot.data.table.answers import NO_ANSWER, Answers
from multihot.data.table.cells import describe_value, is_blank, quote
from multihot.data.table.image_paths import explain_missing, to_local
from multihot.data.table.lookalikes import look, show
from multihot.data.table.propose import guess_meaning, propose_answers
from multihot.errors import name_first

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_OF_NAME = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
UNKNOWN_SPLIT = f"splits other than {', '.join(SPLITS)}"
NOT_LISTED = "labels that are not in the list (correct them, data.labels or data.separator)"
TWICE_IN_A_ROW = "labels that an image has twice"
CONTRADICTIONS = (
    "answers that contradict another one about the same image and label (correct them; or, if several people have "
    "answered, say how they agree: data.agree=majority, any, all or mean)"
)
LONGEST_NAME = 255  # bytes of a file's name; PATH_MAX of Linux is 4096
LONGEST_PATH = 4095

MOST_NOTED = 100  # places of a problem; the others are counted


class Cases(Sequence):
    """The places of a problem: the first of them, and how many there are."""

    def __init__(self, first: Sequence[str] = (), count: int = 0):
        self.first, self.count = list(first), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | slice) -> str | list[str]:
        return self.first[key]

    def append(self, place: str) -> None:
        """Adds a place."""
        self.count += 1
        if len(self.first) < MOST_NOTED:
            self.first.append(place)

    def extend(self, other: "Cases") -> None:
        """Adds all places of another problem."""
        self.first = [*self.first, *other.first][:MOST_NOTED]
        self.count += other.count

    def copy(self) -> "Cases":
        """Returns the same places."""
        return Cases(self.first, self.count)


Problems = dict[str, Cases]  # what is wrong -> where


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
        self.weights, self.clusters, self.shards = array("f"), array("q"), array("i")  # empty: the source has none
        self.cluster_of: dict[str, int] = {}
        self.none_labels: frozenset[str] = frozenset()  # names in `id_of` that meant none of the labels
        self.rows_of_none: np.ndarray | None = None  # rows that said so, sorted
        self.problems: Problems = defaultdict(Cases)
        self.no_answer = NO_ANSWER  # the problem that a cell is no answer
        self.may_mean = True  # whether data.answers can say what such a cell means

    def begin(self, file: str, root: str | None = None, unit: str = "line", *, embedded: bool = False) -> None:
        """Says which file the rows that follow are from, and the folder of their images; None is the file's own.

        Args:
            unit: what the numbers of its rows count.
            embedded: the images are no files of their own.
        """
        self.files.append(file)
        self.units.append(unit)
        self.is_rooted, self.embedded = root is not None, embedded
        self.root = os.path.abspath(os.path.dirname(file) if root is None else root)
        self.inside = os.path.join(self.root, "")
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
        is_whole: bool = False,
    ) -> None:
        """Adds the row `number` of the current file; None as values: its labels are present.

        Args:
            again: the image may have rows already, whose answers these are added to.
            is_whole: of such rows, each is a reading of the whole image: labels that it does not list are absent to it.
        """
        if not isinstance(image, str) or not image:
            if is_blank(image):
                self.note("rows without an image", number)
            else:
                self.note("images that are no text (write the path of a file)", number, quote(image))
            return
        if split not in SPLITS:
            self.note(UNKNOWN_SPLIT, number, f"{split!r}{suggest_split(split)}" if split else "it has none")
            return
        if cluster == "":
            self.note("rows whose data.cluster_column is empty (each image needs one, if only of its own)", number)
            return
        if not self.embedded and (image := self.locate(image, number)) is None:
            return
        row = self.row_of.setdefault(image, len(self.numbers))
        if row < len(self.numbers):
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
            if is_whole:
                self.num_readings.append(0)
        if again:
            self.line_files.extend([len(self.files) - 1] * len(labels))
            self.lines.extend([number] * len(labels))
        if is_whole:
            self.num_readings[row] += 1
            if len(set(labels)) < len(labels):
                self.note(TWICE_IN_A_ROW, number, quote(next(label for label in labels if labels.count(label) > 1)))
        self.answer_rows.extend([row] * len(labels))
        self.label_ids.extend([self.id_of.setdefault(label, len(self.id_of)) for label in labels])
        self.values.extend([1.0] * len(labels) if values is None else values)

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
                self.note(self.no_answer, number, f"{label!r} is {quote(cell)}{where}")
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
        self.note("rows of the wrong length", number, f"{num_cells} cells instead of {num_columns}{more}")

    def note_weight(self, number: int, cell: object) -> None:
        """Notes that a cell of the row `number` is no weight."""
        self.note("weights that are no number from 0 up", number, quote(cell))

    def locate(self, image: str, number: int) -> str | None:
        """Returns the path of an image, or notes why it has none."""
        if "\\" in image or "://" in image:
            image = to_local(image, self.root)
        if "://" in image:
            self.note("images that are not on this machine (download them first)", number, image)
            return None
        path = os.path.normpath(os.path.join(self.root, image))
        if len(path) > LONGEST_NAME and (
            len(os.fsencode(path)) > LONGEST_PATH or len(os.fsencode(os.path.basename(path))) > LONGEST_NAME
        ):
            self.note("image paths that are longer than a file's can be", number, f"{path[:80]}... ({len(path)})")
            return None
        if not path.startswith(self.inside) and (self.is_rooted or not os.path.isabs(image)):
            outside = f"images outside of their folder {self.root} (set data.root to one that holds them all, or null)"
            self.note(outside, number, image)
            return None
        return path

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

    def check_existence(self, rows: np.ndarray, problems: Problems) -> None:
        """Notes the images of rows where no file is."""
        if self.read is not read_image:
            return
        paths = list(self.row_of)
        missing = (
            "images that do not exist (restore them, remove their rows, correct data.root, or data.bad_images=skip)"
        )
        for row in rows:
            if not os.path.isfile(paths[row]):
                is_shown = len(problems[missing]) < 10
                why = explain_missing(paths[row], self.roots[self.file_ids[row]]) if is_shown else ""
                problems[missing].append(f"{self.place(row)}: {paths[row]}{why}")

    def create_targets(
        self, rows: np.ndarray, labels: tuple[str, ...], problems: Problems, unseen: str | None = NOT_LISTED
    ) -> csr_array:
        """Returns the targets of rows (N, C), int8, or float32 if one is soft; notes what cannot be an answer.

        Args:
            unseen: the problem that other labels are; None: answers about them are left out with a warning.
        """
        names = list(self.id_of)
        column_of = {label: column for column, label in enumerate(labels)}
        row_of = np.full(len(self.numbers), -1, np.int32)
        row_of[rows] = np.arange(len(rows), dtype=np.int32)
        answers = np.flatnonzero(row_of[np.asarray(self.answer_rows, np.int64)] >= 0)  # those about these rows
        label_ids, values = (np.asarray(part)[answers] for part in (self.label_ids, self.values))
        target_rows = row_of[np.asarray(self.answer_rows)[answers]]
        columns = np.array([column_of.get(label, -1) for label in names], np.int32)[label_ids]

        def note(problem: str, wrong: np.ndarray, remarks: Mapping[str, str] | None = None) -> None:
            for k in np.flatnonzero(wrong):
                label = names[label_ids[k]]
                details = f"{label!r}{describe_value(values[k])}{(remarks or {}).get(label, '')}"
                problems[problem].append(f"{self.place_of(answers[k])}: {details}")

        if unseen is not None and (columns < 0).any():
            known = {look(label): label for label in labels}
            alike = {label: f", which looks like {show(known[look(label)])}" for label in names if look(label) in known}
            note(unseen, columns < 0, alike)
        elif unseen is None and (columns < 0).any():
            left_out = [names[number] for number in np.unique(label_ids[columns < 0])]
            log.warning(
                "data.unseen_labels=drop leaves out %d answers about %d labels that the model does not have: %s",
                np.count_nonzero(columns < 0),
                len(left_out),
                name_first(left_out),
            )
        if self.agree is None:
            note(TWICE_IN_A_ROW, find_repeated(target_rows, label_ids))
        else:
            num_readings = np.asarray(self.num_readings)[rows] if self.num_readings else None
            settled = settle(target_rows, label_ids, values, self.agree, num_readings)
            for k, first in settled.contradictions:
                place = f"{self.place_of(answers[k])}: {names[label_ids[k]]!r} is {values[k]:g}"
                problems[CONTRADICTIONS].append(f"{place}, but {values[first]:g} in {self.place_of(answers[first])}")
            target_rows, columns, values = target_rows[settled.kept], columns[settled.kept], settled.values
        lacking_rows, lacking = self.unknown_cells(rows, labels)
        if len(lacking):
            told = (target_rows.astype(np.int64) * len(labels) + columns)[columns >= 0]
            is_new = ~np.isin(lacking_rows.astype(np.int64) * len(labels) + lacking, told)  # told in another file
            lacking_rows, lacking = lacking_rows[is_new], lacking[is_new]
            target_rows, columns = np.r_[target_rows, lacking_rows], np.r_[columns, lacking]
            values = np.r_[values, np.full(len(lacking), -1, np.float32)]
        if self.rows_of_none is not None:
            none = row_of[self.rows_of_none]
            told = len(labels) if self.unlisted else 0  # an answer that is not there means absent already
            target_rows, columns, values = clear_rows(none[none >= 0], told, target_rows, columns, values)
        kept = (columns >= 0) & (values != self.unlisted)
        is_soft = np.any((values > 0) & (values < 1))
        data = values[kept].astype(np.float32 if is_soft else np.int8)
        return csr_array((data, (target_rows[kept], columns[kept])), shape=(len(rows), len(labels)))

    def find_lacking(self, rows: np.ndarray, labels: Sequence[str]) -> dict[int, list[str]]:
        """Returns for each file of these rows the labels that it has no column for, if it has a column a label."""
        files = np.unique(np.asarray(self.file_ids, np.int64)[rows]).tolist() if self.labels_of_file else []
        lacking = {file: [label for label in labels if label not in self.labels_of_file[file]] for file in files}
        return {file: missing for file, missing in lacking.items() if missing}

    def unknown_cells(self, rows: np.ndarray, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows (A,) and columns (A,) of the answers that nothing can be known of, as their file lacks them."""
        found = [(np.empty(0, np.int32), np.empty(0, np.int32))]
        for file, missing in self.find_lacking(rows, labels).items():
            places = np.flatnonzero(np.asarray(self.file_ids)[rows] == file).astype(np.int32)
            columns = np.array([labels.index(label) for label in missing], np.int32)
            found.append((np.repeat(places, len(columns)), np.tile(columns, len(places))))
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    def create_manifest(self, rows: np.ndarray, labels: tuple[str, ...], targets: csr_array, groups) -> Manifest:
        """Returns the Manifest of rows."""
        paths = list(self.row_of)
        of_rows = {
            name: np.asarray(getattr(self, name))[rows] if getattr(self, name) else None
            for name in ("weights", "clusters", "shards")
        }
        places = Places(self.files, self.units, np.asarray(self.file_ids)[rows], np.asarray(self.numbers)[rows])
        return Manifest(
            labels,
            PackedStrings.pack(paths[row] for row in rows),
            targets,
            self.read,
            groups,
            self.unlisted,
            **of_rows,
            places=places,
            num_listed_absent=self.count_listed_absent(rows),
        )

    def count_listed_absent(self, rows: np.ndarray) -> int:
        """Returns how many answers about rows are given as absent, in so many words."""
        is_asked = np.zeros(len(self.numbers), bool)
        is_asked[rows] = True
        return np.count_nonzero(is_asked[np.asarray(self.answer_rows, np.int64)] & (np.asarray(self.values) == 0))


@cache
def suggest_split(name: str) -> str:
    """Returns the split that a name comes near to, as a question.

    >>> suggest_split("Trian"), suggest_split("fold 3")
    (', train?', '')
    """
    return "".join(f", {near}?" for near in difflib.get_close_matches(name.lower(), SPLIT_OF_NAME, n=1))


@dataclass(frozen=True)
class Places(Sequence):
    """Where each image is listed: "labels.csv line 12"."""

    files: Sequence[str]
    units: Sequence[str]
    file_ids: Sequence[int]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> str:
        file = self.file_ids[row]
        return f"{self.files[file]} {self.units[file]} {self.numbers[row]}"

    def take(self, rows: np.ndarray) -> "Places":
        """Returns the places of the given rows."""
        return Places(self.files, self.units, self.file_ids[rows], self.numbers[rows])


def find_repeated(rows: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
    """Returns which answers speak of an image and a label that an earlier one speaks of.

    >>> find_repeated(np.array([0, 1, 0, 0]), np.array([5, 5, 3, 5]))
    array([False, False, False,  True])
    """
    order = np.lexsort((label_ids, rows))
    repeated = np.zeros(len(rows), bool)
    repeated[order[1:]] = (np.diff(rows[order]) == 0) & (np.diff(label_ids[order]) == 0)
    return repeated
