"""What is said before training about labels that cannot be learnt or measured, with the setting that helps."""

from collections.abc import Mapping, Sequence

import numpy as np

from multihot.data.answer_kinds import count_kinds, count_trained, mostly_unknown, num_unknown, unlike_train
from multihot.data.manifest import Manifest
from multihot.data.unknown import UnknownStrategy
from multihot.errors import InputError, name_first, plural
from multihot.labels import LabelSpace

NO_OTHERWISE = (  # a setting of data, its value that hides a "no", and what to set if that is one
    ("blank", "unknown", "data.blank=absent (by an empty cell)"),
    ("unlisted_pairs", "unknown", "data.unlisted_pairs=absent (by leaving out the pair)"),
    ("unlisted", "unknown", "data.unlisted=absent (by leaving out the label)"),
    ("unverified", "unknown", "data.unverified=absent (by leaving out the label)"),
)
OF_LAYOUT = {"unlisted_pairs": "pairs"}  # of a source that has layouts


def check_learnable(data: Manifest, space: LabelSpace, unknown: UnknownStrategy, settings: Mapping) -> None:
    """Raises InputError if the train images have nothing to tell apart: each label has answers of one kind alone.

    Args:
        settings: of the data, some of which say what an answer is.
    """
    kinds = count_trained(data, space, unknown, soft_is_both=True)
    if kinds.both.any():
        return
    if not kinds.num_images:
        raise InputError(
            f"the {len(data)} train images all have the weight 0: there is nothing to learn. Correct their weights or "
            "leave them out (data.weight_column=null)"
        )
    if not kinds.present.any():
        what = "no answer at all (all are unknown)" if kinds.unanswered.all() else "none of the labels"
        raise InputError(
            f"the {kinds.num_images} train images have {what}: there is nothing to learn. Correct the file or what is "
            f"read of it ({describe_source(settings)})"
        )
    raise InputError(
        f"there is nothing to learn: each label has the same answer in all of the {kinds.num_images} train images that "
        f"have one. Always present: {name_some(space.labels, kinds.only_present)}"
        + f"; never: {name_some(space.labels, kinds.only_absent)}" * bool(kinds.only_absent.any())
        + f". {ways_to_absent(settings, data)}Add images without these labels"
    )


def describe_lacking(
    train: Manifest, val: Manifest, space: LabelSpace, unknown: UnknownStrategy, settings: Mapping, *, is_cut: bool
) -> list[str]:
    """Returns what is worth a warning before training, a line for each kind.

    Rare labels that a validation part lacks are normal and are no warning, unless chance hardly explains it.

    Args:
        is_cut: whether only some of the images are used (max_images), which may lack any label.
    """
    kinds, labels, lines = count_trained(train, space, unknown), space.labels, []
    way_out = ways_to_absent(settings, train)
    if kinds.unanswered.any():
        lines.append(
            f"{count(kinds.unanswered)} no known answer in train: {name_some(labels, kinds.unanswered)}; nothing is "
            f"learnt about {them(kinds.unanswered)}. {way_out}"
        )
    if kinds.only_present.any():
        lines.append(
            f"{count(kinds.only_present)} no train image known to be without {them(kinds.only_present)}: "
            f"{name_some(labels, kinds.only_present)}; {they(kinds.only_present)} will be predicted for every image. "
            + way_out
        )
    if kinds.only_absent.any() and not is_cut:
        lines.append(
            f"{count(kinds.only_absent)} no train image with {them(kinds.only_absent)}: "
            f"{name_some(labels, kinds.only_absent)}; {they(kinds.only_absent)} will never be predicted. Add images, "
            f"or leave {them(kinds.only_absent)} out (data.labels, data.label_columns)"
        )
    if mostly_unknown(train, settings) and not unknown.element_weight:
        lines.append(
            f"{num_unknown(train):,} train answers are unknown, {count_kinds(train).present.sum():,} are present, and "
            f"hardly any is given as absent: was 'no' read as unknown? {way_out}If they are unknown, "
            "'data.answers={-1: unknown}' says so"
        )
    for name, lacking in unlike_train(train, val).items():
        lines.append(
            f"{count(lacking)} no val image {name.replace('them', them(lacking))}, where train has many: "
            f"{name_some(labels, lacking)}; there is no AP of {them(lacking)}. Are answers written alike in both parts?"
        )
    return [line.strip() for line in lines]


def describe_alike(val: Manifest) -> list[str]:
    """Returns a line if no label tells the val images apart: a model that sees nothing is the best on them."""
    if not len(val) or count_kinds(val).both.any():
        return []
    return [
        f"none of {plural(len(val.labels), 'label')} is known to be on some of {plural(len(val), 'val image')} and not "
        "on others: a model that gives all images one answer has the best scores"
    ]


def ways_to_absent(settings: Mapping, data: Manifest | None = None) -> str:
    """Returns, as a sentence, the settings of data that read a "no" which was not taken for one; "" if it has none, or
    if all answers of the data are known.

    >>> ways_to_absent({"layout": "columns", "blank": "unknown", "unlisted_pairs": "unknown", "answers": None})
    "If the data says no otherwise, set 'data.answers={-1: absent}' (by -1) or data.blank=absent (by an empty cell). "
    """
    ways = []
    if data is not None and not num_unknown(data):
        return ""
    if "answers" in settings and "-1" not in map(str, settings["answers"] or ()):
        ways.append("'data.answers={-1: absent}' (by -1)")
    for setting, value, way in NO_OTHERWISE:
        is_used = "layout" not in settings or OF_LAYOUT.get(setting, settings["layout"]) == settings["layout"]
        if is_used and settings.get(setting) == value:
            ways.append(way)
    return f"If the data says no otherwise, set {' or '.join(ways)}. " if ways else ""


def describe_source(settings: Mapping) -> str:
    """Returns the settings that say where answers stand, as overrides.

    >>> describe_source({"path": "a.csv", "layout": "cell", "labels_column": "labels", "val_fraction": 0.1})
    'data.path=a.csv data.layout=cell data.labels_column=labels'
    """
    names = ["path", "name", "layout", "label_columns", "value_column", "answers", "labels_key", "min_area", "labels"]
    if settings.get("layout") != "columns":
        names.insert(3, "labels_column")
    return " ".join(f"data.{name}={settings[name]}" for name in names if settings.get(name)) or "data"


def count(which: np.ndarray) -> str:
    """Returns how many of the labels these are (bool (C,)), in words that "no ..." follows."""
    number = int(which.sum())
    return f"{number} of {plural(len(which), 'label')} {'has' if number == 1 else 'have'}"


def them(which: np.ndarray) -> str:
    """Returns how these labels (bool (C,)) are spoken of: "it" is one."""
    return "it" if which.sum() == 1 else "them"


def they(which: np.ndarray) -> str:
    """Returns the same as the subject of a sentence."""
    return "it" if which.sum() == 1 else "they"


def name_some(labels: Sequence[str], which: np.ndarray) -> str:
    """Returns the first of the labels that `which` (C,) marks.

    >>> name_some(("cat", "dog", "owl"), np.array([True, False, True]))
    "'cat', 'owl'"
    """
    return name_first([repr(labels[column]) for column in np.flatnonzero(which)])
