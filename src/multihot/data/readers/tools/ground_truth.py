"""Reads the output manifests of SageMaker Ground Truth's image classification jobs.

Format: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from multihot.data.readers.json_lines import read_objects
from multihot.data.table.cells import CellError, quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.label_values import read_label
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first

KINDS = ("groundtruth/image-classification-multilabel", "groundtruth/image-classification")
METADATA = "-metadata"
NO_NAME = "answers without metadata that name their labels (class-map, or class-name)"
NO_CONFIDENCE = "labels without a confidence, a number (data.min_confidence=null reads them)"
ONE_WORKER = "images whose confidences are all 0, as those of one worker are (set data.min_confidence=null)"


@dataclass(kw_only=True)
class GroundTruthReader(ExportReader):
    """A line an image, `{"source-ref": ..., "<job>": [0, 8], "<job>-metadata": {"class-map": {"0": "cat", ...}}}`.

    The map names the ids of this line alone. An image without the key of the job is one whose labeling failed.

    Args:
        job: the label attribute to read; None: that of the one image classification job in the file.
        min_confidence: labels with less are unknown; None: all that are named are present, whatever their confidence.
    """

    job: str | None
    min_confidence: float | None

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of one file."""
        job, is_there = self.job, False
        for number, item in read_objects(file):
            job = self.job or find_job(item, job, f"{file} line {number}")
            is_there = is_there or f"{job}{METADATA}" in item
            try:
                reading = self.read_answer(item.get(job), item.get(f"{job}{METADATA}"))
            except CellError as error:
                table.note(error.problem, number, error.details)
            else:
                yield Item(number, item.get("source-ref"), [] if reading is None else [reading])
        if not is_there:
            wanted = f"called {job}{METADATA}" if job else f"of the type {' or '.join(KINDS)}"
            raise InputError(
                f"{file} has no line with metadata {wanted}: give the output manifest of an image classification job, "
                "or name its label attribute by data.job"
            )

    def read_answer(self, answer: object, about: object) -> dict[str, float] | None:
        """Returns what a job says of an image, None if it has no answer; raises CellError.

        Args:
            answer: ids, or one of a job for one label.
            about: its metadata.
        """
        if answer is None:
            return None
        try:
            if isinstance(answer, list):
                names, confidences = about["class-map"], about.get("confidence-map")
                labels = {key: read_label(names[key]) for key in map(str, answer)}
            else:
                labels, confidences = {"one": read_label(about["class-name"])}, {"one": about.get("confidence")}
        except (KeyError, TypeError, AttributeError) as error:
            raise CellError(NO_NAME, quote(answer)) from error
        if self.min_confidence is None or not labels:
            return dict.fromkeys(labels.values(), 1.0)
        return self.judge(labels, confidences)

    def judge(self, labels: Mapping[str, str], confidences: object) -> dict[str, float]:
        """Returns the answers about labels, given by id, that their confidences make; raises CellError."""
        try:
            values = {label: float(confidences[key]) for key, label in labels.items()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CellError(NO_CONFIDENCE, quote(confidences)) from error
        if not any(values.values()):
            raise CellError(ONE_WORKER, quote(confidences))
        return {label: 1.0 if value >= self.min_confidence else -1.0 for label, value in values.items()}


def find_job(item: Mapping, known: str | None, place: str) -> str | None:
    """Returns the image classification job of a line, or the known one; raises InputError if there are two.

    >>> find_job({"a": [1], "a-metadata": {"type": "groundtruth/image-classification-multilabel"}}, None, "")
    'a'
    """
    kinds = {
        key.removesuffix(METADATA): about.get("type")
        for key, about in item.items()
        if key.endswith(METADATA) and isinstance(about, dict)
    }
    jobs = [job for job, kind in kinds.items() if kind in KINDS and job != known]
    if not jobs:
        return known
    if known is None and len(jobs) == 1:
        return jobs[0]
    found = name_first([*[known] * (known is not None), *jobs])
    raise InputError(f"{place}: there are several image classification jobs, {found}: choose one by data.job")
