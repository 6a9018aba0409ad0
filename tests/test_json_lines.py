"""JSON lines in every form that people write become the rows that they say, or an error with its line."""

import json
import tracemalloc

import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.json_lines import read_objects
from multihot.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for letter in "abcd":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{letter}.png")
    return tmp_path


def read(folder, text: str, *overrides: str, split: str = "train", must_exist: bool = True):
    (folder / "data.jsonl").write_text(text, encoding="utf-8")
    cfg = compose_config("train", ["data=jsonl", f"data.path={folder}/data.jsonl", "data.val_fraction=0", *overrides])
    return create_reader(cfg.data)(split, must_exist=must_exist)


def error_of(folder, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        read(folder, text, *overrides)
    return str(error.value)


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_answers_that_are_given_as_absent_are_counted(folder):
    rows = [{"image": "a.png", "labels": {"cat": 1, "dog": 0}}, {"image": "b.png", "labels": {"cat": 0, "dog": -1}}]
    assert read(folder, lines(*rows)).num_listed_absent == 2
    rows = [{"image": "a.png", "labels": ["cat"]}, {"image": "b.png", "labels": []}]
    assert read(folder, lines(*rows)).num_listed_absent == 0


def test_a_key_counts_wherever_it_is_first_named(folder):
    rows = [{"image": f"{number}.png", "cat": 1, "split": "train"} for number in range(1500)]
    text = lines(*rows, {"image": "a.png", "cat": 0, "owl": 1, "split": "train"}, {"image": "b.png", "split": "test"})
    manifest = read(folder, text, "data.layout=columns", must_exist=False)
    assert (len(manifest), manifest.labels) == (1501, ("cat", "owl"))
    assert manifest.dense_targets()[[0, -1]].tolist() == [[1, -1], [0, 1]]  # what is left out is blank: unknown
    assert len(read(folder, text, "data.layout=columns", split="test", must_exist=False)) == 1


def test_a_split_that_only_some_rows_name_is_an_error_with_their_lines(folder):
    rows = [{"image": f"{number}.png", "labels": ["cat"]} for number in range(1200)]
    message = error_of(folder, lines(*rows, {"image": "a.png", "labels": ["cat"], "split": "test"}))
    assert "1200 splits other than train, val, test:" in message
    assert "data.jsonl line 1: it has none" in message


def test_rows_are_read_one_at_a_time(folder):
    row = json.dumps({"image": "a.png", "labels": ["cat"] * 50}) + "\n"
    (folder / "large.jsonl").write_text(row * 10_000)
    tracemalloc.start()
    assert sum(1 for _ in read_objects(str(folder / "large.jsonl"))) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000  # the file has 5 million bytes


A, B = {"image": "a.png", "labels": ["cat"]}, {"image": "b.png", "labels": []}
FORMS = {
    "list": json.dumps([A, B]),
    "pretty list": json.dumps([A, B], indent=2) + "\n\n",
    "pretty objects": json.dumps(A, indent=2) + "\n" + json.dumps(B, indent=2),
    "one line": json.dumps(A) + json.dumps(B),
    "byte order mark": "\ufeff" + lines(A, B),
    "blank lines": "\n\n" + lines(A) + "\n \n" + lines(B),
}


@pytest.mark.parametrize("form", FORMS)
def test_objects_may_be_a_list_or_printed_over_many_lines(folder, form):
    manifest = read(folder, FORMS[form])
    assert manifest.dense_targets().tolist() == [[1], [0]]
    lines_of = {"list": [1, 1], "pretty list": [2, 8], "pretty objects": [1, 7], "one line": [1, 1]}
    lines_of |= {"byte order mark": [1, 2], "blank lines": [3, 6]}
    assert [int(place.split()[-1]) for place in manifest.places] == lines_of[form]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lines(A) + '{"image": "b.png", "labels": [], "labels": ["cat"]}', ["line 2", "the key 'labels' twice"]),
        (lines(A) + '{"image": "b.png", "labels": {"cat": 1, "cat": 0}}', ["line 2", "the key 'cat' twice"]),
        (json.dumps([A, B], indent=0).replace("b.png", 'b.png", "image": "c.png'), ["the key 'image' twice"]),
        (lines(A) + json.dumps(B) + json.dumps(B), ["line 2 is not JSON: Extra data", "two objects in one line"]),
        (lines(A).strip() + ",\n" + lines(B), ["line 1", "a comma between objects"]),
        ("[" + lines(A) + ",\n" + lines(B) + ",]", ["line 4", "a comma before the end of the list"]),
        ("[" + lines(A) + lines(B), ["line 2", "a comma is missing"]),
        ("[" + lines(A), ["a list that is not closed"]),
        ("[]", ["is empty"]),
        ("[1, 2]", ["line 1 is not a JSON object but int"]),
        (str(A), ["line 1", "Python's single quotes"]),
        ("# rows\n" + lines(A), ["line 1", "no comments"]),
        (lines(A, {"image": 7, "labels": []}), ["images that are no text", "line 2: 7"]),
        (
            lines(A, {"image": {"path": "b.png"}, "labels": []}),
            ["images that are no text", "line 2: {'path': 'b.png'}"],
        ),
        (lines(A, {"image": ["b.png"], "labels": []}), ["images that are no text", "line 2: ['b.png']"]),
        (lines(A, {"image": None, "labels": []}), ["rows without an image", "line 2"]),
        ('{"image": NaN, "labels": []}\n' + lines(A), ["rows without an image", "line 1"]),
        (lines(A, {"image": "b.png", "labels": 0.5}), ["numbers where labels must be", "line 2: 0.5"]),
        (lines(A, {"image": "b.png", "labels": True}), ["numbers where labels must be", "line 2: True"]),
        ('{"image": "b.png", "labels": {"cat": Infinity}}', ["answers that are not 1, 0", "line 1: 'cat' is inf"]),
        ('{"images": [], "annotations": [], "categories": []}', ["set data=coco"]),
        ("[" * 100_000, ["line 1 cannot be read"]),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(folder, text, words):
    message = error_of(folder, text)
    assert "data.jsonl" in message
    assert not [word for word in words if word not in message], message
    assert len(message) < 1000


def test_a_cluster_must_be_named(folder):
    text = lines(A | {"patient": "x"}, B)
    assert "rows whose data.cluster_column is empty" in error_of(folder, text, "data.cluster_column=patient")
