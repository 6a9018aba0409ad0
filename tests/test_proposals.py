"""What messages about label files propose does what they say when it is typed."""

import re
import shlex

import pytest
from test_columns import error_of, folder, read, write_csv  # noqa: F401 (folder is a fixture)


def proposed(message: str, setting: str) -> str:
    """Returns the override of a setting that a message proposes, as a shell gives it to the program."""
    return shlex.split(re.search(rf"'{setting}=[^']*'|{setting}=\S+", message)[0].rstrip(",.;:"))[0]


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


def test_boxes_are_no_answers_and_words_for_them_are(folder):  # noqa: F811
    pairs = ["data.layout=pairs", "data.labels_column=label", "data.split_column=null"]
    boxes = write_csv(folder, ["image", "label", "XMin", "x_center", "h"], ["a.png", "cat", 0.1, 0, 0.5])
    assert len(read(boxes, *pairs)) == 1
    rows = [["a.png", "cat", "positive"], ["a.png", "dog", "negative"]]
    path = write_csv(folder, ["image", "label", "status"], *rows)
    message = error_of(path, *pairs)
    value = proposed(message, "data.value_column")
    answers = proposed(error_of(path, *pairs, value), "data.answers")
    assert read(path, *pairs, value, answers).dense_targets().tolist() == [[1, 0]]


def test_confidence_in_percent_beside_a_label_is_an_answer_too(folder):  # noqa: F811
    path = write_csv(folder, ["image", "labels", "confidence"], ["a.png", "cat", 87], ["b.png", "dog", 3])
    assert "the column 'confidence' may hold the answers" in error_of(path, "data.split_column=null")


def test_a_column_that_looks_like_one_of_train_is_named_with_it(folder):  # noqa: F811
    path = write_csv(folder, ["image", "cat"], ["a.png", 1])
    (folder / "val.csv").write_text("image,Cat\nb.png,1\n")
    assert "('Cat' looks like 'cat')" in error_of(path, f"data.val_path={folder / 'val.csv'}", "data.layout=columns")


def test_a_line_of_its_count_above_names_divided_by_blanks_is_read(folder):  # noqa: F811
    (folder / "list_attr.txt").write_text("2\nMale Young\na.png  1 -1\nb.png -1 1\n")
    message = error_of(f"data.path={folder / 'list_attr.txt'}", "data.layout=columns")
    path, columns = (
        f"data.path={folder / 'list_attr.txt'}",
        ["data.layout=columns", proposed(message, "data.delimiter")],
    )
    assert read(path, *columns, "data.answers={-1: absent}").dense_targets().tolist() == [[1, 0], [0, 1]]


def test_a_column_of_words_among_answers_is_to_be_left_out(folder):  # noqa: F811
    rows = [["a.png", 1, "M"], ["b.png", 0, "W"]]
    path = write_csv(folder, ["image", "cat", "sex"], *rows)
    message = error_of(path, "data.layout=columns")
    assert "M: " not in message
    assert read(path, "data.layout=columns", proposed(message, "data.ignore_columns")).labels == ("cat",)


def test_numbers_and_flags_of_objects_are_no_answers_of_pairs(folder):  # noqa: F811
    rows = [["a.png", "cat", 0, 1, 0], ["a.png", "dog", 1, 0, 1]]
    path = write_csv(folder, ["image", "label", "class_id", "iscrowd", "IsGroupOf"], *rows)
    pairs = ["data.layout=pairs", "data.labels_column=label", "data.split_column=null"]
    assert read(path, *pairs).dense_targets().tolist() == [[1, 1]]


def test_the_second_of_two_columns_as_pandas_calls_it_is_warned_of(folder, caplog):  # noqa: F811
    path = write_csv(folder, ["image", "cat", "cat.1", "num_objects"], ["a.png", 1, 0, 1])
    read(path, "data.layout=columns")
    assert "also the columns 'cat.1', 'num_objects'" in caplog.text
