"""Writes images and answers as tasks for Label Studio: the inverse of readers/tools/label_studio.py."""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np

from multihot.data.csv_writer import each_image
from multihot.data.readers.tools.label_studio_addresses import address_of
from multihot.data.readers.tools.label_studio_controls import OWN

if TYPE_CHECKING:
    from multihot.data.manifest import Manifest
    from multihot.labels import Group

LABELS = "labels"  # the <Choices> of all labels that exclude no other
TAKEN = (LABELS, "image", "name", "given", "present", "rank", "split", "error", *OWN)


@dataclass(frozen=True)
class Choices:
    """A <Choices> of the labelling interface."""

    name: str
    labels: tuple[str, ...]
    attributes: str


def list_choices(labels: Sequence[str], groups: Sequence["Group"] = ()) -> list[Choices]:
    """Returns what is chosen from: one label at most of each group, any of the others."""
    grouped = {label for group in groups for label in group.labels}
    independent = tuple(label for label in labels if label not in grouped)
    first = [Choices(LABELS, independent, 'choice="multiple"')] if independent else []
    return first + [
        Choices(
            f"{group.name}_" if group.name in TAKEN else group.name,
            tuple(group.labels),
            'choice="single"' + ' required="true"' * (not group.none),
        )
        for group in groups
    ]


def create_interface(labels: Sequence[str], groups: Sequence["Group"] = (), shown: str = "") -> str:
    """Returns the labelling interface (XML) that the tasks are made for.

    Args:
        shown: more tags.
    """
    choices = "".join(
        f'  <Choices name={quoteattr(part.name)} toName="image" {part.attributes}>\n'
        + "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in part.labels)
        + "  </Choices>\n"
        for part in list_choices(labels, groups)
    )
    return f'<View>\n  <Image name="image" value="$image"/>\n{shown}{choices}</View>\n'


def create_result(present: Collection[str], choices: Sequence[Choices]) -> list[dict]:
    """Returns the result of an annotation or a prediction: the labels of an image, [] for none of them."""
    chosen = [(part.name, [label for label in part.labels if label in present]) for part in choices]
    return [
        {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": labels}}
        for name, labels in chosen
        if labels
    ]


def folder_above(images: Sequence[str]) -> str:
    """Returns the folder in which is the one of all images: Label Studio serves none that is its root itself.

    >>> folder_above(["/data/photos/a/1.jpg", "/data/photos/ab/2.jpg"])
    '/data'
    """
    return os.path.dirname(os.path.commonpath([os.path.dirname(min(images)), os.path.dirname(max(images))]))


@dataclass(frozen=True)
class TaskWriter:
    """Writes a task an image: its answers are an annotation if all of them are known, else a prediction.

    Args:
        image_root: folder that Label Studio serves files from.
    """

    image_root: str

    def format(self, data: "Manifest", splits: np.ndarray, folder: Path) -> str:
        """Returns the text of the file."""
        choices = list_choices(data.labels, data.groups)
        tasks = (self.create_task(data, row, splits[row], choices) for row, _ in each_image(data, splits, folder))
        return "[\n" + ",\n".join(map(json.dumps, tasks)) + "\n]\n"

    def create_task(self, data: "Manifest", row: int, split: str, choices: Sequence[Choices]) -> dict:
        """Returns the task of an image."""
        columns, values = data.sparse_target(row)
        is_known = data.unlisted == 0 and bool(np.isin(values, (0, 1)).all())
        result = create_result({data.labels[column] for column in columns[values >= 0.5]}, choices)
        return {
            "data": {"image": address_of(data.images[row], self.image_root), "split": str(split)},
            "annotations" if is_known else "predictions": [{"result": result}],
        }
