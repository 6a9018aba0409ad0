"""Folders become exactly the images, labels and splits that they show.

The layout is that of torchvision's ImageFolder (https://docs.pytorch.org/vision/stable/generated/
torchvision.datasets.ImageFolder.html), except that an image may be in several folders.
"""

import logging
import os
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.folders import FolderReader
from multihot.errors import InputError

SETTINGS = {
    "root": None,
    "labels": None,
    "groups": None,
    "val_fraction": 0.25,
    "split_seed": 0,
    "split_folders": None,
    "same_file": "content",
}


def draw(path: Path, seed: int) -> Path:
    """Writes a small picture of noise, of the same size in bytes for each seed, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def create_folders(top: Path, *paths: str) -> str:
    """Draws the pictures top/path, each with the seed behind its colon ("cat/a.bmp:3"), and returns top."""
    for path in paths:
        name, _, seed = path.partition(":")
        draw(top / name, int(seed))
    return str(top)


def create_train(top: Path, *paths: str) -> str:
    """Draws pictures in top/train, and one in top/val so that none of them is taken for it, and returns top."""
    return create_folders(top, *(f"train/{path}" for path in paths), "val/cat/v.bmp:99")


def reader(path: str, **changes) -> FolderReader:
    return FolderReader(path=path, **{**SETTINGS, **changes})


def read(path: str, split: str = "train", **changes):
    return reader(path, **changes)(split)


def error_of(path: str, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def show(manifest, top: str) -> dict[str, str]:
    """Returns the labels of each image, by its place in the folder."""
    labels = np.array(manifest.labels, object)
    return {
        os.path.relpath(image, top): " ".join(labels[row == 1])
        for image, row in zip(manifest.images, manifest.dense_targets(), strict=True)
    }


def with_splits(tmp_path: Path) -> str:
    return create_folders(
        tmp_path, "train/dog/a.bmp:1", "train/cat/a.bmp:2", "train/cat/b.bmp:1", "val/dog/c.bmp:3", "test/cat/d.bmp:4"
    )


def test_labels_are_the_names_of_the_folders_and_images_come_label_by_label(tmp_path):
    path = create_folders(tmp_path, "owl/b.bmp:1", "cat/z.bmp:2", "cat/more/a.bmp:3", "owl/a.bmp:4")
    train, val = read(path), read(path, "val")
    assert train.labels == val.labels == ("cat", "owl")
    assert len(val) == 1
    both = show(train, path) | show(val, path)
    assert both == {"cat/z.bmp": "cat", "cat/more/a.bmp": "cat", "owl/a.bmp": "owl", "owl/b.bmp": "owl"}
    order = ["cat/z.bmp", "cat/more/a.bmp", "owl/a.bmp", "owl/b.bmp"]
    assert [image for image in order if image in show(train, path)] == list(show(train, path))


def test_split_folders_are_found_by_themselves(tmp_path):
    path = with_splits(tmp_path)
    assert show(read(path), path) == {"train/cat/a.bmp": "cat", "train/cat/b.bmp": "cat dog"}
    assert show(read(path, "val"), path) == {"val/dog/c.bmp": "dog"}
    assert show(read(path, "test"), path) == {"test/cat/d.bmp": "cat"}
    assert read(path, "val").labels == ("cat", "dog")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid", "dev"])
def test_the_folder_of_validation_has_several_names(tmp_path, name):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", f"{name}/cat/b.bmp:2")
    assert show(read(path, "val"), path) == {f"{name}/cat/b.bmp": "cat"}
    assert len(read(path)) == 1


def test_two_folders_for_one_split_are_an_error(tmp_path):
    path = create_folders(tmp_path, "val/cat/a.bmp:1", "valid/cat/b.bmp:2")
    assert "two folders for one split, val and valid; keep one" in error_of(path)


def test_split_folders_beside_others_must_be_declared(tmp_path):
    path = create_folders(tmp_path, "car/a.bmp:1", "car/b.bmp:2", "train/c.bmp:3", "train/d.bmp:4")
    message = error_of(path)
    assert "holds the folders train and also car: set data.split_folders to false" in message
    assert read(path, split_folders=False).labels == ("car", "train")
    path = create_folders(tmp_path / "other", "train/cat/a.bmp:1", "val/cat/b.bmp:2", "masks/c.bmp:3")
    assert show(read(path, split_folders=True), path) == {"train/cat/a.bmp": "cat"}


def test_labels_that_are_all_called_like_splits_can_be_declared(tmp_path):
    path = create_folders(tmp_path, "test/a.bmp:1", "test/b.bmp:2", "train/c.bmp:3", "train/d.bmp:4")
    assert read(path, split_folders=False).labels == ("test", "train")


def test_equal_bytes_are_one_image_with_several_labels(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1", "dog/b.bmp:1", "dog/c.bmp:2", "dog/d.bmp:1")
    assert show(read(path), path) == {"train/cat/a.bmp": "cat dog", "train/dog/c.bmp": "dog"}


def test_files_that_only_begin_and_end_alike_are_different(tmp_path):
    create_train(tmp_path, "cat/a.bmp:1", "dog/b.bmp:1")
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    for name in ("cat/a.bmp", "dog/b.bmp"):
        Image.fromarray(noise).save(tmp_path / "train" / name)
    assert len(read(str(tmp_path))) == 1
    noise[50, 50] ^= 255
    Image.fromarray(noise).save(tmp_path / "train/dog/b.bmp")
    assert len(read(str(tmp_path))) == 2


def test_links_to_one_file_are_one_image(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1", "dog/x.bmp:2", "owl/x.bmp:3")
    os.symlink("../cat/a.bmp", tmp_path / "train/dog/b.bmp")
    os.link(tmp_path / "train/cat/a.bmp", tmp_path / "train/owl/c.bmp")
    assert show(read(path), path)["train/cat/a.bmp"] == "cat dog owl"
    assert len(read(path)) == 3


def test_equal_names_can_be_one_image(tmp_path):
    path = create_folders(
        tmp_path,
        "train/cat/a.bmp:1",
        "train/dog/a.bmp:2",
        "train/dog/b.bmp:1",
        "train/dog/more/a.bmp:3",
        "val/cat/a.bmp:1",
    )
    assert show(read(path, same_file="name"), path) == {
        "train/cat/a.bmp": "cat dog",
        "train/dog/b.bmp": "dog",
        "train/dog/more/a.bmp": "dog",
    }
    assert len(read(path, "val", same_file="name")) == 1


def test_each_file_can_be_an_image_of_its_own_for_a_single_label(tmp_path):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", "train/dog/a.bmp:1", "val/cat/a.bmp:1")
    manifest = read(path, same_file="never")
    assert show(manifest, path) == {"train/cat/a.bmp": "cat", "train/dog/a.bmp": "dog"}
    assert manifest.label_space(single_label=True, activation="sigmoid").labels == ("cat", "dog")


def test_one_image_in_two_splits_is_an_error_that_names_both_files(tmp_path):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", "train/cat/b.bmp:2", "val/dog/c.bmp:1", "val/cat/d.bmp:3")
    message = error_of(path, "train")
    assert "images that are in two splits" in message
    assert f"{path}/val file 2: {path}/val/dog/c.bmp is the same as {path}/train/cat/a.bmp" in message
    assert "images that are in two splits" in error_of(path, "val")


def test_only_files_of_one_size_are_read(tmp_path, monkeypatch):
    path = create_train(tmp_path, "cat/a.bmp:1", "dog/b.bmp:2")
    Image.new("RGB", (9, 9)).save(tmp_path / "train/dog/c.bmp")
    opened = []
    monkeypatch.setattr(
        "multihot.data.readers.folders.open_file", lambda file: opened.append(file) or BytesIO(file.encode())
    )
    assert len(read(path)) == 3
    assert set(opened) == {f"{path}/train/cat/a.bmp", f"{path}/train/dog/b.bmp", f"{path}/val/cat/v.bmp"}


def test_other_files_and_hidden_ones_are_left_out_and_counted(tmp_path, caplog):
    path = create_train(tmp_path, "cat/A.BMP:1", "cat/.b.bmp:2", ".hidden/c.bmp:3", "cat/.d/e.bmp:4")
    for name in ("notes.txt", "paper.pdf", "Thumbs.db"):
        (tmp_path / "train/cat" / name).write_bytes(b"no image")
    with caplog.at_level(logging.INFO, "multihot"):
        assert show(read(path), path) == {"train/cat/A.BMP": "cat"}
    assert f"{path}: 5 files, of which 3 are no images" in caplog.text


def test_links_in_a_circle_end(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1", "cat/deep/b.bmp:2")
    os.symlink(tmp_path / "train/cat", tmp_path / "train/cat/deep/again")
    assert show(read(path, same_file="never"), path) == {"train/cat/a.bmp": "cat", "train/cat/deep/b.bmp": "cat"}


def test_linked_folders_outside_are_followed(tmp_path):
    create_folders(tmp_path / "store", "a.bmp:1", "b.bmp:2")
    path = create_train(tmp_path / "data", "cat/c.bmp:3")
    os.symlink(tmp_path / "store", tmp_path / "data/train/dog")
    assert show(read(path), path) == {"train/cat/c.bmp": "cat", "train/dog/a.bmp": "dog", "train/dog/b.bmp": "dog"}


def test_an_empty_folder_keeps_its_label_with_a_warning(tmp_path, caplog):
    path = create_train(tmp_path, "cat/a.bmp:1")
    (tmp_path / "train/yak").mkdir()
    manifest = read(path)
    assert manifest.labels == ("cat", "yak")
    assert manifest.label_count().tolist() == [1, 0]
    assert "1 label folders have no image: train/yak" in caplog.text


def test_images_outside_of_label_folders_are_an_error(tmp_path):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", "train/b.bmp:2", "val/cat/c.bmp:3")
    assert (
        f"images in no label folder (move them into one, or away):\n  {path}/train file 1: {path}/train/b.bmp"
        in error_of(path)
    )


def test_a_label_that_train_lacks_is_an_error(tmp_path):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", "val/cats/b.bmp:2")
    assert f"{path}/val file 1: 'cats'" in error_of(path, "val")


def test_a_label_list_gives_the_order(tmp_path):
    path = with_splits(tmp_path)
    assert read(path, labels=["dog", "owl", "cat"]).label_count().tolist() == [1, 0, 2]
    assert "'dog'" in error_of(path, labels=["cat"])


def test_test_data_alone_has_its_own_labels(tmp_path):
    path = create_folders(tmp_path, "test/cat/a.bmp:1")
    assert show(read(path, "test"), path) == {"test/cat/a.bmp": "cat"}
    assert "splits without rows" in error_of(path, "train")


def test_a_split_without_a_folder_is_an_error_that_says_where_to_put_it(tmp_path):
    path = create_folders(tmp_path, "train/cat/a.bmp:1", "val/cat/b.bmp:2")
    words = "put its label folders into data.path/train, data.path/val or data.path/test"
    assert f"splits without rows:\n  test: {words}" in error_of(path, "test")
    assert "test: put its label folders" in error_of(path, "test", split_folders=True)
    create_folders(tmp_path, "test/cat/c.bmp:3")
    assert len(read(path, "test")) == 1


def test_links_to_nothing_are_missing_images(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1")
    os.symlink("nowhere.bmp", tmp_path / "train/cat/b.bmp")
    assert f"{path}/train file 2: {path}/train/cat/b.bmp (a link to nothing" in error_of(path)
    assert len(reader(path)("train", must_exist=False)) == 2


def test_empty_files_are_not_the_same_image(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1")
    for place in ("train/cat/b.bmp", "train/cat/c.bmp"):
        (tmp_path / place).touch()
    assert len(read(path)) == 3


def test_odd_names_are_kept(tmp_path):
    path = create_train(tmp_path, "traffic light/été #1.bmp:1", "null/a.bmp:2")
    assert show(read(path), path) == {"train/null/a.bmp": "null", "train/traffic light/été #1.bmp": "traffic light"}


def test_a_folder_that_is_missing_or_holds_no_folders_is_an_error(tmp_path):
    assert f"cannot read {tmp_path}/nowhere: No such file or directory; correct data.path" in error_of(
        f"{tmp_path}/nowhere"
    )
    assert f"{tmp_path} holds no folders, of which each label must have one" in error_of(str(tmp_path))


def test_the_path_may_be_relative(tmp_path, monkeypatch):
    create_train(tmp_path / "pictures", "cat/a.bmp:1")
    monkeypatch.chdir(tmp_path)
    assert read("pictures").images == [f"{tmp_path}/pictures/train/cat/a.bmp"]


def test_wrong_settings_are_errors(tmp_path):
    path = with_splits(tmp_path)
    assert "no folder in" in error_of(f"{path}/train", split_folders=True)
    assert "images outside of their folder" in error_of(path, root=f"{tmp_path}/train")


def test_the_config_builds_a_reader_that_workers_can_copy(tmp_path):
    path = with_splits(tmp_path)
    cfg = compose_config("train", ["data=folder", f"data.path={path}"])
    manifest = create_reader(cfg.data)("train")
    assert len(pickle.loads(pickle.dumps(manifest))) == 2
    assert manifest.read(manifest.images[0]).size == (6, 6)


def touch(top: Path, *paths: str) -> str:
    """Writes a small picture for each path that ends with .bmp and some bytes for the others, and returns top."""
    for seed, path in enumerate(paths):
        draw((top / path).with_suffix(".bmp"), seed).rename(top / path)
    return str(top)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["training/cat/a.bmp", "testing/cat/b.bmp"], "the folders testing, training, which seem to be splits"),
        (["data/cat/a.bmp", "data/dog/b.bmp"], "if these are the labels, set data.path={path}/data"),
        (["images/a.bmp", "labels/a.txt"], "as data sets of boxes (YOLO) do"),
        (["cat/a.txt", "dog/b.cr2"], "holds no images, but files with other endings: .txt (1), .cr2 (1)"),
    ],
)
def test_folders_of_another_layout_are_errors(tmp_path, files, words):
    path = touch(tmp_path, *files)
    assert words.replace("{path}", path) in error_of(path, val_fraction=0)


def test_folders_inside_of_labels_and_pictures_that_are_not_read_are_warned_of(tmp_path, caplog):
    read(touch(tmp_path / "a", "animal/cat/a.bmp", "animal/dog/b.bmp", "thing/car/c.bmp"), val_fraction=0)
    assert "the labels are the folders animal, thing; those inside of them (car, cat, dog) are none" in caplog.text
    caplog.clear()
    path = touch(tmp_path / "b", "cat/a.bmp", "cat/b.cr2", "cat/c", "cat/notes.txt", "__MACOSX/cat/a.bmp")
    assert read(path, val_fraction=0).labels == ("cat",)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "2 files are left out, because their ending is that of no image that is read: " in record.getMessage()


TAGLESS = ("train/cat/a.bmp:1", "train/no_label/b.bmp:2", "train/no_label/more/c.bmp:3", "train/zebra/a.bmp:1")


@pytest.mark.parametrize(
    ("untagged", "targets"),
    [
        ("absent", [[1, 1], [0, 0], [0, 0]]),
        ("unknown", [[1, 1], [-1, -1], [-1, -1]]),
        ("skip", [[1, 1]]),
    ],
)
def test_images_of_a_folder_no_label_are_what_the_setting_says(tmp_path, untagged, targets):
    """CVAT's ImageNet export, which datumaro 1.13.12 writes: `no_label/` holds the images without a tag."""
    path = create_folders(tmp_path, *TAGLESS, "val/cat/v.bmp:9")
    manifest = read(path, untagged=untagged)
    assert manifest.labels == ("cat", "zebra")
    assert manifest.dense_targets().tolist() == targets


def test_a_folder_no_label_must_be_explained(tmp_path):
    path = create_folders(tmp_path, *TAGLESS, "val/cat/v.bmp:9")
    message = error_of(path, untagged=None)
    assert f"{path} holds a folder no_label" in message
    assert "data.untagged=absent (they have none of the labels), unknown, or skip" in message
    cfg = compose_config("train", ["data=folder", f"data.path={path}"])
    with pytest.raises(InputError, match=r"say what they are by data\.untagged=absent"):
        create_reader(cfg.data)("train")
    assert read(path).labels == ("cat", "no_label", "zebra")  # a run that began before there was the setting
    named = ["cat", "no_label", "zebra"]
    assert read(path, untagged=None, labels=named).dense_targets().sum() == 4
    none = read(path, untagged=None, none_labels=["no_label"])
    assert none.dense_targets().tolist() == [[1, 1], [0, 0], [0, 0]]


def test_an_image_in_a_folder_no_label_and_in_another_has_been_tagged(tmp_path):
    path = create_train(tmp_path, "cat/a.bmp:1", "no_label/a.bmp:1", "no_label/b.bmp:2", "zebra/b.bmp:2")
    assert read(path, untagged="unknown").dense_targets().tolist() == [[1, 0], [0, 1]]
    assert "2 rows that say none of the labels (data.none_labels) and also name one" in error_of(
        path, untagged="absent"
    )
