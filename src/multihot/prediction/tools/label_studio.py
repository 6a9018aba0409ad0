"""Predictions as tasks that Label Studio imports, the least sure ones to be looked at first."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from multihot.data.label_studio_tasks import create_interface, create_result, list_choices
from multihot.data.readers.tools.label_studio_addresses import quote_local
from multihot.labels import LabelSpace
from multihot.prediction.writers import LineWriter, read_lines

MODEL_VERSION = "multihot"


class LabelStudio(LineWriter):
    """A task an image: what holds is its prediction, whose score is `doubt`; of one that cannot be read there is none.

    Beside the file is the labelling interface that a project must have.
    """

    def __init__(self, space: LabelSpace, top_k: int | None):
        self.num_labels = len(space.labels)
        self.choices = list_choices(space.labels, space.groups)
        self.beside: Mapping[str, str] = {".xml": create_interface(space.labels, space.groups)}  # ending -> text

    def create_task(self, record: dict) -> dict:
        """Returns the task of a record."""
        image = quote_local(record["image"])
        if record["error"] is not None:
            return {"data": {"image": image, "error": record["error"]}}
        result = create_result(set(record["labels"]), self.choices)
        score = measure_doubt(record["scores"], self.num_labels)
        return {
            "data": {"image": image},
            "predictions": [{"model_version": MODEL_VERSION, "score": score, "result": result}],
        }

    def line(self, record: dict) -> str:
        """Returns the task of a record."""
        return json.dumps(self.create_task(record)) + "\n"

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes all parts into one list of tasks."""
        with path.open("w", encoding="utf-8") as whole:
            whole.write("[")
            for number, line in enumerate(chain.from_iterable(map(read_lines, parts))):
                whole.write(f"{',' if number else ''}\n{line}")
            whole.write("\n]\n")


def measure_doubt(scores: Sequence[Mapping], num_labels: int) -> float:
    """Returns which share of the answers about an image must be expected to be wrong, 0 to 1, by their probabilities.

    Args:
        scores: of the labels, each with `probability` and `predicted`; those that are not among them count as sure.

    >>> measure_doubt([{"probability": 0.9, "predicted": True}, {"probability": 0.3, "predicted": False}], num_labels=2)
    0.2
    """
    wrong = (1 - score["probability"] if score["predicted"] else score["probability"] for score in scores)
    return round(sum(wrong) / num_labels, 9)
