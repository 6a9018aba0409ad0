"""Reads tags from texts beside images, as sd-scripts (github.com/kohya-ss/sd-scripts) and taggers write them."""

import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from multihot.data.formats.text_files import open_text
from multihot.data.manifest import SPLITS, Manifest
from multihot.data.readers.folders import is_image, walk
from multihot.data.readers.tools.json_files import UNUSABLE
from multihot.data.table.cells import quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.reader import MOST_FILES
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first

log = logging.getLogger(__name__)

ENDINGS = (".txt", ".caption")
ESCAPED = re.compile(r"\\([()])")
BOX = re.compile(r"\d+(\s+\d*\.?\d+(e-?\d+)?){4,}", re.IGNORECASE)  # a line of YOLO's
SEVERAL_LINES = "texts of several lines, of which sd-scripts read the first alone (keep one line)"
TWO_TEXTS = "images with two texts (say which is meant: data.labels_extension)"
BOXES = "texts of numbers, such as the boxes of YOLO, and not tags"
MOST_WORDS = 7  # of a tag; what has more is likely a sentence
LONGEST_KEPT = 3  # characters of tags in which taggers keep _, as in ^_^


@dataclass(kw_only=True)
class SidecarReader(ExportReader):
    r"""Reads the images of a folder, whose tags are in a text of the same name: `1girl, long hair, hat \(red\)`.

    An empty text says none of the labels; an image without a text is one that nobody has answered. `\(` is read as
    `(`. A tag that contains the separator is found if it is in data.labels. The images may be in data.root, in the same
    folders as their texts in data.path.

    Args:
        labels_extension: of the texts; None: .txt or .caption, whichever an image has.
        separator: between tags; blanks around it do not count.
        underscores: what `_` in a tag is: "keep", or "blank": a blank, but not in tags of up to 3 characters, in which
            taggers keep it (`^_^`).
        min_count: of train images that have a tag; rarer ones are left out, unless the model has them.
    """

    labels_extension: str | None
    separator: str
    underscores: str
    min_count: int

    unit = "text"
    way_to_split = "give each split its own folder (data.path for train, data.val_path, data.test_path)"

    def parts(self, path: str) -> Sequence[str]:
        """Returns the images of a folder."""
        self.folder, self.images = path, self.root or path
        images = [file for file in walk(self.images) if is_image(file)]
        if not images:
            raise InputError(f"{self.images} holds no images; correct data.path (or data.root)")
        return images

    def fill(self, table: Table) -> None:
        """Adds the images of all folders to the table."""
        self.endings = ENDINGS if self.labels_extension is None else (f".{self.labels_extension.lstrip('.')}",)
        self.known = frozenset(map(str, self.labels or ()))
        super().fill(table)
        sentences = [label for label in table.id_of if len(label.split()) > MOST_WORDS]
        if 2 * len(sentences) > len(table.id_of):
            files, shown = name_first(table.files, MOST_FILES), ", ".join(map(quote, sentences[:2]))
            log.warning("%s: most tags look like sentences (%s); each is a label of its own now", files, shown)

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields an image, with its tags if it has a text."""
        stem = os.path.splitext(os.path.join(self.folder, os.path.relpath(file, self.images)))[0]
        texts = [stem + ending for ending in self.endings if os.path.exists(stem + ending)]
        if len(texts) > 1:
            table.note(TWO_TEXTS, 1, ", ".join(texts))
        elif not texts:
            yield Item(1, os.path.abspath(file), [])
        else:
            try:
                tags = self.read_tags(texts[0], table)
                yield Item(1, os.path.abspath(file), [dict.fromkeys(tags, 1.0)])
            except InputError as error:
                table.note(UNUSABLE, 1, str(error))

    def read_tags(self, file: str, table: Table) -> list[str]:
        """Returns the tags of a text; notes if it holds something else."""
        with open_text(file) as text:
            lines = [line.strip() for line in text.read().splitlines() if line.strip()]
        if lines and all(map(BOX.fullmatch, lines)):
            table.note(BOXES, 1, f"{file}: {quote(lines[0])}")
        elif len(lines) > 1:
            table.note(SEVERAL_LINES, 1, file)
        return split_tags(lines[0] if lines else "", self.separator, self.known, blank=self.underscores == "blank")

    def __call__(self, split: str, labels: Sequence[str] | None = None, must_exist: bool = True) -> Manifest:
        """Returns the images and labels of one split, see TableReader; without the tags that are too rare."""
        if self.min_count > 1:
            forget_rare(self.table, self.min_count, self.labels or () if labels is None else labels)
        return super().__call__(split, labels, must_exist)


def split_tags(text: str, separator: str, known: Collection[str] = (), *, blank: bool = False) -> list[str]:
    r"""Returns the tags of a text; a known one that contains the separator stays whole.

    Args:
        blank: `_` is a blank.

    >>> split_tags(r"1girl, long_hair, hat \(red\),, ^_^", ",", blank=True)
    ['1girl', 'long hair', 'hat (red)', '^_^']
    >>> split_tags("cat, Peter, the great", ",", ["Peter, the great"])
    ['cat', 'Peter, the great']
    """
    parts, tags, start = text.split(separator), [], 0
    longest = max((label.count(separator) + 1 for label in known), default=1)
    while start < len(parts):
        for end in range(min(len(parts), start + longest), start, -1):
            tag = clean(separator.join(parts[start:end]), blank=blank)
            if tag in known:
                break
        tags.extend([tag] * bool(tag))
        start = end
    return tags


def clean(tag: str, *, blank: bool) -> str:
    """Returns a tag without the blanks around it, and without the signs that keep brackets from being read."""
    tag = ESCAPED.sub(r"\1", tag.strip())
    return tag.replace("_", " ").strip() if blank and len(tag) > LONGEST_KEPT else tag


def forget_rare(table: Table, min_count: int, kept: Collection[str]) -> None:
    """Takes the answers about labels out of a table that fewer than `min_count` train images have.

    Args:
        kept: labels that stay.
    """
    rows, label_ids, values = (np.asarray(part) for part in (table.answer_rows, table.label_ids, table.values))
    in_train = np.asarray(table.split_ids)[rows] == SPLITS.index("train")
    counts = np.bincount(label_ids[in_train & (values > 0)], minlength=len(table.id_of))
    kept = set(map(str, kept))
    stays = np.array([label in kept or counts[number] >= min_count for label, number in table.id_of.items()], bool)
    if not stays[label_ids].all():
        log.info("tags that fewer than %d train images have are left out: %d", min_count, np.count_nonzero(~stays))
        table.keep_answers(stays[label_ids])
