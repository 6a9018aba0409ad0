"""Columns that a file lacks: parts of its cells, columns of another file, the path of an image, its split by a list."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image
from source_settings import settings_of

from multihot.errors import InputError
from multihot.known_classes import create
from multihot.settings.saved import with_absolute_paths


@pytest.fixture(autouse=True)
def images(tmp_path):
    for name in ("a.png", "b.png", "c.png", "x/a1.png", "y/b2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)


def write(folder: Path, name: str, *lines: str) -> str:
    """Writes a file and returns its path."""
    (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return str(folder / name)


def read(path: str, split: str = "train", source: str = "csv", **changes):
    changes = {"split_column": None, "val_fraction": 0, "path": path} | changes
    return create("data", settings_of(source) | changes, _convert_="all")(split)


def answers(*args, **changes) -> dict[str, list[float]]:
    manifest = read(*args, **changes)
    names = [Path(image).name for image in manifest.images]
    return dict(zip(names, manifest.dense_targets().tolist(), strict=True))


def error_of(*args, **changes) -> str:
    with pytest.raises(InputError) as error:
        read(*args, **changes)
    return str(error.value)


ROWS = ["image,labels", "a.png,cat", "b.png,dog", "c.png,cat dog"]


def test_lists_of_names_say_the_split(tmp_path):
    path = write(tmp_path, "all.csv", *ROWS)
    lists = {
        "train": write(tmp_path, "train.txt", "a.png", "", "b "),
        "test": write(tmp_path, "test.txt", "other/c.png", "c"),
    }
    settings = {"split_lists": lists, "split_column": "split"}
    assert list(answers(path, **settings)) == ["a.png", "b.png"]
    assert list(answers(path, "test", **settings)) == ["c.png"]


@pytest.mark.parametrize(
    "lines",
    [
        ["a.png,0", "b.png,train", "c.png,2"],
        ["image_id,partition", "a.png,0", "b.png,0", "c.png,2"],
        ["a.png  0", "b.png\t0", "c.png 2"],
        ["a 0", "b 0", "c test"],
    ],
)
def test_one_file_of_names_and_splits_says_the_split(tmp_path, lines):
    settings = {"split_lists": write(tmp_path, "part.txt", *lines), "split_column": "split"}
    settings["split_names"] = {0: "train", 2: "test"}
    path = write(tmp_path, "all.csv", *ROWS)
    assert list(answers(path, **settings)) == ["a.png", "b.png"]
    assert list(answers(path, "test", **settings)) == ["c.png"]


def test_images_in_no_list_are_left_out_with_their_number(tmp_path, caplog):
    path = write(tmp_path, "all.csv", *ROWS)
    settings = {"split_lists": {"train": write(tmp_path, "train.txt", "a.png")}, "split_column": "split"}
    assert list(answers(path, **settings)) == ["a.png"]
    assert f"{path}: left out 2 rows whose image is in no list of data.split_lists" in caplog.text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["other.png,train"], "data.split_lists names no image of"),
        (["a.png,train", "a.png,test"], "line 2: a.png is of test, and train has it too"),
        (["a.png,train", "b.png,fold 3"], "line 2: 'b.png,fold 3' is not the name of an image and train, val, test"),
        ([""], "no image is named there"),
    ],
)
def test_lists_that_say_no_split_are_errors(tmp_path, lines, words):
    lists = write(tmp_path, "part.txt", *lines)
    path = write(tmp_path, "all.csv", *ROWS)
    assert words in error_of(path, split_lists=lists, split_column="split")


def test_a_list_that_is_not_there_and_a_column_that_is_are_errors(tmp_path):
    path = write(tmp_path, "all.csv", "image,labels,split", "a.png,cat,train")
    lists = write(tmp_path, "part.txt", "a.png,train")
    assert f"cannot read {tmp_path}/none.txt" in error_of(path, split_lists={"test": f"{tmp_path}/none.txt"})
    assert "has a column 'split', and data.split_lists makes one" in error_of(
        path, split_lists=lists, split_column="split"
    )
    assert "data.split_column, which is null" in error_of(path, split_lists=lists)


def test_names_of_splits_are_those_of_the_settings_beside_the_known_ones(tmp_path):
    path = write(tmp_path, "all.csv", "image,labels,set", "a.png,cat,0", "b.png,dog,Train", "c.png,cat,validate")
    names = {0: "train", "Validate": "val"}
    assert list(answers(path, split_column="set", split_names=names)) == ["a.png", "b.png"]
    assert list(answers(path, "val", split_column="set", split_names=names)) == ["c.png"]
    assert "splits other than train, val, test" in error_of(path, split_column="set", split_names={0: "train"})


def test_another_file_gives_labels_by_what_both_have(tmp_path):
    path = write(tmp_path, "images.csv", "image,patient,study", "a.png,7,1", "b.png,7,2", "c.png,7,1")
    settings = {"join_path": write(tmp_path, "labels.csv", "study,patient,note,cat", "1,7,x,1", "2,7,y,0", "1,8,z,0")}
    settings |= {"join_columns": ["patient", "study"], "layout": "columns", "label_columns": ["cat"]}
    assert answers(path, **settings) == {"a.png": [1], "b.png": [0], "c.png": [1]}


def test_columns_of_another_file_are_no_labels_unless_they_are_named(tmp_path):
    path = write(tmp_path, "images.csv", "image,cat", "a.png,1", "b.png,0")
    join_path = write(tmp_path, "more.csv", "image,dog,patient", "a.png,0,p", "b.png,1,q")
    settings = {"join_path": join_path, "join_columns": ["image"], "layout": "columns", "cluster_column": "patient"}
    assert read(path, **settings).labels == ("cat",)
    assert read(path, **settings, label_columns=["dog", "cat"]).labels == ("dog", "cat")
    assert read(path, **settings).clusters.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("lines", "changes", "words"),
    [
        (["image,labels", "a.png,cat", "a.png,dog"], {}, "row 3 is a second one of image 'a.png': keep one"),
        (["image,labels", "a.png"], {}, "row 2 has 1 cell instead of 2"),
        (["image,age,labels", "a.png,3,cat"], {}, "has a column 'age', and data.join_path="),
        (
            ["name,labels", "a.png,cat"],
            {},
            "must have one column 'image' of data.join_columns; its columns are: name, labels",
        ),
        (["image,labels", "a.png,cat"], {"join_columns": None}, "data.join_path needs data.join_columns"),
        (["image,labels", "a.png,cat"], {}, "rows that have none in data.join_path"),
    ],
)
def test_files_that_do_not_go_together_are_errors(tmp_path, lines, changes, words):
    path = write(tmp_path, "images.csv", "image,age", "a.png,3", "b.png,4")
    settings = {"join_path": write(tmp_path, "labels.csv", *lines), "join_columns": ["image"]} | changes
    assert words in error_of(path, **settings)


def test_a_path_is_made_of_several_cells(tmp_path):
    path = write(tmp_path, "all.csv", "folder,id,labels", "xy,a1,cat", "y,b2,dog", ",b2,dog")
    message = error_of(path, image_template="{folder:.1}/{id}.png")
    assert "rows without an image:\n" in message
    path = write(tmp_path, "all.csv", "folder,id,labels", "xy,a1,cat", "y,b2,dog")
    assert list(answers(path, image_template="{folder:.1}/{id}.png")) == ["a1.png", "b2.png"]
    outside = write(tmp_path, "all.csv", "folder,id,labels", "..,a1,cat")
    assert "images outside of their folder" in error_of(outside, image_template="{folder}/{id}.png")


def test_a_path_may_hold_the_split_of_the_file(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / split / "1.png")
    path, test_path = (write(tmp_path, f"{name}.csv", "id,labels", "1,cat") for name in ("a", "b"))
    settings = {"image_template": "{split}/{id}.png", "test_path": test_path}
    assert read(path, **settings).images == [f"{tmp_path}/train/1.png"]
    assert read(path, "test", **settings).images == [f"{tmp_path}/test/1.png"]


@pytest.mark.parametrize(
    "template", ["a.png", "{}.png", "{id", "{id!r}.png", "{id:>8}.png", "{id.__class__}.png", "{other}"]
)
def test_templates_that_name_no_column_are_errors(tmp_path, template):
    path = write(tmp_path, "all.csv", "id,labels", "a,cat")
    assert "data.image_template" in error_of(path, image_template=template)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "is no regular expression"),
        ("(.+)_(?P<label>.+)", "must have named groups alone"),
        (".+", "must have named groups alone"),
        ("(?P<image>.+)_(?P<value>.+)", "has a column 'value', and data.cell_parts makes one"),
    ],
)
def test_patterns_that_make_no_columns_are_errors(tmp_path, pattern, words):
    path = write(tmp_path, "all.csv", "id,value", "a_cat,1")
    assert words in error_of(path, layout="pairs", labels_column="label", cell_parts={"id": pattern})


def test_a_renamed_column_is_known_by_its_new_name(tmp_path):
    path, test_path = (
        write(tmp_path, "a.csv", "image,cats", "a.png,1"),
        write(tmp_path, "b.csv", "image,cat", "b.png,1"),
    )
    settings = {"layout": "columns", "test_path": test_path, "rename_columns": {"cat": "cats"}}
    assert answers(path, "test", **settings) == {"b.png": [1]}


def test_an_image_without_a_label_may_be_one_that_nobody_has_labelled(tmp_path, caplog):
    path = write(tmp_path, "all.csv", "image,labels", "a.png,cat dog", "b.png,", "c.png,none")
    settings = {"none_labels": ["none"]}
    assert answers(path, **settings) == {"a.png": [1, 1], "b.png": [0, 0], "c.png": [0, 0]}
    assert answers(path, **settings, untagged="unknown") == {"a.png": [1, 1], "b.png": [-1, -1], "c.png": [0, 0]}
    assert not caplog.records
    assert answers(path, **settings, untagged="skip") == {"a.png": [1, 1], "c.png": [0, 0]}
    assert "left out 1 row that have no label (data.untagged=skip)" in caplog.text


def test_an_image_without_a_cluster_may_be_alone(tmp_path):
    path = write(tmp_path, "all.csv", "image,labels,patient", "a.png,cat,", "b.png,cat,7", "c.png,cat,")
    assert "2 rows whose data.cluster_column is empty" in error_of(path, cluster_column="patient")
    manifest = read(path, cluster_column="patient", blank_cluster="own")
    assert manifest.clusters.tolist() == [0, 1, 2]


def test_rows_of_the_wrong_length_are_noted_before_columns_are_made(tmp_path):
    path = write(tmp_path, "all.csv", "id,labels", "a,cat", "b", "c,dog,x", "b,dog,,")
    message = error_of(path, image_template="{id}.png")
    assert "2 rows of the wrong length:\n" in message
    assert "line 3: 1 cell instead of 2" in message
    assert "line 4: 3 cells instead of 2" in message


def test_json_lines_and_parquet_make_columns_too(tmp_path):
    rows = [{"folder": "x", "id": "a1", "study": 1}, {"folder": "y", "id": "b2", "study": 2}]
    settings = {"image_template": "{folder}/{id}.png", "join_columns": ["study"]}
    path = write(tmp_path, "all.jsonl", *map(json.dumps, rows))
    labels = [{"study": 2, "labels": ["dog"]}, {"study": 1, "labels": ["cat"]}]
    join_path = write(tmp_path, "labels.jsonl", *map(json.dumps, labels))
    expected = {"a1.png": [1, 0], "b2.png": [0, 1]}
    assert answers(path, source="jsonl", join_path=join_path, **settings) == expected
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, items in (("all", rows), ("labels", labels)):
        parquet.write_table(pyarrow.Table.from_pylist(items), tmp_path / f"{name}.parquet")
    settings |= {"join_path": f"{tmp_path}/labels.parquet", "image_cache_path": str(tmp_path / "cache")}
    assert answers(f"{tmp_path}/all.parquet", source="parquet", **settings) == expected
    rows = [{"image": (tmp_path / f"{name}.png").read_bytes(), "study": k} for name, k in (("a", 1), ("b", 2))]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "whole.parquet")
    manifest = read(f"{tmp_path}/whole.parquet", source="parquet", **settings | {"image_template": None})
    assert manifest.dense_targets().tolist() == [[1, 0], [0, 1]]
    assert manifest.read(manifest.images[1]).size == (8, 8)


def test_a_run_keeps_the_absolute_paths_of_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = {"train": "a.txt", "test": "more/b.txt"}
    for given, kept in (
        (lists, {"train": f"{tmp_path}/a.txt", "test": f"{tmp_path}/more/b.txt"}),
        ("a.txt", f"{tmp_path}/a.txt"),
    ):
        cfg = OmegaConf.create({"data": {"split_lists": given}, "model": {"weights": None}})
        assert with_absolute_paths(cfg).data.split_lists == kept
