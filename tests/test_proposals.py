"""What messages about label files propose does what they say when it is typed."""

import re
import shlex

import pytest
from test_columns import error_of, folder, read, write_csv  # noqa: F401 (folder is a fixture)


def proposed(message: str, setting: str) -> str:
    """Returns the override of a setting that a message proposes, as a shell gives it to the program."""
    return shlex.split(re.search(rf"'{setting}=[^']*'|{setting}=\S+", message)[0])[0]


@pytest.mark.parametrize(
    ("yes", "no", "expected"),
    [
        ("positive", "negative", [1, 0]),
        ("ja", "nein", [1, 0]),
        ("oui", "non", [1, 0]),
        ("+", "-", [1, 0]),
        ("P", "N", [1, 0]),
        ("100%", "0%", [1, 0]),
        ("cat", "0", [1, 0]),
        ("1", "N/A", [1, -1]),
        ("1", "not sure", [1, -1]),
    ],
)
def test_the_cells_that_were_seen_are_proposed_as_answers(folder, yes, no, expected):  # noqa: F811
    path = write_csv(folder, ["image", "cat"], ["a.png", yes], ["b.png", no])
    message = error_of(path, "data.layout=columns")
    assert "data.ignore_columns" not in message  # which would leave nothing
    answers = proposed(message, "data.answers")
    assert read(path, "data.layout=columns", answers).dense_targets().ravel().tolist() == expected


def test_numbers_of_another_scale_and_signs_are_to_be_written_anew(folder):  # noqa: F811
    for cells in ("87 3 50", "\u2713 \u2717 \u2713"):
        rows = [[f"{name}.png", cell] for name, cell in zip("abc", cells.split(), strict=True)]
        message = error_of(write_csv(folder, ["image", "cat"], *rows), "data.layout=columns")
        assert "(correct them: write 1, 0, or a number from 0 to 1)" in message


def test_columns_of_words_are_proposed_as_columns_of_labels(folder):  # noqa: F811
    path = write_csv(folder, ["image", "colour", "shape"], ["a.png", "red", "round"], ["b.png", "blue", "flat"])
    columns = proposed(error_of(path, "data.layout=columns"), "data.labels_column")
    assert read(path, columns).labels == ("blue", "flat", "red", "round")


def test_empty_cells_as_programs_write_them_are_blank(folder):  # noqa: F811
    path = write_csv(folder, ["image", "cat"], ["a.png", 1], ["b.png", "NaN"], ["c.png", "null"])
    assert read(path, "data.layout=columns").dense_targets().ravel().tolist() == [1, -1, -1]
    assert read(path, "data.layout=columns", "data.blank=absent").dense_targets().ravel().tolist() == [1, 0, 0]
