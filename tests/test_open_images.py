"""The image-level labels of Open Images become what is known of each image, and what nobody looked at stays unknown.

Format: https://storage.googleapis.com/openimages/web/download_v7.html (image labels, class names).
"""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.open_images import OpenImagesReader
from multihot.errors import InputError

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "machine_path": None,
    "val_machine_path": None,
    "test_machine_path": None,
    "trainable_path": None,
    "images": "train/{id}.jpg",
    "val_images": "validation/{id}.jpg",
    "test_images": "test/{id}.jpg",
    "unverified": "unknown",
    "root": None,
    "labels": None,
    "groups": None,
    "val_fraction": 0.5,
    "split_seed": 0,
}
HEADER = "ImageID,Source,LabelName,Confidence\n"
CLASSES = "/m/011k07,Tortoise\n/m/0120dh,Sea turtle\n/m/01x_v,Camel\n"
TORTOISE, TURTLE, CAMEL = "/m/011k07", "/m/0120dh", "/m/01x_v"
FIRST, SECOND, THIRD = "000018acd19b4ad3", "00001bc2c4027449", "0000cd8ce11a5f1b"
TRAIN = (
    f"{FIRST},verification,{TORTOISE},1\n"
    f"{FIRST},crowdsource-verification,{CAMEL},0\n"
    f"{SECOND},verification,{TURTLE},1.0\n"
    f"{SECOND},verification,{TORTOISE},0\n"
)
VAL = f"{THIRD},verification,{CAMEL},1\n"


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def settings(folder: Path, train: str = TRAIN, val: str = VAL, **changes) -> dict:
    """Returns the settings for a small data set that is written into a folder with its three images."""
    for name in (f"train/{FIRST}", f"train/{SECOND}", f"validation/{THIRD}"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / f"{name}.jpg")
    files = {
        "path": write(folder, "train-annotations-human-imagelabels.csv", HEADER + train),
        "val_path": write(folder, "validation-annotations-human-imagelabels.csv", HEADER + val),
        "classes_path": write(folder, "class-descriptions.csv", CLASSES),
    }
    return {**SETTINGS, **files, **changes}


def read(folder: Path, split: str = "train", train: str = TRAIN, **changes):
    return OpenImagesReader(**settings(folder, train, **changes))(split)


def error_of(folder: Path, split: str = "train", train: str = TRAIN, **changes) -> str:
    with pytest.raises(InputError) as error:
        read(folder, split, train, **changes)
    return str(error.value)


def test_labels_without_a_line_are_unknown(tmp_path):
    manifest = read(tmp_path)
    assert manifest.labels == ("Tortoise", "Sea turtle", "Camel")
    assert manifest.unlisted == -1
    assert manifest.images == [f"{tmp_path}/train/{FIRST}.jpg", f"{tmp_path}/train/{SECOND}.jpg"]
    np.testing.assert_array_equal(manifest.dense_targets(), [[1, -1, 0], [0, 1, -1]])
    assert manifest.targets.dtype == np.int8
    val = read(tmp_path, "val")
    assert val.images == [f"{tmp_path}/validation/{THIRD}.jpg"]
    np.testing.assert_array_equal(val.dense_targets(), [[-1, -1, 1]])
    assert list(manifest.places) == [f"{tmp_path}/train-annotations-human-imagelabels.csv line {k}" for k in (2, 4)]


def test_labels_without_a_line_can_be_absent(tmp_path):
    manifest = read(tmp_path, unverified="absent")
    assert manifest.unlisted == 0
    np.testing.assert_array_equal(manifest.dense_targets(), [[1, 0, 0], [0, 1, 0]])


def test_lines_of_an_image_need_not_follow_each_other(tmp_path):
    lines = TRAIN.splitlines(keepends=True)
    manifest = read(tmp_path, train="".join(lines[k] for k in (3, 0, 2, 1)))
    assert manifest.images == [f"{tmp_path}/train/{SECOND}.jpg", f"{tmp_path}/train/{FIRST}.jpg"]
    np.testing.assert_array_equal(manifest.dense_targets(), [[0, 1, -1], [1, -1, 0]])


def test_labels_of_a_machine_are_soft_and_give_way_to_those_of_people(tmp_path):
    machine = f"{FIRST},machine,{TORTOISE},0.25\n{FIRST},machine,{TURTLE},0.75\n{SECOND},machine,{TORTOISE},0.5\n"
    manifest = read(tmp_path, machine_path=write(tmp_path, "machine.csv", HEADER + machine))
    assert manifest.targets.dtype == np.float32
    np.testing.assert_array_equal(manifest.dense_targets(), [[1, 0.75, 0], [0, 1, -1]])


def test_a_machine_knows_images_that_nobody_looked_at(tmp_path):
    path = write(tmp_path, "machine.csv", f"{HEADER}{FIRST},machine,{CAMEL},0.5\n")
    manifest = OpenImagesReader(**settings(tmp_path) | {"path": None, "machine_path": path})("train")
    np.testing.assert_array_equal(manifest.dense_targets(), [[-1, -1, 0.5]])
    assert list(manifest.places) == [f"{path} line 2"]


def test_people_who_agree_are_one_answer_and_who_contradict_leave_it_unknown(tmp_path, caplog):
    again = f"{FIRST},crowdsource-verification,{TORTOISE},1\n{SECOND},crowdsource-verification,{TURTLE},0\n"
    with caplog.at_level(logging.WARNING, "multihot"):
        manifest = read(tmp_path, train=TRAIN + again)
    np.testing.assert_array_equal(manifest.dense_targets(), [[1, -1, 0], [0, -1, -1]])
    assert "train: unknown are 1 label with contradicting lines" in caplog.text
    machine = write(tmp_path, "machine.csv", f"{HEADER}{SECOND},machine,{TURTLE},0.75\n")
    manifest = read(tmp_path, train=TRAIN + again, machine_path=machine, unverified="absent")
    np.testing.assert_array_equal(manifest.dense_targets(), [[1, 0, 0], [0, -1, 0]])


def test_class_names_of_v7_have_a_header_and_equal_names_get_their_id(tmp_path):
    classes = f'LabelName,DisplayName\n{TORTOISE},Turtle\n{TURTLE},Turtle\n{CAMEL},"Camel, wild"\n'
    manifest = read(tmp_path, classes_path=write(tmp_path, "oidv7-class-descriptions.csv", classes))
    assert manifest.labels == (f"Turtle ({TORTOISE})", f"Turtle ({TURTLE})", "Camel, wild")


@pytest.mark.parametrize("labels", [["Camel", "Tortoise"], [CAMEL, TORTOISE]])
def test_a_label_list_keeps_these_in_its_order(tmp_path, labels):
    manifest = read(tmp_path, labels=labels)
    assert manifest.labels == tuple(labels)
    np.testing.assert_array_equal(manifest.dense_targets(), [[0, 1], [-1, 0]])


def test_a_file_of_trainable_labels_keeps_only_these(tmp_path):
    trainable = write(tmp_path, "classes-trainable.txt", f"{CAMEL}\n")
    manifest = read(tmp_path, trainable_path=trainable)
    assert manifest.labels == ("Camel",)
    assert manifest.images == [f"{tmp_path}/train/{FIRST}.jpg"]  # nothing is known of the second
    manifest = read(tmp_path, trainable_path=trainable, unverified="absent", labels=None)
    assert len(manifest) == 2
    np.testing.assert_array_equal(manifest.dense_targets(), [[0], [0]])


def test_images_may_lie_elsewhere(tmp_path):
    changes = {"root": f"{tmp_path}/pictures", "images": "train_{id[0]}/{id}.jpg"}
    reader = OpenImagesReader(**settings(tmp_path, **changes))
    assert reader("train", must_exist=False).images[0] == f"{tmp_path}/pictures/train_0/{FIRST}.jpg"
    message = error_of(tmp_path, **changes)
    assert "2 images that do not exist" in message
    assert f"imagelabels.csv line 2: {tmp_path}/pictures/train_0/{FIRST}.jpg" in message


@pytest.mark.parametrize("pattern", ["train.jpg", "{name}.jpg", "{id[9]}.jpg", "{id", "{0}.jpg"])
def test_a_pattern_without_the_id_is_an_error(tmp_path, pattern):
    assert "it must hold {id}, as in train/{id}.jpg" in error_of(tmp_path, images=pattern)


def test_a_share_of_the_train_images_can_be_val(tmp_path):
    reader = OpenImagesReader(**settings(tmp_path) | {"val_path": None})
    assert len(reader("train")) == len(reader("val")) == 1


def test_all_bad_lines_come_in_one_error_with_their_number(tmp_path):
    bad = (
        f"{FIRST},verification,/m/0,1\n{FIRST},verification,{CAMEL},2\n{FIRST},verification,{CAMEL}\n"
        f",verification,{CAMEL},1\n{FIRST},verification,{TURTLE},yes\n"
    )
    message = error_of(tmp_path, train=TRAIN + bad)
    file = f"{tmp_path}/train-annotations-human-imagelabels.csv"
    assert f"labels that data.classes_path does not name:\n  {file} line 6: /m/0" in message
    assert f"2 confidences that are not from 0 to 1:\n  {file} line 7: '2'\n  {file} line 10: 'yes'" in message
    assert f"rows of the wrong length:\n  {file} line 8: 3 cells instead of 4" in message
    assert f"rows without an image:\n  {file} line 9" in message


def test_files_that_are_not_of_open_images_are_errors(tmp_path):
    other = write(tmp_path, "boxes.csv", "ImageID,XMin,XMax\n")
    message = error_of(tmp_path, machine_path=other)
    assert f"{other} is no list of image-level labels of Open Images" in message
    assert f"its first line must be {HEADER.strip()}, not ImageID,XMin,XMax" in message
    assert "cannot read nowhere.csv: No such file or directory" in error_of(tmp_path, machine_path="nowhere.csv")


@pytest.mark.parametrize("text", ["", "/m/1,One\n/m/2\n", "/m/1,\n", "ImageID,Source,LabelName,Confidence\n"])
def test_files_that_name_no_labels_are_errors(tmp_path, text):
    path = write(tmp_path, "classes.csv", text)
    assert "is not the id and the name of a label, as in /m/011k07,Tortoise" in error_of(tmp_path, classes_path=path)


def test_a_label_that_is_named_twice_is_an_error(tmp_path):
    path = write(tmp_path, "classes.csv", CLASSES + f"{CAMEL},Dromedary\n")
    assert f"names the label {CAMEL} twice" in error_of(tmp_path, classes_path=path)


def test_labels_to_keep_must_be_named(tmp_path):
    assert "data.labels has the label 'Dog', which" in error_of(tmp_path, labels=["Dog"])
    path = write(tmp_path, "trainable.txt", "/m/9\n")
    assert f"{path} has the label '/m/9', which {tmp_path}/class-descriptions.csv does not" in error_of(
        tmp_path, trainable_path=path
    )


def test_wrong_settings_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"one of data.path, data.val_path and data.test_path must not be empty"):
        OpenImagesReader(**settings(tmp_path) | {"path": None, "val_path": None})("train")
    words = "give each split its own source (data.path for train, data.val_path, data.test_path)"
    assert f"splits without rows:\n  test: {words}" in error_of(tmp_path, "test")


def test_the_config_builds_a_reader_that_workers_can_copy(tmp_path):
    files = settings(tmp_path)
    overrides = [f"data.{name}={files[name]}" for name in ("path", "val_path", "classes_path")]
    manifest = create_reader(compose_config("train", ["data=openimages", *overrides]).data)("train")
    copied = pickle.loads(pickle.dumps(manifest))
    np.testing.assert_array_equal(copied.dense_targets(), [[1, -1, 0], [0, 1, -1]])
    assert copied.read(copied.images[0]).size == (8, 8)
