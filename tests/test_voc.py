"""A VOC folder becomes the labels that the development kit's own lists have, or one error that names every bad file.

The folder is written by the kit's documentation, host.robots.ox.ac.uk/pascal/VOC/voc2007/htmldoc/index.html.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.voc import VocReader
from multihot.errors import InputError

SETTINGS = {
    "train_set": "trainval",
    "val_set": None,
    "test_set": "test",
    "difficult": "unknown",
    "root": None,
    "labels": ["bird", "dog", "person"],
    "groups": {},
    "val_fraction": 0.25,
    "split_seed": 0,
}
OBJECT = """
  <object>
    <name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
    <bndbox><xmin>8</xmin><ymin>12</ymin><xmax>35</xmax><ymax>49</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>8</xmin><ymin>12</ymin><xmax>9</xmax><ymax>13</ymax></bndbox></part>
  </object>"""


def add_image(folder: Path, name: str, *objects: str) -> None:
    """Adds an image of objects such as "dog" or "dog difficult"."""
    for part in ("Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), "red").save(folder / "JPEGImages" / f"{name}.jpg")
    text = "".join(OBJECT.format(name=item.split()[0], difficult=int(item.endswith(" difficult"))) for item in objects)
    head = f"<folder>VOC2007</folder><filename>{name}.jpg</filename><size><width>16</width></size>"
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{head}{text}\n</annotation>\n")


def add_set(folder: Path, name: str, text: str) -> str:
    (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    path = folder / "ImageSets/Main" / f"{name}.txt"
    path.write_text(text)
    return str(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "VOCdevkit/VOC2007"
    add_image(folder, "000005", "dog", "dog", "person difficult")
    add_image(folder, "000007")
    add_image(folder, "000009", "person", "person difficult", "bird")
    add_image(folder, "000012", "bird difficult", "bird difficult")
    add_image(folder, "000001", "dog difficult", "person")
    add_image(folder, "000002", "bird")
    add_set(folder, "trainval", "000005\n000007\n000012 \n000009\n")
    add_set(folder, "train", "000005\n000009\n")
    add_set(folder, "val", "000012\r\n\r\n000007")
    add_set(folder, "test", "000001\n000002\n")
    return folder


def read(folder: Path, split: str = "test", must_exist: bool = True, **changes):
    return VocReader(**{**SETTINGS, "path": str(folder), **changes})(split, must_exist=must_exist)


def error_of(folder: Path, split: str = "test", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(folder, split, **changes)
    return str(error.value)


def names(manifest) -> list[str]:
    return [Path(image).stem for image in manifest.images]


def test_each_split_has_the_images_of_its_set_in_its_order(folder):
    sets = {"train_set": "train", "val_set": "val"}
    assert [names(read(folder, split, **sets)) for split in ("train", "val", "test")] == [
        ["000005", "000009"],
        ["000012", "000007"],
        ["000001", "000002"],
    ]
    manifest = read(folder)
    assert manifest.images[0] == f"{folder}/JPEGImages/000001.jpg"
    assert manifest.places[1] == f"{folder}/ImageSets/Main/test.txt line 2"


def test_without_a_val_set_a_share_of_the_train_set_is_val(folder):
    train, val = read(folder, "train"), read(folder, "val")
    assert len(val) == 1
    assert sorted(names(train) + names(val)) == ["000005", "000007", "000009", "000012"]


@pytest.mark.parametrize(
    ("difficult", "answer"),
    [("unknown", -1), ("present", 1), ("absent", 0)],
)
def test_a_label_of_difficult_objects_alone_is_what_the_setting_says(folder, difficult, answer):
    sets = {"train_set": "train", "val_set": "val", "difficult": difficult}
    assert read(folder, "train", **sets).dense_targets().tolist() == [[0, 1, answer], [1, 0, 1]]
    assert read(folder, "val", **sets).dense_targets().tolist() == [[answer, 0, 0], [0, 0, 0]]
    assert read(folder, "test", **sets).dense_targets().tolist() == [[0, answer, 1], [1, 0, 0]]


def test_by_default_the_targets_are_those_of_the_kit_with_its_0_as_unknown(folder):
    # <label>_trainval.txt of the kit: 1 present, -1 absent, 0 only difficult objects
    kit = {"bird": [-1, -1, 0, 1], "dog": [1, -1, -1, -1], "person": [0, -1, -1, 1]}
    to_target = {1: 1, -1: 0, 0: -1}
    wanted = np.transpose([[to_target[answer] for answer in answers] for answers in kit.values()])
    manifest = read(folder, train_set=None, test_set="trainval")
    assert manifest.labels == tuple(kit)
    np.testing.assert_array_equal(manifest.dense_targets(), wanted)


def test_parts_of_objects_are_no_labels_and_without_a_mark_an_object_is_not_difficult(folder):
    annotation = folder / "Annotations/000002.xml"
    annotation.write_text("<annotation><object><name> dog </name></object></annotation>")
    assert read(folder, labels=["dog", "head", "person"]).dense_targets().tolist() == [[-1, 0, 1], [1, 0, 0]]


def test_without_a_label_list_it_is_that_of_the_train_set(folder):
    assert read(folder, "train", labels=None).labels == ("bird", "dog", "person")
    message = error_of(folder, labels=["bird", "person"])
    assert f"{folder}/ImageSets/Main/test.txt line 1: 'dog' is -1" in message


def test_images_may_be_in_another_folder(folder, tmp_path):
    (folder / "JPEGImages").rename(tmp_path / "pictures")
    assert read(folder, root=str(tmp_path / "pictures")).images[0] == f"{tmp_path}/pictures/000001.jpg"


def test_missing_images_are_listed_with_their_line_unless_they_need_not_be_there(folder):
    (folder / "JPEGImages/000002.jpg").unlink()
    message = error_of(folder)
    assert "images that do not exist" in message
    assert f"{folder}/ImageSets/Main/test.txt line 2: {folder}/JPEGImages/000002.jpg" in message
    assert len(read(folder, must_exist=False)) == 2
    assert len(read(folder, "train")) == 3


def test_annotations_that_cannot_be_used_are_named_together_with_line_and_file(folder):
    annotations = folder / "Annotations"
    (annotations / "000005.xml").unlink()
    (annotations / "000007.xml").write_text("<annotation><object></annotation>")
    (annotations / "000009.xml").write_text("<annotation><object><pose>Left</pose></object></annotation>")
    (annotations / "000012.xml").write_text(
        "<annotation><object><name>dog</name></object>"
        "<object><name>dog</name><difficult>maybe</difficult></object></annotation>"
    )
    (annotations / "000001.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')
    message = error_of(folder)
    place = f"{folder}/ImageSets/Main/trainval.txt line"
    assert "5 images whose annotation cannot be used:" in message
    assert f"{place} 1: {annotations}/000005.xml: No such file or directory" in message
    assert f"{place} 2: {annotations}/000007.xml is not XML: mismatched tag: line 1, column 22" in message
    assert f"{place} 3: {annotations}/000012.xml object 2: difficult is 'maybe', not 0 or 1" in message
    assert f"{place} 4: {annotations}/000009.xml object 1 has no name" in message
    assert f"test.txt line 1: {annotations}/000001.xml is not XML: unknown encoding" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html><body/></html>", "it holds <html>"),
        ("<annotation><Object><name>dog</name></Object></annotation>", "it holds <Object> where only <object>"),
        ("<annotation><x><object><name>dog</name></object></x></annotation>", "it holds <object> where only"),
        ('<annotation xmlns="http://x"><object><name>dog</name></object></annotation>', "it holds <{http://x}object>"),
        ("", "is not XML: no element found"),
    ],
)
def test_xml_of_another_kind_is_not_an_image_without_labels(folder, text, words):
    (folder / "Annotations/000005.xml").write_text(text)
    assert words in error_of(folder)


def test_a_set_that_is_not_there_is_an_error_that_says_how_to_do_without(folder):
    (folder / "ImageSets/Main/test.txt").unlink()
    message = error_of(folder, "train")
    assert f"cannot read {folder}/ImageSets/Main/test.txt: No such file or directory" in message
    assert "correct data.path, or data.test_set (null: there is no such split)" in message
    assert len(read(folder, "train", test_set=None)) == 3


def test_a_split_without_a_set_is_an_error_that_says_how_to_name_one(folder):
    message = error_of(folder, "test", test_set=None)
    words = "name a list of ImageSets/Main by data.train_set, data.val_set or data.test_set"
    assert f"splits without rows:\n  test: {words}" in message
    assert len(read(folder, "test", train_set=None)) == 2


def test_the_list_of_one_class_is_not_taken_for_a_set(folder):
    path = add_set(folder, "dog_test", "000001  0\n000002 -1\n")
    message = error_of(folder, test_set="dog_test")
    assert "2 lines that are not the name of one image" in message
    assert f"{path} line 1: 000001 0" in message


def test_an_image_in_two_sets_is_an_error(folder):
    message = error_of(folder, val_set="val")
    assert "2 images that have a row already" in message
    assert (
        f"val.txt line 1: {folder}/JPEGImages/000012.jpg, as in {folder}/ImageSets/Main/trainval.txt line 3" in message
    )


def test_wrong_settings_are_errors(folder):
    assert "one of data.train_set, data.val_set, data.test_set" in error_of(folder, train_set=None, test_set=None)
    add_set(folder, "latin", "é")
    (folder / "ImageSets/Main/latin.txt").write_bytes("é".encode("latin-1"))
    assert "latin.txt is not UTF-8" in error_of(folder, test_set="latin")


def test_the_settings_in_conf_build_a_reader_of_the_twenty_classes(folder):
    reader = create_reader(compose_config("train", ["data=voc", f"data.path={folder}", "data.val_fraction=0.5"]).data)
    assert len(reader("train")) == len(reader("val")) == 2
    manifest = reader("test")
    assert len(manifest.labels) == 20
    assert list(manifest.labels) == sorted(manifest.labels)
    assert manifest.labels[2] == "bird"
    np.testing.assert_array_equal(np.flatnonzero(manifest.target(0)), [11, 14])  # dog, unknown, and person


def test_tags_that_cvat_writes_into_lists_are_told(folder, caplog):
    """datumaro 1.13.12, by which CVAT exports VOC, writes tags into lists alone, not into annotations."""
    add_set(folder, "bird_trainval", "000005 -1\n000007 -1\n000009  1\n")
    add_set(folder, "dog_trainval", "000005  1\n000007 -1\n000009 -1\n")
    assert len(read(folder, "train")) > 0
    assert not caplog.records  # each is an object too, as in the kit's own lists
    add_set(folder, "night_trainval", "000005  1\n000007 -1\n000012  0\n")
    read(folder, "train")
    assert "1 images have labels in ImageSets/Main/<label>_<set>.txt that none of their objects has" in caplog.text
    assert "data=cvat): 000005" in caplog.text
    (folder / "Annotations" / "000005.xml").unlink()
    message = error_of(folder, "train")
    assert "images that have tags and no objects (CVAT writes" in message
    assert "line 1: 000005: dog, night" in message
