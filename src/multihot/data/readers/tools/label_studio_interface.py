"""What Label Studio's labelling interface says of labels, and what a value of one of its controls holds."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass

from multihot.data.table.cells import CellError, quote
from multihot.errors import InputError
from multihot.files import reading

# What a control's value is called, by which it says what is in the image.
KINDS = ("choices", "taxonomy", "rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "keypointlabels",
         "bitmasklabels", "vectorlabels", "labels")  # fmt: skip
SINGLE = ("single", "single-radio")  # a <Choices> without choice= is single too
NO_LABELS = "answers that are no labels (name those that are by data.choices)"
NO_NAME = "choices without a name"


@dataclass(frozen=True)
class Control:
    """A control that labels come from.

    Args:
        labels: its choices, in order.
        exclusive: one at most is chosen.
        required: one at least is.
        is_closed: all labels are known: the choices are neither those of each task nor in a tree.
        is_nested: a choice is the path to it.
    """

    labels: tuple[str, ...]
    exclusive: bool
    required: bool
    is_closed: bool
    is_nested: bool


Interface = dict[str, Control]  # by name


def read_interface(file: str) -> Interface:
    """Returns the controls of a labelling interface that hold labels."""
    try:
        with reading(file), open(file, "rb") as text:
            root = ElementTree.fromstring(text.read())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(
            f"data.interface={file} is not XML: {error}; save what Label Studio shows as Code of the labelling "
            "interface"
        ) from error
    return {tag.get("name"): read_control(tag) for tag in root.iter() if is_control(tag)}


def is_control(tag: ElementTree.Element) -> bool:
    """Returns whether a tag of the interface is a control that labels come from."""
    return bool(tag.get("name") and tag.get("toName")) and tag.tag.lower() in KINDS


def read_control(tag: ElementTree.Element) -> Control:
    """Returns what a control offers; an alias is written in the place of a value."""
    choices = [each for each in tag.iter() if each.tag in ("Choice", "Label")]
    labels = tuple(dict.fromkeys(filter(None, (each.get("alias") or each.get("value") for each in choices))))
    is_tree = any(each.findall("Choice") for each in choices)
    is_single = tag.tag == "Choices" and tag.get("choice", "single") in SINGLE and tag.get("perRegion") != "true"
    return Control(
        labels=labels,
        exclusive=is_single and not is_tree,
        required=tag.get("required") == "true" and tag.get("visibleWhen") is None,
        is_closed=bool(labels) and not is_tree and "value" not in tag.attrib,
        is_nested=tag.get("allowNested") == "true",
    )


def labels_in(value: object) -> Iterator[str]:
    """Yields the labels in what a control holds; raises CellError where it holds something else.

    >>> list(labels_in("cat")), list(labels_in({"choices": ["cat", "dog"]})), list(labels_in([]))
    (['cat'], ['cat', 'dog'], [])
    >>> list(labels_in([{"x": 1, "rectanglelabels": ["cat"]}, {"taxonomy": [["animal", "dog"], ["animal"]]}]))
    ['cat', 'animal/dog', 'animal']
    """
    for part in value if isinstance(value, list) else [value]:
        kind = next((kind for kind in KINDS if kind in part), None) if isinstance(part, dict) else None
        choices = [part] if isinstance(part, str) else part[kind] if kind else None
        if not isinstance(choices, list):
            raise CellError(NO_LABELS, quote(part))
        for choice in choices:
            yield name_choice(choice)


def name_choice(choice: object) -> str:
    """Returns what a choice is called, one of a tree by the way to it; raises CellError for what is none."""
    name = "/".join(map(str, choice)) if isinstance(choice, list) else choice
    if not isinstance(name, str):
        raise CellError(NO_LABELS, quote(choice))
    if not name.strip():
        raise CellError(NO_NAME, quote(choice))
    return name
