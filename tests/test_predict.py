import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compose_config, load_script
from PIL import Image
from test_processes import launch

from multihot.errors import InputError
from multihot.evaluation.predictions import Predictions
from multihot.labels import LabelSpace
from multihot.model.kernels import DEFAULT, KERNELS, Compute
from multihot.model.pieces import InPieces
from multihot.prediction.answer_images import cut_parts
from multihot.prediction.images import list_images
from multihot.prediction.writers import Csv, JsonLines, Parquet

RECORDS = [
    {
        "image": "a.jpg", "labels": ["cat", "big dog"], "error": None,
        "scores": [
            {"label": "cat", "probability": 0.9, "logit": 2.2, "threshold": 0.5, "predicted": True},
            {"label": "big dog", "probability": 0.6, "logit": 0.4, "threshold": None, "predicted": True},
        ],
    },
    {"image": "b.jpg", "labels": [], "error": "cannot read the image b.jpg", "scores": []},
]  # fmt: skip


@pytest.fixture
def predict():
    """predict("run=...", ...): runs scripts/predict.py in this process."""
    main = load_script("scripts/predict").main.__wrapped__

    def run(*overrides: str) -> None:
        main(compose_config("predict", list(overrides)))

    return run


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def logits_of(records: list[dict], labels: list[str]) -> np.ndarray:
    """Returns the logits (N, C) of records with all scores."""
    scores = [{score["label"]: score["logit"] for score in record["scores"]} for record in records]
    return np.array([[row[label] for label in labels] for row in scores], np.float32)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of five photos, one of them cut short, one with a turn in its metadata, and a text."""
    folder = tmp_path / "photos" / "more"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels = generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:900])
    (folder / "notes.txt").write_text("no image")
    return folder.parent


def test_predict_gives_the_logits_of_evaluate_to_the_bit(tmp_path, train, evaluate, predict):
    train("name=a", "decisions=micro_f1")
    run = tmp_path / "a"
    evaluate(f"run={run}", "split=test")
    for ending in ("jsonl", "parquet", "csv"):
        predict(f"run={run}", "split=test", f"out={tmp_path}/test.{ending}", "part_images=9")
    saved = Predictions.load(run / "test")
    labels = json.loads((run / "labels.json").read_text())
    records = read_lines(tmp_path / "test.jsonl")
    assert [record["image"] for record in records] == list(saved.images)
    assert np.array_equal(logits_of(records, labels), saved.logits.numpy())
    from pyarrow import parquet

    rows = parquet.read_table(tmp_path / "test.parquet").to_pylist()
    assert np.array_equal(logits_of(rows, labels), saved.logits.numpy())
    with (tmp_path / "test.csv").open() as file:
        table = list(csv.DictReader(file))
    assert np.array_equal(np.float32([[row[f"logit {label}"] for label in labels] for row in table]), saved.logits)
    from multihot.decisions import Decisions

    decisions = Decisions.load(run / "best")
    probability = {score["label"]: score["probability"] for score in records[0]["scores"]}
    assert np.array_equal(
        np.float32([probability[label] for label in labels]), decisions.probability(saved.logits)[0].numpy()
    )
    predicted = [[labels[k] for k in np.flatnonzero(row)] for row in decisions.decide(saved.logits).numpy()]
    assert [record["labels"] for record in records] == predicted
    assert [row["labels"] for row in rows] == predicted
    assert [row["labels"].split() for row in table] == predicted
    note = json.loads((tmp_path / "test.csv.json").read_text())
    assert note["plan"]["thresholds"] == decisions.thresholds()
    assert note["finished"]["num_images"] == 23


def test_a_photo_that_cannot_be_read_has_a_row_and_changes_no_other(tmp_path, train, predict, photos, caplog):
    train("name=a")
    predict(f"run={tmp_path}/a", f"images={photos}", f"out={tmp_path}/all.jsonl")
    records = read_lines(tmp_path / "all.jsonl")
    assert [Path(record["image"]).name for record in records] == [f"{number}.jpg" for number in range(5)]
    assert [record["error"] is not None for record in records] == [False, False, False, True, False]
    assert "3.jpg" in records[3]["error"]
    assert records[3]["labels"] == records[3]["scores"] == []
    assert "1 of 5 images could not be read" in caplog.text
    assert "notes.txt" in caplog.text
    (photos / "more/3.jpg").write_bytes((photos / "more/4.jpg").read_bytes())
    predict(f"run={tmp_path}/a", f"images={photos}", f"out={tmp_path}/whole.jsonl")
    whole = read_lines(tmp_path / "whole.jsonl")
    assert [record for record in whole if "3.jpg" not in record["image"]] == [records[k] for k in (0, 1, 2, 4)]


def test_a_stopped_prediction_goes_on_and_ends_the_same(tmp_path, train, predict, monkeypatch, caplog):
    train("name=a")
    command = [f"run={tmp_path}/a", "split=test", "batch_size=4", "part_images=4"]
    predict(*command, f"out={tmp_path}/whole.csv")

    from multihot.prediction.parts import Output

    save = Output.save

    def stop(self, number, counts):
        if number == 3:
            raise KeyboardInterrupt
        save(self, number, counts)

    monkeypatch.setattr(Output, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(*command, f"out={tmp_path}/stopped.csv")
    assert not (tmp_path / "stopped.csv").exists()
    kept = sorted(path.name for path in (tmp_path / ".stopped.csv.parts").glob("*.json"))
    assert kept == ["000000.json", "000001.json", "000002.json"]
    monkeypatch.setattr(Output, "save", save)
    with pytest.raises(InputError, match="other settings"):
        predict(*command, f"out={tmp_path}/stopped.csv", "top_k=2")
    predict(*command, f"out={tmp_path}/stopped.csv")
    assert "3 of 6 parts are there" in caplog.text
    assert (tmp_path / "stopped.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / ".stopped.csv.parts").exists()
    written = (tmp_path / "stopped.csv").stat().st_mtime_ns
    predict(*command, f"out={tmp_path}/stopped.csv")
    assert "is there already" in caplog.text
    assert (tmp_path / "stopped.csv").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="other settings"):
        predict(*command, f"out={tmp_path}/stopped.csv", "min_probability=0.5")


def test_the_kernels_that_a_trial_has_chosen_are_noted(tmp_path, train, predict, monkeypatch):
    train("name=a", "epochs=0", "kernels=unfused-highest")
    monkeypatch.setattr("multihot.model.kernels.TRIAL_SECONDS", 0.01)
    noted = []
    for name, settings in {"run": [], "told": ["kernels=default"], "tried": ["kernels=auto"]}.items():
        predict(f"run={tmp_path}/a", "split=test", f"out={tmp_path}/{name}.csv", *settings)
        noted.append(json.loads((tmp_path / f"{name}.csv.json").read_text())["plan"]["settings"]["kernels"])
    assert noted[:2] == ["unfused-highest", DEFAULT]
    assert noted[2] in KERNELS
    monkeypatch.setattr("multihot.model.kernels.fastest", lambda candidates, *_: pytest.fail("tried again"))
    predict(f"run={tmp_path}/a", "split=test", f"out={tmp_path}/tried.csv", "kernels=auto")  # which is there already


def test_a_trial_of_another_command_is_remembered(tmp_path, train, predict, monkeypatch):
    trials = []
    monkeypatch.setattr(
        "multihot.model.kernels.fastest", lambda *trial: trials.append(trial) or Compute("no", KERNELS[3])
    )
    train("name=a", "epochs=0", "kernels=auto")
    predict(f"run={tmp_path}/a", "split=test", f"out={tmp_path}/a.csv", "kernels=auto")
    assert len(trials) == 1


def test_a_large_batch_is_computed_in_even_pieces():
    seen = []

    class Model(torch.nn.Module):
        def forward(self, image):
            seen.append(len(image))
            return image.flatten(1)[:, :2]

    image = torch.randn(33, 3, 4, 4)
    assert torch.equal(InPieces(Model())(image), image.flatten(1)[:, :2])
    assert seen == [11, 11, 11]
    InPieces(Model())(image[:16])
    assert seen[3:] == [16]


def test_all_images_are_predicted_by_a_run_of_few(tmp_path, train, predict):
    train("name=a", "epochs=0", "max_images=20")
    for name, settings in {"all": [], "some": ["max_images=5"]}.items():
        predict(f"run={tmp_path}/a", "split=test", f"out={tmp_path}/{name}.jsonl", *settings)
    assert len(read_lines(tmp_path / "all.jsonl")) == 23
    assert len(read_lines(tmp_path / "some.jsonl")) == 5


def test_a_file_of_the_user_is_not_replaced(tmp_path, train, predict):
    train("name=a")
    (tmp_path / "mine.csv").write_text("image,labels\n")
    with pytest.raises(InputError, match="nothing says of what it is"):
        predict(f"run={tmp_path}/a", "split=test", f"out={tmp_path}/mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "image,labels\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "give images= or split="),
        (["split=test", "images=photos"], "one of them"),
        (["images=nowhere"], "is no file or folder"),
        (["images=nowhere/*.jpg"], "matches no file"),
        (["split=test", "out=a.xlsx"], "give one of .csv, .jsonl, .parquet"),
    ],
)
def test_what_cannot_be_predicted_is_told(tmp_path, train, predict, settings, words):
    train("name=a", "epochs=0")
    with pytest.raises(InputError, match=words):
        predict(f"run={tmp_path}/a", *settings)


def test_images_come_from_folders_patterns_and_tables(photos, tmp_path):
    expected = [str(photos / f"more/{number}.jpg") for number in range(5)]
    assert list_images(str(photos), "image", None) == expected
    assert list_images(f"{photos}/**/*.jpg", "image", None) == expected
    assert list_images(expected[2], "image", None) == expected[2:3]
    table = tmp_path / "list.csv"
    table.write_text("id,path\n1,photos/more/4.jpg\n2,photos/more/0.jpg\n")
    assert list_images(str(table), "path", None) == [expected[4], expected[0]]
    assert list_images(str(table), "path", "/data")[0] == "/data/photos/more/4.jpg"
    with pytest.raises(InputError, match="id, path"):
        list_images(str(table), "image", None)
    table.write_text("id,path\n1,\n")
    with pytest.raises(InputError, match="line 2"):
        list_images(str(table), "path", None)


def test_another_source_is_predicted_without_answers(tmp_path, train, predict, photos):
    train("name=a")
    table = tmp_path / "new.csv"
    table.write_text("image,labels,split\n" + "".join(f"photos/more/{k}.jpg,,test\n" for k in (4, 0, 1)))
    predict(f"run={tmp_path}/a", "data=csv", f"data.path={table}", "split=test", f"out={tmp_path}/new.jsonl")
    predict(f"run={tmp_path}/a", f"images={table}", f"out={tmp_path}/same.jsonl")
    assert (tmp_path / "new.jsonl").read_text() == (tmp_path / "same.jsonl").read_text()


def test_a_csv_has_a_column_a_score_or_the_top_k(tmp_path):
    whole, top = Csv(LabelSpace(("cat", "big dog")), None), Csv(LabelSpace(("cat", "big dog")), 1)
    assert whole.header[3:] == ["probability cat", "logit cat", "probability big dog", "logit big dog"]
    assert whole.cells(RECORDS[0]) == ["a.jpg", "cat;big dog", None, 0.9, 2.2, 0.6, 0.4]
    assert whole.cells(RECORDS[1]) == ["b.jpg", "", RECORDS[1]["error"], None, None, None, None]
    assert top.header[3:] == ["label 1", "probability 1", "logit 1"]
    with pytest.raises(InputError, match=r"jsonl"):
        Csv(LabelSpace(("a b;c|d,e\tf",)), None)


@pytest.mark.parametrize("writer", [Csv, JsonLines, Parquet])
def test_parts_join_to_what_one_part_holds(tmp_path, writer):
    format = writer(LabelSpace(("cat", "big dog")), None)
    for name, records in (("one", RECORDS[:1]), ("two", RECORDS[1:]), ("all", RECORDS), ("none", [])):
        with format.open(tmp_path / name) as write:
            write(records)
    format.join([tmp_path / "one", tmp_path / "none", tmp_path / "two"], tmp_path / "joined")
    format.join([tmp_path / "all"], tmp_path / "expected")
    if writer is Parquet:
        from pyarrow import parquet

        assert parquet.read_table(tmp_path / "joined").equals(parquet.read_table(tmp_path / "expected"))
    else:
        assert (tmp_path / "joined").read_bytes() == (tmp_path / "expected").read_bytes()


def test_parts_are_whole_batches():
    assert [len(part) for part in cut_parts(100, 8, 20)] == [16] * 6 + [4]
    assert cut_parts(3, 8, 2) == [range(3)]


@pytest.mark.slow
def test_two_processes_write_the_file_of_one(tmp_path, train):
    train("name=a")
    command = ["scripts/predict.py", f"run={tmp_path}/a", "split=test", "part_images=8"]
    for number, name in enumerate(("one", "two"), 1):
        ended = launch(tmp_path / f"log_{name}", number, *command, f"out={tmp_path}/{name}.csv")
        assert ended.codes == [0] * number, ended.printed
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
