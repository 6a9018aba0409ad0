"""Small pictures inside of the page."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from PIL import Image

from multihot.errors import InputError, first_line

NUM_PICTURES = 200  # at most, at the end of a training
SIDE, SIDE_OF_MANY = 160, 96  # pixels of the longer side; where many labels take the room
MANY_LABELS = 1000
TINY = 64  # pixels, up to which a picture is kept as it is, without loss
QUALITY = 75

Read = Callable[..., Image.Image]  # (image, min_side=None) -> picture


class Album(NamedTuple):
    """What gives the pictures of a split."""

    read: Read | None  # None: nothing does
    why: str | None = None  # it does not
    explain: Callable[[Image.Image, int], Image.Image] | None = None  # (picture, label) -> where that is seen in it


NO_PICTURES = Album(None)


def embed(
    rows: Sequence[int], images: Sequence[str], album: Album, num_labels: int
) -> tuple[list[dict[str, object]], str | None]:
    """Returns row, name and data URL of pictures, None for what cannot be read, and why the first of those cannot."""
    side = SIDE if num_labels <= MANY_LABELS else SIDE_OF_MANY
    pictures, why = [], album.why
    for row in rows:
        url = None
        try:
            url = encode(album.read(images[row], min_side=side), side)
        except (InputError, OSError) as error:
            why = why or first_line(error)
        pictures.append({"row": row, "name": short_name(str(images[row])), "url": url})
    return pictures, why


def explain(pairs: Sequence[tuple[int, int]], images: Sequence[str], album: Album) -> list[dict[str, object]]:
    """Returns where in images their labels are seen, as pictures: pairs of row and label."""
    if album.explain is None:
        return []
    result = []
    for row, label in dict.fromkeys(pairs):
        try:
            picture = album.read(images[row])
        except (InputError, OSError):
            continue  # it is told of already
        result.append({"row": row, "label": label, "url": encode(album.explain(picture, label), SIDE)})
    return result


def encode(picture: Image.Image, side: int) -> str:
    """Returns a picture, no side larger than `side`, as a data URL."""
    file, kind = io.BytesIO(), "PNG" if max(picture.size) <= TINY else "JPEG"
    picture = picture.copy()
    picture.thumbnail((side, side))
    picture.save(file, kind, **{"PNG": {"optimize": True}, "JPEG": {"quality": QUALITY, "optimize": True}}[kind])
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def short_name(image: str) -> str:
    """Returns the end of an image's path: its folder and its name.

    >>> short_name("/data/photos/12/34.jpg")
    '12/34.jpg'
    """
    return "/".join(PurePosixPath(image).parts[-2:])
