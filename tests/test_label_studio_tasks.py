"""Tasks for Label Studio: predictions, splits and suspected errors that it imports."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.sparse import csr_array
from test_label_studio import answers, read_export

from multihot.data.label_studio_tasks import TaskWriter, create_interface
from multihot.data.manifest import Manifest
from multihot.data.readers.tools.label_studio_interface import read_interface
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.prediction.answers import refuse
from multihot.prediction.parts import open_output
from multihot.prediction.tools import WRITERS_OF_TOOLS

LABELS = ("cat", 'say "hi"', "red", "blue", "big", "small")
GROUPS = (Group("colour", ("red", "blue"), none=True), Group("image", ("big", "small")))
SPACE = LabelSpace(LABELS, GROUPS)


def create_record(image: str, probability: list[float], labels: set[str]) -> dict:
    scores = [
        {"label": label, "probability": value, "predicted": label in labels}
        for label, value in zip(LABELS, probability, strict=True)
    ]
    return {"image": image, "labels": [label for label in LABELS if label in labels], "scores": scores, "error": None}


RECORDS = [
    create_record("/data/local-files/?d=photos/a b#1.jpg", [0.9, 0.2, 0.8, 0.1, 0.6, 0.4], {"cat", "red", "big"}),
    create_record("s3://bucket/b.jpg", [0.1, 0, 0.1, 0.1, 0, 1], {"small"}),
    refuse("c.jpg", "it is empty"),
]


def write_records(folder: Path) -> list[dict]:
    """Returns the tasks of RECORDS, which are written in two parts."""
    output = open_output(folder / "tasks.json", SPACE, None, {}, 2, tool="label_studio")
    output.begin()
    for number, records in enumerate((RECORDS[:2], RECORDS[2:])):
        with output.writer.open(output.part(number)) as write:
            write(records)
        output.save(number, {"num_images": 1, "num_unreadable": 0, "labels": {}, "reasons": []})
    output.finish()
    return json.loads((folder / "tasks.json").read_text())


def choose(name: str, *labels: str) -> dict:
    return {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(labels)}}


def test_predictions_are_tasks_whose_score_is_the_doubt_about_them(tmp_path):
    first, second, unread = write_records(tmp_path)
    assert first["data"] == {"image": "/data/local-files/?d=photos/a%20b%231.jpg"}
    [prediction] = first["predictions"]
    assert prediction["result"] == [choose("labels", "cat"), choose("colour", "red"), choose("image_", "big")]
    assert prediction["score"] == pytest.approx((0.1 + 0.2 + 0.2 + 0.1 + 0.4 + 0.4) / 6)
    assert second["predictions"][0]["score"] == pytest.approx(0.3 / 6)
    assert unread == {"data": {"image": "c.jpg", "error": "it is empty"}}  # which is not "none of the labels"


def test_the_interface_lies_beside_the_tasks_and_says_the_groups(tmp_path):
    write_records(tmp_path)
    interface = read_interface(str(tmp_path / "tasks.json.xml"))
    assert {name: (each.labels, each.exclusive, each.required) for name, each in interface.items()} == {
        "labels": (("cat", 'say "hi"'), False, False),
        "colour": (("red", "blue"), True, False),
        "image_": (("big", "small"), True, True),
    }


def test_an_interface_of_the_user_is_not_replaced(tmp_path):
    (tmp_path / "tasks.json.xml").write_text("<View><Choices/></View>")
    with pytest.raises(InputError, match=r"tasks.json.xml is there and is none that this has written"):
        write_records(tmp_path)


def test_no_image_is_an_empty_list(tmp_path):
    WRITERS_OF_TOOLS["label_studio"](SPACE, None).join([], tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == []


def export(tasks: list[dict]) -> list[dict]:
    """Returns what Label Studio exports of tasks: an annotation for each prediction that has been accepted."""
    return [
        {
            "id": number,
            "data": task["data"],
            "annotations": [{"id": number} | each for each in task.get("predictions", [])],
        }
        for number, task in enumerate(tasks, start=1)
    ]


def read_back(folder: Path, tasks: list[dict], *overrides: str):
    (folder / "export.json").write_text(json.dumps(export(tasks)))
    return read_export(f"data.path={folder}/export.json", f"data.interface={folder}/tasks.json.xml", *overrides)


def test_accepted_predictions_are_read_as_they_were(tmp_path):
    overrides = ["data.untagged=unknown", "data.replace_prefix={s3://bucket/:x/}"]
    manifest = read_back(tmp_path, write_records(tmp_path), *overrides)
    assert manifest.labels == LABELS
    assert manifest.groups == (GROUPS[0], Group("image_", ("big", "small")))
    assert answers(manifest) == {"a b#1": {"cat", "red", "big"}, "b": {"small"}, "c": {"?"}}


def create_manifest(*rows: list[float], unlisted: int = 0) -> Manifest:
    images = [f"/data/photos/{number}.jpg" for number in range(len(rows))]
    return Manifest(LABELS[:2], images, csr_array(np.array(rows, np.float32)), unlisted=unlisted)


def test_known_answers_are_annotations_and_others_predictions():
    data = create_manifest([1, 0], [0, 0], [1, -1], [0.7, 0])
    splits = np.array(["train", "val", "train", ""])
    tasks = json.loads(TaskWriter("/data").format(data, splits, Path("/data")))
    assert [task["data"] for task in tasks] == [
        {"image": f"/data/local-files/?d=photos/{number}.jpg", "split": split}
        for number, split in enumerate(["train", "val", "train"])
    ]
    assert [task.get("annotations") for task in tasks] == [
        [{"result": [choose("labels", "cat")]}],
        [{"result": []}],
        None,
    ]
    assert tasks[2]["predictions"] == [{"result": [choose("labels", "cat")]}]


def test_names_are_escaped_in_the_interface():
    labels = ("a<b & c", "line\nend", "'\"")
    root = ElementTree.fromstring(create_interface(labels))
    assert [tag.get("value") for tag in root.iter("Choice")] == list(labels)


def test_the_tool_itself_takes_the_predictions_and_exports_them_unchanged(tmp_path):
    sdk = pytest.importorskip("label_studio_sdk", reason="label-studio-sdk 2.1.2 is not installed")
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    assert sdk.__version__
    tasks = write_records(tmp_path)
    config = (tmp_path / "tasks.json.xml").read_text()
    interface = LabelInterface(config)
    for task in tasks[:2]:
        [prediction] = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
    (tmp_path / "accepted.json").write_text(json.dumps(export(tasks)))
    for kind in ("JSON", "JSON_MIN", "CSV", "TSV"):
        out = tmp_path / kind
        Converter(config, str(tmp_path), download_resources=False).convert(
            str(tmp_path / "accepted.json"), str(out), kind, is_dir=False
        )
        [file] = out.iterdir()
        settings = [f"data.root={tmp_path}", "data.untagged=unknown", "data.replace_prefix={s3://bucket/:x/}"]
        manifest = read_export(f"data.path={file}", f"data.interface={tmp_path}/tasks.json.xml", *settings)
        assert answers(manifest) == {"a b#1": {"cat", "red", "big"}, "b": {"small"}, "c": {"?"}}
