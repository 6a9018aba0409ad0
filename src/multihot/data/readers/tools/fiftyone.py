"""Reads FiftyOne's `labels.json` (FiftyOneImageClassificationDataset), in which images have no ending."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType

from multihot.data.readers.folders import is_image, walk
from multihot.data.readers.tools.json_files import check_shape, read_json
from multihot.data.table.cells import quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.table import Table
from multihot.errors import InputError

TOOL = "FiftyOne (FiftyOneImageClassificationDataset)"
SHAPE = {"labels": dict, "classes?": (list, NoneType)}
MANIFEST = {...: str}
NO_LABEL = "labels that are neither a name nor the place of one in classes"
NUMBERED = re.compile(r"(.*)-\d+")


@dataclass(kw_only=True)
class FiftyoneReader(ExportReader):
    """Reads `labels.json` of an export, `{"classes": [...], "labels": {name: [labels]}}`, as fiftyone 1.22.1 writes it.

    A label is its name, its place in `classes`, or an object with one of these. An empty list says none of the labels;
    FiftyOne itself writes null for that. A name stands for the image of that name, without its ending, in data.root;
    None: in the folder `data` beside the file, or where `data.json` beside it says.
    """

    unit = "image"
    untagged_means = "FiftyOne writes null for none of the labels, and for no answer"

    def parts(self, path: str) -> Sequence[str]:
        """Returns the file that an export holds."""
        return [os.path.join(path, "labels.json") if os.path.isdir(path) else path]

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of a file."""
        content = read_json(file, {}, TOOL)
        if "samples" in content:
            raise InputError(f"{file} is of another format of FiftyOne's: export it as {TOOL}")
        check_shape(file, content, SHAPE, TOOL)
        classes = content.get("classes")
        if classes is not None:
            check_shape(file, classes, [str], TOOL)
            self.declare(table, classes)
        images = Images(file, self.root)
        for number, (name, answer) in enumerate(content["labels"].items(), start=1):
            image = images.find(name, number, table)
            labels = read_labels(answer, classes or (), number, table)
            if image is not None:
                yield Item(number, image, [] if labels is None else [dict.fromkeys(labels, 1.0)])


class Images:
    """Finds the images that an export names.

    Args:
        file: the export.
        root: folder of the images; None: what the export says.
    """

    def __init__(self, file: str, root: str | None):
        folder = os.path.abspath(os.path.dirname(file))
        manifest = os.path.join(folder, "data.json")
        self.paths: dict[str, list[str]] = defaultdict(list)  # name -> files that it stands for
        self.inside = "data" if root is None else ""  # where the images are in the root of the table
        self.root = os.path.join(folder if root is None else os.path.abspath(root), self.inside)
        if root is None and os.path.isfile(manifest):
            for name, path in read_json(manifest, MANIFEST, TOOL).items():
                self.paths[os.path.splitext(name)[0]].append(os.path.join(folder, path))
        elif os.path.isdir(self.root):
            for path in walk(self.root):
                self.paths[os.path.splitext(os.path.relpath(path, self.root))[0]].append(path)

    def find(self, name: str, number: int, table: Table) -> str | None:
        """Returns the path of an image; notes where it could be several."""
        found = [name] if os.path.isabs(name) else self.paths.get(os.path.normpath(name), [])
        if len(found) > 1:
            found = [path for path in found if is_image(path)] or found
        if len(found) > 1:
            table.note("names that stand for several images", number, f"{name!r}: {', '.join(found[:3])}")
            return None
        numbered = NUMBERED.fullmatch(name)
        if not found and numbered and numbered[1] in self.paths:
            problem = (
                "names that FiftyOne has numbered, as another image had the same (read the files that it exported)"
            )
            table.note(problem, number, repr(name))
            return None
        return found[0] if found else os.path.join(self.inside, name)


def read_labels(answer: object, classes: Sequence[str], number: int, table: Table) -> list[str] | None:
    """Returns the labels of an image, None if it has no answer; notes what cannot be one."""
    labels = []
    for item in answer if isinstance(answer, list) else [answer] * (answer is not None):
        label = item.get("label") if isinstance(item, Mapping) else item
        if isinstance(item, Mapping) and "bounding_box" in item:
            table.note(f"objects, not labels of whole images (export {TOOL})", number, quote(item))
        elif isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
            labels.append(classes[label])
        elif isinstance(label, str) and label.strip():
            labels.append(label)
        else:
            table.note(NO_LABEL, number, quote(item))
    return None if answer is None else labels
