"""The images and answers that tests write in the format of every annotation tool."""

from typing import NamedTuple

LABELS = ("big cat", "cat", "dog", "owl")


class Case(NamedTuple):
    image: str  # a file in the folder "images"
    readings: list[set[str]]  # what each person has answered; none: nobody has


def create_cases() -> list[Case]:
    """Returns 30 images: some nobody has answered, some answered "none of them", some by two people."""
    return [Case(f"im_{number:02}.png", readings_of(number)) for number in range(30)]


def readings_of(number: int) -> list[set[str]]:
    first = {label for place, label in enumerate(LABELS) if (number * 7 + place * place) % (place + 2) == 0}
    first = first or {LABELS[number % len(LABELS)]}
    if number % 10 == 0:
        return []
    if number % 10 == 1:
        return [set()]
    if number % 10 == 2:
        return [first, first]
    if number % 10 == 3:
        return [first, first ^ {"dog"}]
    return [first]


def reduce(case: Case, keeps: set[str]) -> Case:
    """Returns what is left of a case in a format that keeps not all: "none", "unknown", "annotators"."""
    readings = case.readings if "annotators" in keeps else case.readings[:1]
    if not readings and "unknown" not in keeps:
        readings = [set()]
    if not any(readings) and "none" not in keeps:
        readings = []
    return Case(case.image, readings)


def answer(readings: list[set[str]], label: str) -> int:
    """Returns what more than half of the readings say: 1, 0, or -1 for a tie and where there is none."""
    votes = sum(1 if label in reading else -1 for reading in readings)
    return (votes > 0) - (votes == 0)
