"""A file of answers that is written in parts: what was done before a stop is kept, and the same command goes on."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from multihot import json_shapes
from multihot.data.table.image_paths import read_prefixes
from multihot.errors import InputError
from multihot.files import prepare_file, read_json, remove_folder, sync, temporary_name, write_json, write_text, writing
from multihot.labels import LabelSpace
from multihot.ownership import FIRST_BYTES
from multihot.prediction.tools import WRITERS_OF_TOOLS
from multihot.prediction.writers import WRITERS, Renaming, Writer

log = logging.getLogger("multihot")

WAY_OUT = "Make space or set that right, or give another file by out="


@dataclass(frozen=True)
class Output:
    """The file that is asked for, what it will hold, and the folder of its parts.

    Beside the file is `<file>.json`, which says of which run, images and settings it is, and by which thresholds.

    Args:
        beside: files that go with it, {ending that the file's name gets: text}.
    """

    path: Path
    writer: Writer
    plan: Mapping  # on what the file depends, as JSON can hold it
    num_parts: int
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def note(self) -> Path:
        """What the file depends on, and whether it is complete."""
        return note_of(self.path)

    @property
    def parts(self) -> Path:
        """The folder of the parts, which is there until all are."""
        return self.path.with_name(f".{self.path.name}.parts")

    def part(self, number: int) -> Path:
        """A part; it is complete when `counted` is there."""
        ending = self.path.suffix
        return self.parts / f"{number:06}{'.part' if ending.lower() == '.json' else ending}"  # unlike `counted`

    def counted(self, number: int) -> Path:
        """What a complete part comes to."""
        return self.parts / f"{number:06}.json"

    def begin(self) -> list[int] | None:
        """Returns the numbers of the parts that are still to be made; None if the file is complete.

        Raises:
            InputError: the place has other files, or cannot be written.
        """
        before = read_note(self.note)
        is_same = before is not None and before["plan"] == self.plan
        if self.path.exists() and not is_same:
            raise InputError(
                f"{self.path} is there, and not of this command ({describe_difference(before, self.plan)}): give "
                "another file by out=, or delete it"
            )
        if is_same and before["finished"] is not None and self.path.exists():
            return None
        if self.parts.exists() and not is_same:
            raise InputError(
                f"{self.parts} holds parts of another command ({describe_difference(before, self.plan)}): the same "
                "command goes on with them; else give another file by out=, or delete the folder"
            )
        for file, text in self.files_beside():
            prepare_file(file, text.encode()[:FIRST_BYTES], WAY_OUT)
        prepare_file(self.path, b"", WAY_OUT)
        with writing(self.path, WAY_OUT):
            self.parts.mkdir(exist_ok=True)
            write_json(self.note, {"plan": self.plan, "finished": None})
        missing = [number for number in range(self.num_parts) if not self.counted(number).exists()]
        if len(missing) < self.num_parts:
            log.info("goes on: %d of %d parts are there", self.num_parts - len(missing), self.num_parts)
        return missing

    def files_beside(self) -> Iterator[tuple[Path, str]]:
        """Yields the files that go with this one, and their text."""
        for ending, text in self.beside.items():
            yield self.path.with_name(f"{self.path.name}{ending}"), text

    def save(self, number: int, counts: Mapping) -> None:
        """Notes that a part is complete."""
        sync(self.part(number))
        write_json(self.counted(number), counts)

    def finish(self) -> dict:
        """Joins the parts to the file, deletes them, and returns what all come to."""
        counts = [read_json(self.counted(number), json_shapes.COUNTED) for number in range(self.num_parts)]
        labels = Counter()
        for part in counts:
            labels.update(part["labels"])
        names = ("num_images", "num_unreadable", "num_left_out")
        total = {name: sum(part.get(name, 0) for part in counts) for name in names}
        total |= {"labels": dict(labels), "reasons": [reason for part in counts for reason in part["reasons"]][:5]}
        new = temporary_name(self.path)
        with writing(self.path, WAY_OUT):
            self.writer.join([self.part(number) for number in range(self.num_parts)], new)
            sync(new)
            for file, text in self.files_beside():
                write_text(file, text)
            os.replace(new, self.path)
            write_json(self.note, {"plan": self.plan, "finished": total})
        remove_folder(self.parts)
        return total


def note_of(path: Path) -> Path:
    """Returns where it is written on what a file depends."""
    return path.with_name(f"{path.name}.json")


def read_note(note: Path) -> dict | None:
    """Returns on what a file depends, and whether it is complete; None if that is not there or damaged."""
    try:
        return read_json(note, json_shapes.PREDICTED)
    except InputError:
        return None


def find_kernels(path: Path, kernels: str) -> str:
    """Returns the kernels for a file: for `auto` those with which it was begun, which another trial may not choose."""
    before = read_note(note_of(path)) if kernels == "auto" else None
    return kernels if before is None else before["plan"].get("settings", {}).get("kernels", kernels)


def open_output(
    path: Path,
    space: LabelSpace,
    top_k: int | None,
    plan: Mapping,
    num_parts: int,
    tool: str | None = None,
    prefixes: Mapping[str, str] | None = None,
) -> Output:
    """Returns the file that will hold the answers; its ending says in which format, if it is for no tool.

    Args:
        tool: the annotation tool that imports it.
        prefixes: {how paths begin here: what stands there instead}.

    Raises:
        InputError: the ending is of none.
    """
    if tool is None and path.suffix.lower() not in WRITERS:
        raise InputError(
            f"out={path}: its ending says the format; give one of {', '.join(WRITERS)}, or format=, one of "
            f"{', '.join(WRITERS_OF_TOOLS)}"
        )
    writer = (WRITERS[path.suffix.lower()] if tool is None else WRITERS_OF_TOOLS[tool])(space, top_k)
    beside = getattr(writer, "beside", {})  # few tools need another file
    if tool or prefixes:
        writer = Renaming(writer, read_prefixes(prefixes or {}))
    return Output(path, writer, plan, num_parts, beside)


def describe_difference(before: Mapping | None, plan: Mapping) -> str:
    """Returns in what a plan is another than the one before."""
    if before is None:
        return "nothing says of what it is"
    other = [name for name in plan if before["plan"].get(name) != plan[name]]
    return f"other {', '.join(other)}"
