"""What in an export of Label Studio holds labels, and what they are called."""

import json
from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from multihot.data.readers.tools.label_studio_interface import KINDS, NO_LABELS, labels_in, read_interface
from multihot.data.table.cells import CellError, quote
from multihot.data.table.table import Table
from multihot.errors import InputError

# What each export has of its own, beside the data of the task and a column for each control of the interface.
OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history")
NEITHER = "tasks that are no export (a file that Label Studio imports? Export it again from there, as JSON)"
PATH_OR_SEVERAL = (  # findings/label_studio_one_nested_choice.sh
    "answers that are one choice below others, or several of regions (data.interface=<file>.xml tells, or export JSON)"
)
TWO_CONTROLS = "labels of several <Choices>, so that they are one label (tell them apart by data.prefix_labels=true)"


class Controls:
    """What holds the labels: which controls of the labelling interface, and what their labels are called.

    Args:
        names: of those that hold labels; None: of all.
        prefix: labels are called after their controls too.
        data: keys in the data of a task that are no controls.
    """

    def __init__(self, table: Table, names: Sequence[str] | None, *, prefix: bool, data: Collection[str]):
        self.table, self.prefix = table, prefix
        self.names = None if names is None else tuple(map(str, names))
        self.others = {*OWN, *data}
        self.owner: dict[str, str] = {}  # label -> name of its control
        self.labels: dict[tuple[str, str], str] = {}  # control and choice -> label, of those that were met
        self.known: frozenset[str] = frozenset()  # choices that the interface lists
        self.is_nested: dict[str, bool] = {}  # name of a control -> whether its choices are paths

    def follow(self, file: str) -> list[str] | None:
        """Takes controls and groups of exclusive choices from the labelling interface.

        Returns:
            All labels that there can be; None: it does not tell.
        """
        interface = read_interface(file)
        if self.names is None:
            self.names = tuple(interface)
        missing = [name for name in self.names if name not in interface]
        if missing:
            raise InputError(
                f"{file} has no control {', '.join(map(repr, missing))} of data.choices; it has "
                f"{', '.join(map(repr, interface)) or 'none that holds labels'}"
            )
        controls = {name: interface[name] for name in self.names}
        self.known = frozenset(choice for control in controls.values() for choice in control.labels)
        self.is_nested = {name: control.is_nested for name, control in controls.items()}
        labels = {name: [self.label(name, choice) for choice in control.labels] for name, control in controls.items()}
        for name, control in controls.items():
            if control.exclusive:
                self.table.exclude(name, labels[name], none=not control.required)
        is_closed = all(control.is_closed for control in controls.values())
        return list(dict.fromkeys(chain.from_iterable(labels.values()))) if is_closed else None

    def label(self, name: str, choice: str) -> str:
        """Returns what a choice of a control is called; raises CellError if another control has the same."""
        label = f"{name}: {choice}" if self.prefix else choice
        if self.owner.setdefault(label, name) != name:
            raise CellError(TWO_CONTROLS, f"{choice!r} of {self.owner[label]!r} and {name!r}")
        self.labels[name, choice] = label
        return label

    def find(self, file: str, keys: Sequence[str]) -> list[str]:
        """Returns which keys of a row hold labels: those of the settings, or the only one that is left."""
        if self.names is not None:
            return [key for key in keys if key in self.names]
        left = [key for key in keys if key not in self.others]
        if len(left) > 1:
            raise InputError(
                f"{file} has {', '.join(map(repr, left))} beside what Label Studio writes of its own: say which of "
                "them hold labels by data.choices=[...], or give the labelling interface by data.interface=<file>.xml "
                "(Settings, Labeling Interface, Code)"
            )
        return left

    def read(self, number: int, cells: Iterable[tuple[str, object]]) -> dict[str, float]:
        """Returns what a reading says, {label: 1.0}, by the names of controls and their cells; notes what is wrong."""
        answers: dict[str, float] = {}
        for name, cell in cells:
            try:
                if cell:
                    answers |= self.parse(name, cell) if isinstance(cell, str) else self.answers_in(name, cell)
            except CellError as error:
                self.table.note(error.problem, number, f"{name!r}: {error.details}")
            except RecursionError:
                self.table.note(NO_LABELS, number, f"{name!r}: lists in lists in lists")
        return answers

    def read_result(self, number: int, result: object) -> dict[str, float]:
        """Returns what the result of an annotation says; notes what cannot be read."""
        if not isinstance(result, list) or not all(isinstance(part, dict) for part in result):
            self.table.note(NEITHER, number, f"an annotation holds {quote(result)}")
            return {}
        cells: dict[str, list] = {}
        for part in result:
            name, kind = part.get("from_name"), part.get("type")
            if isinstance(name, str) and (kind in KINDS if self.names is None else name in self.names):
                cells.setdefault(name, []).append(part.get("value"))
        return self.read(number, cells.items())

    def parse(self, name: str, cell: str) -> dict[str, float]:
        """Returns what a text says: one choice as it is, or several as JSON."""
        text = cell.strip()
        if not text:
            return {}
        if text[0] in "[{" and cell not in self.known:
            try:
                return self.answers_in(name, json.loads(text))
            except ValueError:
                pass  # a choice that begins with a bracket
        return self.answers_in(name, text)

    def answers_in(self, name: str, value: object) -> dict[str, float]:
        """Returns what a value of a control says; a list of names alone is a path where choices are nested."""
        choices = [value] if isinstance(value, str) else value.get("choices") if isinstance(value, dict) else None
        try:
            return {self.labels[name, choice]: 1.0 for choice in (choices if isinstance(choices, list) else [None])}
        except (KeyError, TypeError):  # another kind of value, or a choice that is new
            return {self.label(name, choice): 1.0 for choice in labels_in(self.tell_path(name, value))}

    def tell_path(self, name: str, value: object) -> object:
        """Returns a list of two names or more as one choice below others, where it is; raises CellError in doubt."""
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, str) for item in value):
            return value
        if name not in self.is_nested:
            raise CellError(PATH_OR_SEVERAL, quote(value))
        return "/".join(value) if self.is_nested[name] else value
