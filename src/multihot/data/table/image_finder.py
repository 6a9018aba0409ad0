"""Finds the path of each image that the files of a source name."""

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Mapping

from multihot.data.table.cells import CellError
from multihot.data.table.image_paths import replace_prefix, to_local
from multihot.errors import name_first

log = logging.getLogger(__name__)

NO_NAME = "images whose names no file can have"
NOT_HERE = (
    "images that are not on this machine (download them first, and say where they are: "
    "'data.replace_prefix={gs://bucket/: photos/}')"
)
SEVERAL_FILES = "images of which several files have the name (write the folder before it)"
TOO_LONG = "image paths that are longer than a file's can be"
LONGEST_NAME = 255  # bytes of a file's name; PATH_MAX of Linux is 4096
LONGEST_PATH = 4095


class ImageFinder:
    """Makes paths of the images that files name.

    Args:
        prefixes: {how images begin: what stands there instead}, see `read_prefixes`.
        search: images are looked for by their names in all folders below the root.
    """

    def __init__(self, prefixes: Mapping[str, str] | None = None, *, search: bool = False):
        self.prefixes, self.search = prefixes or {}, ImageSearch() if search else None
        self.unused = set(self.prefixes)

    def begin(self, root: str, *, is_given: bool) -> None:
        """Says where the images are that follow.

        Args:
            is_given: by the settings: no image may be outside.
        """
        self.root, self.inside, self.is_given = root, os.path.join(root, ""), is_given

    def find(self, image: str) -> str:
        """Returns the path of an image; raises CellError if it has none."""
        if "\0" in image or not (image.isascii() or can_be_named(image)):
            raise CellError(NO_NAME, ascii(image[:80]))
        if self.prefixes:
            self.unused -= {prefix for prefix in self.unused if image.startswith(prefix)}
            image = replace_prefix(image, self.prefixes)
        if "\\" in image or "://" in image:
            image = to_local(image, self.root)
        if "://" in image:
            raise CellError(NOT_HERE, image)
        if self.search is not None:
            found = self.search.find(image, self.root)
            if len(found) > 1:
                raise CellError(SEVERAL_FILES, f"{image}: {name_first(found)}")
            image = found[0] if found else image
        path = os.path.normpath(os.path.join(self.root, image))
        if len(path) > LONGEST_NAME and (
            len(os.fsencode(path)) > LONGEST_PATH or len(os.fsencode(os.path.basename(path))) > LONGEST_NAME
        ):
            raise CellError(TOO_LONG, f"{path[:80]}... ({len(path)})")
        if not path.startswith(self.inside) and (self.is_given or not os.path.isabs(image)):
            outside = f"images outside of their folder {self.root} (set data.root to one that holds them all, or null)"
            raise CellError(outside, image)
        return path


def warn_of_unused(prefixes: Collection[str], files: str) -> None:
    """Warns of prefixes that no image begins with."""
    if prefixes:
        found = ", ".join(map(repr, sorted(prefixes)))
        log.warning("data.replace_prefix: no image of %s begins with %s; correct it or leave it out", files, found)


def can_be_named(path: str) -> bool:
    """Returns whether the signs of a path can be those of a file: half of a pair of UTF-16 cannot.

    >>> can_be_named("caf\u00e9.jpg"), can_be_named(chr(0xD83D))
    (True, False)
    """
    try:
        return bool(os.fsencode(path))
    except UnicodeEncodeError:
        return False


class ImageSearch:
    """Finds images in all folders below a root by their name, or by the end of their path."""

    def __init__(self):
        self.paths_of: dict[str, dict[str, list[str]]] = {}  # root -> name -> paths from there on

    def find(self, image: str, root: str) -> list[str]:
        """Returns the paths, from the root on, of the files that an image may be."""
        if root not in self.paths_of:
            self.paths_of[root] = list_below(root)
        end = f"/{image.lstrip('./')}"
        return [path for path in self.paths_of[root].get(os.path.basename(image), []) if f"/{path}".endswith(end)]


def list_below(root: str) -> dict[str, list[str]]:
    """Returns the paths of all files below a folder by their names."""
    paths = defaultdict(list)
    for folder, folders, names in os.walk(root):
        folders.sort()
        inside = os.path.relpath(folder, root)
        for name in names:
            paths[name].append(os.path.normpath(os.path.join(inside, name)))
    return dict(paths)
