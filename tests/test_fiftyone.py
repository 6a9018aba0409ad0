"""Predictions that FiftyOne imports are, exported again, the answers that they were."""

import json
from pathlib import Path

import pytest
from PIL import Image
from test_columns import read

from multihot.errors import InputError
from multihot.labels import LabelSpace
from multihot.prediction.answers import refuse
from multihot.prediction.tools.fiftyone import FiftyOne
from multihot.prediction.writers import Renaming

LABELS = ("cat", "dog", 'big "owl"')
ANSWERS = {"a.png": ["cat"], "b.png": ["dog", 'big "owl"'], "sub/a.png": [], "bad.png": None}


def create_record(image: str, labels: list[str] | None) -> dict:
    """Returns a record as of a run that shows two scores of each image."""
    if labels is None:
        return refuse(image, "no image")
    order = sorted(LABELS, key=lambda label: label not in labels)
    scores = [{"label": label, "probability": 0.75 if label in labels else 0.25} for label in order[:1]]
    return {"image": image, "labels": labels, "scores": scores, "error": None}


@pytest.fixture
def photos(tmp_path):
    for name in ANSWERS:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def write(file: Path, records: list[dict], prefixes: dict[str, str] | None = None) -> dict:
    """Returns what the file of predictions holds, which is written in two parts."""
    writer = Renaming(FiftyOne(LabelSpace(LABELS), 1), prefixes or {})
    parts = [file.with_name(f"{number}.part") for number in range(3)]
    for part, some in zip(parts, (records[:2], [], records[2:]), strict=True):
        with writer.open(part) as add:
            add(some)
    writer.join(parts, file)
    return json.loads(file.read_text())


def test_predictions_have_labels_and_confidence_and_what_is_not_known_is_null(photos, tmp_path):
    records = [create_record(str(photos / name), labels) for name, labels in ANSWERS.items()]
    assert write(tmp_path / "labels.json", records) == {
        "classes": list(LABELS),
        "labels": {
            f"{photos}/a.png": [{"label": 0, "confidence": 0.75}],
            f"{photos}/b.png": [{"label": 1, "confidence": 0.75}, {"label": 2}],  # only one score is in the record
            f"{photos}/sub/a.png": [],
            f"{photos}/bad.png": None,
        },
    }
    manifest = read(
        f"data.path={tmp_path}/labels.json", "data.untagged=unknown", "data.val_fraction=0", source="fiftyone"
    )
    assert manifest.labels == LABELS
    assert manifest.dense_targets().tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0], [-1, -1, -1]]


def test_images_that_fiftyone_has_in_its_folder_have_no_ending(photos, tmp_path):
    records = [create_record(str(photos / name), labels) for name, labels in ANSWERS.items()]
    labels = write(tmp_path / "labels.json", records, {f"{photos}/": ""})["labels"]
    assert list(labels) == ["a", "b", "sub/a", "bad"]
    Image.new("RGB", (8, 8), "red").save(photos / "a.jpg")
    with pytest.raises(InputError, match="two images are called 'a'"):
        write(tmp_path / "labels.json", [*records, create_record(str(photos / "a.jpg"), [])], {f"{photos}/": ""})


def test_a_relative_path_becomes_one_that_fiftyone_finds(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(write(tmp_path / "labels.json", [create_record("photos/a.png", ["cat"])])["labels"]) == [
        f"{photos}/a.png"
    ]


def test_no_image_at_all_is_an_object_too(tmp_path):
    assert write(tmp_path / "labels.json", []) == {"classes": list(LABELS), "labels": {}}


def test_fiftyone_imports_them_and_exports_them_again(photos, tmp_path):
    """Seen with fiftyone 1.22.1, whose importer and exporter need no data base."""
    pytest.importorskip("fiftyone", reason="fiftyone is not installed: pip install fiftyone==1.22.1")
    from fiftyone.utils.data.exporters import FiftyOneImageClassificationDatasetExporter
    from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter

    write(tmp_path / "labels.json", [create_record(str(photos / name), labels) for name, labels in ANSWERS.items()])
    with FiftyOneImageClassificationDatasetImporter(labels_path=str(tmp_path / "labels.json")) as importer:
        imported = {path: label for path, _, label in importer}
    found = {
        Path(path).relative_to(photos).as_posix(): label
        and [(each.label, each.confidence) for each in label.classifications]
        for path, label in imported.items()
    }
    assert found == {
        "a.png": [("cat", 0.75)], "b.png": [("dog", 0.75), ('big "owl"', None)], "sub/a.png": [], "bad.png": None,
    }  # fmt: skip
    settings = {"export_dir": str(tmp_path / "export"), "rel_dir": str(photos), "classes": list(LABELS)}
    with FiftyOneImageClassificationDatasetExporter(**settings) as exporter:
        for path, label in imported.items():
            exporter.export_sample(path, label)
    manifest = read(f"data.path={tmp_path}/export", "data.untagged=unknown", "data.val_fraction=0", source="fiftyone")
    rows = zip(manifest.images, manifest.dense_targets().tolist(), strict=True)
    assert {Path(image).relative_to(tmp_path / "export/data").as_posix(): row for image, row in rows} == {
        "a.png": [1, 0, 0], "b.png": [0, 1, 1], "sub/a.png": [-1, -1, -1], "bad.png": [-1, -1, -1],
    }  # fmt: skip  # of none and unknown FiftyOne has made the same
