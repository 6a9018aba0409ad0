"""Predictions as FiftyOne's `labels.json` (FiftyOneImageClassificationDataset), with the probability as confidence."""

import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.prediction.writers import LineWriter, read_lines


class FiftyOne(LineWriter):
    """One object for all images: `{"classes": [...], "labels": {image: [{"label": place, "confidence": 0.9}]}}`.

    Of an image without a label the list is empty, of one that could not be read null. Images have their absolute paths,
    so that `fiftyone.Dataset.from_dir(dataset_type=..., labels_path=...)` finds them. If their names begin otherwise
    (replace_prefix), relative ones have no ending, as FiftyOne looks for them in its folder `data`.
    """

    def __init__(self, space: LabelSpace, top_k: int | None):
        self.labels = space.labels
        self.place = {label: place for place, label in enumerate(self.labels)}

    def line(self, record: dict) -> str:
        """Returns the name of an image and what is said of it, as they stand in an object."""
        name = record["image"]
        if name == record["file"]:
            name = os.path.abspath(name)
        elif not os.path.isabs(name):
            name = os.path.splitext(name)[0]
        return f"{json.dumps(name)}: {json.dumps(self.answer(record))}\n"

    def answer(self, record: dict) -> list[dict] | None:
        """Returns the labels of an image; one that the record has no score of has no confidence."""
        if record["error"] is not None:
            return None
        confidence = {score["label"]: {"confidence": score["probability"]} for score in record["scores"]}
        return [{"label": self.place[label]} | confidence.get(label, {}) for label in record["labels"]]

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one object.

        Raises:
            InputError: two images have one name.
        """
        names = set()
        with path.open("w", encoding="utf-8") as whole:
            whole.write(f'{{"classes": {json.dumps(self.labels)}, "labels": {{')
            for line in chain.from_iterable(map(read_lines, parts)):
                name = line.partition('": ')[0]
                if name in names:
                    raise InputError(f"two images are called {name[1:]!r}: FiftyOne knows them by that name alone")
                whole.write(f"{',' if names else ''}\n{line}")
                names.add(name)
            whole.write("\n}}\n")
