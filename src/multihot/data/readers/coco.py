"""Reads a data set from COCO's files of instances: an image has the labels of the objects that are outlined in it."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.formats.strict_json import load, load_file
from multihot.data.table.cells import is_blank
from multihot.data.table.reader import SPLIT_BY_PATHS, TableReader
from multihot.data.table.table import Table
from multihot.errors import InputError, list_first

PARTS = ("images", "annotations", "categories")
TAGS = "tag_categories"  # of V7
CROWD = {"keep": 1.0, "drop": None, "unknown": -1.0}  # what an outline of a whole group answers
IS_CROWD = {0: False, 1: True, None: False}
OUTLINE = re.compile(rb'"segmentation"\s*:\s*\[[][\d.,\s+eE-]*\]')  # a list that holds nothing but numbers and lists


@dataclass(kw_only=True)
class CocoReader(TableReader):
    """Reads one file a split, in COCO's format (cocodataset.org/#format-data); images without annotations stay.

    The label list is that of the categories, in the order of the first file. V7 (darwin-py 3.6.3) writes the tags of
    whole images into `tag_categories` and `tag_ids` of the image, and lists only those that some image of the file
    has: then the labels are those of the train images, sorted. An annotation with the score 0 says that its label is
    absent: so datumaro writes what people have looked for and not found.

    Args:
        val_root_path: folder of the images of `val_path`; None is `root`.
        test_root_path: the same for `test_path`.
        crowd: what an outline of a whole group (iscrowd=1) says where no other is of its label. "keep": the label is
            present; "drop": absent; "unknown".
        min_area: pixels; smaller annotations are taken as not there, so that an image with no others lacks the label.
    """

    path: str | None
    val_path: str | None
    test_path: str | None
    val_root_path: str | None
    test_root_path: str | None
    crowd: str
    min_area: float

    way_to_split = SPLIT_BY_PATHS

    def fill(self, table: Table) -> None:
        """Adds the images of all files to the table."""
        roots = {"train": None, "val": self.val_root_path, "test": self.test_root_path}
        for split, file in self.paths().items():
            self.read_file(table, file, roots[split] or self.root, split)

    def read_file(self, table: Table, file: str, root: str | None, split: str) -> None:
        """Adds the images of one file, all to one split."""
        content = read_json(file)
        table.begin(file, root, unit="image")
        names, tags = (read_categories(content[part], file) for part in ("categories", TAGS))
        if len(table.files) == 1 and not tags:
            table.labels = tuple(names.values())
        if table.labels is not None:
            check_same_categories(table, [*names.values(), *tags.values()])
        images = dict(read_images(table, content["images"]))
        answers = {number: read_tags(table, number, image, tags) for number, image in images.items()}
        check_annotations(file, content, answers)
        for place, annotation in enumerate(content["annotations"]):
            self.read_annotation(table, place, annotation, names, answers)
        for number, image in images.items():
            name, of_image = str(image.get("file_name") or ""), answers[number]
            table.add(number, name, list(of_image), list(of_image.values()), split=split)

    def read_annotation(
        self, table: Table, place: int, annotation: Mapping, names: Mapping[int, str], answers: Mapping[int, dict]
    ) -> None:
        """Adds what an annotation says to the answers of its image, {label: answer}, or notes why it cannot."""
        try:
            of_image, label = answers[annotation["image_id"]], names[annotation["category_id"]]
            is_small = self.min_area > 0 and annotation["area"] < self.min_area
            value = CROWD[self.crowd] if IS_CROWD[annotation.get("iscrowd")] else 1.0
            value = 0.0 if annotation.get("score") == 0 else value
        except (KeyError, TypeError, AttributeError):
            problem, details = self.find_fault(annotation, names, answers)
            number = annotation.get("id") if isinstance(annotation, dict) else None
            where = f"number {place + 1} in the list" if number is None else number
            table.problems[problem].append(f"{table.files[-1]} annotation {where}: {details}")
            return
        if not is_small and value is not None and (value or label not in of_image) and of_image.get(label) != 1:
            of_image[label] = value

    def find_fault(self, annotation: object, names: Mapping[int, str], answers: Mapping[int, dict]) -> tuple[str, str]:
        """Returns what is wrong with an annotation: the kind of problem, and its value."""
        if not isinstance(annotation, dict):
            return "annotations that are no JSON objects", repr(annotation)
        needed = ["image_id", "category_id"] + ["area"] * (self.min_area > 0)
        missing = [key for key in needed if key not in annotation]
        if missing:
            return "annotations without a key that must be there", ", ".join(missing)
        image, category = annotation["image_id"], annotation["category_id"]
        if not isinstance(image, int) or image not in answers:
            return "annotations of an image that is not in the list of images", f"image_id {image!r}"
        if not isinstance(category, int) or category not in names:
            return "annotations of a category that is not in the list of categories", f"category_id {category!r}"
        if annotation.get("iscrowd") not in (0, 1, None):
            return "annotations whose iscrowd is not 0 or 1", repr(annotation["iscrowd"])
        return "annotations whose area is no number", repr(annotation["area"])


def read_json(file: str) -> dict[str, list]:
    """Returns the lists of a file of instances."""
    content = load_file(file, load_without_outlines)
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold a JSON object with {', '.join(PARTS)}, not a {type(content).__name__}")
    missing = [part for part in PARTS if not isinstance(content.get(part), list)]
    if missing:
        keys = ", ".join(content) or "nothing"
        raise InputError(f"{file} has no list of {', '.join(missing)}, but {keys}; give a file of instances")
    if not isinstance(content.setdefault(TAGS, []), list):
        raise InputError(f"{TAGS} of {file} is no list but {content[TAGS]!r:.80}; restore the file")
    return content


def check_annotations(file: str, content: Mapping[str, list], answers: Mapping[int, dict]) -> None:
    """Raises InputError if no image has an annotation or a tag."""
    if content["images"] and not content["annotations"] and not any(answers.values()):
        raise InputError(
            f"{file} has no annotations, so that none of its images has a label: tools such as CVAT leave the tags of "
            'whole images out of this format; export them as "CVAT for images 1.1" (data=cvat), as Datumaro '
            "(data=datumaro), or as CSV (data=csv)"
        )


def load_without_outlines(text: bytes) -> object:
    """Returns what JSON says, mostly without the outlines: they would take most of the time and memory."""
    try:
        return load(OUTLINE.sub(b'"segmentation":0', text))
    except json.JSONDecodeError:  # an outline of something else than numbers, or an error whose place must be right
        return load(text)


def read_categories(categories: list, file: str) -> dict[int, str]:
    """Returns the names of the categories by id, in the order of the file."""
    places = [f"number {place}: {item}" for place, item in enumerate(categories, start=1) if not is_category(item)]
    if places:
        raise InputError(
            f"{len(places)} categories of {file} have no id (whole number) and name:\n{list_first(places)}"
        )
    for key in ("id", "name"):
        twice = [value for value, count in Counter(item[key] for item in categories).items() if count > 1]
        if twice:
            raise InputError(f"categories of {file} have the same {key}: {', '.join(map(repr, twice))}")
    return {item["id"]: item["name"] for item in categories}


def is_category(item: object) -> bool:
    """Returns whether a category has what it needs."""
    return (
        isinstance(item, dict)
        and isinstance(item.get("id"), int)
        and isinstance(item.get("name"), str)
        and not is_blank(item["name"])
    )


def check_same_categories(table: Table, names: Sequence[str]) -> None:
    """Raises InputError unless the current file, which has these, has the categories of the first one."""
    first, file = table.files[0], table.files[-1]
    only_first = [f"only in {first}: {name}" for name in table.labels if name not in names]
    only_here = [f"only in {file}: {name}" for name in names if name not in table.labels]
    if only_first or only_here:
        problem = f"{first} and {file} must have the same categories"
        raise InputError(f"{problem}:\n{list_first(only_first + only_here)}")


def read_tags(table: Table, number: int, image: Mapping, tags: Mapping[int, str]) -> dict[str, float]:
    """Returns the labels that an image has as a whole, {label: 1}, and notes tags that are none."""
    found = image.get("tag_ids") or []
    names = [tags.get(tag) for tag in found if isinstance(tag, int)] if isinstance(found, list) else [None]
    if None in names or len(names) < len(found):
        table.note(f"images whose tag_ids are no list of ids of {TAGS}", number, f"{found!r:.80}")
    return {name: 1.0 for name in names if name is not None}


def read_images(table: Table, images: list) -> Iterator[tuple[int, Mapping]]:
    """Yields the id of each image and the image, and notes those whose id cannot be used."""
    seen = set()
    for place, image in enumerate(images, start=1):
        number = image.get("id") if isinstance(image, dict) else None
        if not isinstance(number, int):
            where = f"{table.files[-1]} number {place} in the list of images"
            table.problems["images without an id that is a whole number"].append(f"{where}: {image!r:.80}")
        elif number in seen:
            table.note("images whose id another has already", number)
        else:
            seen.add(number)
            yield number, image
