"""Words that mean none of the labels are warned of, and named by data.none_labels they are."""

import json

import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.errors import InputError

NONE = "data.none_labels=[None,no_label,No Finding]"


@pytest.fixture
def folder(tmp_path):
    for number, letter in enumerate("abcd"):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{letter}.png")
    return tmp_path


def read(source: str, path, *overrides: str, split: str = "train"):
    cfg = compose_config("train", [f"data={source}", f"data.path={path}", "data.val_fraction=0", *overrides])
    return create_reader(cfg.data)(split)


def write(folder, text: str, name: str = "data.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", "None", "null", "N/A", "-", "none", "background", "empty", "NA"],
)
def test_words_for_none_are_warned_of_in_one_line(folder, caplog, word):
    path = write(folder, f"image,labels\na.png,cat;dog\nb.png,{word}\nc.png,{word}\n")
    read("csv", path, 'data.separator=";"')
    (record,) = caplog.records
    assert f"{path}: labels that may mean none of the labels, and how many rows have them: {word!r} (2)." in caplog.text
    override = record.getMessage().split("set ")[1].split("; if")[0].strip("'")
    caplog.clear()
    manifest = read("csv", path, 'data.separator=";"', override)
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets().tolist() == [[1, 1], [0, 0], [0, 0]]
    read("csv", path, 'data.separator=";"', f"data.labels=[cat,dog,'{word}']")  # meant as a label
    assert not caplog.records


@pytest.mark.parametrize("word", ["No Finding", "no_label", "unlabeled", "_unlabeled", "No finding"])
def test_words_that_hardly_mean_a_label_are_refused_until_the_settings_say_what_they_are(folder, caplog, word):
    path = write(folder, f"image,labels\na.png,cat dog\nb.png,{word}\nc.png,{word}\n")  # a blank never divides them
    with pytest.raises(InputError, match=f"{path}: labels that may mean none .*: '{word}' \\(2\\)") as error:
        read("csv", path)
    manifest = read("csv", path, str(error.value).split("Set ")[1].split(" if they do")[0].strip("'"))
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert not caplog.records
    assert word in read("csv", path, "data.none_labels=[]").labels
    assert f"{word!r} (2)" in caplog.text


def test_a_run_from_before_reads_words_for_none_as_it_did(folder, caplog):
    path = write(folder, "image,labels\na.png,cat\nb.png,No Finding\n")
    assert read("csv", path, "~data.misread").labels == ("Finding", "No", "cat")
    assert not caplog.records


def test_what_is_empty_in_json_is_none_without_a_warning(folder, caplog):
    manifest = read("csv", write(folder, "image,labels\na.png,cat\nb.png,[]\nc.png,{}\n"))
    assert manifest.dense_targets().tolist() == [[1], [0], [0]]
    assert not caplog.records


CONTRADICTION = r"(?s)rows that say none of the labels \(data.none_labels\) and also name one .*"


def test_a_row_that_says_none_and_a_label_is_named(folder):
    path = write(folder, "image,labels\na.png,cat\nb.png,none dog\nc.png,none\n")
    with pytest.raises(InputError, match=CONTRADICTION + r"data.csv line 3: 'dog'"):
        read("csv", path, NONE)
    path = write(folder, "image,labels\na.png,cat\nb.png,none\nb.png,dog\n")
    with pytest.raises(InputError, match=CONTRADICTION + r"data.csv line 4: 'dog'"):
        read("csv", path, NONE, "data.layout=pairs")
    with pytest.raises(InputError, match=r"data.labels and data.none_labels both name 'none'"):
        read("csv", path, NONE, "data.layout=pairs", "data.labels=[cat,none]")


def test_a_column_for_none_makes_blank_answers_absent(folder, caplog):
    path = write(folder, "image,cat,No Finding,dog\na.png,1,0,\nb.png,,1,\nc.png,0,0,1\n")
    manifest = read("csv", path, NONE, "data.layout=columns")
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets().tolist() == [[1, -1], [0, 0], [0, 1]]
    assert not caplog.records
    assert "No Finding" in read("csv", path, "data.layout=columns").labels  # with answers of its own, a label
    path = write(folder, "image,cat,No Finding\na.png,1,0.5\n")
    with pytest.raises(InputError, match=r"(?s)between yes and no .* line 2: 'No Finding' is 0.5"):
        read("csv", path, NONE, "data.layout=columns")


def test_pairs_may_say_none_where_the_rest_is_unknown(folder):
    path = write(folder, "image,labels\na.png,cat\nb.png,none\nc.png,dog\n")
    manifest = read("csv", path, NONE, "data.layout=pairs", "data.unlisted_pairs=unknown")
    assert manifest.dense_targets().tolist() == [[1, -1], [0, 0], [-1, 1]]


def test_one_of_several_readers_may_say_none(folder):
    path = write(folder, "image,labels\na.png,cat\na.png,none\na.png,none\nb.png,cat\n")
    manifest = read("csv", path, NONE, "data.agree=majority")
    assert manifest.dense_targets().tolist() == [[0], [1]]


def test_one_of_several_readers_may_say_none_in_a_column(folder):
    path = write(
        folder, "image,none,cat,dog\na.png,0,1,0\na.png,1,,\na.png,0,1,0\nb.png,1,0,0\nb.png,1,,0\nb.png,0,0,1\n"
    )
    manifest = read("csv", path, NONE, "data.layout=columns", "data.agree=majority")
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets().tolist() == [[1, 0], [0, 0]]
    contradiction = write(folder, "image,none,cat\na.png,1,1\na.png,0,1\n")
    with pytest.raises(InputError, match="rows that say none of the labels"):
        read("csv", contradiction, NONE, "data.layout=columns", "data.agree=majority")


def test_readings_of_two_files_stand_in_lines_of_their_own(folder):
    train = write(folder, "image,labels\na.png,None\nb.png,cat\n")
    val = write(folder, "image,labels\nc.png,cat\nd.png,None\n", "val.csv")
    overrides = (NONE, "data.agree=majority", f"data.val_path={val}")
    assert read("csv", train, *overrides).targets.toarray().tolist() == [[0], [1]]
    assert read("csv", train, *overrides, split="val").targets.toarray().tolist() == [[1], [0]]


def test_evaluation_takes_them_out_too(folder):
    path = write(folder, "image,labels,split\na.png,cat,train\nb.png,none,test\nc.png,cat,test\n")
    cfg = compose_config("train", ["data=csv", f"data.path={path}", NONE])
    manifest = create_reader(cfg.data)("test", labels=("cat",))
    assert manifest.dense_targets().tolist() == [[0], [1]]


def test_a_folder_may_hold_what_has_no_label(folder, caplog):
    for letter, label in zip("abcd", ("cat", "dog", "no_label", "no_label"), strict=True):
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        (folder / f"{letter}.png").rename(folder / "photos" / label / f"{letter}.png")
    manifest = read("folder", folder / "photos", NONE)
    assert manifest.labels == ("cat", "dog")
    assert manifest.dense_targets().tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    assert not caplog.records


def test_a_category_may_mean_none(folder):
    categories = [{"id": 0, "name": "none"}, {"id": 1, "name": "cat"}]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0}, {"id": 2, "image_id": 2, "category_id": 1}],
        "categories": categories,
    }
    manifest = read("coco", write(folder, json.dumps(content), "coco.json"), NONE)
    assert manifest.labels == ("cat",)
    assert manifest.dense_targets().tolist() == [[0], [1]]
