"""Reads Vertex AI's files of images with labels, CSV and JSON lines.

Format: https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.formats.text_files import open_text
from multihot.data.readers.csv_file import read_rows
from multihot.data.readers.json_lines import read_objects
from multihot.data.table.cells import CellError, quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.label_values import check_list, read_label
from multihot.data.table.table import Table

USE = "aiplatform.googleapis.com/ml_use"
USES = {"training": "train", "train": "train", "validation": "val", "test": "test", "unassigned": None, "": None}
COORDINATE = re.compile(r"[01]?\.\d+")
UNKNOWN_USE = f"uses other than {', '.join(filter(None, USES))}"
BOXES = "images with boxes instead of labels (export a data set of image classification)"
NO_ANNOTATIONS = 'annotations that are no list of objects with a displayName, as [{"displayName": "cat"}]'


@dataclass(kw_only=True)
class VertexReader(ExportReader):
    """A file of JSON objects with imageGcsUri, or CSV without a header: `use,image,label,label,...`, the use optional.

    An image without a label is one that nobody has annotated: what has none of the labels needs a label of its own
    that says so, see `none_labels`.
    """

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of one file."""
        for number, row in read_objects(file) if is_json(file) else read_rows(file):
            try:
                yield read_object(number, row) if isinstance(row, dict) else read_cells(number, row)
            except CellError as error:
                table.note(error.problem, number, error.details)


def is_json(file: str) -> bool:
    """Returns whether a file is JSON rather than CSV."""
    with open_text(file) as text:
        return next((line for line in text if line.strip()), "").lstrip().startswith(("{", "["))


def read_object(number: int, item: Mapping) -> Item:
    """Returns the image of a JSON object; raises CellError."""
    if "boundingBoxAnnotations" in item:
        raise CellError(BOXES, quote(item["boundingBoxAnnotations"]))
    annotations = item.get("classificationAnnotations")
    if annotations is None:  # of a data set with one label an image
        annotations = [item["classificationAnnotation"]] if item.get("classificationAnnotation") else []
    about = item.get("dataItemResourceLabels") or {}
    try:
        labels = [read_label(annotation["displayName"]) for annotation in check_list(annotations)]
        use = about.get(USE, "")
    except (KeyError, TypeError, AttributeError) as error:
        raise CellError(NO_ANNOTATIONS, quote(annotations)) from error
    return create_item(number, item.get("imageGcsUri"), labels, use)


def read_cells(number: int, cells: Sequence[str]) -> Item:
    """Returns the image of a line of CSV; raises CellError."""
    cells = [cell.strip() for cell in cells]
    has_use = len(cells) > 1 and (cells[0].lower() in USES or ("://" in cells[1] and "://" not in cells[0]))
    use, image, *labels = cells if has_use else ["", *cells]
    if any(map(COORDINATE.fullmatch, labels)):
        raise CellError(BOXES, quote(labels))
    return create_item(number, image, [label for label in labels if label], use)


def create_item(number: int, image: object, labels: Sequence[str], use: object) -> Item:
    """Returns an image with its labels; raises CellError for a use that is none."""
    if not isinstance(use, str) or use.lower() not in USES:
        raise CellError(UNKNOWN_USE, quote(use))
    return Item(number, image, [dict.fromkeys(labels, 1.0)] if labels else [], USES[use.lower()])
