"""Predictions as annotations of CVAT, `CVAT for images 1.1`: the labels that hold are tags of their image."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from multihot.errors import InputError, name_first, plural
from multihot.labels import LabelSpace, show_label
from multihot.prediction.writers import Write

log = logging.getLogger(__name__)

UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what no XML can hold


class Cvat:
    """An `<image>` with a `<tag>` for each label that holds, in the order of the labels.

    Images that could not be read are left out, and so stay what they are in CVAT.
    """

    def __init__(self, space: LabelSpace, top_k: int | None):
        self.labels = space.labels
        unfit = [show_label(label) for label in self.labels if UNFIT.search(label)]
        if unfit:
            raise InputError(f"labels with characters that no XML can hold: {name_first(unfit)}; take another format")

    @contextmanager
    def open(self, path: Path) -> Iterator[Write]:
        """Gives a function that writes records to a new file, a line an image, without what goes before its name."""
        with path.open("w", encoding="utf-8") as file:

            def write(records: Sequence[dict]) -> int:
                kept = leave_out_unfit(records)
                file.writelines(map(write_image, kept))
                return len(records) - len(kept)

            yield write

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Writes the list of labels and all parts into one file, the images numbered."""
        number = 0
        with path.open("wb") as whole:
            whole.write(self.head.encode())
            for part in parts:
                with part.open("rb") as lines:
                    for line in lines:
                        whole.write(b'  <image id="%d" %s' % (number, line))
                        number += 1
            whole.write(b"</annotations>\n")

    @property
    def head(self) -> str:
        """What goes before the images."""
        labels = [f"<label><name>{escape_text(label)}</name><attributes></attributes></label>" for label in self.labels]
        listed = "".join(f"        {label}\n" for label in labels)
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta>\n    <task>\n      <labels>\n{listed}      </labels>\n    </task>\n  </meta>\n"
        )


def leave_out_unfit(records: Sequence[dict]) -> list[dict]:
    """Returns the records of images that could be read and whose names XML can hold; warns of others of these."""
    records = [record for record in records if record["error"] is None]
    unfit = [record["image"] for record in records if UNFIT.search(record["image"])]
    if unfit:
        names = name_first([ascii(image) for image in unfit])
        log.warning("%s left out, as no XML can hold such a name: %s", plural(len(unfit), "image"), names)
    return [record for record in records if not UNFIT.search(record["image"])]


def write_image(record: dict) -> str:
    """Returns the line of an image.

    >>> write_image({"image": "a&b.jpg", "labels": ["cat"]})
    'name="a&amp;b.jpg"><tag label="cat" source="auto"></tag></image>\\n'
    """
    tags = "".join(f'<tag label={quoteattr(label)} source="auto"></tag>' for label in record["labels"])
    return f"name={quoteattr(record['image'])}>{tags}</image>\n"


def escape_text(text: str) -> str:
    """Returns a text as XML has it; a carriage return would be read as a line's end."""
    return escape(text, {"\r": "&#13;"})
