"""Words that stand where labels do and mean that there is none of them."""

import logging
import re
from collections.abc import Collection, Sequence

import numpy as np

from multihot.command_line import write_override
from multihot.data.table.cells import SAYS_NONE
from multihot.data.table.table import Table
from multihot.errors import InputError

log = logging.getLogger(__name__)

WORDS = re.compile(
    r"_?unlabell?ed|-1|nan|none|null|nil|n/a|na|#n/a|<na>|nat|\[\]|\{\}|[-\u2013\u2014]+|\[none\]|\(none\)"
    r"|nothing|empty|blank|background|undefined|unlabell?ed|un-?annotated"
    r"|(no|without|none of the)[ _-]?(finding|label|tag|class|object|annotation|above)(s|es)?",
    re.IGNORECASE,
)
CONTRADICTS = "rows that say none of the labels (data.none_labels) and also name one (take out one of the two)"
IN_DOUBT = "answers between yes and no to a word of data.none_labels"


def take_out(table: Table, none_labels: Sequence[str], labels: Sequence[str] | None) -> None:
    """Takes the words for none out of a table: images that have one have no label; notes those that name one too.

    Args:
        labels: those of the settings.
    """
    words = {str(word).strip().casefold() for word in none_labels}
    both = [label for label in map(str, labels or ()) if label.casefold() in words]
    if both:
        raise InputError(f"data.labels and data.none_labels both name {', '.join(map(repr, both))}: set one of them")
    names = {number: label for label, number in table.id_of.items() if label.casefold() in words}
    table.none_labels = frozenset(names.values())
    if table.labels is not None:
        table.labels = tuple(label for label in table.labels if label.casefold() not in words)
    rows, label_ids, values = (np.asarray(part) for part in (table.answer_rows, table.label_ids, table.values))
    is_word = np.isin(label_ids, list(names))
    says_none = is_word & (values == 1)
    groups = rows
    is_column = bool(table.labels_of_file and table.lines)  # a column a label, where several people may have a row
    if table.num_readings:  # each reading of an image stands alone
        groups = rows * np.int64(max(table.num_readings)) + np.asarray(table.readings)
    elif is_column:
        groups = np.asarray(table.lines) * len(table.files) + np.asarray(table.line_files)
    all_names = list(table.id_of)
    for answer in np.flatnonzero(~is_word & (values > 0) & np.isin(groups, groups[says_none])):
        table.problems[CONTRADICTS].append(f"{table.place_of(answer)}: {all_names[label_ids[answer]]!r}")
    for answer in np.flatnonzero(is_word & (values > 0) & (values < 1)):
        table.problems[IN_DOUBT].append(f"{table.place_of(answer)}: {names[label_ids[answer]]!r} is {values[answer]:g}")
    if is_column:
        values[(values < 0) & np.isin(groups, groups[says_none])] = 0  # those of the table itself
    elif not table.num_readings:
        table.rows_of_none = np.unique(rows[says_none])
    table.keep_answers(~is_word)


def warn_of_words(table: Table, known: Collection[str], source: str, *, must_choose: bool = False) -> None:
    """Warns of labels that may mean that there is none; known ones are meant as labels.

    Args:
        must_choose: those that hardly mean anything else are an InputError.
    """
    words = {number: label for label, number in table.id_of.items() if WORDS.fullmatch(label) and label not in known}
    if not words:
        return
    present = np.asarray(table.label_ids)[np.asarray(table.values) > 0]
    counts = {label: count for number, label in words.items() if (count := np.count_nonzero(present == number))}
    if not counts:
        return
    found = ", ".join(f"{label!r} ({count})" for label, count in counts.items())
    what = f"{source}: labels that may mean none of the labels, and how many rows have them: {found}"
    way_out = write_override("data.none_labels", list(counts))
    if must_choose and any(map(SAYS_NONE.fullmatch, counts)):
        ways = f"Set {way_out} if they do, and 'data.none_labels=[]' if they are labels"
        raise InputError(f"{what}. {ways}; a run from before goes on with data.misread=warn")
    log.warning("%s. If they do, set %s; if they are labels, name all labels in data.labels", what, way_out)
