"""Cells of labels in every form that tools write become the labels that are meant, or an error that says why not."""

import json

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.table.cells import CellError, find_other_separator
from multihot.data.table.label_cells import LabelCells, check_no_answers
from multihot.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for letter in "abcdef":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{letter}.png")
    return tmp_path


def read(folder, cells, *overrides: str, split: str = "train"):
    """Reads a column of cells: as CSV if all are texts, else as JSON lines."""
    rows = [(f"{letter}.png", cell) for letter, cell in zip("abcdef", cells, strict=False)]
    if all(isinstance(cell, str) for cell in cells):
        quoted = [cell.replace('"', '""') for cell in cells]
        lines = [f'{image},"{cell}"\n' for (image, _), cell in zip(rows, quoted, strict=True)]
        (folder / "data.csv").write_text("image,labels\n" + "".join(lines))
        source = ["data=csv", f"data.path={folder}/data.csv"]
    else:
        lines = [json.dumps({"image": image, "labels": cell}) + "\n" for image, cell in rows]
        (folder / "data.jsonl").write_text("".join(lines))
        source = ["data=jsonl", f"data.path={folder}/data.jsonl"]
    cfg = compose_config("train", [*source, "data.val_fraction=0", *overrides])
    return create_reader(cfg.data)(split)


def error_of(folder, cells, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        read(folder, cells, *overrides)
    return str(error.value)


LISTS = [
    "['big cat', 'dog']",
    '["big cat", "dog"]',
    "['big cat' 'dog']",
    "['big cat'\n 'dog']",
    "('big cat', 'dog')",
    "{'big cat', 'dog'}",
    "['big cat', 'dog', nan, None]",
    '["big cat", "dog", null]',
    '{"choices":["big cat","dog"]}',
    "[{'displayName': 'big cat'}, {'displayName': 'dog'}]",
    '[{"id": 1, "name": "big cat"}, {"id": 2, "name": "dog"}]',
    '[{"id": 1, "value": "big cat", "color": "#f00"}, {"id": 2, "value": "dog"}]',
    '{"big cat": 1, "dog": true, "owl": 0}',
]


@pytest.mark.parametrize("cell", LISTS)
def test_a_cell_may_hold_the_text_of_a_list_or_an_object(folder, caplog, cell):
    manifest = read(folder, [cell, "dog", "[]", "['owl']", "{}", "('owl',)"])
    assert manifest.labels == ("big cat", "dog", "owl")
    expected = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert manifest.dense_targets().tolist() == expected
    assert not caplog.records


@pytest.mark.parametrize("cell", [{"choices": ["cat", "dog"]}, [{"label": "cat"}, {"label": "dog"}], {"labels": "cat"}])
def test_lists_and_objects_of_json_lines_are_unwrapped_too(folder, cell):
    manifest = read(folder, [cell, ["dog"]])
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets()[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("[['cat', 'dog']]", "lists inside of lists"),
        ("[cat, dog]", "cannot be read as one"),
        ("['cat', 'dog", "cannot be read as one"),
        ('{"choices": ["cat"', "cannot be read as one"),
        ('[{"label": "cat", "score": 0.3}]', "an answer beside their name"),
        ("[{'name': 'cat', 'valid': False}]", "an answer beside their name"),
        ('{"colour": ["red"], "size": ["big"]}', "objects that name no label"),
        ("[{'cat': 1}]", "objects that name no label"),
        ('{"cat": [1, 2, 3, 4]}', "objects that name no label"),
        ("[0.5, 0.25]", "neither labels nor an answer for each"),
        ("[True, False]", "neither labels nor an answer for each"),
        ("[" * 5000, "cannot be read as one"),
    ],
)
def test_cells_that_are_in_doubt_are_refused_with_their_line(folder, cell, words):
    message = error_of(folder, ["dog", cell])
    assert words in message
    assert "data.csv line 3: " in message


def test_labels_that_begin_with_a_bracket_or_a_quote_stay():
    cells = ["[MASK];(old) dog;'n' roll;5\" pipe", "[MASK] [PAD]", "[a, b]", "(1)"]
    labels = ["[MASK]", "(old) dog", "'n' roll", '5" pipe', "[MASK] [PAD]", "[a, b]", "(1)"]
    reader = LabelCells(";", labels)
    assert [name for cell in cells for name in reader.read(cell)[0]] == labels
    assert [name for cell in cells[:2] for name in LabelCells(";", None).read(cell)[0]] == labels[:5]


def test_quotes_around_labels_are_no_part_of_them(folder):
    manifest = read(folder, ['"big cat" dog', "'dog' owl"])
    assert manifest.labels == ("big cat", "dog", "owl")
    manifest = read(folder, ['"cat, wild", "dog"', "dog"], 'data.separator=","')
    assert manifest.labels == ("cat, wild", "dog")


def test_bare_words_beside_lists_are_one_label_if_the_separator_says_so(folder):
    cells = ["big cat", '{"choices":["big cat","dog"]}']
    message = error_of(folder, cells)
    assert "also texts that data.separator divides ('big cat')" in message
    assert read(folder, cells, 'data.separator=";"').labels == ("big cat", "dog")


MULTI_HOT = [
    ["[0, 1, 1]", "[1, 0, 0]"],
    ["[0 1 1]", "[1 0 0]"],
    ["[0. 1. 1.]", "[1. 0. 0.]"],
    ["0 1 1", "1 0 0"],
    [[0, 1, 1], [1, 0, 0]],
    [[False, True, True], [True, False, False]],
]


@pytest.mark.parametrize("cells", MULTI_HOT)
def test_multi_hot_lists_need_the_names(folder, cells):
    assert "data.labels" in error_of(folder, cells)
    manifest = read(folder, cells, "data.labels=[cat,dog,owl]")
    assert manifest.dense_targets().tolist() == [[0, 1, 1], [1, 0, 0]]
    message = error_of(folder, cells, "data.labels=[cat,dog]")
    assert "all labels are answers ('0', '1')" in message or "as many names in data.labels" in message


def test_numbers_may_be_names(folder):
    manifest = read(folder, [[0, 7], [1], [7.0]])
    assert manifest.labels == ("0", "1", "7")
    assert read(folder, [[0, 1], [1]], "data.labels=[0,1]").dense_targets().tolist() == [[1, 1], [0, 1]]
    assert "all labels are answers ('0', '1')" in error_of(folder, ["0", "1", "1"])


@pytest.mark.parametrize("source", ["null", "missing"])
def test_labels_that_are_null_or_missing_are_not_none(folder, source):
    more = {"labels": None} if source == "null" else {}
    rows = [{"image": "a.png", "labels": ["cat"]}, {"image": "b.png", **more}]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = ["data=jsonl", f"data.path={folder}/data.jsonl", "data.val_fraction=0"]
    with pytest.raises(InputError, match=r"(?s)rows whose labels are null or missing .*data.jsonl line 2"):
        create_reader(compose_config("train", overrides).data)("train")
    manifest = create_reader(compose_config("train", [*overrides, "data.blank=absent"]).data)("train")
    np.testing.assert_array_equal(manifest.dense_targets(), [[1], [0]])


def test_blanks_around_a_separator_do_not_count(folder):
    assert read(folder, ["cat,big dog", "owl"], 'data.separator=", "').labels == ("big dog", "cat", "owl")


def test_a_separator_is_no_regular_expression(folder, caplog):
    read(folder, ["cat dog", "owl"], "data.separator='[,;]'")
    assert "stands in no cell; it is taken as it is, not as a regular expression" in caplog.text


@pytest.mark.parametrize("cell", ["['cat', 'dog']", '{"choices":["cat","dog"]}', ["cat"], {"cat": 1}])
def test_a_pair_has_one_label(folder, cell):
    assert "pairs with a list where one label must be" in error_of(folder, [cell], "data.layout=pairs")
    assert read(folder, ["[MASK]"], "data.layout=pairs").labels == ("[MASK]",)


@pytest.mark.parametrize(
    "cell",
    ["array(['cat', 'big dog'], dtype=object)", "np.array(['cat', 'big dog'])", "frozenset({'cat', 'big dog'})"]
    + ["deque(['cat', 'big dog'], maxlen=9)", "[np.str_('cat'), np.str_('big dog')]", 'c("cat", "big dog")'],
)
def test_what_programs_print_around_a_list_is_no_part_of_its_labels(cell):
    assert sorted(LabelCells(" ", None).read(cell)[0]) == ["big dog", "cat"]


@pytest.mark.parametrize("cell", ["set()", "array([], dtype=object)", "character(0)", "WrappedArray()"])
def test_an_empty_list_of_a_program_is_none_of_the_labels(cell):
    assert LabelCells(" ", None).read(cell) == ([], None)


@pytest.mark.parametrize("cell", ["WrappedArray(cat, dog)", "['cat', ...]", "['cat' ... 'dog']", "(cat, dog)"])
def test_lists_that_are_cut_short_or_without_quotes_are_refused(cell):
    with pytest.raises(CellError, match="cannot be read as one"):
        LabelCells(" ", None).read(cell)


@pytest.mark.parametrize("label", ["dog (big)", "(old dog)", "dog(big)", "[owl]", "Set (red)"])
def test_brackets_may_be_a_part_of_a_label(label):
    assert LabelCells(";", None).read(label) == ([label], None)


@pytest.mark.parametrize("item", [{"label": "cat", "score": 90}, {"label": "cat", "state": "no"}])
def test_answers_beside_a_name_are_refused(item):
    with pytest.raises(CellError, match="with an answer beside"):
        LabelCells(" ", None).read([item])


@pytest.mark.parametrize("labels", [["0110", "1000", "0001"], ["0.5", "0.1", "3"]])
def test_labels_that_are_answers_or_scores_are_refused(labels):
    with pytest.raises(InputError, match="all labels are"):
        check_no_answers("my.csv", labels)


def test_a_word_divides_only_where_it_stands_alone():
    assert LabelCells(" and ", None).read("sand and water") == (["sand", "water"], None)


@pytest.mark.parametrize("mark", ["/", ":", "&", "\n", "<br>", "-"])
def test_other_marks_between_labels_are_found(mark):
    labels = ["cat", "dog", "owl", f"cat{mark}dog", f"dog{mark}owl"]
    assert find_other_separator(labels, " ")[0] == mark


def test_marks_that_are_a_part_of_labels_are_none_between_them():
    animals = [f"animal {number}, genus {number}" for number in range(30)]
    assert find_other_separator(animals, ";") is None
    assert find_other_separator(["T-shirt", "twenty-one", "one", "24/7", "km/h"], " ") is None
    assert find_other_separator(["mass, left", "mass, right", "edema"], ";", is_used=True) is None


def test_answers_behind_the_names_of_labels_are_warned_of(caplog):
    cells = LabelCells(" ", None)
    cells.warn_of_separator("my.csv", ["ratio_16:9", "cat", "dog", "time_12:30"], ())
    assert not caplog.records
    cells.warn_of_separator("my.csv", ["cat:0.9", "dog=1", "owl:87%"], ())
    assert "3 of 3 labels end in what may be an answer, as 'cat:0.9'" in caplog.text
