"""The three layouts of rows, in CSV and JSON lines, and what a careful reader does with paths."""

import json
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO, compose_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import OmegaConf
from PIL import Image

from multihot.data import create_reader
from multihot.data.table.answers import Answers
from multihot.errors import InputError, MissingSplitError

SOURCES = sorted({file.stem for file in (REPO / "conf/data").glob("*.yaml")} - {"digits"})  # that list their images
TABLE = [["a.png", 1, 0, -1], ["b.png", 0, 0.25, ""], ["c.png", "", 1, 1]]


@pytest.fixture
def folder(tmp_path):
    for letter in "abcdef":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{letter}.png")
    return tmp_path


def write_csv(folder: Path, *rows) -> str:
    lines = [",".join(map(str, row)) for row in rows]
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return f"data.path={folder / 'data.csv'}"


def write_jsonl(folder: Path, *objects) -> str:
    (folder / "data.jsonl").write_text("".join(json.dumps(item) + "\n" for item in objects))
    return f"data.path={folder / 'data.jsonl'}"


@cache
def settings_of(source: str) -> dict:
    """Returns the settings of a source; composing them for each test would take most of the time."""
    return OmegaConf.to_container(compose_config("train", [f"data={source}", "data.val_fraction=0"]).data, resolve=True)


def read(*overrides: str, source="csv", split="train", **settings):
    cfg = OmegaConf.create({"data": settings_of(source)})
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return create_reader(cfg.data)(split, **settings)


def error_of(*overrides: str, **settings) -> str:
    with pytest.raises(InputError) as error:
        read(*overrides, **settings)
    return str(error.value)


def names(manifest) -> list[str]:
    return [Path(image).name for image in manifest.images]


def test_a_column_a_label_says_present_absent_soft_unknown(folder):
    manifest = read(write_csv(folder, ["image", "zebra", "cat", "dog"], *TABLE), "data.layout=columns")
    assert manifest.labels == ("zebra", "cat", "dog")  # in the order of the columns
    assert manifest.dense_targets().tolist() == [[1, 0, -1], [0, 0.25, -1], [-1, 1, 1]]
    assert manifest.is_soft


def test_a_blank_cell_can_say_absent(folder):
    path = write_csv(folder, ["image", "zebra", "cat", "dog"], *TABLE)
    manifest = read(path, "data.layout=columns", "data.blank=absent")
    assert manifest.dense_targets().tolist() == [[1, 0, -1], [0, 0.25, 0], [0, 1, 1]]


def test_columns_with_another_meaning_are_no_labels(folder):
    path = write_csv(
        folder,
        ["image", "split", "cat", "width", "patient"],
        ["a.png", "train", 1, 640, "x"],
        ["b.png", "test", 0, 3, "x"],
    )
    manifest = read(path, "data.layout=columns", "data.label_columns=[cat]", "data.cluster_column=patient")
    assert (manifest.labels, names(manifest), manifest.clusters.tolist()) == (("cat",), ["a.png"], [0])
    message = error_of(path, "data.layout=columns", "data.cluster_column=patient")
    assert "answers that are not 1, 0, between them, or -1 for unknown (" in message
    assert "data.csv line 2: 'width' is '640'" in message
    assert "has no column 'dog' of data.label_columns" in error_of(
        path, "data.layout=columns", "data.label_columns=[dog]"
    )


def test_cells_that_are_no_answer_are_named(folder):
    path = write_csv(folder, ["image", "cat"], ["a.png", "maybe"], ["b.png", 1.5], ["c.png", 1])
    message = error_of(path, "data.layout=columns")
    assert "2 answers that are not 1, 0, between them" in message
    assert "line 2: 'cat' is 'maybe'" in message
    assert "line 3: 'cat' is '1.5'" in message
    path = write_csv(folder, ["image", "labels", "sure"], ["a.png", "cat", 1], ["a.png", "dog", "often"])
    message = error_of(path, "data.layout=pairs", "data.value_column=sure")
    assert "data.csv line 3: 'dog' is 'often' in the column 'sure'" in message


def test_words_and_decimal_commas_are_answers_without_a_setting(folder):
    path = write_csv(folder, ["image", "cat", "dog"], ["a.png", "TRUE", '"0,5"'], ["b.png", "no", "Y"])
    manifest = read(path, "data.layout=columns")
    assert manifest.dense_targets().tolist() == [[1, 0.5], [0, 1]]


@pytest.mark.parametrize(
    ("answers", "cells", "expected"),
    [
        ("{-1: absent, 0: unknown}", [1, -1, "-1.0", " 0 "], [1, 0, 0, -1]),
        ("{yes: present, no: absent, ?: unknown}", ["Yes", "NO", "?", 1], [1, 0, -1, 1]),
        ("{positive: 1, negative: 0, uncertain: 0.5}", ["positive", "Negative", "uncertain", ""], [1, 0, 0.5, -1]),
        ("{1: absent, 2: present}", ["1", "2", "2.0", 1], [0, 1, 1, 0]),
        ("{P: present, p: 0.5, n: absent}", ["P", "p", "N", "n"], [1, 0.5, 0, 0]),
    ],
)
def test_answers_may_be_written_in_the_users_own_way(folder, answers, cells, expected):
    path = write_csv(folder, ["image", "cat"], *(["abcd"[k] + ".png", cell] for k, cell in enumerate(cells)))
    manifest = read(path, "data.layout=columns", f"data.answers={answers}")
    assert manifest.dense_targets()[:, 0].tolist() == expected
    path = write_csv(
        folder, ["image", "labels", "v"], *(["abcd"[k] + ".png", "x", cell] for k, cell in enumerate(cells))
    )
    manifest = read(path, "data.layout=pairs", "data.value_column=v", f"data.answers={answers}")
    assert manifest.dense_targets()[:, 0].tolist() == expected
    rows = [{"image": "abcd"[k] + ".png", "labels": {"x": cell}} for k, cell in enumerate(cells)]
    manifest = read(write_jsonl(folder, *rows), f"data.answers={answers}", source="jsonl")
    assert manifest.dense_targets()[:, 0].tolist() == expected


def test_yaml_may_have_made_a_boolean_of_a_word(folder):
    assert Answers({float("nan"): "absent"}).of(["nan", "NaN", float("nan")]) == [0, 0, 0]
    says = Answers({True: "absent", False: 0.5, "": "absent"})  # {yes: absent, off: 0.5, "": absent} in a file
    assert says.of(["yes", "On", True, "false", False, 1, "0", "", None]) == [0, 0, 0, 0.5, 0.5, 1, 0, 0, 0]


def test_answers_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match=r"names the same cell twice, as 1 and as '1\.0'"):
        Answers({1: "absent", "1.0": "present"})
    with pytest.raises(InputError, match="say different things of an empty cell"):
        Answers({"": "unknown"}, blank="absent")


def test_answers_that_no_cell_has_are_named(folder, caplog):
    path = write_csv(folder, ["image", "cat"], ["a.png", -1], ["b.png", 1])
    read(path, "data.layout=columns", "data.answers={-1: absent}")
    assert not caplog.records
    read(path, "data.layout=columns", "data.answers={-1: absent, ja: present}")
    assert "data.answers: no cell of" in caplog.text
    assert "data.csv is 'ja'" in caplog.text


def test_a_row_a_pair_gathers_the_answers_of_an_image(folder):
    rows = [["a.png", "cat", 1], ["b.png", "dog", 0.5], ["a.png", "dog", -1], ["c.png", "", ""]]
    path = write_csv(folder, ["image", "labels", "value"], *rows)
    manifest = read(path, "data.layout=pairs", "data.value_column=value")
    assert names(manifest) == ["a.png", "b.png", "c.png"]
    assert manifest.dense_targets().tolist() == [[1, -1], [0, 0.5], [0, 0]]
    manifest = read(path, "data.layout=pairs", "data.value_column=value", "data.unlisted_pairs=unknown")
    assert manifest.dense_targets().tolist() == [[1, -1], [-1, 0.5], [-1, -1]]
    assert manifest.num_known().tolist() == [1, 1]


def test_pairs_without_values_say_present_and_keep_labels_with_spaces(folder):
    path = write_csv(folder, ["image", "labels"], ["a.png", "polar bear"], ["a.png", "ice"], ["b.png", "ice"])
    manifest = read(path, "data.layout=pairs")
    assert manifest.labels == ("ice", "polar bear")
    assert manifest.dense_targets().tolist() == [[1, 1], [1, 0]]


def test_pairs_may_repeat_each_other_but_not_contradict(folder):
    rows = [["a.png", "cat", 1], ["b.png", "cat", 1], ["a.png", "dog", 0], ["a.png", "cat", 1]]
    path = write_csv(folder, ["image", "labels", "v"], *rows)
    manifest = read(path, "data.layout=pairs", "data.value_column=v")
    assert manifest.dense_targets().tolist() == [[1, 0], [1, 0]]
    path = write_csv(folder, ["image", "labels", "v"], *rows, ["a.png", "dog", 0.5], ["a.png", "owl", "perhaps"])
    message = error_of(path, "data.layout=pairs", "data.value_column=v")
    assert "answers that contradict another one about the same image and label" in message
    assert "data.agree=majority, any, all or mean" in message
    assert f"{folder}/data.csv line 6: 'dog' is 0.5, but 0 in {folder}/data.csv line 4" in message
    assert f"{folder}/data.csv line 7: 'owl' is 'perhaps'" in message


def test_every_problem_of_pairs_has_its_own_line(folder):
    path = write_csv(folder, ["image", "labels"], ["a.png", "cat"], ["b.png", "cat"], ["a.png", "dgo"])
    assert "data.csv line 4: 'dgo'" in error_of(path, "data.layout=pairs", "data.labels=[cat]")
    rows = [["a.png", "cat", 1, "x"], ["a.png", "dog", 2, "x"], ["a.png", "owl", 1, "y"]]
    path = write_csv(folder, ["image", "labels", "w", "patient"], *rows)
    message = error_of(path, "data.layout=pairs", "data.weight_column=w", "data.cluster_column=patient")
    assert f"differ from the first one of their image in data.weight_column:\n  {folder}/data.csv line 3" in message
    assert f"differ from the first one of their image in data.cluster_column:\n  {folder}/data.csv line 4" in message


# three people about a, b and c; -1 is unknown
VOTES = {"a.png": [1, 1, 0], "b.png": [1, 0, -1], "c.png": [-1, -1, -1], "d.png": [0.75, 0.5, 0]}


@pytest.mark.parametrize(
    ("agree", "expected"),
    [
        ("majority", [1, -1, -1, 1]),
        ("any", [1, 1, -1, 0.75]),
        ("all", [0, 0, -1, 0]),
        ("mean", [2 / 3, 0.5, -1, 1.25 / 3]),
    ],
)
def test_several_people_agree_as_the_setting_says(folder, agree, expected):
    rows = [[image, votes[k]] for k in range(3) for image, votes in VOTES.items()]
    path = write_csv(folder, ["image", "x"], *rows)
    manifest = read(path, "data.layout=columns", f"data.agree={agree}")
    np.testing.assert_allclose(manifest.dense_targets()[:, 0], np.float32(expected))
    path = write_csv(folder, ["image", "labels", "v"], *([image, "x", vote] for image, vote in rows))
    manifest = read(path, "data.layout=pairs", "data.value_column=v", f"data.agree={agree}")
    np.testing.assert_allclose(manifest.dense_targets()[:, 0], np.float32(expected))
    path = write_jsonl(folder, *({"image": image, "labels": {"x": vote}} for image, vote in rows))
    manifest = read(path, f"data.agree={agree}", source="jsonl")
    np.testing.assert_allclose(manifest.dense_targets()[:, 0], np.float32(expected))


def test_a_label_that_one_of_several_people_does_not_list_is_absent_to_them(folder):
    rows = [
        ["a.png", "cat dog", ""],
        ["a.png", "cat", ""],
        ["b.png", "", "dog"],
        ["a.png", "", ""],
        ["b.png", "dog", ""],
    ]
    path = write_csv(folder, ["image", "labels", "maybe"], *rows)
    overrides = (path, "data.unknown_column=maybe", "data.split_column=null")
    assert read(*overrides, "data.agree=majority").dense_targets().tolist() == [[1, 0], [0, 1]]
    assert read(*overrides, "data.agree=all").dense_targets().tolist() == [[0, 0], [0, 1]]
    np.testing.assert_allclose(
        read(*overrides, "data.agree=mean").dense_targets(), np.float32([[2 / 3, 1 / 3], [0, 1]])
    )
    message = error_of(*overrides)
    assert "3 images that have a row already" in message
    assert "a row an image and a label is data.layout=pairs" in message
    assert "data.agree=majority, any, all or mean" in message


def test_pairs_that_only_say_present_have_no_majority(folder):
    path = write_csv(folder, ["image", "labels"], ["a.png", "cat"], ["a.png", "cat"], ["b.png", "dog"])
    assert read(path, "data.layout=pairs", "data.agree=any").dense_targets().tolist() == [[1, 0], [0, 1]]
    assert "data.agree=majority needs data.value_column" in error_of(path, "data.layout=pairs", "data.agree=majority")


def test_an_image_of_pairs_is_in_one_split(folder):
    path = write_csv(folder, ["image", "labels", "split"], ["a.png", "cat", "train"], ["a.png", "dog", "test"])
    assert "images that have a row already" in error_of(path, "data.layout=pairs")


def test_unknown_labels_have_a_cell_of_their_own(folder):
    path = write_csv(folder, ["image", "labels", "maybe"], ["a.png", "cat", "dog owl"], ["b.png", "dog owl", ""])
    manifest = read(path, "data.unknown_column=maybe")
    assert manifest.labels == ("cat", "dog", "owl")
    assert manifest.dense_targets().tolist() == [[1, -1, -1], [0, 1, 1]]
    path = write_csv(folder, ["image", "labels", "maybe"], ["a.png", "cat", "cat"])
    assert "labels that an image has twice" in error_of(path, "data.unknown_column=maybe")


def test_json_labels_are_a_list_text_or_answers(folder):
    objects = [
        {"image": "a.png", "labels": ["polar bear", "ice"]},
        {"image": "b.png", "labels": {"ice": 0.7, "polar bear": -1}},
        {"image": "c.png", "labels": []},
    ]
    manifest = read(write_jsonl(folder, *objects), source="jsonl")
    assert manifest.labels == ("ice", "polar bear")
    np.testing.assert_allclose(manifest.dense_targets(), [[1, 1], [0.7, -1], [0, 0]], rtol=1e-6)
    manifest = read(write_jsonl(folder, {"image": "a.png", "labels": "cat dog", "split": "train"}), source="jsonl")
    assert manifest.labels == ("cat", "dog")


def test_null_and_blank_in_a_list_of_json_labels_are_no_label(folder):
    path = write_jsonl(folder, {"image": "a.png", "labels": ["cat", None, " "]}, {"image": "b.png", "labels": [None]})
    manifest = read(path, source="jsonl")
    assert manifest.labels == ("cat",)
    assert manifest.dense_targets().tolist() == [[1], [0]]


def test_only_labels_that_were_a_text_are_warned_of_as_wrongly_divided(folder, caplog):
    read(write_jsonl(folder, {"image": "a.png", "labels": ["cat,tabby", "dog"]}), source="jsonl")
    read(write_jsonl(folder, {"image": "a.png", "labels": {"cat,tabby": 1}}), source="jsonl")
    both = write_jsonl(folder, {"image": "a.png", "labels": "dog,owl"}, {"image": "b.png", "labels": ["cat,tabby"]})
    read(both, 'data.separator=","', source="jsonl")  # which is what divides already
    assert not caplog.records
    read(write_jsonl(folder, {"image": "a.png", "labels": "cat,tabby"}), source="jsonl")
    assert "1 of 1 labels have a ',' in them, as 'cat,tabby'" in caplog.text


def test_an_unknown_column_is_divided_and_checked_too(folder, caplog):
    path = write_csv(folder, ["image", "labels", "maybe"], ["a.png", "cat", "dog;owl"], ["b.png", "cat", ""])
    read(path, "data.unknown_column=maybe")
    assert "1 of 2 labels have a ';' in them, as 'dog;owl'" in caplog.text


def test_json_can_have_a_key_a_label(folder):
    path = write_jsonl(folder, {"image": "a.png", "cat": True, "dog": None}, {"image": "b.png", "cat": 0, "dog": 1})
    manifest = read(path, "data.layout=columns", source="jsonl")
    assert manifest.dense_targets().tolist() == [[1, -1], [0, 1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ('{"image": "a.png", "labels": []}\n[1]\n', "data.jsonl line 2 is not a JSON object but list"),
        ('{"image": "a.png", "labels": []}\n\n{oops}\n', "data.jsonl line 3 is not JSON"),
        ('{"picture": "a.png", "labels": []}\n', "must have one column 'image'"),
        ('{"image": "a.png", "labels": ["x"]}\n{"image": "z.png", "labels": []}\n', "line 2: {folder}/z.png"),
    ],
)
def test_broken_json_lines_are_named(folder, text, words):
    (folder / "data.jsonl").write_text(text)
    message = error_of(f"data.path={folder / 'data.jsonl'}", source="jsonl")
    assert words.replace("{folder}", str(folder)) in message


def test_a_missing_json_file_is_an_error_that_names_it(folder):
    assert "cannot read" in error_of(f"data.path={folder / 'none.jsonl'}", source="jsonl")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            "https://example.com/a.png",
            "images that are not on this machine (download them first, and say where they are",
        ),
        ("s3://bucket/a.png", "images that are not on this machine"),
        ("../a.png", "images outside of their folder"),
        ("x/../../a.png", "images outside of their folder"),
        ("a" * 300 + ".png", "image paths that are longer than a file's can be"),
        ("b/" * 3000 + "a.png", "image paths that are longer than a file's can be"),
        ("circle.png", "circle.png (a link to nothing, or in a circle)"),
        ("nothing.png", "nothing.png (a link to nothing, or in a circle)"),
        (".", "images outside of their folder"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused_with_their_line(folder, image, words):
    os.symlink(folder / "circle.png", folder / "circle.png")
    os.symlink(folder / "gone.png", folder / "nothing.png")
    message = error_of(write_csv(folder, ["image", "labels"], [image, "cat"], ["a.png", "cat"]))
    assert words in message
    assert "data.csv line 2" in message
    assert len(message) < 1000


def test_absolute_paths_are_taken_unless_a_root_is_given(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = write_csv(elsewhere, ["image", "labels"], [folder / "a.png", "cat"])
    assert names(read(path)) == ["a.png"]
    assert names(read(path, f"data.root={folder}")) == ["a.png"]
    assert "images outside of their folder" in error_of(path, f"data.root={elsewhere}")


def test_a_link_to_a_photo_is_a_photo(folder):
    os.symlink(folder / "a.png", folder / "link.png")
    assert names(read(write_csv(folder, ["image", "labels"], ["link.png", "cat"]))) == ["link.png"]


def test_clusters_are_not_divided_between_train_and_val(folder):
    rows = [[f"{letter}.png", "cat", "xxyyzz"[number]] for number, letter in enumerate("abcdef")]
    path = write_csv(folder, ["image", "labels", "patient"], *rows)
    overrides = (path, "data.cluster_column=patient", "data.val_fraction=0.33")
    train, val = (names(read(*overrides, split=split)) for split in ("train", "val"))
    assert len(val) == 2
    assert not {name[0] for name in val} & {name[0] for name in train}
    assert sorted(train + val) == [f"{letter}.png" for letter in "abcdef"]
    assert val in (["a.png", "b.png"], ["c.png", "d.png"], ["e.png", "f.png"])


def test_a_split_that_is_not_there_is_an_error_of_its_own(folder):
    with pytest.raises(MissingSplitError, match="splits without rows"):
        read(write_csv(folder, ["image", "labels"], ["a.png", "cat"]), split="test")


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_reader_says_of_a_missing_split_names_settings_that_it_has(source):
    settings = compose_config("train", [f"data={source}"]).data
    named = re.findall(r"data\.(\w+)", get_class(settings["_target_"]).way_to_split)
    assert named
    assert set(named) <= set(settings)


def test_a_file_of_json_lines_that_is_not_utf_8_is_an_error(folder):
    (folder / "latin.jsonl").write_bytes('{"image": "a.png", "labels": "é"}'.encode("latin-1"))
    message = error_of(f"data.path={folder}/latin.jsonl", source="jsonl")
    assert message == f"{folder}/latin.jsonl is not UTF-8; save it as UTF-8"


def test_every_image_knows_its_place(folder):
    manifest = read(write_csv(folder, ["image", "labels"], ["a.png", "cat"], ["b.png", "cat"], ["c.png", ""]))
    assert list(manifest.subset(np.array([2, 0])).places) == [f"{folder}/data.csv line 4", f"{folder}/data.csv line 2"]


def columns_csv(folder: Path, header: list[str], *columns) -> str:
    """Writes a file with an image a row and the cells of each column; returns its setting."""
    return write_csv(
        folder, ["image", *header], *([f"{'abcdef'[k]}.png", *row] for k, row in enumerate(zip(*columns, strict=True)))
    )


@pytest.mark.parametrize("name", ["value", "Confidence", "is_present", "cat is there", "agreed"])
def test_pairs_with_an_answer_that_nothing_names_are_refused(folder, name):
    path = write_csv(folder, ["image", "labels", name], ["a.png", "cat", 1], ["a.png", "dog", 0], ["b.png", "cat", 1])
    overrides = (path, "data.layout=pairs", "data.split_column=null")
    message = error_of(*overrides)
    assert f"the column {name!r} may hold the answers, and unread each row says present" in message
    setting = f"data.value_column={name}" if " " not in name else f"'data.value_column=\"{name}\"'"
    assert setting in message
    assert "data.ignore_columns=[" in message
    manifest = read(*overrides, f'data.value_column="{name}"')
    assert manifest.dense_targets().tolist() == [[1, 0], [1, 0]]
    assert read(*overrides, f'data.ignore_columns=["{name}"]').dense_targets().tolist() == [[1, 1], [1, 0]]


def test_pairs_may_have_columns_that_are_no_answers(folder, caplog):
    rows = [["a.png", "cat", 12, "r1", 1], ["a.png", "dog", 0, "r2", 1], ["b.png", "cat", 1, "r1", 1]]
    path = write_csv(folder, ["image", "labels", "xmin", "reader", "count"], *rows)
    read(path, "data.layout=pairs", "data.split_column=null")
    assert not caplog.records


def test_the_answers_of_pairs_read_as_cells_are_missed(folder):
    path = write_csv(folder, ["image", "labels", "value"], ["a.png", "cat", 1], ["b.png", "cat", 0])
    message = error_of(path, "data.split_column=null")
    assert "Set data.layout=pairs data.value_column=value" in message


def test_files_of_another_layout_are_told_by_their_columns(folder):
    path = columns_csv(folder, ["cat", "dog"], [1, 0], [0, 1])
    for layout in ("cell", "pairs"):
        assert "if each label has a column of its own, set data.layout=columns" in error_of(
            path, f"data.layout={layout}"
        )
    path = write_csv(folder, ["image", "labels"], ["a.png", "cat dog"], ["b.png", "dog"])
    message = error_of(path, "data.layout=columns")
    assert "'labels' is 'cat dog'" in message
    assert "if all labels of an image stand in one, data.layout=cell, or pairs" in message


def test_labels_may_stand_in_several_columns(folder):
    path = columns_csv(folder, ["label_1", "label_2"], ["cat", "dog owl"], ["dog", ""])
    overrides = (path, "data.split_column=null", "data.labels_column=[label_1,label_2]")
    assert read(*overrides).dense_targets().tolist() == [[1, 1, 0], [0, 1, 1]]
    message = error_of(path, "data.split_column=null", "data.labels_column=label_1")
    assert "further columns that are called like data.labels_column, and that nothing reads: 'label_2'" in message
    assert (
        "'data.labels_column=[label_1,label_2]' reads them, 'data.ignore_columns=[label_2]' leaves them out" in message
    )
    manifest = read(path, "data.labels_column=label_1", "data.ignore_columns=[label_2]")
    assert manifest.labels == ("cat", "dog", "owl")
    assert "or several, by 'data.labels_column=[label_1,label_2]'" in error_of(path)
    assert "has one label a row" in error_of(*overrides, "data.layout=pairs")
    twice = columns_csv(folder, ["label_1", "label_2"], ["cat", "dog"], ["cat", ""])
    assert read(twice, *overrides[1:]).dense_targets().tolist() == [[1, 0], [0, 1]]


def test_a_column_that_holds_further_labels_is_named(folder, caplog):
    path = columns_csv(folder, ["first", "second", "main"], ["cat", "dog owl"], ["dog", ""], ["cat", "dog"])
    read(path, "data.split_column=null", "data.labels_column=first")
    assert len(caplog.records) == 1
    assert "labels stand also in the column 'second', which nothing reads" in caplog.text
    assert "'data.labels_column=[first,second]' reads them" in caplog.text
    caplog.clear()
    read(path, "data.labels_column=first", "data.ignore_columns=[second,main]")
    assert not caplog.records
    assert "has no column 'third' of data.ignore_columns" in error_of(path, "data.labels_column=first",
        "data.ignore_columns=[second,main,third]")  # fmt: skip


def test_columns_that_may_be_no_labels_are_named(folder, caplog):
    header = ["cat", "fold", "Patient Sex", "is_train", "sample_weight", "male"]
    path = columns_csv(folder, header, [1, 0], [0, 1], ["F", "f"], [1, 0], [0.5, 1], [1, 0])
    read(path, "data.layout=columns")
    assert len(caplog.records) == 1
    assert "6 columns are taken for labels, also the columns 'fold', 'Patient Sex', 'is_train', 'sample_weight'." in (
        caplog.text
    )
    ignoring = 'data.ignore_columns=[fold,"Patient Sex",is_train,sample_weight]'
    assert f"'{ignoring}'" in caplog.text
    caplog.clear()
    assert read(path, "data.layout=columns", ignoring).labels == ("cat", "male")
    read(path, "data.layout=columns", "data.label_columns=[cat,fold]")
    assert not caplog.records


def test_columns_of_good_data_are_labels_without_a_word(folder, caplog):
    header = ["Male", "Eyeglasses", "5_o_Clock_Shadow", "train", "age_over_60", "No Finding", "null", "score", "labels"]
    path = columns_csv(folder, header, *([1, 0, -1, 0.5] for _ in header))
    assert len(read(path, "data.layout=columns").labels) == len(header)
    assert not caplog.records


def test_columns_of_shares_among_columns_of_answers_are_named(folder, caplog):
    rows = [[f"{letter}{k}.png", k % 2, 1, k / 20] for letter in "ab" for k in range(10)]
    for image, *_ in rows:
        Image.new("RGB", (8, 8)).save(folder / image)
    read(write_csv(folder, ["image", "cat", "dog", "brightness"], *rows), "data.layout=columns")
    assert "3 columns are taken for labels, also the column 'brightness'." in caplog.text


def test_columns_without_answers_come_with_what_leaves_them_out(folder):
    path = columns_csv(folder, ["cat", "sex"], [1, 0], ["F", "M"])  # F is read as false
    assert "columns that are no labels: 'data.ignore_columns=[sex]'" in error_of(path, "data.layout=columns")
    path = columns_csv(folder, ["cat", "age", "url"], [1, 0], [63, 41], ["http://a", "http://b"])
    message = error_of(path, "data.layout=columns")
    assert "columns that are no labels: 'data.ignore_columns=[age,url]'" in message
    assert "line 2: 'age' is '63'" in message
    assert read(path, "data.layout=columns", "data.ignore_columns=[age,url]").labels == ("cat",)


def test_a_column_of_splits_that_is_called_otherwise_is_not_to_be_ignored(folder):
    path = columns_csv(folder, ["cat", "Set", "age"], [1, 0], ["Train", "test"], [63, 41])
    message = error_of(path, "data.layout=columns")
    assert (
        "a column of splits: data.split_column=Set; columns that are no labels: 'data.ignore_columns=[age]'" in message
    )
    assert names(read(path, "data.layout=columns", "data.split_column=Set", "data.ignore_columns=[age]")) == ["a.png"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_column_without_a_name_is_no_label(folder, name):
    path = write_csv(folder, [name, "image", "cat"], [0, "a.png", 1], [1, "b.png", 0])
    assert f"'data.ignore_columns=[\"{name}\"]'" in error_of(path, "data.layout=columns")
    assert read(path, "data.layout=columns", f'data.ignore_columns=["{name}"]').labels == ("cat",)


def test_a_label_has_one_column(folder):
    path = columns_csv(folder, ["cat", "dog", "cat"], [1, 0], [0, 1], [0, 1])
    assert "has several columns 'cat': give each label one" in error_of(path, "data.layout=columns")
    assert "has several columns 'cat'" in error_of(path, "data.layout=columns", "data.label_columns=[cat]")


def test_a_label_whose_column_a_file_lacks_is_unknown_there(folder, caplog):
    path = columns_csv(folder, ["cat", "dog", "owl"], [1, 0], [0, 1], [1, 1])
    (folder / "val.csv").write_text("owl,image,cat\n1,c.png,0\n")
    overrides = (path, f"data.val_path={folder}/val.csv", "data.layout=columns")
    manifest = read(*overrides, split="val")
    assert manifest.labels == ("cat", "dog", "owl")
    assert manifest.dense_targets().tolist() == [[0, -1, 1]]
    assert f"labels without a column are unknown in the rows of their file: {folder}/val.csv: dog" in caplog.text
    caplog.clear()
    read(*overrides)
    assert not caplog.records
    model = ["zebra", "cat"]
    manifest = read(*overrides, "data.unseen_labels=drop", split="val", labels=model)
    assert manifest.dense_targets().tolist() == [[-1, 0]]
    (folder / "val.csv").write_text("image,cat,gnu\nc.png,0,1\n")
    message = error_of(*overrides)
    assert f"{folder}/val.csv has columns that {folder}/data.csv does not have: 'gnu'" in message
    assert "data.ignore_columns=[gnu]" in message


def test_an_empty_cluster_is_refused(folder):
    path = write_csv(folder, ["image", "labels", "patient"], ["a.png", "cat", "x"], ["b.png", "cat", ""])
    assert "rows whose data.cluster_column is empty" in error_of(path, "data.cluster_column=patient")


@pytest.mark.parametrize(
    ("first", "second"), [("cat", "Cat"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat\u200b"), ("a b", "a\u00a0b")]
)
def test_labels_that_look_the_same_are_named_both(folder, caplog, first, second):
    path = write_jsonl(folder, {"image": "a.png", "labels": [first]}, {"image": "b.png", "labels": [second]})
    assert len(read(path, source="jsonl").labels) == 2
    assert len(caplog.records) == 1
    assert "characters that cannot be seen: " in caplog.text
    assert repr(first) in caplog.text
    assert f"{second!a}" in caplog.text
    manifest = create_reader(compose_config("train", ["data=jsonl", path, "data.val_fraction=0"]).data)
    with pytest.raises(InputError) as error:
        manifest("train", labels=[second])
    assert f"line 1: {first!r}, which looks like {second!a}" in str(error.value)


def test_labels_of_one_letter_keep_their_case(folder, caplog):
    read(write_jsonl(folder, {"image": "a.png", "labels": ["a", "A"]}), source="jsonl")
    assert not caplog.records


def test_labels_may_be_called_like_words_of_other_meaning(folder):
    path = write_csv(folder, ["image", "labels"], ["a.png", "present true split"], ["b.png", "image unknown"])
    assert read(path).labels == ("image", "present", "split", "true", "unknown")


def test_weights_of_all_train_rows_must_not_be_0(folder):
    path = write_csv(
        folder, ["image", "labels", "w", "split"], ["a.png", "cat", 0, "train"], ["b.png", "cat", 1, "val"]
    )
    assert "weights that are all 0" in error_of(path, "data.weight_column=w")
    path = write_csv(folder, ["image", "labels", "w"], ["a.png", "cat", "0,5"], ["b.png", "cat", ""])
    assert "line 3: ''" in error_of(path.replace("0,5", "1"), "data.weight_column=w")


def test_cells_read_as_pairs_are_named(folder, caplog):
    path = write_csv(folder, ["image", "labels"], ["a.png", "cat"], ["b.png", "dog"], ["c.png", '"cat, dog"'])
    read(path, "data.layout=pairs")
    assert "the labels 'cat, dog' seem to be several. If a cell holds several, set data.layout=cell" in caplog.text
    caplog.clear()
    path = write_csv(folder, ["image", "labels"], ["a.png", "cat dog"], ["b.png", "cat owl"], ["c.png", "dog owl"])
    read(path, "data.layout=pairs")
    assert "the labels 'cat dog', 'cat owl', 'dog owl' seem to be several" in caplog.text
    caplog.clear()
    path = write_csv(folder, ["image", "labels"], ["a.png", "polar bear"], ["b.png", "brown bear"], ["c.png", "bear"])
    read(path, "data.layout=pairs")
    assert not caplog.records


def test_a_column_is_not_ignored_and_used(folder):
    path = columns_csv(folder, ["cat", "dog"], [1, 0], [0, 1])
    overrides = (path, "data.layout=columns", "data.label_columns=[cat,dog]", "data.ignore_columns=[dog]")
    assert error_of(*overrides) == "data.ignore_columns and data.label_columns both name 'dog'"


def test_rows_that_cannot_be_used_are_all_that_is_said_of_a_split_without_others(folder):
    path = write_csv(folder, ["image", "cat"], ["", 1])
    assert "splits without rows" not in error_of(path, "data.layout=columns")
