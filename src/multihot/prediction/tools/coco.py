"""Predictions as a data set in COCO's format: an annotation without a box for each label that holds."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO

from multihot.labels import LabelSpace
from multihot.prediction.writers import LineWriter


class Coco(LineWriter):
    """Images, annotations {image_id, category_id, score}, and categories, as datumaro's `coco_labels` has them.

    The score is the label's probability, where the record has it. Images that could not be read are left out: an image
    without annotations is one that has none of the labels.
    """

    def __init__(self, space: LabelSpace, top_k: int | None):
        self.id_of = {label: number for number, label in enumerate(space.labels, start=1)}

    def line(self, record: dict) -> str:
        """Returns the name of an image, and the category and score of each of its labels."""
        if record["error"] is not None:
            return ""
        scores = {score["label"]: score["probability"] for score in record["scores"]}
        found = [[self.id_of[label], scores.get(label)] for label in record["labels"]]
        return json.dumps([record["image"], found]) + "\n"

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one file, the images and annotations numbered."""
        categories = [{"id": number, "name": label} for label, number in self.id_of.items()]
        images = ({"id": number, "file_name": image} for number, image, _ in read_parts(parts))
        with path.open("wb") as whole:
            write_list(whole, b'{"images"', images)
            write_list(whole, b',\n"annotations"', annotate(read_parts(parts)))
            write_list(whole, b',\n"categories"', categories)
            whole.write(b"}\n")


def read_parts(parts: Sequence[Path]) -> Iterator[tuple[int, str, list]]:
    """Yields the number of each image, its name, and the category and score of each of its labels."""
    numbers = count(1)
    for part in parts:
        with part.open("rb") as lines:
            yield from ((next(numbers), *json.loads(line)) for line in lines)


def annotate(images: Iterable[tuple[int, str, list]]) -> Iterator[dict]:
    """Yields an annotation for each label of each image.

    >>> list(annotate([(7, "a.jpg", [[2, 0.75], [3, None]])]))
    [{'id': 1, 'image_id': 7, 'category_id': 2, 'score': 0.75}, {'id': 2, 'image_id': 7, 'category_id': 3}]
    """
    numbers = count(1)
    for image, _, found in images:
        for category, score in found:
            about = {"id": next(numbers), "image_id": image, "category_id": category}
            yield about if score is None else about | {"score": score}


def write_list(whole: BinaryIO, name: bytes, items: Iterable[dict]) -> None:
    """Writes a list of a JSON object, an item a line."""
    whole.write(name + b": [")
    for place, item in enumerate(items):
        whole.write((b",\n" if place else b"\n") + json.dumps(item).encode())
    whole.write(b"\n]")
