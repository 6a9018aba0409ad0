"""The files that V7, Supervisely, LabelMe, VIA and FiftyOne write, and texts beside images: each trap of theirs.

What they write was found by darwin-py 3.6.3, supervisely 6.74.51, labelme 6.3.1, fiftyone 1.22.1, VIA 2.0.10 (its
source) and kohya-ss/sd-scripts 48d368fa.
"""

import json
from pathlib import Path

import pytest
from PIL import Image
from test_columns import error_of, read

ALL = ("data.untagged=absent", "data.val_fraction=0")


def draw(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(folder / name)


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def table(source: str, path: Path, *overrides: str, **settings) -> dict[str, dict[str, float]]:
    """Returns the answers about each image, by its name, where they are not absent."""
    manifest = read(f"data.path={path}", *ALL, *overrides, source=source, **settings)
    rows = manifest.dense_targets().tolist()
    return {
        Path(image).name: {label: value for label, value in zip(manifest.labels, row, strict=True) if value}
        for image, row in zip(manifest.images, rows, strict=True)
    }


WRITTEN = {  # by the tools' own packages, blanks aside
    "fiftyone": {
        "labels.json": '{"classes": ["cat","dog"],"labels": {"img_00": [0,1],"img_00-2": [1],"c.d": [0],"none": null}}'
    },
    "supervisely": {
        "meta.json": """{"classes": [], "tags": [{"name": "cat", "value_type": "none", "color": "#180F8A", "hotkey": "",
            "applicable_type": "all", "classes": [], "target_type": "all"}, {"name": "dog", "value_type": "none",
            "color": "#0F8A4A", "hotkey": "", "applicable_type": "imagesOnly", "classes": [], "target_type": "all"}],
            "projectSettings": {"multiView": {"enabled": false, "tagName": null, "tagId": null, "isSynced": false}}}""",
        "ds0/ann/x.png.json": """{"description": "", "size": {"height": 8, "width": 8}, "tags": [{"name": "cat",
            "labelerLogin": "anna"}], "objects": [], "customBigData": {}}""",
        "ds0/ann/y.jpg.json": """{"description": "", "size": {"height": 8, "width": 8}, "tags": [], "objects": [],
            "customBigData": {}}""",
    },
    "labelme": {
        "x.json": """{"version": "6.3.1", "flags": {"cat": true, "dog": false}, "shapes": [], "imagePath": "x.png",
            "imageData": null, "imageHeight": 8, "imageWidth": 8}""",
        "y.json": """{"version": "6.3.1", "flags": {}, "shapes": [], "imagePath": "y.png", "imageData": null,
            "imageHeight": 8, "imageWidth": 8}""",
    },
}
SAID = {
    "fiftyone": {"img_00.png": {"cat": 1, "dog": 1}, "img_00-2.jpg": {"dog": 1}, "c.d.png": {"cat": 1}, "none.png": {}},
    "supervisely": {"x.png": {"cat": 1}, "y.jpg": {}},
    "labelme": {"x.png": {"cat": 1}, "y.png": {}},
}
FOLDERS = {"fiftyone": "data", "supervisely": "ds0/img", "labelme": "."}


@pytest.mark.parametrize("source", WRITTEN)
def test_what_the_packages_of_the_tools_have_written_is_read(source, tmp_path):
    draw(tmp_path / FOLDERS[source], *SAID[source])
    for name, text in WRITTEN[source].items():
        write(tmp_path / name, text)
    assert table(source, tmp_path, "data.unlisted=absent") == SAID[source]


# FiftyOne


def fiftyone(folder: Path, labels: dict, classes: list | None = None) -> Path:
    write(folder / "labels.json", {"classes": classes, "labels": labels})
    return folder


def test_fiftyone_names_labels_in_four_ways(tmp_path):
    draw(tmp_path, "data/a.png", "data/b.png", "data/c.png", "data/d.png", "data/e.png")
    objects = [{"label": "dog", "confidence": 0.5, "attributes": {}}, {"label": 0}]
    labels = {"a": [1, "cat"], "b": objects, "c": "dog", "d": [], "e": None}
    answers = table("fiftyone", fiftyone(tmp_path, labels, ["cat", "dog"]), "data.untagged=unknown")
    both = {"cat": 1, "dog": 1}
    assert answers == {"a.png": both, "b.png": both, "c.png": {"dog": 1}, "d.png": {}, "e.png": {"cat": -1, "dog": -1}}


def test_fiftyone_does_not_tell_none_from_unlabelled(tmp_path):
    draw(tmp_path, "data/a.png", "data/b.png")
    path = fiftyone(tmp_path, {"a": ["cat"], "b": None})
    message = error_of(f"data.path={path}", source="fiftyone")
    assert "images without a label, and FiftyOne writes null for none of the labels, and for no answer" in message
    assert "labels.json image 2" in message


def test_fiftyone_names_have_dots_folders_numbers_and_absolute_paths(tmp_path):
    draw(
        tmp_path, "data/v1.2.png", "data/x/a.png", "data/y/a.jpg", "data/img_00-2.jpg", "data/img_00.png", "other/o.png"
    )
    names = {"v1.2": "1", "x/a": "2", "y/a": "3", "img_00-2": "4", "img_00": "5", str(tmp_path / "other/o.png"): "6"}
    answers = table("fiftyone", fiftyone(tmp_path, names))
    assert sorted((name, *labels) for name, labels in answers.items()) == [
        ("a.jpg", "3"), ("a.png", "2"), ("img_00-2.jpg", "4"), ("img_00.png", "5"), ("o.png", "6"), ("v1.2.png", "1"),
    ]  # fmt: skip


def test_a_number_that_fiftyone_has_added_is_not_looked_for_elsewhere(tmp_path):
    draw(tmp_path, "own/img_00.png", "own/more/img_00.png")
    path = fiftyone(tmp_path, {"img_00": ["cat"], "img_00-2": ["dog"]})
    message = error_of(f"data.path={path}", f"data.root={tmp_path}/own", source="fiftyone")
    assert "names that FiftyOne has numbered, as another image had the same" in message
    assert "image 2: 'img_00-2'" in message


def test_fiftyone_may_say_where_its_images_are(tmp_path):
    draw(tmp_path, "far/a.png", "data/a.png")
    path = fiftyone(tmp_path / "export", {"a": ["cat"]})
    write(path / "data.json", {"a.png": "../far/a.png"})
    (image,) = read(f"data.path={path}", "data.val_fraction=0", source="fiftyone").images
    assert image == str(tmp_path / "far/a.png")


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ({"a": [2]}, ["cat", "dog"], "labels that are neither a name nor the place of one in classes"),
        ({"a": [-1]}, ["cat", "dog"], "labels that are neither a name"),  # FiftyOne takes the last one
        ({"a": [True]}, ["cat", "dog"], "labels that are neither a name"),
        ({"a": [0]}, None, "labels that are neither a name"),
        ({"a": ["owl"]}, ["cat", "dog"], "labels that are not in the list"),
        ({"a": [{"label": "cat", "bounding_box": [0, 0, 1, 1]}]}, None, "objects, not labels of whole images"),
        ({"a": ["cat"], "b": ["cat"]}, None, "images that do not exist"),
        ({"t": ["cat"]}, None, "names that stand for several images"),
        ({"a": ["cat"]}, [["cat"]], "is no file of FiftyOne"),
        (["a"], None, "labels is ['a']"),
    ],
)
def test_what_is_wrong_in_fiftyone_is_said(tmp_path, labels, classes, words):
    draw(tmp_path, "data/a.png", "data/t.png", "data/t.jpg")
    assert words in error_of(f"data.path={fiftyone(tmp_path, labels, classes)}", source="fiftyone")


def test_another_format_of_fiftyone_is_named(tmp_path):
    write(tmp_path / "samples.json", {"samples": []})
    message = error_of(f"data.path={tmp_path}/samples.json", source="fiftyone")
    assert "is of another format of FiftyOne's: export it as FiftyOne (FiftyOneImageClassificationDataset)" in message


# V7


def darwin(name: str, *annotations: dict, path: str = "/", source: str | None = None, **slot) -> dict:
    slots = [{"slot_name": "0", "type": "image", "source_files": [{"file_name": source or name}]} | slot]
    return {"version": "2.0", "item": {"name": name, "path": path, "slots": slots}, "annotations": list(annotations)}


def tag(name: str) -> dict:
    return {"id": "1", "name": name, "tag": {}, "slot_names": ["0"], "annotators": [{"email": "a@b.c"}]}


BOX = {"name": "car", "bounding_box": {"x": 0, "y": 0, "w": 3, "h": 3}}


def test_v7_images_are_in_their_folders_or_all_in_one(tmp_path):
    draw(tmp_path, "images/x/a.png", "images/b.png", "images/c.PNG")
    folder = tmp_path / "releases/latest/annotations"
    write(folder / "a.json", darwin("a.png", tag("cat"), path="/x"))
    write(folder / "b.json", darwin("b.png", tag("cat"), tag("dog"), path="/y"))  # pulled without folders
    write(folder / "c.json", darwin("c", source="c.PNG"))  # called otherwise in V7 than the file that was uploaded
    write(folder / ".v7/metadata.json", {"classes": []})
    assert table("v7", folder) == {"a.png": {"cat": 1}, "b.png": {"cat": 1, "dog": 1}, "c.PNG": {}}
    assert "V7 does not write whether anybody has looked at it" in error_of(f"data.path={folder}", source="v7")


def test_v7_properties_of_items_are_labels_and_names_have_no_forbidden_signs(tmp_path):
    draw(tmp_path, "images/a_b.png")
    properties = [{"name": "weather", "value": "sunny", "frame_index": None}, {"name": "road", "value": None}]
    write(tmp_path / "annotations/a.json", darwin("a?b.png", tag("cat")) | {"properties": properties})
    assert table("v7", tmp_path / "annotations") == {"a_b.png": {"cat": 1, "weather: sunny": 1}}
    assert table("v7", tmp_path / "annotations", "data.tags=[cat]") == {"a_b.png": {"cat": 1}}


def test_v7_of_before_is_read(tmp_path):
    draw(tmp_path, "images/a.png")
    image = {"filename": "0001.png", "original_filename": "a.png", "path": "/"}
    write(tmp_path / "annotations/a.json", {"dataset": "d", "image": image, "annotations": [tag("cat")]})
    assert table("v7", tmp_path / "annotations") == {"a.png": {"cat": 1}}


def test_boxes_are_no_tags_unless_they_are_said_to_be(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    write(tmp_path / "json/a.json", darwin("a.png", BOX, tag("cat")))
    write(tmp_path / "json/b.json", darwin("b.png", BOX, BOX))
    where = f"data.root={tmp_path}"
    assert table("v7", tmp_path / "json", where) == {"a.png": {"cat": 1}, "b.png": {}}
    present = table("v7", tmp_path / "json", where, "data.objects=present")
    assert present == {"a.png": {"car": 1, "cat": 1}, "b.png": {"car": 1}}
    some = table("v7", tmp_path / "json", where, "data.objects=present", "data.unlisted=unknown")
    assert some == {"a.png": {"car": 1, "cat": 1}, "b.png": {"car": 1, "cat": -1}}
    (tmp_path / "json/a.json").unlink()
    message = error_of(f"data.path={tmp_path}/json", where, source="v7")
    assert "no image has a tag of its own, but 2 objects outlined" in message
    assert "data.objects=present" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (darwin("a.png", type="video"), "items that are not one image"),
        ("{", "is not JSON"),
        ("[]", "is no file of V7 (Darwin JSON): it is no object"),
        ('{"annotations": []}', "items that are not one image"),
        ('{"annotations": [{"tag": {}}]}', "0 in annotations has no name"),
        ('{"annotations": [], "annotations": []}', "the key 'annotations' twice"),
        ("[" * 100_000, "cannot be read"),
        (b"\xff\xfe\x00", "UTF-16"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, words):
    draw(tmp_path, "b.png")
    write(tmp_path / "json/b.json", darwin("b.png", tag("cat")))
    write(tmp_path / "json/a.json", "") if isinstance(content, bytes) else write(tmp_path / "json/a.json", content)
    if isinstance(content, bytes):
        (tmp_path / "json/a.json").write_bytes(content)
    message = error_of(f"data.path={tmp_path}/json", f"data.root={tmp_path}", *ALL, source="v7")
    assert words in message
    assert "a.json image 1" in message


def test_tags_may_be_chosen(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    write(tmp_path / "json/a.json", darwin("a.png", tag("cat"), tag("to review")))
    write(tmp_path / "json/b.json", darwin("b.png", tag("to review")))
    where = f"data.root={tmp_path}"
    assert table("v7", tmp_path / "json", where, "data.tags=[cat]") == {"a.png": {"cat": 1}, "b.png": {}}
    message = error_of(f"data.path={tmp_path}/json", where, "data.tags=[cats]", *ALL, source="v7")
    assert "no image has a tag cats (data.tags); there are: cat, to review" in message


# Supervisely

META = [
    {"name": "cat", "value_type": "none"},
    {"name": "weather", "value_type": "oneof_string", "values": ["sunny", "rainy"]},
    {"name": "blur", "value_type": "any_number"},
    {"name": "outlined", "value_type": "none", "applicable_type": "objectsOnly"},
]


def supervisely(project: Path, images: dict[str, list[dict]], tags: list[dict] = META) -> Path:
    write(project / "meta.json", {"classes": [{"title": "car"}], "tags": tags})
    for name, its_tags in images.items():
        folder, image = name.rsplit("/", 1)
        draw(project, f"{folder}/img/{image}")
        objects = [{"classTitle": "car", "tags": [{"name": "outlined"}]}]
        write(project / folder / "ann" / f"{image}.json", {"tags": its_tags, "objects": objects})
    return project


def test_supervisely_tags_have_values(tmp_path):
    images = {
        "one/a.png": [{"name": "cat", "labelerLogin": "anna"}, {"name": "weather", "value": "rainy"}],
        "one/datasets/in/b.png": [{"name": "blur", "value": 0.25}, {"name": "cat", "value": None}],
        "one/c.png": [],
    }
    path = supervisely(tmp_path, images)
    answers = table("supervisely", path)
    assert answers == {"a.png": {"cat": 1, "weather: rainy": 1}, "b.png": {"cat": 1, "blur": 0.25}, "c.png": {}}
    manifest = read(f"data.path={path}", *ALL, source="supervisely")
    assert manifest.labels == ("cat", "weather: sunny", "weather: rainy", "blur")
    (group,) = manifest.groups
    assert (group.name, group.labels, group.none) == ("weather", ("weather: sunny", "weather: rainy"), True)
    assert "car" in read(f"data.path={path}", *ALL, "data.objects=present", source="supervisely").labels


def test_supervisely_sets_may_be_splits(tmp_path):
    tags = [{"name": "cat"}]
    path = supervisely(tmp_path, {"train/a.png": tags, "val/b.png": tags, "test/c.png": tags})
    assert [list(table("supervisely", path, split=split)) for split in ("train", "val", "test")] == [
        ["a.png"], ["b.png"], ["c.png"],
    ]  # fmt: skip
    assert list(table("supervisely", supervisely(tmp_path / "2", {"train/a.png": tags, "more/b.png": tags}))) == [
        "b.png", "a.png",
    ]  # fmt: skip


def test_tags_called_as_splits_are_labels_with_a_warning(tmp_path, caplog):
    tags = [{"name": "cat", "value_type": "none"}, {"name": "train", "value_type": "none"}]
    path = supervisely(tmp_path, {"one/a.png": [{"name": "cat"}, {"name": "train"}]}, tags)
    assert table("supervisely", path) == {"a.png": {"cat": 1, "train": 1}}
    assert "['train'] are taken for labels; data.tags" in caplog.text


def test_a_number_that_is_no_answer_is_said(tmp_path):
    path = supervisely(tmp_path, {"one/a.png": [{"name": "blur", "value": 7}]})
    message = error_of(f"data.path={path}", *ALL, source="supervisely")
    assert "tags whose value is neither a text nor a number from 0 to 1:" in message
    assert "a.png.json image 1: 'blur' is 7" in message


# LabelMe


def labelme(flags: dict | None, image: str, *shapes: str) -> dict:
    outlined = [{"label": shape, "points": [[0, 0]], "shape_type": "point", "flags": {}} for shape in shapes]
    return {"version": "6.3.1", "flags": flags, "shapes": outlined, "imagePath": image, "imageData": None}


def test_labelme_flags_are_answers_and_others_are_unknown(tmp_path):
    draw(tmp_path, "a.png", "b.png", "c.png", "d.png", "sub/a.png")
    write(tmp_path / "a.json", labelme({"cat": True, "dog": False}, "a.png"))
    write(tmp_path / "b.json", labelme({"cat": False}, "b.png"))  # saved before there was a flag "dog"
    write(tmp_path / "c.json", labelme({}, "c.png"))  # saved without flags
    path = f"data.path={tmp_path}"
    assert len(read(path, "data.val_fraction=0", source="labelme")) == 2
    manifest = read(path, "data.val_fraction=0", "data.untagged=unknown", source="labelme")
    names = [image.removeprefix(f"{tmp_path}/") for image in manifest.images]
    assert dict(zip(names, manifest.dense_targets().tolist(), strict=True)) == {
        "a.png": [1, 0], "b.png": [0, -1], "c.png": [-1, -1], "d.png": [-1, -1], "sub/a.png": [-1, -1],
    }  # fmt: skip


def test_labelme_files_may_be_in_another_folder(tmp_path):
    draw(tmp_path, "photos/a.png", "photos/b.png")
    write(tmp_path / "json/a.json", labelme({"cat": True}, "..\\photos\\a.png"))
    assert table("labelme", tmp_path / "json") == {"a.png": {"cat": 1}}
    where = f"data.root={tmp_path}/photos"
    assert table("labelme", tmp_path / "json", where, "data.untagged=unknown") == {
        "a.png": {"cat": 1},
        "b.png": {"cat": -1},
    }


def test_labelme_shapes_are_no_flags(tmp_path):
    draw(tmp_path, "a.png")
    write(tmp_path / "a.json", labelme({}, "a.png", "car"))
    assert "but 1 object outlined" in error_of(f"data.path={tmp_path}", source="labelme")
    assert table("labelme", tmp_path, "data.objects=present") == {"a.png": {"car": 1}}


def test_flags_must_be_true_or_false(tmp_path):
    draw(tmp_path, "a.png")
    write(tmp_path / "a.json", labelme({"cat": "yes"}, "a.png"))
    assert "flags that are neither true nor false" in error_of(f"data.path={tmp_path}", source="labelme")


# VIA

CHECKED = {"type": "checkbox", "options": {"cat": "", "dog": ""}, "default_options": {}}
CHOSEN = {"type": "radio", "options": {"day": "", "night": ""}, "default_options": {}}


def via(images: dict[str, dict]) -> dict:
    return {
        f"{name}9": {"filename": name, "size": 9, "regions": [], "file_attributes": its} for name, its in images.items()
    }


def via_project(images: dict[str, dict], **attributes: dict) -> dict:
    return {
        "_via_settings": {"core": {"default_filepath": ""}},
        "_via_img_metadata": via(images),
        "_via_attributes": {"region": {}, "file": attributes},
    }


def test_via_options_are_checked_chosen_or_false_by_default(tmp_path):
    draw(tmp_path, "a.png", "b.png", "c.png")
    images = {
        "a.png": {"tags": {"cat": True}, "time": "night"},
        "b.png": {"tags": {"cat": False}, "time": ""},
        "c.png": {"tags": "dog"},  # as a default that is set later is written
    }
    write(tmp_path / "p.json", via_project(images, tags=CHECKED, time=CHOSEN))
    answers = table("via", tmp_path / "p.json")
    assert answers == {"a.png": {"cat": 1, "night": 1}, "b.png": {}, "c.png": {"dog": 1}}
    manifest = read(f"data.path={tmp_path}/p.json", *ALL, source="via")
    assert (manifest.labels, [group.labels for group in manifest.groups]) == (
        ("cat", "dog", "day", "night"), [("day", "night")],
    )  # fmt: skip
    assert "VIA writes the same for images that nobody has opened" in error_of(
        f"data.path={tmp_path}/p.json", source="via"
    )


def test_via_texts_are_labels_only_if_they_are_meant(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    images = {"a.png": {"caption": "a cat on a mat", "tags": {"cat": True}}, "b.png": {"tags": {"dog": True}}}
    text = {"type": "text", "default_value": ""}
    write(tmp_path / "p.json", via_project(images, tags=CHECKED, caption=text))
    message = error_of(f"data.path={tmp_path}/p.json", source="via")
    assert "attributes with a text of which nothing says that it is a label" in message
    assert "image 1: 'caption' is 'a cat on a mat'" in message
    assert table("via", tmp_path / "p.json", "data.attributes=[tags]") == {"a.png": {"cat": 1}, "b.png": {"dog": 1}}
    assert "choose from tags, caption" in error_of(
        f"data.path={tmp_path}/p.json", "data.attributes=[tag]", source="via"
    )
    write(tmp_path / "annotations.json", via({"a.png": {"kind": "cat"}, "b.png": {"kind": "dog"}}))
    answers = table("via", tmp_path / "annotations.json", "data.attributes=[kind]")
    assert answers == {"a.png": {"cat": 1}, "b.png": {"dog": 1}}


def test_via_defaults_are_warned_of(tmp_path, caplog):
    draw(tmp_path, "a.png")
    images = {"a.png": {"tags": {"cat": True}}}
    write(tmp_path / "p.json", via_project(images, tags=CHECKED | {"default_options": {"cat": True, "dog": False}}))
    assert table("via", tmp_path / "p.json") == {"a.png": {"cat": 1}}
    assert "VIA chooses 'cat' for each image by itself (default_options of 'tags')" in caplog.text


def test_via_csv_has_a_row_a_region(tmp_path):
    draw(tmp_path, "a.png", "b, 1.png")
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    row = 'a.png,9,"{""tags"":{""cat"":true}}",2,0,"{""name"":""rect"",""x"":1}","{}"'
    rows = [header, row, row.replace("2,0", "2,1"), '"b, 1.png",9,"{}",0,0,"{}","{}"']
    write(tmp_path / "via.csv", "\n".join(rows))
    assert table("via", tmp_path / "via.csv") == {"a.png": {"cat": 1}, "b, 1.png": {}}
    write(tmp_path / "via.csv", "\n".join([header, 'a.png,9,"[1]",0,0,"{}","{}"']))
    assert "rows whose file_attributes are no JSON object" in error_of(f"data.path={tmp_path}/via.csv", source="via")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"project": {}, "attribute": {}, "file": {}, "metadata": {}, "view": {}}, "is of VIA 3"),
        ({"images": [], "annotations": []}, "is no file of VIA 2"),
        (via({"a.png": {"tags": 3}}), "attributes that are neither a text nor options"),
        (via_project({}, tags=CHECKED, more=CHECKED), "'cat' is an option of 'tags' and of 'more'"),
    ],
)
def test_what_is_wrong_in_via_is_said(tmp_path, content, words):
    draw(tmp_path, "a.png")
    write(tmp_path / "p.json", content)
    assert words in error_of(f"data.path={tmp_path}/p.json", source="via")


# texts beside images


def sidecars(folder: Path, **texts: str | None) -> Path:
    for name, text in texts.items():
        draw(folder, f"{name}.png")
        if text is not None:
            write(folder / f"{name}.txt", text)
    return folder


def test_tags_are_divided_by_commas_and_their_brackets_are_not_escaped(tmp_path):
    texts = {"a": r"1girl, long hair, hat \(red\),", "b": "1girl,long hair\n", "c": "", "d": None}
    answers = table("sidecar", sidecars(tmp_path, **texts), "data.untagged=unknown")
    tags = ("1girl", "hat (red)", "long hair")
    assert answers == {
        "a.png": dict.fromkeys(tags, 1),
        "b.png": {"1girl": 1, "long hair": 1},
        "c.png": {},
        "d.png": dict.fromkeys(tags, -1),
    }


def test_an_underscore_may_be_a_blank(tmp_path, caplog):
    path = sidecars(tmp_path, a="long_hair, ^_^, o_o", b="long hair")
    assert set(table("sidecar", path)["a.png"]) == {"long_hair", "^_^", "o_o"}
    assert set(table("sidecar", path, "data.underscores=blank")["a.png"]) == {"long hair", "^_^", "o_o"}


def test_a_tag_with_a_comma_is_known_by_the_list_of_labels(tmp_path):
    path = sidecars(tmp_path, a="cat, Peter, the great, dog", b="Peter, dog")
    answers = table("sidecar", path, "data.labels=[cat,dog,'Peter, the great',Peter]")
    assert answers == {"a.png": {"cat": 1, "dog": 1, "Peter, the great": 1}, "b.png": {"dog": 1, "Peter": 1}}


def test_rare_tags_are_left_out_unless_the_model_has_them(tmp_path):
    path = sidecars(tmp_path / "train", a="cat, owl", b="cat, dog", c="dog")
    sidecars(tmp_path / "test", d="cat, owl, eel")
    overrides = (f"data.test_path={tmp_path}/test", "data.min_count=2")
    assert table("sidecar", path, *overrides) == {
        "a.png": {"cat": 1},
        "b.png": {"cat": 1, "dog": 1},
        "c.png": {"dog": 1},
    }
    of_test = {"split": "test", "labels": ["cat", "dog"]}
    assert table("sidecar", path, *overrides, **of_test) == {"d.png": {"cat": 1}}
    assert table("sidecar", path, *overrides, split="test", labels=["cat", "eel"]) == {"d.png": {"cat": 1, "eel": 1}}


def test_captions_and_texts_of_other_folders(tmp_path, caplog):
    draw(tmp_path, "images/x/a.png", "images/b.png")
    write(tmp_path / "texts/x/a.caption", "cat")
    write(tmp_path / "texts/b.tags", "dog")
    where = f"data.root={tmp_path}/images"
    assert table("sidecar", tmp_path / "texts", where) == {"a.png": {"cat": 1}, "b.png": {}}
    assert table("sidecar", tmp_path / "texts", where, "data.labels_extension=tags") == {
        "b.png": {"dog": 1},
        "a.png": {},
    }
    write(tmp_path / "texts/x/a.caption", "a photo of a grey cat that sleeps on a mat")
    table("sidecar", tmp_path / "texts", where)
    assert "most tags look like sentences" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5 0.25 0.25\n2 0.1 0.1 0.05 1e-2\n", "texts of numbers, such as the boxes of YOLO"),
        ("cat\ndog\n", "texts of several lines, of which sd-scripts read the first alone"),
        ("\x00\x01", "no text (it holds zero bytes)"),
    ],
)
def test_texts_that_are_no_tags_are_named(tmp_path, text, words):
    message = error_of(f"data.path={sidecars(tmp_path, a=text)}", source="sidecar")
    assert words in message
    assert "a.txt" in message


def test_an_image_with_two_texts_and_a_folder_without_images_are_errors(tmp_path):
    path = sidecars(tmp_path / "two", a="cat")
    write(path / "a.caption", "dog")
    assert "images with two texts (say which is meant: data.labels_extension)" in error_of(
        f"data.path={path}", source="sidecar"
    )
    (tmp_path / "empty").mkdir()
    assert "holds no images" in error_of(f"data.path={tmp_path}/empty", source="sidecar")
    assert "cannot read" in error_of(f"data.path={tmp_path}/gone", source="sidecar")


def test_names_that_no_file_can_have_are_said(tmp_path):
    labels = {"a\0": ["cat"], "b\ud83d": ["cat"], " ": ["cat"]}
    message = error_of(f"data.path={fiftyone(tmp_path, labels)}", source="fiftyone")
    assert "2 images whose names no file can have" in message
    draw(tmp_path / "labelme", "a.png")
    write(tmp_path / "labelme/a.json", labelme({"cat": True, " ": False}, "a.png"))
    message = error_of(f"data.path={tmp_path}/labelme", source="labelme")
    assert "labels that are nothing but blanks (correct them):" in message
    assert "a.json image 1" in message
    message = error_of(f"data.path={fiftyone(tmp_path, {}, ['cat', ' '])}", source="fiftyone")
    assert "the export lists labels that are nothing but blanks" in message
    labels = {"a": ["cat", "  "], "b": [""]}
    assert "2 labels that are neither a name" in error_of(f"data.path={fiftyone(tmp_path, labels)}", source="fiftyone")


@pytest.mark.parametrize("source", ["fiftyone", "v7", "supervisely", "labelme", "via", "sidecar"])
def test_what_is_not_there_is_said(source, tmp_path):
    assert "gone" in error_of(f"data.path={tmp_path}/gone", source=source)
