"""Reads a data set from folders: one a label, with an image in each of the folders whose labels it has."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, NamedTuple

from PIL import Image

from multihot.data.manifest import SPLITS
from multihot.data.other_kinds import other_endings
from multihot.data.readers.folder_checks import BY_SYSTEMS, check_endings, check_export, check_layout
from multihot.data.table.reader import TableReader
from multihot.data.table.table import SPLIT_OF_NAME, Table
from multihot.errors import InputError

log = logging.getLogger("multihot")

END = 4096  # bytes of a file's beginning and end, which are compared before the whole file is
BLOCK = 1 << 20  # bytes that are read at once
NO_LABEL = {  # where exports put images without a label
    "no_label": "CVAT's ImageNet export (datumaro 1.13.12)",
    "_unlabeled": "FiftyOne's tree of folders (1.22.1)",
}


@dataclass(kw_only=True)
class FolderReader(TableReader):
    """Images in `path/<label>/...` or `path/<split>/<label>/...`; the labels are the names of the folders, sorted.

    An image that is in several label folders is one image with several labels, at its first place. Hidden files are
    left out, and so are those whose ending is none of an image format. Links are followed.

    Args:
        split_folders: whether the folders in `path` are splits and not labels; None: if all of them are called train,
            val (or valid, validation, dev) or test. Any others are left out.
        same_file: which files are one image. "content": those with equal bytes, which must not be in two splits;
            "name": those of a split at the same place inside of their label folders; "never": none.
        untagged: what the images of a folder `no_label` or `_unlabeled` are: "absent": they have none of the labels;
            "unknown"; "skip": left out; "label": it is a label like others, as it was for runs that began before there
            was this setting; None: an error, as nothing tells images that nobody has looked at from those with none.
    """

    path: str
    split_folders: bool | None
    same_file: str
    untagged: str | None = "label"

    way_to_split = (
        "put its label folders into data.path/train, data.path/val or data.path/test (data.split_folders: null or true)"
    )

    def fill(self, table: Table) -> None:
        """Adds the files of all folders to the table."""
        folders = self.find_splits()
        labels = {split: list_folders(folder) for split, folder in folders.items()}
        untagged = self.read_untagged(labels)
        if untagged == "skip":
            labels = {split: [name for name in names if name not in NO_LABEL] for split, names in labels.items()}
        table.labels = tuple(next(iter(labels.values())))  # of train, if there is train
        if untagged == "unknown":
            labels = {split: sorted(names, key=NO_LABEL.__contains__) for split, names in labels.items()}  # last
            table.labels = tuple(name for name in table.labels if name not in NO_LABEL)
        files = [file for split in folders for file in list_files(split, folders[split], labels[split])]
        images = [file for file in files if is_image(file.path)]
        others = [file.path for file in files if not is_image(file.path)]
        if self.split_folders is None and self.labels is None:
            check_export(self.path, table.labels, self.misread)
            check_layout(self.path, table.labels, ((file.label, file.place) for file in files))
        check_endings(self.path, others, len(images))
        first_of = [images[k] for k in SAME_FILE[self.same_file](images)]
        for split, folder in folders.items():
            table.begin(folder, self.root, unit="file")
            pairs = [pair for pair in zip(images, first_of, strict=True) if pair[0].split == split]
            add_images(table, pairs, NO_LABEL if untagged == "unknown" else ())
            for number, path in enumerate(filter(is_image, list_own_files(folder)), start=1):
                table.note("images in no label folder (move them into one, or away)", number, path)
        warn_of_empty_folders(images, labels)
        if others:
            log.info("%s: %d files, of which %d are no images", self.path, len(files), len(others))

    def __post_init__(self):
        if self.untagged == "absent":
            self.none_labels = [*(self.none_labels or ()), *NO_LABEL]

    def read_untagged(self, labels: Mapping[str, Sequence[str]]) -> str | None:
        """Returns what images of a folder such as `no_label` are; None if there is none."""
        named = {*map(str, self.labels or ()), *map(str, self.none_labels or ())}
        found = [name for name in NO_LABEL if name not in named and any(name in names for names in labels.values())]
        if not found:
            return None
        if self.untagged is None:
            raise InputError(
                f"{self.path} holds a folder {found[0]}, as {NO_LABEL[found[0]]} does for images without a label, also "
                "those that nobody has looked at: say what they are by data.untagged=absent (they have none of the "
                "labels), unknown, or skip (left out); if it is a label, name all labels in data.labels"
            )
        return self.untagged

    def find_splits(self) -> dict[str, str]:
        """Returns the folder of each split; if there are none, all is for training."""
        top = os.path.abspath(self.path)
        names = list_folders(top)
        if not names:
            raise InputError(f"{self.path} holds no folders, of which each label must have one; correct data.path")
        splits = [name for name in names if name.lower() in SPLIT_OF_NAME]
        if self.split_folders and not splits:
            known = ", ".join(SPLIT_OF_NAME)
            raise InputError(f"data.split_folders=true, but no folder in {self.path} is called {known}")
        if self.split_folders is None and 0 < len(splits) < len(names):
            others = [name for name in names if name not in splits]
            raise InputError(
                f"{self.path} holds the folders {', '.join(splits)} and also {', '.join(others[:3])}: set "
                "data.split_folders to false if all are labels, or to true if the others do not matter"
            )
        if not splits or self.split_folders is False:
            return {"train": top}
        folders = {}
        for name in splits:
            other = folders.setdefault(SPLIT_OF_NAME[name.lower()], name)
            if other != name:
                raise InputError(f"{self.path} has two folders for one split, {other} and {name}; keep one")
        return {split: os.path.join(top, folders[split]) for split in SPLITS if split in folders}


class LabelledFile(NamedTuple):
    """A file in the folder of a label."""

    split: str
    label: str
    path: str
    place: str  # inside of the label's folder


def list_folders(folder: str) -> list[str]:
    """Returns the names of the folders in a folder, or links to such, sorted, without hidden ones."""
    return sorted(entry.name for entry in scan(folder) if entry.is_dir())


def list_own_files(folder: str) -> list[str]:
    """Returns the paths of the files in a folder itself, sorted, without hidden ones."""
    return sorted(entry.path for entry in scan(folder) if not entry.is_dir())


def scan(folder: str) -> list[os.DirEntry]:
    """Returns what is in a folder and not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise refuse(error) from error


def is_hidden(name: str) -> bool:
    """Returns whether a name is that of something hidden, or that a system puts beside files."""
    return name.startswith(".") or name.lower() in BY_SYSTEMS


def refuse(error: OSError) -> InputError:
    """Returns the error that says what cannot be read."""
    return InputError(f"cannot read {error.filename}: {error.strerror}; correct data.path or restore it")


def list_files(split: str, folder: str, labels: Sequence[str]) -> Iterator[LabelledFile]:
    """Yields the files in all folders of labels, label by label, sorted."""
    for label in labels:
        top = os.path.join(folder, label)
        for path in walk(top):
            yield LabelledFile(split, label, path, os.path.relpath(path, top))


def walk(top: str) -> Iterator[str]:
    """Yields the files below a folder, sorted, without hidden ones; no folder twice, as links in a circle want it."""

    def fail(error: OSError) -> None:
        raise refuse(error) from error

    seen = set()
    for folder, folders, files in os.walk(top, onerror=fail, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (os.path.join(folder, name) for name in sorted(files) if not is_hidden(name))


@cache
def image_endings() -> frozenset[str]:
    """Returns the endings of the formats that are read; of some, like .pdf, Pillow only writes files."""
    of_pillow = (ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN)
    return frozenset([*of_pillow, *other_endings()])


def is_image(path: str) -> bool:
    """Returns whether a file is called as an image is.

    >>> is_image("a/b.JPG"), is_image("a/b.txt"), is_image("a/b.pdf")
    (True, False, False)
    """
    return os.path.splitext(path)[1].lower() in image_endings()


def add_images(
    table: Table, images: Iterable[tuple[LabelledFile, LabelledFile]], unknown: Collection[str] = ()
) -> None:
    """Adds the images of a split to the table, each with the first file that is the same one.

    Args:
        unknown: the last folders, whose images are unknown unless another folder has them.
    """
    seen = set()
    for number, (file, first) in enumerate(images, start=1):
        if first.split != file.split:
            leak = "images that are in two splits, which makes scores too good (keep one, or data.same_file=never)"
            table.note(leak, number, f"{file.path} is the same as {first.path}")
        elif file.label in unknown:
            if first.path not in table.row_of:
                table.add(number, first.path, table.labels, [-1.0] * len(table.labels), split=file.split)
        elif (first.path, file.label) not in seen:
            seen.add((first.path, file.label))
            table.add(number, first.path, [file.label], split=file.split, again=True)


def warn_of_empty_folders(images: Sequence[LabelledFile], labels: dict[str, Sequence[str]]) -> None:
    """Logs the label folders without an image: their labels stay, without positives."""
    used = {(image.split, image.label) for image in images}
    empty = [f"{split}/{label}" for split in labels for label in labels[split] if (split, label) not in used]
    if empty:
        log.warning("%d label folders have no image: %s", len(empty), ", ".join(empty[:5]))


def find_first(keys: Iterable[Hashable]) -> list[int]:
    """Returns for each key where it is first.

    >>> find_first("abcab")
    [0, 1, 2, 0, 1]
    """
    first: dict[Hashable, int] = {}
    return [first.setdefault(key, k) for k, key in enumerate(keys)]


def find_same_content(images: Sequence[LabelledFile]) -> list[int]:
    """Returns for each image the first one with the same bytes.

    A file is read only if another one has its size: both ends first, and the whole if they are equal too. Links to one
    file are that file. Files that are empty or cannot be found are like no others.
    """
    paths = [image.path for image in images]
    linked = find_first(map(identify, paths))
    keys = {k: () for k, first in enumerate(linked) if k == first and measure(paths[k])}
    for facts_of in (measure, hash_ends, hash_file):
        num_files = Counter(keys.values())
        keys = {k: (*key, facts_of(paths[k])) for k, key in keys.items() if num_files[key] > 1}
    first_with: dict[tuple, int] = {}
    same = {k: first_with.setdefault(key, k) for k, key in keys.items()}
    return [same.get(k, k) for k in linked]


def identify(path: str) -> Hashable:
    """Returns what all links to a file have in common; a file that is not there has only its path."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino


def measure(path: str) -> int:
    """Returns the bytes of a file; 0 if it is not there."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def hash_ends(path: str) -> bytes:
    """Returns a hash of the first and the last bytes of a file."""
    with open_file(path) as file:
        start = file.read(END)
        file.seek(max(0, measure(path) - END))
        return hashlib.blake2b(start + file.read(END), digest_size=16).digest()


def hash_file(path: str) -> bytes:
    """Returns a hash of all bytes of a file."""
    total = hashlib.blake2b(digest_size=16)
    with open_file(path) as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.digest()


def open_file(path: str) -> BinaryIO:
    """Returns a file that is open for reading."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise refuse(error) from error


def find_same_name(images: Sequence[LabelledFile]) -> list[int]:
    """Returns for each image the first one of its split at the same place inside of a label's folder."""
    return find_first((image.split, image.place) for image in images)


def find_none(images: Sequence[LabelledFile]) -> list[int]:
    """Returns each image's own place."""
    return list(range(len(images)))


SAME_FILE = {"content": find_same_content, "name": find_same_name, "never": find_none}
