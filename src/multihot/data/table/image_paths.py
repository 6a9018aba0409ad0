"""Paths of images as other programs write them, and why there is no file where a path leads."""

import os
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

from multihot.files import name_irregular

DRIVE = re.compile(r"[A-Za-z]:[\\/]")
CUT_ADDRESS = re.compile(r"(\w[\w+.-]*:/(?:.*?/(?=:)|.*?(?=:\s))):\s*(.*)")  # gs://bucket/: photos/
ADDRESS = re.compile("https?://", re.IGNORECASE)
FILE_URL = re.compile(r"file:(//(localhost)?)?(?=/)", re.IGNORECASE)


def to_local(image: str, root: str) -> str:
    """Returns a path with the slashes of this machine, and without file://; a name that holds a backslash stays.

    >>> to_local("photos\\\\a.jpg", "/data"), to_local("file:///data/a%20b.jpg", "/data"), to_local("a.jpg", "/data")
    ('photos/a.jpg', '/data/a b.jpg', 'a.jpg')
    """
    url = FILE_URL.match(image)
    if url:
        return unquote(image[url.end() :])
    if "\\" in image and not os.path.exists(os.path.join(root, image)):
        return image.replace("\\", "/")
    return image


def read_prefixes(prefixes: Mapping[str, str]) -> dict[str, str]:
    """Returns {prefix: what stands there instead} as it was typed: hydra ends a key at its first colon.

    >>> read_prefixes({"gs": "//bucket/: photos/", "AmlDatastore": "//:photos/", "/here/": "s3://there/"})
    {'gs://bucket/': 'photos/', 'AmlDatastore://': 'photos/', '/here/': 's3://there/'}
    """
    typed = [(prefix, place, CUT_ADDRESS.fullmatch(f"{prefix}:{place}")) for prefix, place in prefixes.items()]
    return dict(cut.groups() if cut else (prefix, place) for prefix, place, cut in typed)


def replace_prefix(image: str, prefixes: Mapping[str, str]) -> str:
    """Returns an image with the longest of the prefixes that it has replaced; of an address without its query.

    >>> prefixes = {"gs://bucket/": "/data/", "https://host/": ""}
    >>> replace_prefix("gs://bucket/a b.jpg", prefixes), replace_prefix("https://host/a%20b.jpg?key=1", prefixes)
    ('/data/a b.jpg', 'a b.jpg')
    """
    prefix = max((prefix for prefix in prefixes if image.startswith(prefix)), key=len, default=None)
    if prefix is None:
        return image
    rest = image[len(prefix) :]
    if ADDRESS.match(image):
        rest = unquote(re.split("[?#]", rest, maxsplit=1)[0])
    return prefixes[prefix] + rest


def explain_missing(path: str, root: str) -> str:
    """Returns what may be wrong with a path where no file is, in brackets with a blank before; "" if nothing is known.

    Args:
        root: folder that relative paths start from.
    """
    try:
        return f" ({name_irregular(path)} and no file)"
    except OSError:
        if os.path.islink(path):
            return " (a link to nothing, or in a circle)"
    inside = os.path.relpath(path, root)
    if inside.startswith("~"):
        return " (~ is not replaced by a home folder)"
    if DRIVE.match(inside):
        return " (a path of Windows: write it from data.root on)"
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return explain_folder(folder, inside)
    near = find_near(name, folder)
    return f" ({near})" if near else ""


def explain_folder(folder: str, inside: str) -> str:
    """Returns what is known of a folder that is not there."""
    if inside.startswith(os.pardir):
        return f" (there is no folder {folder}; data.root does not apply to absolute paths: write it from there on)"
    return f" (there is no folder {folder}; images start from data.root)"


def find_near(name: str, folder: str) -> str:
    """Returns which file is there in the place of one that is not, and what to do; "" if there is none."""
    names, by_plain, by_stem = list_names(folder, os.stat(folder).st_mtime_ns)
    if unquote(name) != name and unquote(name) in names:
        return f"there is {unquote(name)!r}: write names as they are, not as in a URL"
    alike = by_plain.get(plain(name), [])
    if alike:
        return f"there is {alike[0]}, which differs in capital letters, blanks or the form of its letters: write it so"
    same = by_stem.get(name, [])
    if len(same) == 1:
        ending = same[0][len(name) :]
        return (
            f"there is {same[0]}: data.image_suffix={ending} adds the ending to each image of csv, jsonl, parquet and "
            "exports"
        )
    if same:
        return f"there are {', '.join(same[:3])}: write which one is meant"
    other = by_stem.get(os.path.splitext(name)[0], [])
    return f"there is {other[0]}: write its ending" if other else ""


@lru_cache(8)
def list_names(folder: str, _changed: int) -> tuple[frozenset[str], dict[str, list[str]], dict[str, list[str]]]:
    """Returns the names in a folder, kept until it changes: as they are, by look, by what is before the ending."""
    names = sorted(os.listdir(folder))
    by_plain: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_plain.setdefault(plain(name), []).append(name)
        by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    return frozenset(names), by_plain, by_stem


def plain(name: str) -> str:
    """Returns a name without what the eye does not tell apart: capitals, blanks at its ends, the form of letters."""
    return unicodedata.normalize("NFKC", name).casefold().strip()
