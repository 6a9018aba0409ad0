"""Which images are predicted: those of a folder, a pattern, a table, one file, or a split of a data source."""

import glob
import logging
import os
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

from multihot.data.images import file_of
from multihot.data.manifest import Manifest, describe_state
from multihot.data.readers.csv_file import read_rows
from multihot.data.readers.folders import is_image, walk
from multihot.errors import InputError, check_choice, list_first, plural

log = logging.getLogger("multihot")

TABLES = (".csv", ".tsv", ".tab")
ALLOWED = "give a folder of images, a pattern such as 'photos/**/*.jpg', a CSV file with a column of paths, or an image"


def list_images(images: str, column: str, root: str | None) -> list[str]:
    """Returns the paths of the images that are meant, sorted, or in the order of a table; none is opened.

    Args:
        images: a folder, a pattern with * or **, a CSV or TSV file, or an image.
        column: of a table, that has the paths.
        root: folder that its relative paths start from; None: that of the table.

    Raises:
        InputError: there is none, or a table has no such column.
    """
    images = os.path.expanduser(images)
    if os.path.isdir(images):
        return list_folder(images)
    if images.lower().endswith(TABLES):
        return list_table(images, column, root)
    found = [images] if os.path.isfile(images) else sorted(filter(os.path.isfile, glob.glob(images, recursive=True)))
    if not found:
        what = "matches no file" if glob.has_magic(images) else "is no file or folder"
        raise InputError(f"images={images} {what}: {ALLOWED}")
    return found


def list_folder(folder: str) -> list[str]:
    """Returns the images below a folder; hidden files and those of other endings are left out, and counted."""
    files = list(walk(folder))
    images = [path for path in files if is_image(path)]
    others = [path for path in files if not is_image(path)]
    if not images:
        raise InputError(f"images={folder} holds no images, by their endings ({plural(len(files), 'file')}): {ALLOWED}")
    if others:
        log.info(
            "%s: %d files are left out, as their endings are none of images:\n%s",
            folder, len(others), list_first(others, limit=3),
        )  # fmt: skip
    return images


def list_table(table: str, column: str, root: str | None) -> list[str]:
    """Returns the images that a CSV file lists, one a line."""
    rows = read_rows(table)
    _, header = next(rows, (0, []))
    header = [cell.strip() for cell in header]
    if len(header) > 1 or column in header:
        check_choice(f"image_column ({table})", column, tuple(header))
        place = header.index(column)
    else:
        raise InputError(f"{table} has no column {column!r}: its first line must name the columns, such as {column}")
    folder = os.path.dirname(table) if root is None else os.path.expanduser(root)
    images = []
    for line, cells in rows:
        if len(cells) <= place or not cells[place].strip():
            raise InputError(f"{table} line {line} has no {column}: correct or delete it")
        images.append(os.path.join(folder, cells[place].strip()))
    if not images:
        raise InputError(f"{table} lists no images below its first line")
    return images


def without_answers(images: Sequence[str], labels: tuple[str, ...]) -> Manifest:
    """Returns the images as a manifest of these labels in which every answer is unknown."""
    return Manifest(labels, images, csr_array((len(images), len(labels)), dtype=np.int8), unlisted=-1)


def image_states(manifest: Manifest) -> Iterator[str]:
    """Yields what changes whenever an image does, see Manifest, also of images that are not there."""
    for image in manifest.images:
        file = file_of(image)
        try:
            yield f"{image} {describe_state(file)}"
        except OSError as error:
            yield f"{image} {error.strerror}"
