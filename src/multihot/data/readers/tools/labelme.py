"""Reads the files of LabelMe (github.com/wkentaro/labelme): one an image, with flags that are about all of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType

from multihot.data.readers.folders import is_image, walk
from multihot.data.readers.tools.json_files import JsonFolderReader
from multihot.data.table.exports import Item
from multihot.data.table.table import Table

SHAPE = {"imagePath": str, "flags?": (dict, NoneType), "shapes": [{"label?": str}]}


@dataclass(kw_only=True)
class LabelmeReader(JsonFolderReader):
    """Reads `<image>.json`, whose flags, true or false, are the answers about it, as labelme 6.3.1 writes them.

    An image without such a file, or whose file has no flags, is one that nobody has answered. Images start from the
    folder of their file, or from the same place below data.root.
    """

    tool = "LabelMe"
    shape = SHAPE

    def parts(self, path: str) -> Sequence[str]:
        """Returns the JSON files below a folder, and behind them all images that are there."""
        files = super().parts(path)
        self.folder, self.answered = path if os.path.isdir(path) else os.path.dirname(path), set()
        folder = self.root or path
        return [*files, *filter(is_image, walk(folder))] if os.path.isdir(path) else files

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the image of a file, or an image that has none."""
        if file.lower().endswith(".json"):
            yield from super().read(file, table)
        elif (image := os.path.abspath(file)) not in self.answered:
            yield Item(1, image, [])

    def read_content(self, file: str, content: Mapping, table: Table) -> Iterator[Item]:
        """Yields the image of a file."""
        flags = content.get("flags") or {}
        for label, flag in flags.items():
            if not isinstance(flag, bool):
                table.note("flags that are neither true nor false", 1, f"{label!r} is {flag!r:.40}")
        reading = {label: float(flag is True) for label, flag in flags.items() if self.is_meant(label)}
        self.add_objects(reading, [shape["label"] for shape in content["shapes"] if "label" in shape])
        image, folder = content["imagePath"].replace("\\", "/"), os.path.dirname(file)
        if self.root is None:
            image = os.path.abspath(os.path.join(folder, image))
        else:
            image = os.path.join(os.path.relpath(folder, self.folder), image)
        self.answered.add(os.path.abspath(os.path.join(self.root or "", image)))
        yield Item(1, image, [reading] if reading else [])
