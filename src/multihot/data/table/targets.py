"""What a table says of the rows of a split: their targets, what is wrong with these, and their Manifest."""

import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from multihot.data.images import read_image
from multihot.data.manifest import Manifest
from multihot.data.strings import PackedStrings
from multihot.data.table.agreement import clear_rows, settle
from multihot.data.table.image_paths import explain_missing
from multihot.data.table.lookalikes import look, show
from multihot.data.table.places import Places, Problems
from multihot.data.table.table import TWICE_IN_A_ROW, Table
from multihot.errors import name_first

log = logging.getLogger(__name__)

NOT_LISTED = "labels that are not in the list (correct them, data.labels or data.separator)"
CONTRADICTIONS = (
    "answers that contradict another one about the same image and label (correct them; or, if several people have "
    "answered, say how they agree: data.agree=majority, any, all or mean)"
)


def create_targets(
    table: Table, rows: np.ndarray, labels: tuple[str, ...], problems: Problems, unseen: str | None = NOT_LISTED
) -> csr_array:
    """Returns the targets of rows (N, C), int8, or float32 if one is soft; notes what cannot be an answer.

    Args:
        unseen: the problem that other labels are; None: answers about them are left out with a warning.
    """
    row_of = np.full(len(table), -1, np.int32)
    row_of[rows] = np.arange(len(rows), dtype=np.int32)
    answers = np.flatnonzero(row_of[np.asarray(table.answer_rows, np.int64)] >= 0)  # those about these rows
    column_of = {label: column for column, label in enumerate(labels)}
    column_of_id = np.array([column_of.get(label, -1) for label in table.id_of], np.int32)
    others = answers[column_of_id[np.asarray(table.label_ids)[answers]] < 0]
    if len(others) and unseen is None:
        warn_of_left_out(table, others)
    elif len(others):
        known = {look(label): label for label in labels}
        alike = {
            label: f", which looks like {show(known[look(label)])}" for label in table.id_of if look(label) in known
        }
        note_answers(table, others, problems, unseen, alike)
    answers, values = settle_answers(table, answers, problems)
    columns = column_of_id[np.asarray(table.label_ids)[answers]]
    parts = row_of[np.asarray(table.answer_rows)[answers]], columns, values
    parts = add_unknown(table, rows, labels, *parts)
    if table.rows_of_none is not None:
        none = row_of[table.rows_of_none]
        told = len(labels) if table.unlisted else 0  # an answer that is not there means absent already
        parts = clear_rows(none[none >= 0], told, *parts)
    if table.num_readings and not table.unlisted:
        unread = np.flatnonzero(np.asarray(table.num_readings)[rows] == 0).astype(np.int32)
        parts = clear_rows(unread, len(labels), *parts, value=-1.0)
    target_rows, columns, values = parts
    kept = (columns >= 0) & (values != table.unlisted)
    is_soft = np.any((values > 0) & (values < 1))
    data = values[kept].astype(np.float32 if is_soft else np.int8)
    return csr_array((data, (target_rows[kept], columns[kept])), shape=(len(rows), len(labels)))


def note_answers(
    table: Table, answers: np.ndarray, problems: Problems, problem: str, remarks: Mapping[str, str] | None = None
) -> None:
    """Notes the places of answers, with a remark about the label of some."""
    names = list(table.id_of)
    for answer in answers.tolist():
        label, value = names[table.label_ids[answer]], table.values[answer]
        remark = (remarks or {}).get(label, "")
        problems[problem].append(f"{table.place_of(answer)}: {label!r}{'' if value == 1 else f' is {value:g}'}{remark}")


def warn_of_left_out(table: Table, answers: np.ndarray) -> None:
    """Warns of answers about labels that the model does not have."""
    names = list(table.id_of)
    labels = [names[number] for number in np.unique(np.asarray(table.label_ids)[answers])]
    log.warning(
        "data.unseen_labels=drop leaves out %d answers about %d labels that the model does not have: %s",
        len(answers),
        len(labels),
        name_first(labels),
    )


def settle_answers(table: Table, answers: np.ndarray, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first answer about each image and label, and what all of them come to, float32 (A,); notes what does
    not agree.
    """
    rows, label_ids, values = (np.asarray(part)[answers] for part in (table.answer_rows, table.label_ids, table.values))
    num_readings = np.asarray(table.num_readings) if table.num_readings else None
    settled = settle(rows, label_ids, values, table.agree or "error", num_readings)
    if table.agree is None:
        note_answers(table, np.delete(answers, settled.kept), problems, TWICE_IN_A_ROW)
        return answers[settled.kept], settled.values
    names = list(table.id_of)
    for answer, first in answers[settled.contradictions].tolist():
        place = f"{table.place_of(answer)}: {names[table.label_ids[answer]]!r} is {table.values[answer]:g}"
        problems[CONTRADICTIONS].append(f"{place}, but {table.values[first]:g} in {table.place_of(first)}")
    for answer in answers[settled.unshared].tolist():
        place = f"{table.place_of(answer)}: {names[table.label_ids[answer]]!r} is {table.values[answer]:g}"
        problems[CONTRADICTIONS].append(f"{place}, but another answer about the image does not name it")
    return answers[settled.kept], settled.values


def add_unknown(
    table: Table,
    rows: np.ndarray,
    labels: tuple[str, ...],
    target_rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows, columns and values of answers, and an unknown one for each label that a file has no column for."""
    lacking_rows, lacking = unknown_cells(table, rows, labels)
    if not len(lacking):
        return target_rows, columns, values
    told = (target_rows.astype(np.int64) * len(labels) + columns)[columns >= 0]
    is_new = ~np.isin(lacking_rows.astype(np.int64) * len(labels) + lacking, told)  # told in another file
    lacking_rows, lacking = lacking_rows[is_new], lacking[is_new]
    unknown = np.full(len(lacking), -1, np.float32)
    return np.r_[target_rows, lacking_rows], np.r_[columns, lacking], np.r_[values, unknown]


def find_lacking(table: Table, rows: np.ndarray, labels: Sequence[str]) -> dict[int, list[str]]:
    """Returns for each file of these rows the labels that it has no column for, if it has a column a label."""
    files = np.unique(np.asarray(table.file_ids, np.int64)[rows]).tolist() if table.labels_of_file else []
    lacking = {file: [label for label in labels if label not in table.labels_of_file[file]] for file in files}
    return {file: missing for file, missing in lacking.items() if missing}


def unknown_cells(table: Table, rows: np.ndarray, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows (A,) and columns (A,) of the answers that nothing can be known of, as their file lacks them."""
    found = [(np.empty(0, np.int32), np.empty(0, np.int32))]
    for file, missing in find_lacking(table, rows, labels).items():
        places = np.flatnonzero(np.asarray(table.file_ids)[rows] == file).astype(np.int32)
        columns = np.array([labels.index(label) for label in missing], np.int32)
        found.append((np.repeat(places, len(columns)), np.tile(columns, len(places))))
    return tuple(map(np.concatenate, zip(*found, strict=True)))


def create_manifest(table: Table, rows: np.ndarray, labels: tuple[str, ...], targets: csr_array, groups) -> Manifest:
    """Returns the Manifest of rows."""
    paths = list(table.row_of)
    of_rows = {
        name: np.asarray(getattr(table, name))[rows] if getattr(table, name) else None
        for name in ("weights", "clusters", "shards")
    }
    places = Places(table.files, table.units, np.asarray(table.file_ids)[rows], np.asarray(table.numbers)[rows])
    return Manifest(
        labels,
        PackedStrings.pack(paths[row] for row in rows),
        targets,
        table.read,
        groups,
        table.unlisted,
        **of_rows,
        places=places,
        num_listed_absent=count_listed_absent(table, rows),
    )


def count_listed_absent(table: Table, rows: np.ndarray) -> int:
    """Returns how many answers about rows are given as absent, in so many words."""
    is_asked = np.zeros(len(table), bool)
    is_asked[rows] = True
    return np.count_nonzero(is_asked[np.asarray(table.answer_rows, np.int64)] & (np.asarray(table.values) == 0))


def check_existence(table: Table, rows: np.ndarray, problems: Problems) -> None:
    """Notes the images of rows where no file is."""
    if table.read is not read_image:
        return
    paths = list(table.row_of)
    missing = "images that do not exist (restore them, remove their rows, correct data.root, or data.bad_images=skip)"
    for row in rows:
        if not os.path.isfile(paths[row]):
            is_shown = len(problems[missing]) < 10
            why = explain_missing(paths[row], table.roots[table.file_ids[row]]) if is_shown else ""
            problems[missing].append(f"{table.place(row)}: {paths[row]}{why}")
