"""A file of instances becomes the labels that pycocotools finds in it, or one error that names every bad annotation.

The files are written by the format's specification, cocodataset.org/#format-data (in source:
github.com/cocodataset/cocodataset.github.io/blob/master/dataset/format-data.htm).
"""

import contextlib
import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.coco import CocoReader
from multihot.errors import InputError

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "root": None,
    "val_root_path": None,
    "test_root_path": None,
    "crowd": "keep",
    "min_area": 0,
    "labels": None,
    "groups": {},
    "val_fraction": 0.25,
    "split_seed": 0,
}
CATEGORIES = [
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 13, "name": "stop sign", "supercategory": "outdoor"},
]


def image(number: int, name: str | None = None) -> dict:
    return {"id": number, "width": 16, "height": 16, "file_name": name or f"{number}.png", "license": 1}


def annotation(number: int, image_id: int, category_id: int, area: float = 100.0, iscrowd: int = 0) -> dict:
    """An outline of one object; of a group it is run lengths and not polygons."""
    outline = {"counts": [3, 5, 8], "size": [4, 4]} if iscrowd else [[1.5, 2, 3, 4e0, 5, 6], [7, 8, 9, 10, 11, 12]]
    places = {"id": number, "image_id": image_id, "category_id": category_id}
    return {**places, "segmentation": outline, "area": area, "bbox": [1, 2, 3, 4], "iscrowd": iscrowd}


IMAGES = [image(9), image(7, "more/7.png"), image(8), image(4)]
ANNOTATIONS = [
    annotation(101, 7, 1, area=9.5),
    annotation(102, 7, 18, area=40),
    annotation(103, 7, 1, iscrowd=1),
    annotation(104, 9, 1, iscrowd=1),
    annotation(105, 8, 13, area=10),
    annotation(106, 8, 13, area=2),
]


def write(folder: Path, name: str = "instances.json", **changes) -> str:
    """Writes a file of instances and its images beside it, and returns its path."""
    content = {"info": {"year": 2014}, "images": IMAGES, "annotations": ANNOTATIONS, "categories": CATEGORIES}
    content.update(changes)
    for item in content["images"]:
        if isinstance(item, dict) and item.get("file_name"):
            (folder / item["file_name"]).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), "red").save(folder / item["file_name"])
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return str(folder / name)


def read(path: str | None, split: str = "test", must_exist: bool = True, **changes):
    files = {"path": None, "test_path": path} if split == "test" else {"path": path}
    return CocoReader(**{**SETTINGS, **files, **changes})(split, must_exist=must_exist)


def error_of(path: str | None, split: str = "test", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def test_an_image_has_the_categories_of_its_annotations_in_the_order_of_the_file(tmp_path):
    manifest = read(write(tmp_path))
    assert manifest.labels == ("dog", "person", "stop sign")
    assert list(manifest.images) == [f"{tmp_path}/{name}" for name in ("9.png", "more/7.png", "8.png", "4.png")]
    assert manifest.targets.dtype == np.int8
    np.testing.assert_array_equal(manifest.dense_targets(), [[0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert manifest.places[1] == f"{tmp_path}/instances.json image 7"


@pytest.mark.parametrize(
    ("crowd", "targets"),
    [
        ("keep", [[0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]),
        ("drop", [[0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]),
        ("unknown", [[0, -1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]),
    ],
)
def test_a_crowd_counts_as_the_setting_says_unless_another_annotation_shows_its_label(tmp_path, crowd, targets):
    np.testing.assert_array_equal(read(write(tmp_path), crowd=crowd).dense_targets(), targets)
    backwards = write(tmp_path, "backwards.json", annotations=ANNOTATIONS[::-1])
    np.testing.assert_array_equal(read(backwards, crowd=crowd).dense_targets(), targets)


def test_an_annotation_with_the_score_0_says_that_its_label_is_absent(tmp_path):
    """So datumaro 1.13.12 writes verified negatives of Open Images: findings/datumaro_verified_absent.sh."""
    scored = [{"id": 1, "image_id": 7, "category_id": 1, "score": 0.0}, {"id": 2, "image_id": 7, "category_id": 18}]
    found = [scored[0], {**scored[0], "id": 3, "score": 0.25}]
    for annotations, targets in ((scored, [1, 0, 0]), (found, [0, 1, 0]), (found[::-1], [0, 1, 0])):
        manifest = read(write(tmp_path, annotations=annotations))
        assert manifest.dense_targets().tolist()[1] == targets


def test_annotations_smaller_than_the_least_area_are_taken_as_not_there(tmp_path):
    path = write(tmp_path)
    assert read(path, min_area=10, crowd="drop").dense_targets().tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
    assert read(path, min_area=41, crowd="drop").dense_targets().sum() == 0
    assert read(path, min_area=100, crowd="unknown").dense_targets().tolist()[0] == [0, -1, 0]
    assert read(path, min_area=100.5, crowd="unknown").dense_targets().tolist()[0] == [0, 0, 0]


@pytest.mark.parametrize(("crowd", "iscrowd"), [("keep", None), ("drop", False)])
@pytest.mark.parametrize("min_area", [0, 500])
def test_the_labels_equal_those_of_pycocotools(tmp_path, crowd, iscrowd, min_area):
    pycocotools = pytest.importorskip("pycocotools.coco")
    draw = np.random.RandomState(0)
    images = [image(int(number)) for number in draw.permutation(60) + 1]
    annotations = [
        annotation(number, draw.randint(1, 61), draw.choice([1, 13, 18]), draw.randint(1000), draw.rand() < 0.3)
        for number in range(1, 121)
    ]
    annotations = json.loads(json.dumps(annotations, default=int))
    path = write(tmp_path, images=images, annotations=annotations)
    manifest = read(path, crowd=crowd, min_area=min_area)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = pycocotools.COCO(path)
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert manifest.labels == tuple(names[item["id"]] for item in CATEGORIES)
    assert 0 < manifest.targets.nnz < 180
    for number in coco.getImgIds():
        row = list(manifest.images).index(f"{tmp_path}/{coco.imgs[number]['file_name']}")
        area = [min_area - 1, float("inf")] if min_area else []  # its bounds are exclusive; areas are whole here
        found = coco.loadAnns(coco.getAnnIds(imgIds=number, areaRng=area, iscrowd=iscrowd))
        wanted = {names[item["category_id"]] for item in found}
        assert {manifest.labels[k] for k in np.flatnonzero(manifest.target(row))} == wanted


def test_each_split_has_its_file_and_its_folder_of_images(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
    path = write(tmp_path / "train", images=[image(1), image(2)], annotations=[annotation(1, 1, 1)])
    val_path = write(tmp_path / "val", images=[image(1)], annotations=[annotation(1, 1, 13)])
    test_path = write(tmp_path / "test", images=[image(5)], annotations=[annotation(1, 5, 18)])
    files = {"val_path": val_path, "test_path": test_path}
    assert [
        list(CocoReader(**{**SETTINGS, "path": path, **files})(split).images) for split in ("train", "val", "test")
    ] == [
        [f"{tmp_path}/train/1.png", f"{tmp_path}/train/2.png"],
        [f"{tmp_path}/val/1.png"],
        [f"{tmp_path}/test/5.png"],
    ]
    for file, name in ((path, "a"), (val_path, "b"), (test_path, "c")):
        os.rename(file, tmp_path / f"{name}.json")
    files = {"path": "a.json", "val_path": "b.json", "test_path": "c.json"}
    files = {key: str(tmp_path / file) for key, file in files.items()}
    roots = {"root": str(tmp_path / "train"), "test_root_path": str(tmp_path / "test")}
    reader = CocoReader(**{**SETTINGS, **files, **roots, "val_root_path": str(tmp_path / "val")})
    assert [reader(split).images[0] for split in ("train", "val", "test")] == [
        f"{tmp_path}/{name}" for name in ("train/1.png", "val/1.png", "test/5.png")
    ]
    message = "images that have a row already"  # both are train/1.png where the folder of val_path is root
    with pytest.raises(InputError, match=message):
        CocoReader(**{**SETTINGS, **files, **roots})("train")


def test_without_a_val_file_a_share_of_the_train_images_is_val(tmp_path):
    path = write(tmp_path)
    train, val = read(path, "train"), read(path, "val")
    assert len(val) == 1
    assert sorted([*train.images, *val.images]) == sorted(read(path).images)


def test_a_given_label_list_decides_the_order(tmp_path):
    labels = ["stop sign", "zebra", "person", "dog"]
    np.testing.assert_array_equal(
        read(write(tmp_path), labels=labels).dense_targets()[1:3], [[0, 0, 1, 1], [1, 0, 0, 0]]
    )
    assert "annotation" not in error_of(write(tmp_path), labels=["dog"])
    assert f"{tmp_path}/instances.json image 8: 'stop sign'" in error_of(write(tmp_path), labels=["dog", "person"])


def test_annotations_that_cannot_be_used_are_named_together_by_their_id(tmp_path):
    bad = [
        annotation(201, 77, 1),
        annotation(202, 9, 99),
        {"id": 203, "image_id": 9},
        annotation(204, [9], 1),
        annotation(205, 9, None),
        {"image_id": 9},
        "a string",
        annotation(206, 9, 1, area=None),
    ]
    path = write(tmp_path, annotations=ANNOTATIONS + bad)
    message = error_of(path)
    assert (
        f"2 annotations of an image that is not in the list of images:\n  {path} annotation 201: image_id 77\n"
        f"  {path} annotation 204: image_id [9]\n" in message
    )
    assert (
        f"2 annotations of a category that is not in the list of categories:\n  {path} annotation 202: category_id 99\n"
        f"  {path} annotation 205: category_id None\n" in message
    )
    assert (
        f"2 annotations without a key that must be there:\n  {path} annotation 203: category_id\n"
        f"  {path} annotation number 12 in the list: category_id\n" in message
    )
    assert f"annotations that are no JSON objects:\n  {path} annotation number 13 in the list: 'a string'" in message
    assert "206" not in message  # its area is not asked for
    assert f"annotations whose area is no number:\n  {path} annotation 206: None" in error_of(path, min_area=1)
    assert f"{path} annotation 203: category_id, area" in error_of(path, min_area=1)


def test_images_that_cannot_be_used_are_named_with_their_id(tmp_path):
    images = [
        image(1),
        image(1, "other.png"),
        image(2, "1.png"),
        {"id": 3},
        {"file_name": "x.png"},
        image(4, "../y.png"),
    ]
    annotations = [annotation(1, 1, 1)]
    path = write(tmp_path, images=images[:3], annotations=annotations)
    Path(path).write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    message = error_of(path)
    assert f"images whose id another has already:\n  {path} image 1" in message
    assert f"{path} image 2: {tmp_path}/1.png, as in {path} image 1" in message
    assert f"rows without an image:\n  {path} image 3" in message
    assert f"whole number:\n  {path} number 5 in the list of images: {{'file_name': 'x.png'}}" in message
    assert f"images outside of their folder {tmp_path}" in message
    assert f"{path} image 4: ../y.png" in message


def test_missing_images_are_listed_unless_they_need_not_be_there(tmp_path):
    path = write(tmp_path)
    (tmp_path / "more/7.png").unlink()
    assert "images that do not exist" in error_of(path)
    assert f"{path} image 7: {tmp_path}/more/7.png" in error_of(path)
    assert len(read(path, must_exist=False)) == 4


def test_categories_must_be_complete_differ_from_each_other_and_agree_between_files(tmp_path):
    path = write(tmp_path)
    assert "categories of" in error_of(write(tmp_path, "a.json", categories=[*CATEGORIES, {"id": 3, "name": "dog"}]))
    assert "the same id: 18" in error_of(write(tmp_path, "b.json", categories=[*CATEGORIES, {"id": 18, "name": "x"}]))
    message = error_of(write(tmp_path, "c.json", categories=[*CATEGORIES, {"id": 3}]))
    assert "c.json have no id (whole number) and name:\n  number 4: {'id': 3}" in message
    other = write(
        tmp_path, "d.json", categories=[*CATEGORIES[:2], {"id": 13, "name": "stop"}], images=[], annotations=[]
    )
    message = error_of(path, "train", val_path=other)
    assert f"{path} and {other} must have the same categories:\n  only in {path}: stop sign\n" in message
    assert f"only in {other}: stop" in message
    turned = write(
        tmp_path, "e.json", categories=CATEGORIES[::-1], images=[image(20)], annotations=[annotation(1, 20, 18)]
    )
    assert read(path, "val", val_path=turned).dense_targets().tolist() == [[1, 0, 0]]  # by name, whatever the order


def test_a_split_without_a_file_is_an_error_that_says_how_to_give_one(tmp_path):
    words = r"give each split its own source \(data.path for train, data.val_path, data.test_path\)"
    with pytest.raises(InputError, match=f"splits without rows:\n  test: {words}"):
        CocoReader(**SETTINGS, path=write(tmp_path))("test")


def test_files_that_are_missing_or_of_another_format_are_errors_that_name_them(tmp_path):
    assert "cannot read nowhere.json: No such file or directory; correct its path" in error_of("nowhere.json")
    path = write(tmp_path)
    content = json.loads(Path(path).read_text())
    del content["annotations"]
    Path(path).write_text(json.dumps(content))
    assert "has no list of annotations, but info, images, categories; give a file of instances" in error_of(path)
    Path(path).write_text("[1]")
    assert "must hold a JSON object with images, annotations, categories, not a list" in error_of(path)
    Path(path).write_bytes(b'{"images": "\xe9"}')
    assert "is not UTF-8" in error_of(path)


def test_a_file_that_cannot_say_labels_is_an_error(tmp_path):
    path = write(tmp_path, annotations=[])
    for split in ("train", "test"):
        message = error_of(path, split)
        assert "has no annotations, so that none of its images has a label: tools such as CVAT" in message
        assert '"CVAT for images 1.1" (data=cvat)' in message
    text = Path(write(tmp_path)).read_text()
    for changed, words in (
        ('{"images": [], ' + text[1:], "the key 'images' twice"),
        ("[" * 100_000, "cannot be read"),
        (text.replace('"year": ', '"year": 1' + "0" * 5000), "cannot be read"),
        ("<html>", "download it again"),
    ):
        Path(path).write_text(changed)
        assert words in error_of(path)
    Path(path).write_bytes(gzip.compress(text.encode()))
    assert len(read(path)) > 0


def test_a_crowd_is_0_or_1(tmp_path):
    path = write(tmp_path, annotations=[annotation(2, 9, 1, iscrowd="0")])
    assert "annotations whose iscrowd is not 0 or 1:\n" in error_of(path)


def test_a_broken_file_is_an_error_that_says_where_in_the_file_as_it_is(tmp_path):
    path = write(tmp_path)
    text = Path(path).read_text()[:-1] + "!"
    Path(path).write_text(text)
    assert f"(char {len(text) - 1})" in error_of(path)


def test_outlines_are_skipped_and_nothing_else_is(tmp_path):
    label = 'a "segmentation": [1, 2] "b'
    names = [{"id": 1, "name": label}, {"id": 2, "name": "segmentation"}]
    annotations = [{"segmentation": [[1, 2], []], "image_id": 1, "category_id": 2}, annotation(2, 1, 1, iscrowd=1)]
    path = write(tmp_path, images=[image(1, 'x"segmentation":[1].png')], annotations=annotations, categories=names)
    manifest = read(path)
    assert manifest.labels == (label, "segmentation")
    assert list(manifest.images) == [f'{tmp_path}/x"segmentation":[1].png']
    assert manifest.dense_targets().tolist() == [[1, 1]]


@pytest.mark.parametrize(
    "outline", [[[1, 2], [None]], [[1, 2], ["3", 4]], [[]], [], None, {"counts": "a]b", "size": [1, 2]}]
)
def test_outlines_of_any_content_do_no_harm(tmp_path, outline):
    path = write(tmp_path, images=[image(1)], annotations=[annotation(2, 1, 1) | {"segmentation": outline}])
    assert read(path).dense_targets().tolist() == [[0, 1, 0]]


def test_without_a_file_nothing_is_read():
    assert "one of data.path, data.val_path and data.test_path must not be empty" in error_of(None)


def test_the_settings_in_conf_build_a_reader(tmp_path):
    path = write(tmp_path)
    reader = create_reader(compose_config("train", ["data=coco", f"data.path={path}", "data.val_fraction=0.5"]).data)
    assert len(reader("train")) == len(reader("val")) == 2
    assert reader("train").labels == ("dog", "person", "stop sign")


TAGGED = {  # as darwin-py 3.6.3 writes a release in which an image has two tags, one a box alone, and one nothing
    "images": [
        {**image(1), "tag_ids": [2711781484, 1]},
        {**image(2), "tag_ids": []},
        {**image(3), "tag_ids": [1]},
        image(4),
    ],
    "annotations": [annotation(1, 2, 18)],
    "categories": [{"id": 18, "name": "dog", "supercategory": "root"}],
    "tag_categories": [{"id": 2711781484, "name": "red"}, {"id": 1, "name": "night"}],
}


def test_tags_of_whole_images_are_their_labels_beside_those_of_the_annotations(tmp_path):
    manifest = read(write(tmp_path, **TAGGED), "train", val_fraction=0)
    assert manifest.labels == ("dog", "night", "red")
    assert manifest.dense_targets().tolist() == [[0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]
    alone = {**TAGGED, "annotations": [], "categories": [], "images": [TAGGED["images"][0], image(4)]}
    manifest = read(write(tmp_path, "alone.json", **alone), "train", val_fraction=0)
    assert manifest.labels == ("night", "red")
    assert manifest.dense_targets().tolist() == [[1, 1], [0, 0]]


def test_files_with_tags_list_only_those_that_their_images_have(tmp_path):
    fewer = {**TAGGED, "tag_categories": TAGGED["tag_categories"][1:], "images": [{**image(7), "tag_ids": [1]}]}
    fewer = write(tmp_path, "fewer.json", **{**fewer, "annotations": [], "categories": []})
    manifest = read(write(tmp_path, **TAGGED), "val", val_path=fewer)
    assert manifest.dense_targets().tolist() == [[0, 1, 0]]
    assert read(write(tmp_path, **TAGGED), "train", val_path=fewer).labels == ("dog", "night", "red")


@pytest.mark.parametrize("tags", [[2], ["1"], [1, None], 5, {"1": 1}])
def test_tags_that_are_not_listed_are_errors(tmp_path, tags):
    path = write(tmp_path, **{**TAGGED, "images": [*TAGGED["images"], {**image(9), "tag_ids": tags}]})
    assert f"images whose tag_ids are no list of ids of tag_categories:\n  {path} image 9: {tags}" in error_of(path)


def test_a_list_of_tags_that_is_none_is_an_error(tmp_path):
    assert "tag_categories of" in error_of(write(tmp_path, **{**TAGGED, "tag_categories": {"a": 1}}))
    assert "have no id" in error_of(write(tmp_path, **{**TAGGED, "tag_categories": [{"id": 1}]}))
