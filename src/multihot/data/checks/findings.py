"""What is wrong with a data set, each fault with the images that have it, their file and line."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from multihot.data.checks.answers import SAY_NO, faults_of_answers
from multihot.data.checks.duplicates import exact_groups, near_clusters
from multihot.data.checks.inspection import ImageFacts
from multihot.data.checks.pictures import MOST_LOST, SHOW_ALL, USUAL_CROP, find_better_range, lost_share
from multihot.data.clusters import members
from multihot.data.manifest import Manifest
from multihot.data.table.lookalikes import show, without_invisible
from multihot.errors import check_choice


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how bad it is, and what to do about it."""

    name: str
    severity: str  # problem | warning
    title: str
    advice: str


KINDS = [
    Kind("table", "problem", "rows that cannot be used", "Correct the table, and validate it again."),
    Kind("missing", "problem", "images that do not exist", "Restore them, remove their rows, or correct data.root."),
    Kind("unreadable", "problem", "images that cannot be read", "Restore the files or remove their rows."),
    Kind("truncated", "problem", "images that are cut short", "Copy or download them again, or remove their rows."),
    Kind("huge", "problem", "images of too many pixels", "Make them smaller: decoding them may exhaust the memory."),
    Kind("one_pixel", "problem", "images that are one pixel wide or high", "Remove their rows: they show nothing."),
    Kind(
        "duplicates_across_splits", "problem", "equal images in several splits",
        "Keep one: what was trained on makes scores too good. clusters.csv lists which images belong together.",
    ),
    Kind(
        "near_duplicates_across_splits", "problem", "images that look the same in several splits",
        "Look at them; keep copies of one picture in one split. clusters.csv lists which images belong together.",
    ),
    Kind("different_labels", "problem", "equal images with different labels", "Decide who is right, and keep one row."),
    Kind(
        "label_without_train_images", "problem", "labels that no train image has",
        "Nothing can be learned about them: add images or remove them from data.labels.",
    ),
    Kind("nothing_to_learn", "problem", "train splits with nothing to tell apart", f"Add images, or {SAY_NO}."),
    Kind(
        "label_on_all_train_images", "problem", "labels that no train image is known to be without",
        f"They will be predicted for every image: add images without them, or {SAY_NO}.",
    ),
    Kind(
        "nothing_to_choose_by", "problem", "splits that have no label with images both with and without it",
        f"They have no mAP, by which the best epoch is chosen: add images, or {SAY_NO}.",
    ),
    Kind(
        "label_unlike_train", "warning", "labels that a split lacks and train has in plenty",
        "Chance does not explain it: are the answers of both written alike?",
    ),
    Kind(
        "mostly_unknown", "warning", "splits with more unknown than present answers, and more present than absent",
        f"If 'no' was read as unknown, {SAY_NO}. If not, data.answers={{-1: unknown}} says so.",
    ),
    Kind("label_without_images", "warning", "labels that no image of a split has", "They do not count in its scores."),
    Kind(
        "label_on_all_images", "warning", "labels that no image of a split is known to be without",
        f"They have no average precision in it. If that cannot be, {SAY_NO}.",
    ),
    Kind(
        "similar_labels", "warning", "labels that differ only in case or spacing",
        "If they mean the same, write them the same: they are different outputs of the model.",
    ),
    Kind("table_doubts", "warning", "things that may be read otherwise than they were meant", "Do as the details say."),
    Kind("duplicates", "warning", "equal images in one split", "Keep one row each, unless they shall count more."),
    Kind("near_duplicates", "warning", "images that look the same in one split", "Keep one, unless both shall count."),
    Kind(
        "value_range", "warning", "ranges of black and white that hide values of more than 8 bits",
        "Set it as the details say; it is kept with the run.",
    ),
    Kind(
        "faint", "warning", "images that are nearly black, nearly white or of few grey levels",
        "Look at them: a failed export? If they are meant so, nothing is to be done.",
    ),
    Kind(
        "cropped", "warning", "images of which evaluation shows less than half",
        f"train.py {SHOW_ALL} shows all of each; else only the centre is seen, and the labels of the rest count.",
    ),
    Kind("constant", "warning", "images of a single colour", "Look at them: a failed export or a placeholder?"),
    Kind("tiny", "warning", "images that are very small", "Look at them: thumbnails taken for the photos?"),
    Kind("animated", "warning", "images of several frames or pages", "Nothing to do if the first shall count."),
    Kind("turned", "warning", "images turned by EXIF", "Nothing to do: they are read upright."),
    Kind("not_rgb", "warning", "images that are not RGB", "Nothing to do if meant so: they are read as RGB."),
]  # fmt: skip


def check_kinds(names: Collection[str]) -> None:
    """Raises InputError with the choices if a name is of no kind of fault."""
    for name in names:
        check_choice("ignore", name, [kind.name for kind in KINDS])


@dataclass(frozen=True)
class Entry:
    """One case of a fault: the images that have it (rows of the data set) and what is to be said about them."""

    rows: tuple[int, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """All cases of one kind of fault."""

    kind: Kind
    entries: list[Entry]


class DataSet:
    """All splits one after the other: N images in rows, and C labels, with the settings that they were read by."""

    def __init__(self, manifests: Mapping[str, Manifest], settings: Mapping):
        self.manifests, self.settings = dict(manifests), settings
        self.labels = next((manifest.labels for manifest in manifests.values()), ())
        self.starts = np.cumsum([0, *map(len, manifests.values())])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def split_of(self, row: int) -> str:
        """Returns the split of a row."""
        return list(self.manifests)[np.searchsorted(self.starts, row, side="right") - 1]

    def locate(self, row: int) -> tuple[Manifest, int]:
        """Returns the split's manifest and the row in it."""
        part = np.searchsorted(self.starts, row, side="right") - 1
        return list(self.manifests.values())[part], int(row - self.starts[part])

    def image(self, row: int) -> str:
        """Returns the path of a row's image."""
        manifest, row = self.locate(row)
        return manifest.images[row]

    def place(self, row: int) -> str:
        """Returns the file and line that list a row's image; its number in the split if the source tells no place."""
        manifest, own = self.locate(row)
        return manifest.places[own] if manifest.places is not None else f"{self.split_of(row)} row {own + 1}"

    def labels_of(self, row: int) -> list[str]:
        """Returns the labels that a row's image has."""
        manifest, own = self.locate(row)
        columns, values = manifest.sparse_target(own)
        return [self.labels[column] for column in columns[values >= 0.5]]

    @cached_property
    def num_positives(self) -> dict[str, np.ndarray]:
        """How many images of each split have each label, int64 (C,)."""
        return {
            split: np.bincount(manifest.targets.indices[manifest.targets.data >= 0.5], minlength=len(self.labels))
            for split, manifest in self.manifests.items()
        }

    def first_with(self, column: int) -> int:
        """Returns the first row whose image has a label, which one must have."""
        for start, manifest in zip(self.starts, self.manifests.values(), strict=False):
            stored = np.flatnonzero((manifest.targets.indices == column) & (manifest.targets.data >= 0.5))
            if len(stored):
                return int(start + np.searchsorted(manifest.targets.indptr, stored[0], side="right") - 1)
        raise AssertionError(f"no image has label {column}")


def find_faults(
    data: DataSet,
    facts: Sequence[ImageFacts],
    *,
    table_errors: Sequence[str] = (),
    table_warnings: Sequence[str] = (),
    tiny_side: int,
    max_distance: int,
    min_similarity: float,
    ignore: Collection[str] = (),
) -> tuple[list[Finding], np.ndarray]:
    """Returns the findings, problems first, and the cluster of each image, int64 (N,).

    Args:
        facts: of each row.
        table_errors: what the reader says.
        table_warnings: what it warns of.
        tiny_side: pixels; images with a smaller side are tiny.
        max_distance: bits of the perceptual hashes of two images that look the same.
        min_similarity: smallest correlation of small copies of two images that look the same.
        ignore: kinds of faults to leave out.
    """
    entries = defaultdict(list)
    entries["table"] = [Entry((), error) for error in table_errors]
    entries["table_doubts"] = [Entry((), warning) for warning in table_warnings]
    for row, fact in enumerate(facts):
        for name, detail in faults_of_image(fact, tiny_side):
            entries[name].append(Entry((row,), detail))
    entries["value_range"] = faults_of_range(facts)
    for name, entry in faults_of_labels(data):
        entries[name].append(entry)
    for name, detail in faults_of_answers(data.manifests, data.settings):
        entries[name].append(Entry((), detail))
    unmirrored, clusters = near_clusters(facts, max_distance, min_similarity)
    for name, entry in faults_of_copies(data, exact_groups(facts), unmirrored, clusters):
        entries[name].append(entry)
    kinds = (kind for kind in KINDS if kind.name not in ignore and entries[kind.name])
    return [Finding(kind, entries[kind.name]) for kind in kinds], clusters


def faults_of_image(fact: ImageFacts, tiny_side: int) -> Iterator[tuple[str, str]]:
    """Yields the kind and the details of each fault of one image.

    >>> list(faults_of_image(ImageFacts("ok", width=20, height=24, mode="L"), tiny_side=32))
    [('tiny', '20 x 24 pixels'), ('not_rgb', 'mode L')]
    """
    if fact.status != "ok":
        yield fact.status, fact.reason
        return
    size = f"{fact.width} x {fact.height} pixels"
    if min(fact.width, fact.height) == 1:
        yield "one_pixel", size
        return
    if fact.is_constant:
        yield "constant", size
    elif fact.look is not None and fact.look.fault is not None:
        yield "faint", fact.look.brightness_in_words()
    lost = lost_share((fact.width, fact.height), USUAL_CROP)
    if lost > MOST_LOST:
        yield "cropped", f"{size}: {100 * lost:.0f}% of its area is never seen"
    if min(fact.width, fact.height) < tiny_side:
        yield "tiny", size
    if fact.num_frames > 1:
        width, height = fact.largest_page or (0, 0)
        is_larger = width * height > fact.width * fact.height
        doubt = f"; the one that counts is {size}, another {width} x {height}: is it a thumbnail?" if is_larger else ""
        yield "animated", f"{fact.num_frames} frames or pages{doubt}"
    if fact.is_turned:
        yield "turned", ""
    if fact.mode not in (None, "RGB"):
        yield "not_rgb", f"mode {fact.mode}"


def faults_of_range(facts: Sequence[ImageFacts]) -> list[Entry]:
    """Returns one entry with all images of more than 8 bits, if another black and white would show them better."""
    deep = [row for row, fact in enumerate(facts) if fact.look is not None and fact.look.stored_range is not None]
    looks = [facts[row].look for row in deep]
    better = find_better_range(looks)
    if better is None:
        return []
    low, high = min(look.stored_range[0] for look in looks), max(look.stored_range[1] for look in looks)
    black, white = looks[0].shown_range
    detail = (
        f"the values of {len(deep)} pictures with more than 8 bits go from {low:.6g} to {high:.6g}, and {black:.6g} is "
        f"shown as black, {white:.6g} as white: set {better}"
    )
    return [Entry(tuple(deep), detail)]


def faults_of_labels(data: DataSet) -> Iterator[tuple[str, Entry]]:
    """Yields the labels that a split lacks, and those that are written nearly the same."""
    for split, counts in data.num_positives.items():
        name = "label_without_train_images" if split == "train" else "label_without_images"
        for column in np.flatnonzero(counts == 0):
            yield name, Entry((), f"{data.labels[column]!r}: none of the {len(data.manifests[split])} {split} images")
    total = sum(data.num_positives.values())
    variants = defaultdict(list)
    for column, label in enumerate(data.labels):
        variants[simplify(label)].append(column)
    for columns in variants.values():
        if len(columns) > 1:
            rows = tuple(data.first_with(column) for column in columns if total[column])
            yield (
                "similar_labels",
                Entry(rows, ", ".join(f"{show(data.labels[k])} ({total[k]} images)" for k in columns)),
            )


def simplify(label: str) -> str:
    """Returns a label without case and spacing; between digits a space or dash stays, as it tells numbers apart.

    >>> simplify("Traffic_ Light"), simplify("traffic-light"), simplify("size 1-2")
    ('trafficlight', 'trafficlight', 'size1-2')
    """
    return re.sub(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)", "", without_invisible(label).casefold())


def faults_of_copies(
    data: DataSet, groups: np.ndarray, unmirrored: np.ndarray, clusters: np.ndarray
) -> Iterator[tuple[str, Entry]]:
    """Yields the groups of equal images, and the clusters of images that look the same but are not all equal.

    Args:
        unmirrored: the clusters (N,) without regard to mirrored pictures.
    """
    for rows in map(np.ndarray.tolist, members(groups)):
        differing = differing_labels(data, rows)
        is_across = len({data.split_of(row) for row in rows}) > 1
        if differing:
            yield "different_labels", Entry(tuple(rows), f"differ in {', '.join(differing)}")
        if is_across:
            yield "duplicates_across_splits", Entry(tuple(rows))
        elif not differing:
            yield "duplicates", Entry(tuple(rows))
    for rows in members(clusters):
        if len(set(groups[rows].tolist())) > 1:
            is_across = len({data.split_of(row) for row in rows.tolist()}) > 1
            name = "near_duplicates_across_splits" if is_across else "near_duplicates"
            yield name, Entry(tuple(rows.tolist()), "mirrored" if len(set(unmirrored[rows].tolist())) > 1 else "")


def differing_labels(data: DataSet, rows: Sequence[int]) -> list[str]:
    """Returns the labels that some of the images have and others have not; unknown answers do not count."""
    some_have = np.zeros(len(data.labels), bool)
    some_have_not = some_have.copy()
    for row in rows:
        manifest, own = data.locate(row)
        target = manifest.target(own)
        some_have |= target >= 0.5
        some_have_not |= (target >= 0) & (target < 0.5)
    return [data.labels[column] for column in np.flatnonzero(some_have & some_have_not)]
