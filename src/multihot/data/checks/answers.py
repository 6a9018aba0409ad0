"""Labels that cannot be learnt or measured, as a split has answers of one kind alone."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from multihot.data.answer_kinds import Kinds, count_kinds, count_trained, mostly_unknown, num_unknown, unlike_train
from multihot.data.manifest import Manifest
from multihot.data.unknown import UnknownStrategy
from multihot.errors import plural
from multihot.labels import LabelSpace

SAY_NO = (
    "say what -1, an empty cell or no row means: data.answers={-1: absent}, data.blank=absent, "
    "data.unlisted_pairs=absent"
)


def faults_of_answers(manifests: Mapping[str, Manifest], settings: Mapping) -> Iterator[tuple[str, str]]:
    """Yields the kind and the details of each fault of the answers of all splits.

    Args:
        settings: of the data, some of which say what an answer is.
    """
    for split, data in manifests.items():
        if not len(data):
            continue
        if split == "train":
            yield from faults_of_training(data, settings)
        else:
            yield from faults_of_measuring(split, data)
            for what, lacking in unlike_train(manifests["train"], data).items():
                for column in np.flatnonzero(lacking):
                    yield "label_unlike_train", f"{data.labels[column]!r}: no {split} image {what}, train has many"


def faults_of_training(data: Manifest, settings: Mapping) -> Iterator[tuple[str, str]]:
    """Yields what the train split cannot teach."""
    space = LabelSpace(data.labels, data.groups)
    if not count_trained(data, space, UnknownStrategy(), soft_is_both=True).both.any():
        yield (
            "nothing_to_learn",
            f"each of {plural(len(data.labels), 'label')} has one answer in all of {plural(len(data), 'train image')}",
        )
    kinds = count_trained(data, space, UnknownStrategy())
    yield from find_always_present("label_on_all_train_images", "train", data.labels, kinds)
    if mostly_unknown(data, settings):
        present, absent = count_kinds(data).present.sum(), count_kinds(data).absent.sum()
        yield "mostly_unknown", f"{num_unknown(data):,} unknown, {present:,} present, {absent:,} absent train answers"


def faults_of_measuring(split: str, data: Manifest) -> Iterator[tuple[str, str]]:
    """Yields what a split cannot measure."""
    kinds = count_kinds(data)
    if not kinds.both.any():
        yield (
            "nothing_to_choose_by",
            f"none of {plural(len(data.labels), 'label')} has both in {plural(len(data), f'{split} image')}",
        )
    yield from find_always_present("label_on_all_images", split, data.labels, kinds)


def find_always_present(name: str, split: str, labels: Sequence[str], kinds: Kinds) -> Iterator[tuple[str, str]]:
    """Yields a fault for each label that all images with an answer have."""
    for column in np.flatnonzero(kinds.only_present):
        present = kinds.present[column]
        unknown = kinds.num_images - present
        rest = f", unknown in {unknown:,}" if unknown else ""
        yield name, f"{labels[column]!r}: present in {present:,} {split} images, known to be absent in none{rest}"
