"""Reads annotations of CVAT, as it exports them by `CVAT for images 1.1`: the tags of whole images."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from xml.parsers import expat

from multihot.data.formats.text_files import open_text
from multihot.data.readers.tools.data_sets import DataSetReader, SavedImages
from multihot.data.table.exports import Item
from multihot.data.table.table import Table
from multihot.errors import InputError

BLOCK = 1 << 16  # bytes that are parsed at once
LABEL = ["labels", "label"]  # how the path to what the meta data say of a label ends
OF_LABEL = ("name", "type", "parent")
FOR_TAGS = ("any", "tag")  # types of labels that an image can be tagged with; old versions write no types
OF_VIDEO = ("track", "tag")
UNNAMED = "images without a name, or tags without a label"
EXPORT = "export it by CVAT for images 1.1"


@dataclass(kw_only=True)
class CvatReader(DataSetReader):
    """The images of a task, a job or a project, where a tag is a label (files of CVAT 2.80.0 and datumaro 1.13.12).

    A folder or a pattern is all files that it stands for, such as those of the jobs of several people: the tags that a
    file gives an image are one reading of it. The labels are those of the meta data that an image can be tagged with.
    Images are looked for where CVAT and datumaro save them, and else beside the file.
    See DataSetReader.
    """

    untagged_means = "CVAT lists images that nobody has looked at like those without a tag"

    def parts(self, path: str) -> Sequence[str]:
        """Returns the files that a path stands for, sorted."""
        if os.path.isdir(path):
            path = os.path.join(glob.escape(path), "**", "*.xml")
        if os.path.exists(path) or not glob.has_magic(path):
            return [path]
        files = sorted(glob.glob(path, recursive=True))
        if not files:
            raise InputError(f"there is no file {path}: unpack what CVAT has exported, or correct data.path")
        return files

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of a file."""
        export, with_objects = Annotations(file), self.objects == "present"
        saved = SavedImages(table.root, self.image_suffix)
        for image in export.read():
            labels = image.tags + (image.objects if with_objects else [])
            if not image.name or not all(labels):
                table.note(UNNAMED, image.line, image.name or "")
                continue
            readings = [dict.fromkeys(labels, 1.0)] if labels else []
            split = self.split_of(image.subset)
            yield Item(image.line, saved.find(image.name, image.subset), readings, split)
        names = export.names(with_objects=with_objects)
        if names:
            self.declare(table, names)
        self.tell_ignored(file, export.num_tags, export.num_objects)


@dataclass
class CvatImage:
    """An image and the labels of its tags and objects; None where one should be."""

    line: int
    name: str | None
    subset: str | None
    tags: list[str | None] = field(default_factory=list)
    objects: list[str | None] = field(default_factory=list)


class Annotations:
    """A file of annotations, of which no more than a block is held at once."""

    def __init__(self, file: str):
        self.file = file
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end
        self.parser.CharacterDataHandler, self.parser.StartDoctypeDeclHandler = self.add_text, self.refuse_type
        self.path: list[str] = []  # of the element, from the outermost on
        self.text: list[str] | None = None  # of an element whose text matters
        self.labels: list[dict[str, str]] = []
        self.image: CvatImage | None = None
        self.complete: list[CvatImage] = []  # of this block
        self.num_tags, self.num_objects = 0, 0

    def read(self) -> Iterator[CvatImage]:
        """Yields the images."""
        with open_text(self.file, is_xml=True) as text:
            for block in iter(partial(text.buffer.read, BLOCK), b""):
                yield from self.parse(block)
            yield from self.parse(b"", is_last=True)

    def parse(self, block: bytes, *, is_last: bool = False) -> list[CvatImage]:
        """Returns the images that end in a block."""
        try:
            self.parser.Parse(block, is_last)
        except InputError:
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that Python lacks
            raise InputError(f"{self.file} is not XML: {error}; restore it, or {EXPORT}") from error
        complete, self.complete = self.complete, []
        return complete

    def refuse_type(self, name: str, *_: object) -> None:
        """Raises InputError: no export has a document type."""
        raise InputError(f"{self.file} is no annotation of CVAT: it has a document type ({name}); {EXPORT}")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Notes the begin of an element."""
        self.path.append(tag)
        depth, part = len(self.path), self.path[1:2]
        if depth == 1 and tag != "annotations":
            raise InputError(f"{self.file} is no annotation of CVAT: it holds <{tag}>, not <annotations>; {EXPORT}")
        if depth == 2 and tag in OF_VIDEO:
            raise InputError(f"{self.file} holds <{tag}>, as CVAT for video writes it, which is not read: {EXPORT}")
        if depth == 2 and tag == "image":
            line = self.parser.CurrentLineNumber
            self.image = CvatImage(line, attributes.get("name"), attributes.get("subset"))
        elif depth == 3 and self.image is not None:
            self.add_label(self.image, tag, attributes.get("label"))
        elif part == ["meta"] and self.path[-2:] == LABEL:
            self.labels.append({})
        elif part == ["meta"] and self.path[-3:-1] == LABEL and tag in OF_LABEL:
            self.text = []

    def add_label(self, image: CvatImage, tag: str, label: str | None) -> None:
        """Adds the label of a tag or an object to its image."""
        if tag == "tag":
            self.num_tags += 1
            image.tags.append(label)
        else:
            self.num_objects += 1
            image.objects.append(label)

    def add_text(self, text: str) -> None:
        """Keeps the text of an element, which may come in pieces."""
        if self.text is not None:
            self.text.append(text)

    def end(self, tag: str) -> None:
        """Notes the end of an element."""
        self.path.pop()
        if self.image is not None and len(self.path) == 1:
            self.complete.append(self.image)
            self.image = None
        elif self.text is not None:
            self.labels[-1][tag] = "".join(self.text)
            self.text = None

    def names(self, *, with_objects: bool) -> list[str]:
        """Returns the labels of the meta data: those for tags, or those for boxes, outlines, ... too.

        Points of a skeleton have a parent, and are none.
        """
        labels = [label for label in self.labels if label.get("name") and not label.get("parent")]
        return [label["name"] for label in labels if with_objects or label.get("type", "any") in FOR_TAGS]
