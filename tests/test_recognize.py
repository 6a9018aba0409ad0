"""What a file or a folder of another tool looks like is said, and nothing that would be misread is read."""

import gzip
import inspect
from functools import cache
from importlib import import_module

import export_samples
import pytest
from conftest import compose_config
from export_samples import IMAGES, TRUTH, write, write_pictures
from exports import create_cases, reduce
from omegaconf import OmegaConf
from source_settings import settings_of as of_file
from test_exports import FORMATS

from multihot.data import create_reader
from multihot.data.formats.known_formats import FOLDERS, SIDECAR
from multihot.data.formats.known_formats import FORMATS as KNOWN
from multihot.data.formats.recognize import is_for, recognize
from multihot.data.unknown import UnknownStrategy
from multihot.data.unlearnable import check_learnable
from multihot.errors import InputError
from multihot.known_classes import create
from multihot.labels import LabelSpace

SAMPLES = {
    name: function
    for name, function in inspect.getmembers(export_samples, inspect.isfunction)
    if function.__module__ == "export_samples" and not name.startswith("write")
}
NOT_KNOWN = {"cvat_yolo", "cvat_imagenet", "fiftyone_tree"}  # folders that data=folder asks about by itself
DATA_OF = {
    "label_studio_csv": "label_studio", "label_studio_json": "label_studio", "label_studio_json_min": "label_studio",
    "cvat_xml": "cvat", "cvat_xml_of_project": "cvat", "cvat_coco": "coco", "cvat_voc": "voc", "v7_coco": "coco",
    "roboflow_of_old": "roboflow", "vertex_csv": "vertex", "vertex_jsonl": "vertex", "via_csv": "via",
    "via_json": "via", "celeba_of_old": "celeba", "vindr_cxr_boxes": "vindr_cxr",
    "nuswide_folder": "nuswide",
}  # fmt: skip  # the others are called as their `data=`


@cache
def settings_of(source: str):
    return compose_config("train", [f"data={source}", "data.val_fraction=0"]).data


def read(source: str, path, split: str = "train", **settings):
    cfg = settings_of(source).copy()
    cfg.update({"path": str(path), **settings})
    return create_reader(cfg)(split, must_exist=False)


def targets(manifest) -> list[list[float]]:
    return manifest.dense_targets().tolist()


def refused(source: str, path, **settings) -> str:
    with pytest.raises(InputError) as error:
        read(source, path, **settings)
    return str(error.value)


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - NOT_KNOWN))
def test_a_file_and_its_folder_tell_which_reader_they_are_for(name, tmp_path):
    path, data = SAMPLES[name](tmp_path), DATA_OF.get(name, name)
    assert recognize(str(path)).known.data == data
    assert recognize(str(tmp_path)).known.data == data


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_for_each_reader_is_known(name, tmp_path):
    format_ = import_module(f"export_formats.{name}")
    cases = [reduce(case, format_.KEEPS) for case in create_cases()[:5]]
    write_pictures(tmp_path / "images", [case.image for case in cases])
    source, *overrides = format_.write(tmp_path, cases)
    path = next(word.partition("=")[2].strip("'\"") for word in overrides if word.startswith("data.path="))
    found = recognize(path)
    assert source == "data=folder" if found is None else source == f"data={found.known.data}"


def test_every_format_names_a_reader_that_there_is():
    for known in (*KNOWN, *FOLDERS.values(), SIDECAR):
        reader = create("data", of_file(known.data), _convert_="all")
        assert is_for(reader, known), known  # or its own errors would say that another one is meant


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - NOT_KNOWN - {"cvat_coco", "v7_coco"}))
def test_plain_readers_say_which_one_an_export_is_for(name, tmp_path):
    path, data = SAMPLES[name](tmp_path), DATA_OF.get(name, name)
    sources = ("folder", "csv") if path.is_dir() else ("csv", "jsonl", "coco", "parquet")
    for source in sources:
        message = refused(source, path)
        assert "this looks like" in message, (source, message)
        assert f"set data={data}" in message, (source, message)


@pytest.mark.parametrize("source", ["vertex", "cvat", "label_studio", "labelme"])
def test_the_reader_of_a_tool_says_so_too(source, tmp_path):
    path = export_samples.roboflow_of_old(tmp_path)
    assert f"{path}: this looks like an export of Roboflow: set data=roboflow" in refused(source, path)


@pytest.mark.parametrize("source", ["v7", "sidecar"])
def test_a_folder_that_a_tool_cannot_read_is_another_ones(source, tmp_path):
    write_pictures(tmp_path / "images")
    import_module("export_formats.labelme").write(tmp_path, create_cases())
    assert "this looks like LabelMe's JSON: set data=labelme" in refused(source, tmp_path / "images")


def test_a_file_of_coco_given_to_another_reader_is_known(tmp_path):
    path = export_samples.cvat_coco(tmp_path)
    for source in ("csv", "jsonl"):
        assert f"{path}: this looks like a file of COCO's format: set data=coco" in refused(source, path)
    assert "this looks like" not in refused("coco", path)  # which has no annotations


OWN = {
    "cells.csv": "image,labels\na.jpg,cat dog\n", "columns.csv": "image,cat,dog\na.jpg,1,0\n",
    "urls.csv": "image_url,label\nhttps://host/a.jpg,cat\n",
    "pairs.csv": "filename,label,annotator\na.jpg,cat,1\n", "id.csv": "id,filename,label\n1,a.jpg,cat\n",
    "own.jsonl": '{"image": "a.jpg", "labels": ["cat"], "id": 3}\n', "list.json": '[{"image": "a", "label": "cat"}]',
    "nested.json": '{"images": [{"name": "a.jpg", "tags": ["cat"]}]}', "empty.csv": "", "blank.txt": " \n\n",
    "notes.txt": "see gs://bucket", "page.xml": "<html><meta></html>", "deep.json": "[" * 70_000,
    "open.json": '{"a": "', "quotes.csv": '"a\n', "bytes.txt": "\0\0\ufffd\0", "colons.json": "::::{}}}]],",
    "escapes.json": '{"' + '\\"' * 32_000 + "\\", "brackets.json": '{"classes": [' + '"a]",' * 12_000,
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_own_and_odd_files_are_like_nothing_known(name, tmp_path):
    assert recognize(str(write(tmp_path / name, OWN[name]))) is None


def test_what_cannot_be_read_is_like_nothing_known(tmp_path):
    assert recognize(str(tmp_path / "nothing.csv")) is None
    damaged = gzip.compress(export_samples.CSV_OF_LABEL_STUDIO.encode())[:40]
    (tmp_path / "cut.csv.gz").write_bytes(damaged)
    assert recognize(str(tmp_path / "cut.csv.gz")) is None
    write_pictures(tmp_path / "photos" / "cat")
    write(tmp_path / "photos" / "notes.txt", "cats of 2026")
    assert recognize(str(tmp_path / "photos")) is None


def test_a_compressed_export_is_known(tmp_path):
    file = tmp_path / "project.csv.gz"
    file.write_bytes(gzip.compress(export_samples.CSV_OF_LABEL_STUDIO.encode()))
    assert recognize(str(file)).known.data == "label_studio"
    file = tmp_path / "wide.csv"
    file.write_bytes(export_samples.CSV_OF_LABEL_STUDIO.encode("utf-16"))
    assert recognize(str(file)).known.data == "label_studio"


def test_a_large_first_object_hides_nothing(tmp_path):
    path = tmp_path / "project.json"
    write(path, '[{"id": 1, "annotations": [{"id": 2, "result": [' + '{"value": {}},' * 20_000)
    assert recognize(str(path)).known.data == "label_studio"


# The formats that were read wrong without an error: each is refused now, or read right.


def test_tasks_of_label_studio_that_nobody_has_answered_are_not_read_as_none(tmp_path, caplog):
    path = export_samples.label_studio_csv(tmp_path)
    columns = {"labels_column": "choice", "split_column": None}
    message = refused("csv", path, **columns)
    assert "set data=label_studio. Read as it is, an image that nobody has answered would have none" in message
    assert len(read("csv", path, misread="warn", **columns)) == len(IMAGES)
    assert "this looks like an export of Label Studio" in caplog.text
    path = export_samples.label_studio_json_min(tmp_path)
    assert "set data=label_studio" in refused("jsonl", path, blank="absent", **columns)


def test_a_run_from_before_reads_its_export_as_it_did(tmp_path):
    path = str(export_samples.label_studio_csv(tmp_path))
    columns = {"path": path, "labels_column": "choice", "split_column": None}
    settings = OmegaConf.to_container(settings_of("csv")) | columns
    del settings["misread"]
    assert len(create_reader(settings)("train", must_exist=False)) == len(IMAGES)


def test_numbers_of_ground_truth_are_not_read_as_names(tmp_path):
    columns = {"image_column": "source-ref", "labels_column": "animals", "split_column": None, "blank": "absent"}
    assert "set data=ground_truth" in refused("jsonl", export_samples.ground_truth(tmp_path), **columns)


def test_images_of_vertex_without_a_label_are_not_read_as_none(tmp_path):
    columns = {"image_column": "imageGcsUri", "labels_column": "classificationAnnotations", "split_column": None}
    path = export_samples.vertex_jsonl(tmp_path)
    assert "set data=vertex" in refused("jsonl", path, replace_prefix={"gs://bucket/": ""}, **columns)


def test_attributes_of_via_are_not_read_as_labels(tmp_path):
    columns = {"image_column": "filename", "labels_column": "file_attributes", "split_column": None}
    assert "set data=via" in refused("csv", export_samples.via_csv(tmp_path), **columns)


def test_coco_whose_tags_were_lost_is_refused(tmp_path):
    assert "has no annotations, so that none of its images has a label" in refused(
        "coco", export_samples.cvat_coco(tmp_path)
    )


def test_tags_in_coco_of_v7_are_labels(tmp_path):
    manifest = read("coco", export_samples.v7_coco(tmp_path))
    assert set(manifest.labels) == {"nose", "cat", "dog"}
    has = {label: k for k, label in enumerate(manifest.labels)}
    assert [row[has["cat"]] for row in targets(manifest)[:3]] == [1, 1, 0]


def test_voc_whose_tags_were_lost_is_refused(tmp_path):
    path = export_samples.cvat_voc(tmp_path)
    sets = {"train_set": "default", "test_set": None}
    assert "has no objects, so that none of its images has a label" in refused("voc", path, **sets)
    assert "set data=voc; if the folders in" in refused("folder", path)  # which are no labels


def test_frames_without_a_tag_are_not_read_as_a_label_of_their_own(tmp_path):
    for name in ("cvat_imagenet", "fiftyone_tree"):
        path = SAMPLES[name](tmp_path / name)
        assert "say what they are by data.untagged=absent" in refused("folder", path)
        assert {"no_label", "_unlabeled"}.isdisjoint(read("folder", path, untagged="absent", same_file="never").labels)


def test_folders_that_hold_pictures_of_an_export_are_not_read_as_labels(tmp_path):
    for name, data in (("fiftyone", "fiftyone"), ("supervisely", "supervisely"), ("sidecar", "sidecar")):
        SAMPLES[name](tmp_path / name)
        message = refused("folder", tmp_path / name)
        assert f"set data={data}; if the folders in {tmp_path / name} are the labels" in message
        assert len(read("folder", tmp_path / name, split_folders=False, same_file="never").labels) == 1


def test_label_folders_with_texts_beside_the_pictures_are_read_with_a_warning(tmp_path, caplog):
    for label in ("cat", "dog"):
        write_pictures(tmp_path / label, [f"{label}.jpg"])
        write(tmp_path / label / f"{label}.txt", f"a {label}")
    assert read("folder", tmp_path, same_file="never").labels == ("cat", "dog")
    assert "this looks like a folder with a text of tags beside each picture: set data=sidecar" in caplog.text


NAMED = {"image_column": "Image Index", "labels_column": "Finding Labels", "split_column": None, "separator": "|"}


def test_no_finding_is_not_read_as_a_label_nor_as_two(tmp_path):
    path = export_samples.chestxray14(tmp_path)
    for separator in ("|", " "):
        message = refused("csv", path, **NAMED | {"separator": separator})
        assert "'No Finding' (1). Set 'data.none_labels=[\"No Finding\"]'" in message
    manifest = read("csv", path, **NAMED, none_labels=["No Finding"])
    assert (manifest.labels, targets(manifest)) == (("Cardiomegaly", "Effusion"), [[1, 1], [0, 0]])
    columns = {"image_column": "image_id", "labels_column": "class_name", "layout": "pairs", "split_column": None}
    path = export_samples.vindr_cxr_boxes(tmp_path)
    assert "'No finding' (2)" in refused("csv", path, **columns)
    assert targets(read("csv", path, **columns, none_labels=["No finding"])) == [[0], [1]]


def test_lists_that_stand_as_text_are_lists(tmp_path):
    columns = {"image_column": "ImageID", "labels_column": "Labels", "split_column": None}
    manifest = read("csv", export_samples.padchest(tmp_path), **columns)
    assert manifest.labels == ("normal", "pleural effusion", "pulmonary fibrosis")
    columns = {"image_column": "filepath", "labels_column": "label", "split_column": "split_name"}
    assert read("csv", export_samples.nuswide(tmp_path), **columns).labels == ("clouds", "sky")


def test_a_set_that_says_no_by_minus_one_is_not_learnt_as_unknown(tmp_path):
    columns = {"image_column": "image_id", "layout": "columns"}
    manifest = read("csv", export_samples.celeba(tmp_path), **columns)
    with pytest.raises(InputError, match=r"set 'data.answers=\{-1: absent\}'"):
        check_learnable(manifest, LabelSpace(manifest.labels, {}), UnknownStrategy(), {**columns, "answers": None})
    answered = read("csv", export_samples.celeba(tmp_path), **columns, answers={-1: "absent"})
    assert targets(answered) == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_answers_of_rsna_are_not_read_as_names(tmp_path):
    columns = {"image_column": "ID", "labels_column": "Label", "split_column": None}
    assert "all labels are answers ('0', '1')" in refused("csv", export_samples.rsna_ich(tmp_path), **columns)


def test_what_needs_no_reader_of_its_own_is_read_right(tmp_path):
    path, columns = export_samples.roboflow_of_old(tmp_path), {"layout": "columns", "image_column": "filename"}
    assert targets(read("csv", path, **columns)) == [[1, 0], [1, 1], [0, 0]]
    path = export_samples.azure_ml(tmp_path)
    columns = {"image_column": "image_url", "labels_column": "label", "split_column": None}
    manifest = read("jsonl", path, replace_prefix={"AmlDatastore://images/": ""}, **columns)
    assert targets(manifest) == [[1, 0], [1, 1], [0, 0]]
    assert len(manifest) == sum(labels is not None for labels in TRUTH.values())
