"""Data sets of datumaro become the labels of their images.

The files are those that datumaro 1.13.12 has written, of items `a/b 1` (cat, red), `c` (nothing) and `d` (dog, and a
box of blue), with and without their images.
"""

import json
from pathlib import Path

import pytest
from PIL import Image
from test_columns import error_of, read

TRAIN = """{"dm_format_version":"1.0","media_type":2,"infos":{},"categories":{"label":{"labels":[
{"name":"cat","parent":"","attributes":[]},{"name":"dog","parent":"","attributes":[]},{"name":"red","parent":"","attributes":[]},{"name":"blue",
"parent":"","attributes":[]}],"label_groups":[{"name":"colour","group_type":"exclusive","labels":["blue","red"]}],
"attributes":[]}},"items":[{"id":"a/b 1","annotations":[{"id":0,"type":"label","attributes":{},"group":0,"label_id":0},
{"id":0,"type":"label","attributes":{},"group":0,"label_id":2}],"image":{"path":"a_b 1.png"}},{"id":"c",
"annotations":[],"image":{"path":"c.png"}}]}"""
VAL = TRAIN[: TRAIN.index('"items"')] + (
    '"items":[{"id":"d","annotations":[{"id":0,"type":"label","attributes":{"score":0.7},"group":0,"label_id":1},{"id":0,'
    '"type":"bbox","attributes":{},"group":0,"label_id":3,"z_order":0,"bbox":[0.0,0.0,2.0,2.0]}],'
    '"image":{"path":"d.png"}}]}'
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set as it is written with its images."""
    for name in ("images/train/a_b 1.png", "images/train/c.png", "images/val/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text(TRAIN)
    (tmp_path / "annotations" / "val.json").write_text(VAL)
    return tmp_path


def read_set(folder: Path, *overrides: str, **settings):
    return read(f"data.path={folder}", "data.untagged=absent", *overrides, source="datumaro", **settings)


def change(folder: Path, **changes) -> list[str]:
    """Writes the train file with items that have these changes, and returns what reads it."""
    content = json.loads(TRAIN)
    for item in content["items"]:
        item.update(changes)
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return [f"data.path={folder}/annotations/train.json", "data.val_fraction=0", "data.untagged=absent"]


def error(folder: Path, *overrides: str, **changes) -> str:
    return error_of(*change(folder, **changes), *overrides, source="datumaro")


def test_a_folder_has_the_splits_that_its_files_are_called_after(folder, caplog):
    manifest = read_set(folder)
    assert manifest.labels == ("cat", "dog", "red", "blue")
    assert list(manifest.images) == [f"{folder}/images/train/a_b 1.png", f"{folder}/images/train/c.png"]
    assert manifest.dense_targets().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert manifest.places[1] == f"{folder}/annotations/train.json item 2"
    assert read_set(folder, split="val").dense_targets().tolist() == [[0, 1, 0, 0]]
    assert (
        "val.json has 1 label of whole images, and 1 object (boxes, outlines, ...), which are not read" in caplog.text
    )
    inside = [f"data.path={folder}/annotations", "data.untagged=skip"]
    assert len(read(*inside, source="datumaro", split="val")) == 1
    assert read_set(folder, "data.objects=present", split="val").dense_targets().tolist() == [[0, 1, 0, 1]]


def test_a_label_with_the_score_0_is_absent(folder):
    """So datumaro keeps the verified negatives of Open Images: findings/datumaro_verified_absent.sh."""
    cat, dog = ({"type": "label", "label_id": place, "attributes": {"score": float(place)}} for place in (0, 1))
    one_of_two = {**cat, "attributes": {"score": 0.5}}
    unlisted = "data.unlisted=unknown"
    for annotations, targets in (([cat, dog], [0, 1, -1, -1]), ([cat, one_of_two], [1, -1, -1, -1])):
        manifest = read(*change(folder, annotations=annotations), unlisted, "data.groups={}", source="datumaro")
        assert manifest.dense_targets().tolist() == [targets] * 2


def test_labels_of_an_exclusive_group_exclude_each_other(folder):
    (group,) = read_set(folder).label_space(False, "sigmoid").groups
    assert (group.name, set(group.labels), group.none) == ("colour", {"red", "blue"}, True)
    assert not read_set(folder, "data.groups={}").label_space(False, "sigmoid").groups
    both = [{"type": "label", "label_id": 2}, {"type": "label", "label_id": 3}]
    assert "of the group 'colour' (with data.groups={} no labels exclude each other)" in error(folder, annotations=both)


def test_a_subset_may_be_called_otherwise(folder):
    (folder / "annotations" / "val.json").rename(folder / "annotations" / "holdout.json")
    assert "splits other than train, val, test:\n" in error_of(
        f"data.path={folder}", "data.untagged=absent", source="datumaro"
    )
    assert len(read_set(folder, "data.split_names={holdout: test}", "data.search_images=true", split="test")) == 1


def test_each_split_may_have_its_own_file(folder):
    files = [f"data.{key}={folder}/annotations/{name}.json" for key, name in (("path", "val"), ("val_path", "train"))]
    manifest = read(*files, "data.untagged=absent", source="datumaro", split="val")
    assert list(manifest.images) == [f"{folder}/images/train/a_b 1.png", f"{folder}/images/train/c.png"]


def test_images_that_are_not_saved_are_in_the_root(folder, tmp_path):
    photos = tmp_path / "photos"
    (folder / "images" / "train").rename(photos)
    overrides = change(folder)
    assert list(read(*overrides, f"data.root={photos}", source="datumaro").images) == [
        f"{photos}/a_b 1.png",
        f"{photos}/c.png",
    ]
    assert "images that do not exist" in error(folder)


def test_an_image_without_a_path_is_called_after_its_id(folder):
    content = json.loads(TRAIN)
    content["items"] = [{**content["items"][0], "id": "x/y", "image": {}}]
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    (folder / "images" / "train" / "c.png").rename(folder / "images" / "train" / "x_y.jpg")
    assert list(read_set(folder).images) == [f"{folder}/images/train/x_y.jpg"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": None}, "2 items without an image:\n"),
        ({"image": {"path": 5}}, "2 items without an image:\n"),
        (
            {"image": {"path": "c.png"}},
            "items whose image is the file of another item (datumaro writes the / of an id",
        ),
        ({"image": {"path": "../../c.png"}}, "images outside of their folder"),
        ({"annotations": [{"type": "label", "label_id": 4}]}, "2 annotations whose label_id is no place"),
        ({"annotations": [{"type": "label", "label_id": -1}]}, "2 annotations whose label_id is no place"),
        ({"annotations": [{"type": "label", "label_id": True}]}, "2 annotations whose label_id is no place"),
        ({"annotations": [{"type": "label"}]}, "2 annotations whose label_id is no place"),
        ({"annotations": [{"type": "bbox", "label_id": "cat"}]}, "2 annotations whose label_id is no place"),
        ({"annotations": {"type": "label"}}, "2 annotations whose label_id is no place"),
        ({"annotations": [None]}, "2 annotations whose label_id is no place"),
        (
            {"annotations": [{"type": "bbox", "label_id": 1}]},
            "has 0 labels of whole images, and 2 objects",
        ),
    ],
)
def test_items_that_cannot_be_used_are_named(folder, changes, words):
    assert words in error(folder, **changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TRAIN[:-1], "is not JSON"),
        ("[]", "is no file of datumaro: it is no object"),
        ("{}", "is no file of datumaro: it has no categories"),
        (TRAIN.replace('"label":{"labels"', '"mask":{"labels"'), "is no file of datumaro: categories has no label"),
        (
            TRAIN.replace('"name":"cat"', '"name":1'),
            "is no file of datumaro: name in 0 in labels in label in categories",
        ),
        (TRAIN.replace('"items":[', '"items":[5,'), "items without an image:\n"),
        (TRAIN.replace('"items":[', '"items":{"a":[') + "}", "is no file of datumaro: items is {"),
    ],
)
def test_files_of_another_kind_are_errors(folder, text, words):
    (folder / "annotations" / "train.json").write_text(text)
    assert words in error_of(f"data.path={folder}", source="datumaro")


def test_a_folder_without_a_file_is_an_error(tmp_path):
    assert "holds no annotations/<subset>.json" in error_of(f"data.path={tmp_path}", source="datumaro")
