"""Predictions written for CVAT and in COCO's format say the same when they are read again, by us and by datumaro."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import load_script
from PIL import Image
from test_columns import read

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.prediction.answer_images import Total
from multihot.prediction.answers import refuse
from multihot.prediction.tools import WRITERS_OF_TOOLS

LABELS = ("cat", 'a "b" & <c>', "straße 猫")
IMAGES = {"a.png": [1, 0, 1], "x/b & 'c'.png": [0, 0, 0], "d\n1.png": [0, 1, 0], "é.png": [1, 1, 1]}
OVERRIDES = {"cvat": ["data.untagged=absent"], "coco": []}


def record(image: str, target: list[int], top_k: int = 3) -> dict:
    """Returns a record as `Describer` makes it."""
    scores = [
        {
            "label": label,
            "probability": 0.75 if value else 0.25,
            "logit": 0.0,
            "threshold": 0.5,
            "predicted": bool(value),
        }
        for label, value in zip(LABELS, target, strict=True)
    ]
    found = [label for label, value in zip(LABELS, target, strict=True) if value]
    return {"image": image, "labels": found, "scores": scores[:top_k], "error": None}


def write(tool: str, path: Path, *parts: list[dict], labels: tuple[str, ...] = LABELS) -> None:
    """Writes records in parts and joins them."""
    writer = WRITERS_OF_TOOLS[tool](LabelSpace(labels), None)
    files = [path.with_name(f"{path.name}.{number}") for number in range(len(parts))]
    for file, records in zip(files, parts, strict=True):
        with writer.open(file) as write_records:
            write_records(records)
    writer.join(files, path)
    for file in files:
        file.unlink()


def draw(folder: Path) -> None:
    for image in (*IMAGES, "broken.png"):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(folder / image)


def predictions() -> tuple[list[dict], list[dict], list[dict]]:
    """Returns the records of three parts, the second without an image that could be read."""
    first, *rest = [record(*item) for item in IMAGES.items()]
    return [first], [refuse("broken.png", "it is no picture")], rest


@pytest.mark.parametrize("tool", ["cvat", "coco"])
def test_predictions_are_read_again_as_they_were(tool, tmp_path):
    draw(tmp_path)
    write(tool, tmp_path / "out", *predictions())
    overrides = [f"data.path={tmp_path}/out", "data.val_fraction=0", *OVERRIDES[tool]]
    manifest = read(*overrides, source=tool)
    assert manifest.labels == LABELS
    assert list(manifest.images) == [f"{tmp_path}/{image}" for image in IMAGES]  # not the one that could not be read
    assert manifest.dense_targets().tolist() == [*IMAGES.values()]


def test_an_annotation_has_the_probability_of_its_label(tmp_path):
    write("coco", tmp_path / "out", [record("a.png", [1, 0, 1], top_k=1)], [record("b.png", [0, 1, 0])])
    assert json.loads((tmp_path / "out").read_text()) == {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "score": 0.75},
            {"id": 2, "image_id": 1, "category_id": 3},  # whose probability is not among the scores
            {"id": 3, "image_id": 2, "category_id": 2, "score": 0.75},
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(LABELS, start=1)],
    }


@pytest.mark.parametrize("tool", ["cvat", "coco"])
def test_a_file_without_images_is_complete(tool, tmp_path):
    write(tool, tmp_path / "out", [], [])
    text = (tmp_path / "out").read_text()
    assert text.count("cat") == 1 if tool == "cvat" else json.loads(text)["images"] == []


def test_what_xml_cannot_hold_is_told(tmp_path, caplog):
    with pytest.raises(InputError, match=r"labels with characters that no XML can hold: a\\x01"):
        write("cvat", tmp_path / "out", labels=("cat", "a\x01"))
    write("cvat", tmp_path / "out", [record("a\x02.png", [1, 0, 0]), record("b\udce9.png", [1, 0, 0])])
    assert r"2 images left out, as no XML can hold such a name: 'a\x02.png', 'b\udce9.png'" in caplog.text
    assert "<image" not in (tmp_path / "out").read_text()


@pytest.mark.parametrize("tool", ["cvat", "coco", "label_studio"])
def test_images_that_a_format_leaves_out_are_not_counted_as_written(tool, tmp_path, caplog):
    records = [dict(one, file=one["image"]) for part in predictions() for one in part]
    counted = Total()
    with WRITERS_OF_TOOLS[tool](LabelSpace(LABELS), None).open(tmp_path / "part") as write_records:
        counted.add(records, write_records(records) or 0)
    num_left_out = 0 if tool == "label_studio" else 1  # which has a task for each image
    assert (counted.num_images, counted.num_unreadable, counted.num_left_out) == (5, 1, num_left_out)
    with caplog.at_level(logging.INFO, "multihot"):
        load_script("scripts/predict").tell(counted.to_config(), SimpleNamespace(path="out"))
    words = "4 images written to out, 1 left out" if num_left_out else "5 images written to out"
    assert words in caplog.messages[-1]


PLACES = {"cvat": "default.xml", "coco": "annotations/labels_default.json"}


@pytest.mark.filterwarnings("ignore")  # those of datumaro
@pytest.mark.parametrize(("tool", "format"), [("cvat", "cvat"), ("coco", "coco_labels")])
def test_datumaro_imports_predictions_and_exports_the_same(tool, format, tmp_path):
    """Needs datumaro (1.13.12), which is for tests alone and not in an extra."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    images = {image: target for image, target in IMAGES.items() if "\n" not in image}
    source = tmp_path / "source"
    (source / PLACES[tool]).parent.mkdir(parents=True)
    write(tool, source / PLACES[tool], [record(*item) for item in images.items()])
    draw(source / "images")
    if tool == "coco":
        (source / "images").rename(source / "default")
        (source / "images").mkdir()
        (source / "default").rename(source / "images" / "default")
    data = datumaro.Dataset.import_from(str(source), format)
    for name, overrides in (("datumaro", ["data.untagged=absent"]), ("cvat", OVERRIDES["cvat"]), ("coco_labels", [])):
        data.export(str(tmp_path / name), name, save_media=True)
        path = {"datumaro": "", "cvat": "default.xml", "coco_labels": "annotations/labels_default.json"}[name]
        root = [f"data.root={tmp_path}/{name}/images/default"] * (name == "coco_labels")
        manifest = read(
            f"data.path={tmp_path / name / path}", "data.val_fraction=0", *overrides, *root, source=name.split("_")[0]
        )
        assert manifest.labels == LABELS
        names = [Path(image).name for image in manifest.images]
        expected = {Path(image).name: target for image, target in images.items()}
        expected["x_b & 'c'.png"] = expected["b & 'c'.png"]  # datumaro's own name
        np.testing.assert_array_equal(manifest.dense_targets(), [expected[name] for name in names])
        assert len(names) == len(images)
