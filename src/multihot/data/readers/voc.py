"""Reads a data set from a folder of Pascal VOC: lists of images, and an XML file of objects for each image."""

import glob
import logging
import os
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from multihot.data.manifest import SPLITS
from multihot.data.table.reader import TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first
from multihot.files import name_irregular, reading

log = logging.getLogger(__name__)

TAGS_ALONE = (
    "images that have tags and no objects (CVAT writes the tags of whole images into ImageSets/Main/<label>_<set>.txt "
    "alone: export them by CVAT for images 1.1, and read that by data=cvat)"
)
TAGS_BESIDE = (
    "images have labels in ImageSets/Main/<label>_<set>.txt that none of their objects has, which are not read (CVAT "
    "writes the tags of whole images there: export them by CVAT for images 1.1, and read that by data=cvat)"
)
DIFFICULT = {"unknown": -1.0, "present": 1.0, "absent": 0.0}


@dataclass(kw_only=True)
class VocReader(TableReader):
    """Reads ImageSets/Main/<set>.txt, Annotations/<image>.xml and JPEGImages/<image>.jpg of one folder.

    The format is that of the VOC2007 development kit (host.robots.ox.ac.uk/pascal/VOC/voc2007/htmldoc/index.html).

    Args:
        path: the folder, such as VOCdevkit/VOC2007.
        train_set: name of a list in ImageSets/Main; None: the split has none.
        difficult: what is true of a label whose objects in an image are all marked as difficult: "unknown", as in the
            evaluation of the kit, which leaves such images out for this label; "present" or "absent".
    """

    path: str
    train_set: str | None
    val_set: str | None
    test_set: str | None
    difficult: str

    way_to_split = "name a list of ImageSets/Main by data.train_set, data.val_set or data.test_set"

    def fill(self, table: Table) -> None:
        """Adds the images of all sets to the table."""
        sets = dict(zip(SPLITS, (self.train_set, self.val_set, self.test_set), strict=True))
        if not any(sets.values()):
            raise InputError("one of data.train_set, data.val_set, data.test_set must be the name of a set of images")
        for split, name in sets.items():
            if name:
                self.read_set(table, name, split)
        if len(table) and not table.values and self.misread == "error":
            raise InputError(
                f"{self.path} has no objects, so that none of its images has a label: CVAT and others leave the tags "
                "of whole images out of this format; export them in another one, as CVAT's XML for images (data=cvat)"
            )

    def read_set(self, table: Table, name: str, split: str) -> None:
        """Adds the images of one set, all to one split."""
        file = os.path.join(self.path, "ImageSets", "Main", f"{name}.txt")
        table.begin(file, self.root or os.path.join(self.path, "JPEGImages"))
        tags_of, lacking = read_tags(os.path.dirname(file), name), []
        for number, words in read_lines(file, f"data.{split}_set"):
            if len(words) > 1:
                problem = "lines that are not the name of one image (a list for one class? choose the one for all)"
                table.note(problem, number, " ".join(words))
                continue
            annotation, tags = os.path.join(self.path, "Annotations", f"{words[0]}.xml"), tags_of.get(words[0], set())
            if tags and not os.path.exists(annotation):
                table.note(TAGS_ALONE, number, f"{words[0]}: {name_first(sorted(tags))}")
                continue
            try:
                answers = self.read_answers(annotation)
            except AnnotationError as error:
                table.note("images whose annotation cannot be used", number, str(error))
                answers = {}
            table.add(number, f"{words[0]}.jpg", list(answers), list(answers.values()), split=split)
            lacking += [words[0]] * bool(tags - answers.keys())
        if lacking:
            log.warning("%s: %d %s: %s", file, len(lacking), TAGS_BESIDE, name_first(lacking))

    def read_answers(self, annotation: str) -> dict[str, float]:
        """Returns the answers about one image, by label."""
        is_difficult = defaultdict(list)
        for label, difficult in read_objects(annotation):
            is_difficult[label].append(difficult)
        return {label: DIFFICULT[self.difficult] if all(marks) else 1.0 for label, marks in is_difficult.items()}


class AnnotationError(Exception):
    """An annotation cannot be used; the message says which and why."""


def read_tags(folder: str, name: str) -> dict[str, set[str]]:
    """Returns the labels of the images that the lists `<label>_<name>.txt` in a folder mark with 1."""
    tags_of, end = defaultdict(set), f"_{name}.txt"
    for file in glob.glob(os.path.join(glob.escape(folder), f"*{glob.escape(end)}")):
        for _, words in read_lines(file, "the list"):
            if len(words) == 2 and words[1] == "1":
                tags_of[words[0]].add(os.path.basename(file).removesuffix(end))
    return tags_of


def read_lines(file: str, setting: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the words of each line that is not blank."""
    way_out = f"correct data.path, or {setting} (null: there is no such split)"
    with reading(file, way_out), open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.split()


def read_objects(annotation: str) -> list[tuple[str, bool]]:
    """Returns the label of each object of an XML file and whether it is marked as difficult; parts are not objects."""
    try:
        if name_irregular(annotation):
            raise AnnotationError(f"{annotation} is {name_irregular(annotation)}")
        root = ElementTree.parse(annotation).getroot()
        objects = root.findall("object")
    except OSError as error:
        raise AnnotationError(f"{annotation}: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an encoding that Python lacks
        raise AnnotationError(f"{annotation} is not XML: {error}") from error
    tags = [item.tag for item in root.iter() if item.tag.lower().endswith("object")]
    if root.tag != "annotation" or len(tags) != len(objects):
        where = next((tag for tag in tags if tag != "object"), "object")
        wrong = f"<{where}> where only <object> right inside of <annotation> is read" if tags else f"<{root.tag}>"
        raise AnnotationError(f"{annotation} is no annotation of VOC: it holds {wrong}")
    return [read_object(item, f"{annotation} object {number}") for number, item in enumerate(objects, start=1)]


def read_object(item: ElementTree.Element, place: str) -> tuple[str, bool]:
    """Returns the label of an object and whether it is marked as difficult; without a mark it is not."""
    label, difficult = (item.findtext("name") or "").strip(), (item.findtext("difficult") or "0").strip()
    if not label:
        raise AnnotationError(f"{place} has no name")
    if difficult not in ("0", "1"):
        raise AnnotationError(f"{place}: difficult is {difficult!r}, not 0 or 1")
    return label, difficult == "1"
