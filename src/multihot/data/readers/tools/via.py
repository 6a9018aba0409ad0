"""Reads what the VGG Image Annotator 2 saves: a project, or its annotations, with attributes that are about a file."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.formats.strict_json import UNREADABLE, load
from multihot.data.readers.csv_file import read_rows
from multihot.data.readers.tools.json_files import check_shape, read_json
from multihot.data.table.cells import quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.table import Table
from multihot.errors import InputError, check_choice

log = logging.getLogger(__name__)

COLUMNS = ("filename", "file_attributes")
IMAGES = {...: {"filename": str, "file_attributes": dict}}
ATTRIBUTES = {...: {"type?": str, "options?": dict, "default_options?": dict}}
PROJECT = {
    "_via_img_metadata": IMAGES,
    "_via_attributes?": {"file?": ATTRIBUTES},
    "_via_settings?": {"core?": {"default_filepath?": str}},
}
TOOL = "VIA 2"
TEXTS = "attributes with a text of which nothing says that it is a label (name those that hold labels: data.attributes)"
NO_ANSWER = "attributes that are neither a text nor options, true or false"


@dataclass(kw_only=True)
class ViaReader(ExportReader):
    """Reads a project or the annotations of VIA 2.0 (robots.ox.ac.uk/~vgg/software/via), as JSON or CSV.

    An option that is checked is a label, and so is one that is chosen; those of a radio button or a list exclude each
    other. A project says where its images are; a file of annotations does not.

    Args:
        attributes: of files, those that hold labels, also as texts; None: all with options.
    """

    attributes: Sequence[str] | None

    unit = "image"
    untagged_means = "VIA writes the same for images that nobody has opened"

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of a file."""
        self.declared: dict[str, Mapping] = {}  # of the file's attributes, what says of which kind they are
        images = read_csv(file, table) if file.lower().endswith(".csv") else self.read_json(file, table)
        for number, image, attributes in images:
            reading = self.read_attributes(number, attributes, table)
            yield Item(number, image, [reading] if reading else [])

    def read_json(self, file: str, table: Table) -> Iterator[tuple[int, str, Mapping]]:
        """Yields number, name and attributes of the images in a file."""
        content = read_json(file, {}, TOOL)
        if {"metadata", "file", "attribute"} <= content.keys():
            raise InputError(f"{file} is of VIA 3, which is not read here: write a CSV of it and set data=csv")
        is_project = "_via_img_metadata" in content
        check_shape(file, content, PROJECT if is_project else IMAGES, TOOL)
        if is_project:
            self.declare_attributes(content.get("_via_attributes", {}).get("file", {}), table)
        folder = content.get("_via_settings", {}).get("core", {}).get("default_filepath", "") if is_project else ""
        images = content["_via_img_metadata"] if is_project else content
        for number, image in enumerate(images.values(), start=1):
            name = image["filename"]
            is_placed = self.root is not None or os.path.isabs(name) or "://" in name
            yield number, name if is_placed else folder + name, image["file_attributes"]

    def declare_attributes(self, attributes: Mapping[str, Mapping], table: Table) -> None:
        """Says which labels a project has, which of them exclude each other, and which it checks by itself."""
        for name in self.attributes or ():
            check_choice("an attribute of data.attributes", name, tuple(attributes))
        self.declared = {name: attribute for name, attribute in attributes.items() if self.is_meant(name)}
        place_of: dict[str, str] = {}
        for name, attribute in self.declared.items():
            for option in attribute.get("options", {}):
                if place_of.setdefault(option, name) != name:
                    raise InputError(
                        f"{table.files[-1]}: {option!r} is an option of {place_of[option]!r} and of {name!r}: choose "
                        "one of them by data.attributes"
                    )
            checked = [option for option, is_set in attribute.get("default_options", {}).items() if is_set]
            if checked:
                log.warning(
                    "%s: VIA chooses %s for each image by itself (default_options of %r), also where nobody has looked",
                    table.files[-1], ", ".join(map(repr, checked)), name,
                )  # fmt: skip
            if attribute.get("type") != "checkbox":
                table.exclude(name, list(attribute.get("options", {})))
        if all(attribute.get("options") for attribute in self.declared.values()):
            self.declare(table, place_of)

    def is_meant(self, name: str) -> bool:
        """Returns whether an attribute can hold labels."""
        return self.attributes is None or name in self.attributes

    def read_attributes(self, number: int, attributes: Mapping, table: Table) -> dict[str, float]:
        """Returns what the attributes of an image answer; notes those that cannot be labels."""
        reading: dict[str, float] = {}
        for name, value in attributes.items():
            if not self.is_meant(name) or value in ("", None):
                continue
            if isinstance(value, str):
                if self.attributes is None and value not in self.declared.get(name, {}).get("options", {}):
                    table.note(TEXTS, number, f"{name!r} is {quote(value)}")
                reading[value] = 1.0
            elif isinstance(value, dict) and all(isinstance(is_set, bool) for is_set in value.values()):
                reading |= {
                    option: 1.0 for option, is_set in value.items() if is_set
                }  # false is a default, not an answer
            else:
                table.note(NO_ANSWER, number, f"{name!r} is {quote(value)}")
        return reading


def read_csv(file: str, table: Table) -> Iterator[tuple[int, str, Mapping]]:
    """Yields line, name and attributes of the images in a file; those of an image with several regions once."""
    rows = read_rows(file)
    header = [cell.strip().lstrip("#") for cell in next(rows, (0, []))[1]]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(f"{file} is no file of {TOOL}: it has no column {', '.join(missing)}")
    image_column, column = map(header.index, COLUMNS)
    before = None
    for number, cells in rows:
        if len(cells) != len(header):
            table.note_width(number, len(cells), len(header))
        elif (cells[image_column], cells[column]) != before:
            before = cells[image_column], cells[column]
            try:
                attributes = load(cells[column])
            except UNREADABLE as error:
                attributes = error
            if isinstance(attributes, dict):
                yield number, cells[image_column], attributes
            else:
                table.note("rows whose file_attributes are no JSON object", number, quote(cells[column]))
