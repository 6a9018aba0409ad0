"""Labels that a person takes for the same: they differ by case, spaces, Unicode's form or a sign that nobody sees."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from multihot.errors import name_first

log = logging.getLogger(__name__)


def without_invisible(text: str) -> str:
    """Returns a text in Unicode's compatibility form, without signs that take no space.

    >>> without_invisible("e\\u0301t\\u200be\\u00a0\\ufeff1")
    'éte 1'
    """
    return "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")


def look(label: str) -> str:
    """Returns what a label looks like, without case, unless it is a single letter.

    >>> look("Polar  bear "), look("A")
    ('polar bear', 'A')
    """
    plain = " ".join(without_invisible(label).split())
    return plain if len(plain) == 1 else plain.casefold()


def find_lookalikes(labels: Iterable[str]) -> list[list[str]]:
    """Returns the groups of labels that look the same.

    >>> find_lookalikes(["cat", "dog", "Cat"])
    [['cat', 'Cat']]
    """
    groups = defaultdict(list)
    for label in labels:
        groups[look(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]


def show(label: str) -> str:
    """Returns a label in quotes; one that is not what it looks like with its signs written out.

    >>> print(show("caf\u00e9"), show("cafe\u0301"), show("cat\u200b"))
    'café' 'cafe\\u0301' 'cat\\u200b'
    """
    return repr(label) if without_invisible(label) == label else ascii(label)


def name_alike(labels: Iterable[str], known: Iterable[str]) -> str:
    """Returns, in brackets, which of the labels look like a known one; "" if none does.

    >>> name_alike(["Cat", "owl"], ["cat", "dog"])
    " ('Cat' looks like 'cat')"
    """
    by_look = {look(label): label for label in known}
    alike = [f"{show(label)} looks like {show(by_look[look(label)])}" for label in labels if look(label) in by_look]
    return f" ({', '.join(alike)})" if alike else ""


def warn_of_lookalikes(labels: Iterable[str]) -> None:
    """Warns of labels that differ by nothing that a person would see or mean."""
    groups = [" and ".join(map(show, group)) for group in find_lookalikes(labels)]
    if groups:
        log.warning(
            "labels that differ only in case, spaces or characters that cannot be seen: %s; they are outputs of their "
            "own: write them alike if they mean the same",
            name_first(groups),
        )
