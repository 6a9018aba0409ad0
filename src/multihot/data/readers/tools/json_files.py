"""Files of JSON that a tool writes: a large one, or one an image."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from multihot.data.formats.strict_json import load_file
from multihot.data.readers.folders import walk
from multihot.data.table.exports import UNTAGGED, ExportReader, Item
from multihot.data.table.reader import MOST_FILES
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first, plural
from multihot.json_shapes import find_misfit

UNUSABLE = "files that cannot be used (restore them, or take them away)"


def read_json(file: str, shape: object, tool: str) -> object:
    """Returns what a JSON file holds.

    Args:
        shape: of multihot.json_shapes.
        tool: whose file it should be.

    Raises:
        InputError: it cannot be read, is no JSON, or has another shape.
    """
    content = load_file(file)
    check_shape(file, content, shape, tool)
    return content


def check_shape(file: str, content: object, shape: object, tool: str) -> None:
    """Raises InputError unless what a JSON file holds has the shape of a tool's."""
    fault = find_misfit(content, shape)
    if fault is not None:
        raise InputError(f"{file} is no file of {tool}: {fault}")


@dataclass(kw_only=True)
class JsonFolderReader(ExportReader):
    """Reads a folder in which a tool has written a JSON file for each image.

    Args:
        tags: names of those that hold labels; None: all.
        objects: what outlined objects are: "ignore", or "present": an image has their labels too.
    """

    tags: Sequence[str] | None
    objects: str

    unit = "image"
    tool: ClassVar[str]
    shape: ClassVar[object]  # of each file, see multihot.json_shapes

    def parts(self, path: str) -> Sequence[str]:
        """Returns the JSON files below a folder, or the one that is given."""
        if not os.path.isdir(path):
            return [path]
        found = [file for file in walk(path) if file.lower().endswith(".json") and self.is_part(file)]
        if not found:
            raise InputError(f"{path} holds no JSON file of an image, as {self.tool} writes them; correct data.path")
        return found

    def is_part(self, file: str) -> bool:
        """Returns whether a JSON file is about an image, by its name."""
        return True

    def fill(self, table: Table) -> None:
        """Adds the images of all files to the table."""
        self.num_objects, self.met = 0, set()
        super().fill(table)
        files = name_first(table.files, MOST_FILES)
        missing = [name for name in self.tags or () if name not in self.met]
        if missing:
            there = name_first(sorted(self.met)) or "none"
            raise InputError(f"{files}: no image has a tag {name_first(missing)} (data.tags); there are: {there}")
        others = table.problems.keys() - {UNTAGGED.format(self.untagged_means)}
        if self.num_objects and not table.id_of and not others:
            raise InputError(
                f"{files}: no image has a tag of its own, but {plural(self.num_objects, 'object')} outlined: if their "
                "labels are meant, set data.objects=present (and data.unlisted=unknown if not all objects are outlined)"
            )

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the image of a file."""
        try:
            yield from self.read_content(file, read_json(file, self.shape, self.tool), table)
        except InputError as error:
            table.note(UNUSABLE, 1, str(error))

    @abstractmethod
    def read_content(self, file: str, content: Mapping, table: Table) -> Iterator[Item]:
        """Yields the image of a file that holds `content`."""

    def is_meant(self, tag: str) -> bool:
        """Returns whether a tag holds labels."""
        self.met.add(tag)
        return self.tags is None or tag in self.tags

    def add_objects(self, reading: dict[str, float], labels: Sequence[str]) -> None:
        """Adds the labels of objects to a reading, if they are meant, and counts them."""
        self.num_objects += len(labels)
        if self.objects == "present":
            reading.update(dict.fromkeys(labels, 1.0))
