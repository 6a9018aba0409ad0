"""What cells that are no answers may mean, and the setting that says so as it is typed."""

import re
import shlex
from collections.abc import Collection, Iterable

SAYING = {
    "present": "positive pos p + ++ +++ x on ja j oui o si sim da wahr vrai vero verdadero found checked 100 100% 255",
    "absent": "negative neg - -- nein non nee nej off falsch faux falso 0% nicht",
    "unknown": "nan na n/a null none ? ?? u unk uncertain unsure unclear maybe perhaps possible vielleicht missing . *",
}
GUESSES = {word: meaning for meaning, words in reversed(SAYING.items()) for word in words.split()}
TYPED = re.compile(r"[A-Za-z0-9_+.?%*@|/-]([A-Za-z0-9_+.?%*@|/ -]*[A-Za-z0-9_+.?%*@|/-])?")  # in hydra's mapping
MOST_PROPOSED = 6


def guess_meaning(cell: object, present: Collection[str] = ()) -> str | None:
    """Returns what a cell most likely says; None: nobody can tell.

    Args:
        present: words that say present, such as the label itself.

    >>> guess_meaning("Positive"), guess_meaning("nein"), guess_meaning("NaN"), guess_meaning("red")
    ('present', 'absent', 'unknown', None)
    """
    word = str(cell).strip()
    return "present" if word in present else GUESSES.get(word.casefold())


def is_name(cell: str) -> bool:
    """Returns whether a cell may be the name of a label rather than an answer.

    >>> [is_name(cell) for cell in ("red", "ja", "P", "87", "5 m")]
    [True, False, False, False, False]
    """
    return guess_meaning(cell) is None and re.search(r"[^\W\d_]{2}", cell) is not None


def propose_answers(cells: Iterable[object], labels: Collection[str]) -> str:
    """Returns, in brackets, what to do about cells that are no answers.

    >>> print(propose_answers(["positive", "negative"], ["cat"]))
     (correct them, or say what such cells mean, as in 'data.answers={positive: present, negative: absent}')
    >>> print(propose_answers(["\u2713", 87], ["cat"]))
     (correct them: write 1, 0, or a number from 0 to 1)
    """
    words = list(dict.fromkeys(str(cell).strip() for cell in cells))
    typed = [word for word in words if TYPED.fullmatch(word)]
    numbers = [word for word in words if re.fullmatch(r"-?\d+([.,]\d+)?\s*%?", word)]
    if not words:
        return " (correct them, or say what such cells mean, by data.answers)"
    has_fractions = any(re.search("[.,]", word) for word in numbers)
    if has_fractions or len(typed) < len(words[:MOST_PROPOSED]) or len(numbers) == len(words) > 2:
        return " (correct them: write 1, 0, or a number from 0 to 1)"
    said = ", ".join(f"{word}: {guess_meaning(word, labels) or 'unknown'}" for word in words[:MOST_PROPOSED])
    return f" (correct them, or say what such cells mean, as in {shlex.quote(f'data.answers={{{said}}}')})"
