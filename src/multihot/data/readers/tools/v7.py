"""Reads the Darwin JSON that V7 exports: a file an image, with tags that are about all of it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType

from multihot.data.readers.tools.json_files import JsonFolderReader
from multihot.data.table.exports import Item
from multihot.data.table.table import Table

FORBIDDEN = re.compile(r'[<>"/\\|?*]')  # what darwin-py does not write in names of files
SLOT = {"type?": str, "source_files?": [{"file_name?": str}]}
SHAPE = {
    "annotations": [{"name": str}],
    "properties?": [{"name": str, "value?": (str, NoneType)}],
    "item?": {"name": str, "path?": str, "slots?": [SLOT]},
    "image?": {"filename?": str, "original_filename?": str, "path?": (str, NoneType)},
}


@dataclass(kw_only=True)
class V7Reader(JsonFolderReader):
    """Reads Darwin JSON 2.0 (`item`, `annotations`; darwin-py 3.6.3) and 1.0 (`image`, `annotations`).

    A tag is a label, and a property of an item is the label "property: value". Images are below data.root; None: below
    the folder `images` that darwin-py makes beside `releases`, in the folders that they have in V7, or all in one.
    """

    tool = "V7 (Darwin JSON)"
    shape = SHAPE
    untagged_means = "V7 does not write whether anybody has looked at it"

    def is_part(self, file: str) -> bool:
        """Returns whether a JSON file is about an image: in `.v7` are settings, in `lists` the names of splits."""
        return os.path.basename(os.path.dirname(file)) not in (".v7", "lists")

    def read_content(self, file: str, content: Mapping, table: Table) -> Iterator[Item]:
        """Yields the image of a file."""
        name, folder = name_image(content)
        if name is None:
            table.note("items that are not one image", 1, folder)
            return
        labels = [(one["name"].strip(), isinstance(one.get("tag"), dict)) for one in content["annotations"]]
        reading = {label: 1.0 for label, is_tag in labels if is_tag and self.is_meant(label)}
        for item in content.get("properties", []):
            if item.get("value") and self.is_meant(item["name"]):
                reading[f"{item['name']}: {item['value']}"] = 1.0
        self.add_objects(reading, [label for label, is_tag in labels if not is_tag])
        yield Item(1, self.locate(file, folder.lstrip("/\\"), name), [reading] if reading else [])

    def root_of(self, file: str) -> str:
        """Returns the folder of the images that a file names."""
        return self.root or find_images(os.path.dirname(os.path.abspath(file)))

    def locate(self, file: str, folder: str, name: str) -> str:
        """Returns the path of an image: in its folder of V7, or straight in that of all images if only there it is."""
        root, paths = self.root_of(file), (os.path.join(folder, name), name)
        return next((path for path in paths if os.path.exists(os.path.join(root, path))), paths[0])


def name_image(content: Mapping) -> tuple[str | None, str]:
    """Returns the name of an image and its folder in V7; of an item that is not one image, None and its name."""
    if "item" in content:
        item, slots = content["item"], content["item"].get("slots", [])
        is_image = len(slots) < 2 and all(slot.get("type", "image") == "image" for slot in slots)
        return (local_name(item["name"], slots), item.get("path", "/")) if is_image else (None, item["name"])
    image = content.get("image", {})
    name = image.get("original_filename") or image.get("filename")
    return name, image.get("path") or "/"


def local_name(name: str, slots: list[Mapping]) -> str:
    """Returns the name of the file that darwin-py makes of an item: with the ending of what was uploaded.

    >>> local_name("photo 1", [{"source_files": [{"file_name": "IMG.JPG"}]}])
    'photo 1.JPG'
    """
    sources = [
        source["file_name"] for slot in slots for source in slot.get("source_files", []) if "file_name" in source
    ]
    local = os.path.splitext(name)[0] + os.path.splitext(sources[0])[1] if sources else name
    return FORBIDDEN.sub("_", local)


@cache
def find_images(folder: str) -> str:
    """Returns the folder `images` of the set that a folder of annotations is from, or the folder itself.

    It is beside `releases`, in which darwin-py puts the annotations, else beside the folder of the annotations.
    """
    above, is_release, _ = folder.rpartition(f"{os.sep}releases{os.sep}")
    images = os.path.join(above if is_release else os.path.dirname(folder), "images")
    return images if os.path.isdir(images) else folder
