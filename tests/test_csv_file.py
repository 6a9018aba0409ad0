"""A CSV file becomes exactly the rows, labels and splits that it says, or one error that names every bad row."""

from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.csv_file import CsvReader
from multihot.errors import InputError

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "root": None,
    "layout": "cell",
    "image_column": "image",
    "labels_column": "labels",
    "unknown_column": None,
    "label_columns": None,
    "blank": "unknown",
    "value_column": None,
    "unlisted_pairs": "absent",
    "split_column": "split",
    "weight_column": None,
    "cluster_column": None,
    "separator": " ",
    "labels": None,
    "groups": {},
    "val_fraction": 0.25,
    "split_seed": 0,
}
SMALL = "image,labels,split\na.png,dog cat,train\nb.png,,train\nc.png,dog,val\nd.png,cat,test\n"


def write(folder: Path, text: str, name: str = "labels.csv", images: str = "abcdefgh") -> str:
    """Writes a CSV file beside images a.png, b.png, ... and returns its path."""
    for letter in images:
        Image.new("RGB", (16, 16), "red").save(folder / f"{letter}.png")
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return str(folder / name)


def read(path: str | None, split: str = "train", **changes):
    return CsvReader(**{**SETTINGS, "path": path, **changes})(split)


def error_of(path: str | None, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def names(manifest) -> list[str]:
    return [Path(image).name for image in manifest.images]


def twelve_rows(folder: Path) -> str:
    return write(folder, "image,labels\n" + "".join(f"{x}.png,x\n" for x in "abcdefghijkl"), images="abcdefghijkl")


def test_each_split_has_its_rows_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path, "labels,split,image\nx,test,c.png\nx,train,b.png\nx,val,d.png\nx,train,a.png\n")
    assert [names(read(path, split)) for split in ("train", "val", "test")] == [
        ["b.png", "a.png"],
        ["d.png"],
        ["c.png"],
    ]


def test_targets_say_which_labels_stand_in_the_cell(tmp_path):
    manifest = read(write(tmp_path, SMALL))
    assert manifest.labels == ("cat", "dog")
    assert manifest.targets.dtype == np.int8
    assert manifest.targets.has_sorted_indices
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 1], [0, 0]])  # b.png has no label and stays
    np.testing.assert_array_equal(read(write(tmp_path, SMALL), "val").targets.toarray(), [[0, 1]])


def test_labels_keep_their_exact_words_and_lose_the_spaces_around_them(tmp_path):
    path = write(tmp_path, 'image,labels\na.png,"NA | null|été"\nb.png,traffic light|\nc.png,\n')
    manifest = read(
        path, separator="|", split_column=None, val_fraction=0.3, labels=["été", "traffic light", "null", "NA"]
    )
    other = read(path, "val", separator="|", val_fraction=0.3, labels=manifest.labels)
    targets = dict(
        zip(names(manifest) + names(other), [*manifest.targets.toarray(), *other.targets.toarray()], strict=True)
    )
    assert targets["a.png"].tolist() == [1, 0, 1, 1]
    assert targets["b.png"].tolist() == [0, 1, 0, 0]
    assert targets["c.png"].tolist() == [0, 0, 0, 0]


def test_the_label_list_is_that_of_the_train_rows_before_val_is_divided_off(tmp_path):
    path = write(tmp_path, "image,labels\n" + "".join(f"{x}.png,{x}\n" for x in "hgfedcba"))
    assert read(path).labels == read(path, "val").labels == tuple("abcdefgh")


def test_a_given_label_list_keeps_its_order_and_labels_without_positives(tmp_path):
    manifest = read(write(tmp_path, SMALL), labels=["zebra", "dog", "cat"])
    assert manifest.labels == ("zebra", "dog", "cat")
    np.testing.assert_array_equal(manifest.targets.toarray(), [[0, 1, 1], [0, 0, 0]])


def test_images_without_any_label_at_all_can_be_read_with_a_given_list(tmp_path):
    manifest = read(write(tmp_path, "image,labels,split\na.png,,test\n"), "test", labels=["cat"])
    np.testing.assert_array_equal(manifest.targets.toarray(), [[0]])


def test_paths_start_at_the_folder_of_the_file_or_at_root_or_are_absolute(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "lists").mkdir()
    write(tmp_path / "pictures", "")
    path = write(
        tmp_path / "lists", f"image,labels,split\na.png,x,train\n{tmp_path}/pictures/b.png,x,train\nc.png,,val\n"
    )
    assert read(path).images == [f"{tmp_path}/lists/a.png", f"{tmp_path}/pictures/b.png"]
    root = str(tmp_path / "pictures")
    assert read(path, root=root).images == [f"{root}/a.png", f"{root}/b.png"]
    monkeypatch.chdir(tmp_path)
    assert read("lists/labels.csv", root="pictures").images == [f"{root}/a.png", f"{root}/b.png"]


@pytest.mark.parametrize("name", ["labels.tsv", "labels.tab"])
def test_tsv_and_tab_files_are_divided_by_tabs(tmp_path, name):
    assert names(read(write(tmp_path, SMALL.replace(",", "\t"), name))) == ["a.png", "b.png"]


def test_a_byte_order_mark_spaces_after_commas_and_blank_lines_do_no_harm(tmp_path):
    text = SMALL.replace("dog cat", '"dog cat"').replace("png,", "png ,").replace(",", ", ").replace("\n", " \r\n\r\n")
    path = write(tmp_path, "\ufeff" + text)
    manifest = read(path)
    assert names(manifest) == ["a.png", "b.png"]
    assert manifest.labels == ("cat", "dog")


def test_without_val_rows_a_share_of_the_train_rows_is_val(tmp_path):
    path = twelve_rows(tmp_path)
    train, val = names(read(path)), names(read(path, "val"))
    assert len(val) == 3  # a quarter of 12
    assert sorted(train + val) == [f"{x}.png" for x in "abcdefghijkl"]
    assert train == sorted(train)
    assert val == sorted(val)


def test_the_val_share_depends_on_the_split_seed_and_on_nothing_else(tmp_path):
    path = twelve_rows(tmp_path)
    first = names(read(path, "val"))
    assert first == ["d.png", "f.png", "h.png"]  # what numpy's RandomState(0) has always drawn
    np.random.seed(5)
    assert names(read(path, "val")) == first
    assert names(read(path, "val", split_seed=1)) != first


def test_the_val_share_has_at_least_one_row(tmp_path):
    path = twelve_rows(tmp_path)
    assert len(read(path, "val", val_fraction=0.001)) == 1
    assert len(read(path, "train", val_fraction=0.001)) == 11


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_val_fraction_that_leaves_train_empty_is_an_error(tmp_path, split):
    message = error_of(twelve_rows(tmp_path), split, val_fraction=0.99)
    assert "data.val_fraction:\n  0.99 of 12 train rows leaves none" in message
    assert "give val rows of its own" in message


def test_a_val_fraction_of_zero_leaves_all_rows_to_train(tmp_path):
    path = twelve_rows(tmp_path)
    assert [len(read(path, split, val_fraction=0)) for split in ("train", "val")] == [12, 0]


def test_each_split_can_have_a_file_of_its_own(tmp_path):
    (tmp_path / "later").mkdir()
    path = write(tmp_path, "image,labels,width\na.png,x,16\nb.png,y,16\n", "train.csv")
    val_path = write(tmp_path, "image,labels\nc.png,y\n", "val.csv")
    test_path = write(tmp_path / "later", "image,labels\na.png,x\n", "test.csv")
    files = {"val_path": val_path, "test_path": test_path}
    assert names(read(path, **files)) == ["a.png", "b.png"]
    assert names(read(path, "val", **files)) == ["c.png"]
    assert read(path, "test", **files).images == [f"{tmp_path}/later/a.png"]
    assert names(read(None, "test", test_path=test_path, labels=["x"])) == ["a.png"]


def test_a_val_file_keeps_all_train_rows_for_training(tmp_path):
    path = twelve_rows(tmp_path)
    (tmp_path / "m.png").write_bytes(b"")
    assert len(read(path, val_path=write(tmp_path, "image,labels\nm.png,x\n", "val.csv"))) == 12


def test_files_and_a_split_column_together_are_an_error(tmp_path):
    path = write(tmp_path, SMALL)
    message = error_of(path, test_path=write(tmp_path, "image,labels\ne.png,cat\n", "test.csv"))
    assert "labels.csv has a column 'split'" in message
    assert "set data.split_column or these paths to null" in message
    assert len(read(path, val_path=write(tmp_path, "image,labels\ne.png,\n", "val.csv"), split_column=None)) == 4


def test_the_same_image_twice_is_an_error_within_and_across_splits_however_it_is_written(tmp_path):
    path = write(
        tmp_path, f"image,labels,split\na.png,x,train\n./x/../a.png,x,test\nb.png,x,train\n{tmp_path}/b.png,x,train\n"
    )
    message = error_of(path)
    assert "2 images that have a row already" in message
    assert f"{path} line 3: {tmp_path}/a.png, as in {path} line 2" in message
    assert f"{path} line 5: {tmp_path}/b.png, as in {path} line 4" in message


def test_the_same_image_in_two_files_is_an_error(tmp_path):
    path = write(tmp_path, "image,labels\na.png,x\nb.png,x\n", "train.csv")
    test_path = write(tmp_path, "image,labels\nb.png,x\n", "test.csv")
    assert f"{test_path} line 2: {tmp_path}/b.png, as in {path} line 3" in error_of(path, test_path=test_path)


def test_missing_images_are_listed_with_their_line_for_the_split_being_read_alone(tmp_path):
    path = write(tmp_path, SMALL, images="abc")
    assert len(read(path)) == 2
    message = error_of(path, "test")
    assert "images that do not exist" in message
    assert f"{path} line 5: {tmp_path}/d.png" in message
    assert "data.root" in message


def test_a_label_that_is_not_in_the_list_is_named_with_its_line(tmp_path):
    path = write(tmp_path, SMALL)
    message = error_of(path, labels=["cat"])
    assert "labels that are not in the list (correct them, data.labels or data.separator)" in message
    assert f"{path} line 2: 'dog'" in message
    assert len(read(path, "test", labels=["cat"])) == 1  # the test row has no other label


def test_a_label_that_only_val_rows_have_is_an_error_there(tmp_path):
    path = write(tmp_path, "image,labels,split\na.png,cat,train\nb.png,cat dgo,val\n")
    assert f"{path} line 3: 'dgo'" in error_of(path, "val")


def test_all_problems_come_in_one_error_with_lines_that_count_quoted_line_ends(tmp_path):
    text = 'image,labels,split\n"a.png","cat\n",train\nb.png,cat,tets\n,cat,train\nc.png,cat cat,train\n'
    text += "d.png,cat\ne.png,cat,train,more\nz.png,dog,train\nf.png,,val\n"
    path = write(tmp_path, text)
    message = error_of(path, labels=["cat"])
    assert f"splits other than train, val, test:\n  {path} line 4: 'tets', test?" in message
    assert f"rows without an image:\n  {path} line 5" in message
    assert f"labels that an image has twice:\n  {path} line 6: 'cat'" in message
    assert f"2 rows of the wrong length:\n  {path} line 7: 2 cells instead of 3\n  {path} line 8: 4 cells" in message
    assert f"line 9: {tmp_path}/z.png" in message
    assert f"{path} line 9: 'dog'" in message


def test_of_many_problems_the_first_are_listed_and_the_rest_counted(tmp_path):
    path = write(tmp_path, "image,labels\n" + "".join(f"{number}.png,x\n" for number in range(40)), images="")
    message = error_of(path, val_fraction=0.5)
    assert "20 images that do not exist" in message
    assert "... and 15 more" in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_bad_splits_are_named_before_the_lack_of_rows_that_they_cause(tmp_path, split):
    message = error_of(write(tmp_path, "image,labels,split\na.png,x,tets\nb.png,x,train\n"), split)
    assert message.index("line 2: 'tets'") < message.index("data.val_fraction")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_unknown_names_of_splits_are_all_that_is_said_of_a_file_without_others(tmp_path, split):
    message = error_of(write(tmp_path, "image,labels,split\na.png,x,trian\nb.png,x,fold 3\n"), split)
    assert "2 splits other than train, val, test:" in message
    assert "line 2: 'trian', train?\n" in message
    assert message.endswith("line 3: 'fold 3'")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Validation", "VAL"])
def test_splits_have_the_names_that_folders_may_have_in_any_case(tmp_path, name):
    path = write(tmp_path, f"image,labels,split\na.png,x,Train\nb.png,x,{name}\nc.png,x,TEST \n")
    assert [names(read(path, split)) for split in ("train", "val", "test")] == [["a.png"], ["b.png"], ["c.png"]]


def test_a_split_without_rows_is_an_error_that_says_how_to_provide_one(tmp_path):
    message = error_of(twelve_rows(tmp_path), "test")
    assert (
        "labels.csv cannot be used. There are\nsplits without rows:\n  test: write it into the split column" in message
    )
    assert "data.test_path" in message
    only_test = write(tmp_path, "image,labels,split\na.png,x,test\n")
    assert "splits without rows:\n  train" in error_of(only_test, labels=["x"])
    assert "splits without rows:\n  val" in error_of(only_test, "val", labels=["x"])


def test_a_missing_column_is_an_error_that_lists_the_columns_there_are(tmp_path):
    path = write(tmp_path, "file,tags\na.png,x\n")
    message = error_of(path)
    assert "labels.csv must have one column 'image'; its columns are: file, tags" in message
    assert "data.image_column" in message
    assert "data.labels_column" in error_of(path, image_column="file")
    assert len(read(write(tmp_path, "file,tags\na.png,x\nb.png,x\n"), image_column="file", labels_column="tags")) == 1


def test_a_split_column_under_another_name_is_not_taken_for_training_rows(tmp_path):
    path = write(tmp_path, SMALL.replace("split", "part"))
    message = error_of(path)
    assert "labels.csv has no column 'split'; its columns are: image, labels, part" in message
    assert "data.split_column" in message
    assert len(read(path, split_column="part")) == 2
    assert len(read(path, split_column=None)) == 3  # all four rows are train, of which a quarter goes to val


@pytest.mark.parametrize("text", ["", "image,labels,split\n", "\n\n"])
@pytest.mark.parametrize("setting", ["path", "val_path"])
def test_a_file_without_rows_is_an_error(tmp_path, text, setting):
    empty = write(tmp_path, text, "empty.csv")
    files = {"path": write(tmp_path, "image,labels\na.png,x\nb.png,x\n"), setting: empty}
    assert "empty.csv is empty: its first line must name the columns" in error_of(**files)


def test_files_that_are_missing_or_not_text_or_not_csv_are_errors_that_name_them(tmp_path):
    assert "cannot read nowhere.csv: No such file or directory; correct its path" in error_of("nowhere.csv")
    path = write(tmp_path, SMALL)
    Path(path).write_bytes(SMALL.replace("dog", "été").encode("latin-1"))
    assert "labels.csv is not UTF-8" in error_of(path)
    assert "labels.csv line 3 is not CSV" in error_of(write(tmp_path, 'image,labels\na.png,x\nb.png,"x\n'))


def test_a_file_that_is_not_utf_8_names_the_line_or_that_it_is_utf_16(tmp_path):
    path = write(tmp_path, SMALL)
    Path(path).write_bytes(SMALL.replace("\nc.png,dog", "\nc.png,été").encode("latin-1"))
    assert error_of(path) == f"{path} is not UTF-8 from line 4 on; save it as UTF-8"
    Path(path).write_bytes((SMALL + "# " * 5000).encode() + b"\n\xff\xfe")  # beyond the first block that is read
    assert error_of(path) == f"{path} is not UTF-8 from line 7 on; save it as UTF-8"
    for encoding in ("utf-16-le", "utf-16-be"):
        Path(path).write_bytes(("\ufeff" + SMALL).encode(encoding))
        assert error_of(path) == f"{path} is UTF-16: save it as UTF-8"


@pytest.mark.parametrize(("mark", "override"), [(";", "'data.delimiter=\";\"'"), ("\t", "$'data.delimiter=\"\\t\"'")])
def test_a_file_with_another_delimiter_says_how_to_read_it(tmp_path, mark, override):
    path = write(tmp_path, SMALL.replace(",", mark).replace("dog cat", "dog,cat"))
    message = error_of(path)
    assert f"seems to be divided by {mark!r}" in message
    assert f"Set {override}, or save it with commas" in message
    assert read(path, delimiter=mark, separator=",").labels == ("cat", "dog")


def test_a_delimiter_goes_before_the_name_of_the_file_and_is_one_character(tmp_path):
    assert names(read(write(tmp_path, SMALL, "labels.tsv"), delimiter=",")) == ["a.png", "b.png"]
    for delimiter in ("", "::", " ", '"'):
        assert "expected one character" in error_of(write(tmp_path, SMALL), delimiter=delimiter)


def test_wrong_settings_are_errors(tmp_path):
    assert "split of the data=validation: choose from train, val, test" in error_of(
        write(tmp_path, SMALL), "validation"
    )
    assert "one of data.path, data.val_path and data.test_path must not be empty" in error_of(None)


def test_each_image_may_have_a_weight(tmp_path):
    path = write(tmp_path, "image,labels,split,much\na.png,dog,train,2\nb.png,,train,0.5\nc.png,dog,val,1\n")
    assert read(path, weight_column="much").weights.tolist() == [2.0, 0.5]
    assert read(path).weights is None
    with pytest.raises(InputError, match=r"no column 'weight'; .*data.weight_column"):
        read(path, weight_column="weight")
    path = write(tmp_path, "image,labels,split,much\na.png,dog,train,a lot\nb.png,,val,-1\n", name="wrong.csv")
    with pytest.raises(InputError, match=r"(?s)2 weights that are no number.*wrong.csv line 2: 'a lot'"):
        read(path, weight_column="much")


def test_labels_that_exclude_each_other_are_checked_row_by_row(tmp_path):
    path = write(tmp_path, "image,labels,split\na.png,red big,train\nb.png,blue,train\nc.png,red,val\n")
    manifest = read(path, groups={"colour": ["red", "blue"], "size": {"labels": ["big"], "none": True}})
    assert [group.none for group in manifest.groups] == [False, True]
    message = r"(?s)2 images have not exactly one label of the group 'size'.*a.png: 2 labels.*b.png: 0"
    with pytest.raises(InputError, match=message):
        read(path, groups={"size": ["big", "red"]})


def three_rows(folder: Path, *cells: str) -> str:
    rows = "".join(f'{letter}.png,"{cell}"\n' for letter, cell in zip("abc", cells, strict=True))
    return write(folder, f"image,labels\n{rows}")


@pytest.mark.parametrize(
    ("cells", "mark", "said", "labels"),
    [
        (["female, people, portrait", "people", "sky"], ",", "2 of 5 labels have a ',' in them, as 'female,'", 4),
        (["female;people", "people;sea", "sky"], ";", "2 of 3 labels have a ';' in them, as 'female;people'", 4),
        (["female | people", "people", "sky"], "|", "1 of 4 labels have a '|' in them, as '|'", 3),
    ],
)
def test_a_wrong_separator_is_warned_of_once_with_the_right_one(tmp_path, caplog, cells, mark, said, labels):
    path = three_rows(tmp_path, *cells)
    reader = CsvReader(**{**SETTINGS, "path": path, "val_fraction": 0})
    reader("train")
    reader("val", labels=("unlike",))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{path}: {said}" in record.getMessage()
    assert f"set 'data.separator=\"{mark}\"' (data.separator is ' ' now)" in record.getMessage()
    caplog.clear()
    cfg = compose_config("train", ["data=csv", f"data.path={path}", f'data.separator="{mark}"', "data.val_fraction=0"])
    assert len(create_reader(cfg.data)("train").labels) == labels
    assert not caplog.records


@pytest.mark.parametrize(
    ("cells", "changes"),
    [
        (["cat dog", "dog", "owl"], {}),
        (["tench, Tinca tinca;dog", "dog", "owl"], {"separator": ";", "labels": ["tench, Tinca tinca", "dog", "owl"]}),
        (["a,b 1 2 3 4 5 6 7", "8", "9 10"], {}),  # 1 of 11 labels is less than a tenth
        (["cat,tabby", "dog", "owl"], {"layout": "pairs"}),  # nothing is divided
    ],
)
def test_labels_that_are_meant_so_are_not_warned_of(tmp_path, caplog, cells, changes):
    read(three_rows(tmp_path, *cells), val_fraction=0, **changes)
    assert not caplog.records


UNSEEN = (
    "image,labels,split\na.png,cat,train\nb.png,cat,train\nc.png,cat,val\n"
    "d.png,river cat,test\ne.png,river,test\nf.png,lake,test\n"
)


def test_labels_that_no_train_row_has_are_warned_of_when_the_train_rows_are_read(tmp_path, caplog):
    path = write(tmp_path, UNSEEN.replace("c.png,cat", "c.png,lake"))
    assert read(path).labels == ("cat",)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "2 labels have no train row: 'lake' (val 1, test 1), 'river' (test 2); the model will not know them, and "
        "evaluate.py will refuse rows that name them: add train rows"
    )
    caplog.clear()
    read(path, unseen_labels="drop")
    assert "evaluation leaves them out" in caplog.text
    caplog.clear()
    read(path, labels=["cat", "river"])
    assert "1 label is not in data.labels: 'lake' (val 1, test 1)" in caplog.text
    caplog.clear()
    read(path, labels=["cat", "river", "lake"])
    read(path, "test", labels=["cat", "river", "lake"])
    assert not caplog.records


def evaluate(path: str, known=("cat",), **changes):
    """Reads the test split for a model that has these labels."""
    return CsvReader(**{**SETTINGS, "path": path, **changes})("test", labels=known)


def test_labels_that_a_model_does_not_have_are_errors_that_can_be_mended(tmp_path):
    path = write(tmp_path, UNSEEN)
    with pytest.raises(InputError) as error:
        evaluate(path)
    assert "3 labels that the model does not have (correct their rows or take them out" in str(error.value)
    assert "for evaluate.py +data.unseen_labels=drop" in str(error.value)
    assert f"{path} line 5: 'river'" in str(error.value)


def test_labels_that_a_model_does_not_have_can_be_left_out_with_a_warning(tmp_path, caplog):
    manifest = evaluate(write(tmp_path, UNSEEN), unseen_labels="drop")
    assert names(manifest) == ["d.png", "e.png", "f.png"]
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1], [0], [0]])
    (record,) = caplog.records
    assert "leaves out 3 answers about 2 labels that the model does not have: river, lake" in record.getMessage()


def test_train_rows_never_lose_labels(tmp_path):
    assert "labels that are not in the list" in error_of(write(tmp_path, SMALL), labels=["cat"], unseen_labels="drop")


def test_labels_that_a_model_has_are_not_taken_for_wrongly_divided(tmp_path, caplog):
    path = write(tmp_path, 'image,labels,split\na.png,"tench, Tinca tinca",test\n')
    assert len(evaluate(path, separator=";", known=("tench, Tinca tinca",))) == 1
    assert not caplog.records
    with pytest.raises(InputError, match="the model does not have"):
        evaluate(path, separator=";")
    assert "set 'data.separator=\",\"'" in caplog.text
