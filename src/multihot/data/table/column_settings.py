"""What a table of named columns can be told: which column means what, and what its cells say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multihot.data.table.cells import as_list
from multihot.data.table.image_template import fields_of
from multihot.data.table.reader import TableReader
from multihot.errors import InputError


@dataclass(kw_only=True)
class ColumnSettings(TableReader):
    """One file with a split column, or, as soon as `val_path` or `test_path` is given, one file a split.

    Args:
        image_suffix: added to each image, as ".jpg" where the cells are ids; None: nothing.
        layout: "cell": all labels of an image in `labels_column`, or in a list of columns; "columns": a column a label,
            with 1, 0, a soft answer between them, -1 for unknown, or nothing; "pairs": a row an image and a label (of
            `labels_column`).
        separator: stands between the labels of a cell. An empty cell is an image with none of the labels.
        unknown_column: for "cell": the labels about which nothing is known.
        label_columns: for "columns": which; None is all that have no other meaning.
        ignore_columns: columns that say nothing here; None: none.
        answers: what stands in the cells of answers, if it is not 1, 0, ...: see Answers.
        blank: what an empty cell says where an answer belongs.
        value_column: for "pairs": the answer; None: every pair says that the label is present.
        agree: how several answers about an image and a label go together, of pairs, or of the rows that several people
            have filled in for an image. "error": they must be equal, and in "cell" and "columns" an image has one row;
            "majority": what more than half of them say, a tie is unknown; "any": the largest answer, present if one
            says so; "all": the smallest; "mean": the mean, a soft answer. Who says unknown does not vote; a soft answer
            votes for present from 0.5 up. A label that a row of "cell" does not list is absent to it and votes so; in
            "columns" a blank cell votes as `blank` says; in "pairs" only those vote who have a row for the label.
        unlisted_pairs: for "pairs": what is true of a label that has no row.
        split_column: train, val (or valid, validation, dev) or test, in small or capital letters; None, or missing in a
            file that has only the columns of image and labels: all is for training.
        weight_column: how much each image counts in the loss, 0 or more; None: all the same.
        cluster_column: images of one patient, scene, ... that must not be divided between train and val.
        blank_cluster: what an empty cell of it says: "error", or "own": the image belongs to no other.
        rename_columns: {name in the file: name here}, as where the file of a split calls a column otherwise.
        cell_parts: {column: pattern} whose named groups become columns: {"id": "(?P<image>[^_]+)_(?P<label>.+)"}.
        join_path: another file, whose columns are added to each row; only those that a setting names are read.
        join_columns: the columns that both files have and that say which rows belong together.
        join_missing: what a row is that has none in the other file: "error" or "skip", left out with a warning.
        image_template: makes the column of `image_column`: "{folder}/{id}.jpg", with "{id:.2}" for the first two
            characters of a cell and {split} for the split that the file belongs to.
        split_lists: {split: file of names} or a file of names and splits, see SplitLists; makes the column of
            `split_column`. Images that are in none are left out with a warning.
        split_names: {name in the split column: train | val | test}.
        skip_labels: words in the place of labels that say that nothing is to be learnt of an image; it is left out.
        untagged: for "cell": an image whose cell of labels is empty has none of them ("absent"), unknown ones alone
            ("unknown"), or is left out ("skip").
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    layout: str
    image_column: str
    labels_column: str | Sequence[str]
    separator: str
    unknown_column: str | None
    label_columns: Sequence[str] | None
    blank: str
    value_column: str | None
    unlisted_pairs: str
    split_column: str | None
    weight_column: str | None
    cluster_column: str | None
    image_suffix: str | None = None  # runs that began before there were these settings do not have them
    answers: Mapping[object, str | float] | None = None
    agree: str = "error"
    ignore_columns: Sequence[str] | None = None
    rename_columns: Mapping[str, str] | None = None
    cell_parts: Mapping[str, str] | None = None
    join_path: str | None = None
    join_columns: Sequence[str] | None = None
    join_missing: str = "error"
    image_template: str | None = None
    split_lists: str | Mapping[str, str] | None = None
    split_names: Mapping[object, str] | None = None
    skip_labels: Sequence[str] | None = None
    untagged: str | None = "absent"
    blank_cluster: str = "error"

    @property
    def makes_columns(self) -> bool:
        """Whether a setting makes columns of others."""
        return any((self.cell_parts, self.join_path, self.image_template, self.split_lists))

    def rename(self, header: Sequence[str]) -> list[str]:
        """Returns what the columns of a file are called here."""
        renamed = self.rename_columns or {}
        return [renamed.get(name, name) for name in header]

    def sources(self) -> list[str]:
        """Returns the columns that others are made of."""
        return [*(self.cell_parts or ()), *self.names("join_columns"), *fields_of(self.image_template)]

    @property
    def names_none(self) -> bool:
        """Whether a label such as "No Finding" is meant as one: a column of its own is."""
        return self.layout == "columns"

    def check_ignored(self) -> None:
        """Raises InputError if a column is ignored and used."""
        using = [setting for setting in self.__dataclass_fields__ if setting.endswith(("_column", "_columns"))]
        for setting in using:
            both = [name for name in self.names("ignore_columns") if name in self.names(setting)]
            if both and setting != "ignore_columns":
                raise InputError(f"data.ignore_columns and data.{setting} both name {', '.join(map(repr, both))}")

    def names(self, setting: str) -> list[str]:
        """Returns the columns that a setting names, one, several, or none."""
        value = getattr(self, setting)
        return [] if value is None else list(map(str, as_list(value)))
