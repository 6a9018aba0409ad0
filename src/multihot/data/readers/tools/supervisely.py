"""Reads a project of Supervisely: sets of images, each with a JSON file of its tags."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from multihot.data.readers.tools.json_files import JsonFolderReader, read_json
from multihot.data.table.cells import quote
from multihot.data.table.exports import Item
from multihot.data.table.table import SPLIT_OF_NAME, Table

log = logging.getLogger(__name__)

META = {
    "tags": [{"name": str, "value_type?": str, "values?": [str], "applicable_type?": str}],
    "classes?": [{"title": str}],
}
SHAPE = {"tags": [{"name": str}], "objects?": [{"classTitle?": str}]}
NO_ANSWER = "tags whose value is neither a text nor a number from 0 to 1"


@dataclass(kw_only=True)
class SuperviselyReader(JsonFolderReader):
    """Reads `<set>/ann/<image>.json` and `<set>/img/<image>` of a project, and its `meta.json` (supervisely 6.74.51).

    A tag without a value is a label. One with a text is the label "tag: text"; the texts of a list, of which one is
    chosen, exclude each other. One with a number from 0 to 1 is a soft answer about the tag. If all sets are called
    train, val (or valid, validation, dev) or test, they are the splits.
    """

    tool = "Supervisely"
    shape = SHAPE
    way_to_split = "give data.val_path and data.test_path, projects of their own, or call the sets train, val and test"
    untagged_means = "Supervisely does not write whether anybody has looked at it"
    project, are_splits = "", False

    def parts(self, path: str) -> list[str]:
        """Returns the files of all images of a project, behind the one that says which tags there are."""
        files = list(super().parts(path))
        self.project = path if os.path.isdir(path) else os.path.dirname(path)
        is_alone = not (self.val_path or self.test_path)
        self.are_splits = is_alone and {self.name_set(file) for file in files} <= SPLIT_OF_NAME.keys()
        meta = os.path.join(self.project, "meta.json")
        return [meta, *files] if os.path.isfile(meta) else files

    def root_of(self, file: str) -> str:
        """Returns the folder from which images start, in the sets that they are in."""
        return self.root or self.project

    def is_part(self, file: str) -> bool:
        """Returns whether a JSON file is about an image."""
        return os.path.basename(os.path.dirname(file)) == "ann"

    def name_set(self, file: str) -> str:
        """Returns the name of the set that a file is in, or of the outermost of several."""
        return os.path.relpath(file, self.project).split(os.sep)[0].lower()

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the image of a file; of the project's own, none."""
        if os.path.basename(file) != "meta.json" or self.is_part(file):
            yield from super().read(file, table)
        else:
            self.read_meta(read_json(file, META, self.tool), table)

    def read_meta(self, meta: Mapping, table: Table) -> None:
        """Says which labels there are, unless a tag can be any text, and which exclude each other."""
        tags = [
            tag for tag in meta["tags"] if tag.get("applicable_type") != "objectsOnly" and self.is_meant(tag["name"])
        ]
        splits = [tag["name"] for tag in tags if tag["name"].lower() in SPLIT_OF_NAME]
        if splits:
            log.warning("%s: %s are taken for labels; data.tags can name the tags that are", table.files[-1], splits)
        values = {tag["name"]: [f"{tag['name']}: {value}" for value in tag.get("values", [])] for tag in tags}
        if not any(tag.get("value_type") == "any_string" for tag in tags):
            classes = [item["title"] for item in meta.get("classes", [])] if self.objects == "present" else []
            self.declare(table, [label for name, labels in values.items() for label in labels or [name]] + classes)
        for name, labels in values.items():
            table.exclude(name, labels)

    def read_content(self, file: str, content: Mapping, table: Table) -> Iterator[Item]:
        """Yields the image of a file."""
        reading: dict[str, float] = {}
        for tag in content["tags"]:
            value, name = tag.get("value"), tag["name"]
            if not self.is_meant(name):
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if isinstance(value, str):
                reading[f"{name}: {value}"] = 1.0
            elif value is None or (is_number and 0 <= value <= 1):
                reading[name] = 1.0 if value is None else float(value)
            else:
                table.note(NO_ANSWER, 1, f"{name!r} is {quote(value)}")
        self.add_objects(reading, [item["classTitle"] for item in content.get("objects", []) if "classTitle" in item])
        folder = os.path.relpath(os.path.dirname(os.path.dirname(file)), self.project)
        image = os.path.join(folder, "img", os.path.basename(file)[: -len(".json")])
        split = self.name_set(file) if self.are_splits else None
        yield Item(1, image, [reading] if reading else [], split)
