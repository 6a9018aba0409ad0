"""What in a folder of labels looks as if it were something else: another layout, or pictures that are not read."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from multihot.data.formats.recognize import recognize
from multihot.data.not_images import INSTALL
from multihot.data.other_kinds import ENDINGS
from multihot.errors import InputError

log = logging.getLogger("multihot")

BY_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"}  # in small letters
OF_DETECTION = {"images", "imgs", "labels", "annotations", "masks", "labeltxt"}
OF_EXPORTS = OF_DETECTION | {"ann", "img", "meta", "data", "releases", "default", "imagesets", "jpegimages"}
OF_KOHYA = re.compile(r"\d+_.")  # how often it is repeated, and a name
LIKE_SPLITS = {"training", "testing", "trainset", "testset", "valset", "train_set", "test_set", "val_set", "eval"}
PICTURES = re.compile(  # endings of pictures, and of what may hold some
    r"\.(hei[cf]|hif|dcm|dicom|nii|nrrd|mha|raw|nef|cr[23]|arw|dng|orf|rw2|raf|svg|ai|jxl|avif|exr|hdr|np[yz]|mat|czi|svs"
    r"|ndpi|nd2|lif|mp4|avi|mov|mkv|webm|zip|tar|gz)|no ending"
)


def check_layout(path: str, labels: Sequence[str], places: Iterable[tuple[str, str]]) -> None:
    """Raises InputError if folders that are taken for labels are those of another layout.

    Args:
        places: the label of each file, and its path inside of the label's folder.
    """
    names = {label.lower() for label in labels}
    if len(names) > 1 and "images" in names and names <= OF_DETECTION:
        raise InputError(
            f"{path} holds the folders {', '.join(labels)}, as data sets of boxes (YOLO) do: they are no labels. Write "
            "the labels of each image into a file for data=csv or data=coco"
        )
    if names <= LIKE_SPLITS:
        raise InputError(
            f"{path} holds the folders {', '.join(labels)}, which seem to be splits: call them train, val and test, or "
            "set data.split_folders=false if they are labels"
        )
    below = defaultdict(set)
    for label, place in places:
        below[label].add(os.path.dirname(place).split(os.sep)[0])
    deeper = {label: inner for label, inner in below.items() if "" not in inner}
    if deeper and len(deeper) == len(below):
        inner = sorted(set().union(*deeper.values()))
        if len(below) == 1 and len(inner) > 1:
            (only,) = below
            raise InputError(
                f"{path} holds its images in folders of one folder, {only} ({', '.join(inner[:3])}): if these are the "
                f"labels, set data.path={os.path.join(path, only)}; if {only} is the label, data.split_folders=false"
            )
        if len(inner) > 1:
            log.warning(
                "%s: the labels are the folders %s; those inside of them (%s) are none. If they are, move them up",
                path,
                ", ".join(sorted(deeper)[:5]),
                ", ".join(inner[:5]),
            )


def check_export(path: str, labels: Sequence[str], misread: str) -> None:
    """Raises InputError if a folder looks like an export whose answers are in files; warns if that is less sure."""
    found = recognize(path)
    if found is None:
        return
    place = os.path.dirname(found.path) if os.path.isfile(found.path) else found.path
    is_of_all = os.path.realpath(place) == os.path.realpath(path) or len(labels) < 2
    is_made_so = {label.lower() for label in labels} <= OF_EXPORTS or all(map(OF_KOHYA.match, labels))
    if misread == "error" and (is_of_all or is_made_so):
        raise InputError(f"{found}; if the folders in {path} are the labels, data.split_folders=false")
    log.warning("%s, if its folders are not the labels", found)


def check_endings(path: str, others: Sequence[str], num_images: int) -> None:
    """Raises InputError if no file is an image, and warns of pictures whose format is not read.

    Args:
        others: the paths of files that are no images.
    """
    endings = Counter(os.path.splitext(other)[1].lower() or "no ending" for other in others)
    described = ", ".join(f"{ending} ({count})" for ending, count in endings.most_common(5))
    if not num_images and others:
        raise InputError(f"{path} holds no images, but files with other endings: {described}; correct data.path")
    left_out = {ending: count for ending, count in endings.items() if PICTURES.fullmatch(ending)}
    if left_out:
        log.warning(
            "%s: %d files are left out, because their ending is that of no image that is read: %s; %s",
            path,
            sum(left_out.values()),
            ", ".join(f"{ending} ({count})" for ending, count in left_out.items()),
            INSTALL if left_out.keys() & set(chain(*ENDINGS.values())) else "convert them",
        )
