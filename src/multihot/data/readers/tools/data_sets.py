"""What data sets of CVAT and datumaro share: subsets, images that are saved with them, and objects beside labels."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from multihot.data.table.exports import ExportReader
from multihot.data.table.table import name_splits
from multihot.errors import InputError, plural

log = logging.getLogger(__name__)

IMAGES = "images"
DEFAULT = "default"  # the subset of images that are in none


class SavedImages:
    """The images in a data set's folder `images`.

    Args:
        root: folder in which it is, if there is one.
        suffix: that is added later to what is found.
    """

    def __init__(self, root: str, suffix: str | None):
        self.root, self.suffix = root, suffix or ""
        self.are_there = os.path.isdir(os.path.join(root, IMAGES))

    def find(self, image: str, subset: str | None) -> str:
        """Returns `images/<subset>/<image>` or `images/<image>`, where such a file is, else the image itself."""
        if not self.are_there:
            return image
        places = [os.path.join(IMAGES, subset or DEFAULT, image), os.path.join(IMAGES, image)]
        return next((place for place in places if os.path.isfile(os.path.join(self.root, place + self.suffix))), image)


@dataclass(kw_only=True)
class DataSetReader(ExportReader):
    """Reads data sets in which images belong to subsets, and may have labels beside those of objects in them.

    Args:
        objects: what boxes, outlines, masks, ... say of their image: "ignore": nothing; "present": it has their label.
        split_names: {name of a subset: train, val or test}, where it is none of the usual ones.
    """

    objects: str
    split_names: Mapping[str, str] | None

    def split_of(self, subset: str | None) -> str | None:
        """Returns the split of a subset, or its name, if that says none; None if the images are in no subset."""
        name = (subset or DEFAULT).lower()
        return ({DEFAULT: None} | name_splits(self.split_names)).get(name, subset)

    def tell_ignored(self, file: str, num_labels: int, num_objects: int) -> None:
        """Warns of objects that are not read; raises InputError if they are all that there is."""
        if not num_objects or self.objects == "present":
            return
        labels, objects = plural(num_labels, "label"), plural(num_objects, "object")
        found = f"{file} has {labels} of whole images, and {objects} (boxes, outlines, ...)"
        way_out = "data.objects=present takes their labels for labels of their image"
        if not num_labels:
            raise InputError(f"{found}: {way_out}")
        log.warning("%s, which are not read: %s", found, way_out)
