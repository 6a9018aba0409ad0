"""Columns that may be something else than they are taken for: what their names and their cells give away."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from multihot.data.table.answers import Answers, parse_answer, parse_number
from multihot.data.table.cells import is_blank, split_plain
from multihot.data.table.propose import guess_meaning

ROWS_LOOKED_AT = 1000  # for columns that hold further labels
FEW_ROWS = 10  # too few to tell what a column is from its numbers
UNNAMED = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")  # an index that pandas wrote, or a comma too many
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "holdout"}
ABOUT_THE_IMAGE = re.compile(
    r"(.*_)?(fold|folds|kfold|id|ids|idx|index|uid|uuid|weight|weights)|row|row_number"
    r"|((patient|subject|person|user|image|img|original|orig|file)_)?(age|sex|gender|width|height|size)|aspect_ratio"
    r"|(n|num|nb)_\w+|(\w+_)?count|(is|in)_?(train|training|val|valid|validation|test|testing|dev|holdout)|split|subset|partition"
)
ANSWER = {"value", "answer", "present", "is_present", "presence", "confidence"}  # names of a column of answers
OF_AN_OBJECT = re.compile(  # where it is, in shares of the width and the height, and how it is seen
    r"(b?box_?)?([xy]_?(min|max|center|centre|ctr|\d)?|c[xy]|(min|max)_?[xy]|[wh]|width|height|left|top|right|bottom)"
    r"|area|aspect_ratio|difficult|(is_?)?(crowd|occluded|truncated|group_?of|depiction|inside)"
)
ANSWER_OF_A_PAIR = ANSWER | {"target", "score", "probability", "prob", "likelihood", "is_positive", "has_label"}


def simplify_name(name: str) -> str:
    """Returns the words of a column's name in small letters.

    >>> simplify_name("PatientAge"), simplify_name("image ID"), simplify_name("Sample-Weight")
    ('patient_age', 'image_id', 'sample_weight')
    """
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()


def find_doubtful(labels: Sequence[str]) -> list[str]:
    """Returns those of the columns taken for labels whose names are mostly about something else.

    >>> find_doubtful(["cat", "fold", "male", "Patient Age", "is_train", "sample_weight", "train"])
    ['fold', 'Patient Age', 'is_train', 'sample_weight']
    >>> find_doubtful(["cat", "train", "val"])
    ['train', 'val']
    """
    simple = {label: simplify_name(label) for label in labels}
    parts = [label for label in labels if simple[label] in PARTS]
    are_parts = len(parts) > 1  # one alone may be a train, or a test
    return [
        label
        for label in labels
        if ABOUT_THE_IMAGE.fullmatch(simple[label])
        or (are_parts and label in parts)
        or re.sub(r"\.\d+$", "", label) in simple.keys() - {label}  # as pandas calls the second of two columns
    ]


def find_shares(labels: Sequence[str], values: np.ndarray) -> list[str]:
    """Returns the columns that mostly hold shares between 0 and 1, where the most columns hold none.

    Args:
        values: the answers, float (N, C).
    """
    if len(values) < FEW_ROWS:
        return []
    is_soft = (values > 0) & (values < 1)
    is_mostly_soft = 2 * is_soft.sum(axis=0) > (values >= 0).sum(axis=0)
    if 2 * (~is_soft.any(axis=0)).sum() <= len(labels):
        return []
    return [labels[k] for k in np.flatnonzero(is_mostly_soft)]


def find_numbered(names: Collection[str], others: Sequence[str]) -> list[str]:
    """Returns the other columns that are called as one of the names is but for a number at the end.

    >>> find_numbered(["label_1"], ["label_2", "label_source"]), find_numbered(["labels"], ["labels.1", "label2"])
    (['label_2'], ['labels.1'])
    """
    stems = {stem(name) for name in names}
    return [other for other in others if stem(other) in stems and other[-1:].isdigit()]


def stem(name: str) -> str:
    """Returns a name without the number at its end."""
    return re.sub(r"[\s_.-]*\d+$", "", name).casefold()


def says_something_else(name: str) -> bool:
    """Returns whether a column beside pairs is called like a number, a box, or what else is no answer.

    >>> [says_something_else(name) for name in ("class_id", "XMin", "iscrowd", "answer")]
    [True, True, True, False]
    """
    name = simplify_name(name)
    return OF_AN_OBJECT.fullmatch(name) is not None or ABOUT_THE_IMAGE.fullmatch(name) is not None


class UnusedAnswers:
    """Looks for answers in the columns of pairs that no setting names: without them a 0 would say present.

    Args:
        columns: place and name of each.
        only_named: only those that are called as answers are.
    """

    def __init__(self, columns: Mapping[int, str], says: Answers, *, only_named: bool):
        self.columns, self.says, self.only_named = dict(columns), says, only_named
        names = ANSWER if only_named else ANSWER_OF_A_PAIR
        self.named = {place for place, name in columns.items() if simplify_name(name) in names}
        others = {place for place, name in columns.items() if not says_something_else(name)}
        self.asked = self.named if only_named else others
        self.differing: set[int] = set()  # have said something else than present

    def look(self, cells: Sequence) -> None:
        """Looks at the cells of a row that has a label."""
        for place in tuple(self.asked):
            cell = cells[place]
            if is_blank(cell):
                continue
            value, is_word = self.says.of([cell])[0], parse_number(cell) is None
            guess = guess_meaning(cell) if value is None else None
            if value is None and guess is None and (is_word if place in self.named else True):
                self.asked.discard(place)
            elif value != 1 and guess not in ("present", "unknown"):
                self.differing.add(place)

    def found(self) -> list[str]:
        """Returns the names of the columns that look like answers; one named so tells on no other."""
        places = sorted(self.asked & self.differing)
        return [self.columns[place] for place in [k for k in places if k in self.named] or places]


def is_joined(label: str, separators: Sequence[str], labels: Collection[str]) -> bool:
    """Returns whether a label consists of other labels and a separator.

    >>> is_joined("cat, dog", " ,", {"cat", "dog"}), is_joined("polar bear", " ", {"bear"})
    (True, False)
    """
    several = (split_plain(label, mark) for mark in separators if mark in label)
    return any(len(parts) > 1 and all(part in labels for part in parts) for parts in several)


def find_mixed(labels: Sequence[str], separator: str) -> list[str]:
    """Returns the labels with a separator, if they are most of all, and most of their parts recur in others.

    >>> find_mixed(["cat dog", "cat owl", "dog owl"], " "), find_mixed(["polar bear", "brown bear", "bear"], " ")
    (['cat dog', 'cat owl', 'dog owl'], [])
    """
    several = [label for label in labels if len(split_plain(label, separator)) > 1]
    uses = Counter(part for label in labels for part in split_plain(label, separator))
    do_recur = 3 * sum(count > 1 for count in uses.values()) >= 2 * len(uses)
    return several if 2 * len(several) > len(labels) >= len(uses) and do_recur else []


def is_word(text: str) -> bool:
    """Returns whether a text is neither a number nor an answer."""
    return parse_number(text) is None and parse_answer(text) is None


class UnusedLabels:
    """Looks for labels in the columns that no setting names, in the first rows of a file."""

    def __init__(self, columns: Mapping[int, str], separator: str):
        self.columns, self.separator = columns, separator
        self.rows: list[tuple[list, Sequence[str]]] = []  # the cells of these columns, and the labels of the row

    @property
    def is_looking(self) -> bool:
        """Whether more rows are wanted."""
        return bool(self.columns) and len(self.rows) < ROWS_LOOKED_AT

    def look(self, cells: Sequence, labels: Sequence[str]) -> None:
        """Keeps the cells of a row."""
        self.rows.append(([cells[place] for place in self.columns], labels))

    def found(self, known: Collection[str]) -> list[str]:
        """Returns the columns most of whose cells hold known labels, many of which their row would lack.

        >>> unused = UnusedLabels({2: "second"}, " ")
        >>> unused.look(["a.png", "cat", "dog"], ["cat"]); unused.look(["b.png", "dog", ""], ["dog"])
        >>> unused.found({"cat", "dog"}), unused.found({"cat"})
        (['second'], [])
        """
        found = []
        for k, name in enumerate(self.columns.values()):
            rows = [(cells[k], labels) for cells, labels in self.rows if isinstance(cells[k], str)]
            rows = [(parts, labels) for cell, labels in rows if (parts := split_plain(cell, self.separator))]
            holding = [row for row in rows if all(part in known and is_word(part) for part in row[0])]
            lost = [row for row in holding if not set(row[0]) <= set(row[1])]
            if 2 * len(holding) > len(rows) and 10 * len(lost) > len(rows):
                found.append(name)
        return found
