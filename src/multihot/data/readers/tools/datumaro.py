"""Reads data sets of datumaro, also those that CVAT exports as such: the labels of whole images."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.readers.tools.data_sets import DataSetReader, SavedImages
from multihot.data.readers.tools.json_files import read_json
from multihot.data.table.exports import Item
from multihot.data.table.table import Table
from multihot.errors import InputError

GROUPS = [{"name": str, "group_type": str, "labels": [str]}]
SHAPE = {"categories": {"label": {"labels": [{"name": str}], "label_groups?": GROUPS}}, "items": list}
ANNOTATIONS = "annotations"  # the folder of files, beside the folder `images`
ENDING = ".jpg"  # of images whose file is not named
NO_IMAGE = "items without an image"
SAME_FILE = "items whose image is the file of another item (datumaro writes the / of an id as _ there)"
NO_LABEL = "annotations whose label_id is no place in the list of labels"


@dataclass(kw_only=True)
class DatumaroReader(DataSetReader):
    """The items of a data set, with their annotations of type `label` (files of datumaro 1.13.12 and CVAT 2.80.0).

    A folder is all files in its folder `annotations`, each with the items of the subset that it is called after. Labels
    of an exclusive group exclude each other. Images are looked for where datumaro saves them, `images/<subset>/`.
    See DataSetReader.
    """

    unit = "item"
    untagged_means = "datumaro writes images that nobody has looked at like those without a label"

    def parts(self, path: str) -> Sequence[str]:
        """Returns the files that a path stands for, sorted."""
        if not os.path.isdir(path):
            return [path]
        places = [os.path.join(glob.escape(path), *inside, "*.json") for inside in ([ANNOTATIONS], [])]
        files = next((found for place in places if (found := sorted(glob.glob(place)))), None)
        if not files:
            raise InputError(f"{path} holds no {ANNOTATIONS}/<subset>.json, as datumaro writes them; correct data.path")
        return files

    def root_of(self, file: str) -> str | None:
        """Returns the folder of a file's images: that of the data set."""
        folder = os.path.dirname(os.path.abspath(file))
        is_inside = os.path.basename(folder) == ANNOTATIONS
        return os.path.dirname(folder) if self.root is None and is_inside else self.root

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of a file."""
        content = read_json(file, SHAPE, "datumaro")
        about = content["categories"]["label"]
        names = [label["name"] for label in about["labels"]]
        self.declare(table, names)
        for group in about.get("label_groups", []):
            if group["group_type"].lower() == "exclusive":
                table.exclude(group["name"], group["labels"])
        subset = os.path.splitext(os.path.basename(file))[0]
        split = None if file in self.paths().values() else self.split_of(subset)
        saved, seen, counts = SavedImages(table.root, self.image_suffix), {}, {"label": 0, "object": 0}
        for number, item in enumerate(content["items"], start=1):
            name = name_image(item) if isinstance(item, dict) else None
            if name is None:
                table.note(NO_IMAGE, number, f"{item!r:.80}")
                continue
            image = saved.find(name, subset)
            labels = find_labels(item, names, counts, with_objects=self.objects == "present")
            if seen.setdefault(image, number) != number:
                table.note(SAME_FILE, number, f"{image}, as item {seen[image]}")
            elif labels is None:
                table.note(NO_LABEL, number, image)
            else:
                yield Item(number, image, [labels] if labels else [], split)
        self.tell_ignored(file, counts["label"], counts["object"])


def name_image(item: Mapping) -> str | None:
    """Returns the name of an item's image; None if it has none.

    >>> name_image({"id": "a/b", "image": {"path": "a_b.png"}}), name_image({"id": "a/b", "image": {}})
    ('a_b.png', 'a_b.jpg')
    """
    image, name = item.get("image"), item.get("id")
    if not isinstance(image, dict):
        return None
    path = image.get("path")
    if not path and isinstance(name, str) and name:
        return name.replace("/", "_") + ENDING
    return path if isinstance(path, str) and path else None


def find_labels(
    item: Mapping, names: Sequence[str], counts: dict[str, int], *, with_objects: bool
) -> dict[str, float] | None:
    """Returns the labels of an item, {label: 1}, and counts its annotations by kind; None if one cannot be read.

    A label with the score 0 is absent, {label: 0}: that is how datumaro keeps what people have looked for and not found
    (the verified negatives of Open Images, findings/datumaro_verified_absent.sh).
    """
    labels: dict[str, float] = {}
    annotations = item.get("annotations", [])
    for annotation in annotations if isinstance(annotations, list) else [None]:
        if not isinstance(annotation, dict):
            return None
        is_label, place = annotation.get("type") == "label", annotation.get("label_id")
        if place is None and not is_label:  # a caption, an outline of nothing in the list
            continue
        if type(place) is not int or not 0 <= place < len(names):
            return None
        counts["label" if is_label else "object"] += 1
        if is_label or with_objects:
            about = annotation.get("attributes")
            is_absent = isinstance(about, dict) and about.get("score") == 0
            labels[names[place]] = max(labels.get(names[place], 0.0), float(not is_absent))
    return labels
