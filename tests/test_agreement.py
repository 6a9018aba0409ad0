"""How far several people agree is shown label by label, as a reference says it."""

import json

import numpy as np
import pytest
from conftest import compose_config, load_script
from PIL import Image
from test_exports import SETTINGS, FakeReader

from multihot.data import create_reader
from multihot.data.checks.agreement import Votes, count_votes, find_alpha, has_alpha, measure_agreement
from multihot.data.table.exports import Item
from multihot.errors import InputError

pytestmark = pytest.mark.skipif(not has_alpha(), reason="needs the package krippendorff")


def measure(*items: Item, **settings) -> dict[str, dict]:
    reader = FakeReader(**SETTINGS | {"agree": "majority"} | settings)
    reader.items = items
    return {row["label"]: row for row in measure_agreement(reader.table)}


def test_alpha_is_that_of_the_raw_answers():
    """Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, part A: two observers, ten units, 0.095."""
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    items = [
        Item(number, f"{number}.jpg", [{"cat": said} for said in pair])
        for number, pair in enumerate(zip(first, second, strict=True))
    ]
    row = measure(*items)["cat"]
    assert row["num_images"] == 10
    assert row["agreement"] == 0.6  # of pairs, 6 of 10
    assert row["alpha"] == pytest.approx(0.095, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_images_that_are_joined_count_as_much(seed):
    import krippendorff

    random = np.random.RandomState(seed)
    answers = random.choice([0, 0.5, 1, np.nan], (4, 60), p=[0.5, 0.05, 0.25, 0.2])  # people, images
    answers[1] = np.where(random.rand(60) < 0.7, answers[0], answers[1])
    counts = np.stack([(answers == value / 10).sum(axis=0) for value in range(11)], axis=1)
    counts = counts[counts.sum(axis=1) > 1]
    expected = krippendorff.alpha(answers, level_of_measurement="interval")
    assert find_alpha(Votes("cat", counts, 0, 0)) == pytest.approx(expected, abs=1e-12)


def test_what_a_reading_does_not_name_is_absent_to_it():
    rows = measure(
        Item(1, "a.jpg", [{"cat": 1}, {"cat": 1, "dog": 1}]),
        Item(2, "b.jpg", [{}, {}, {}]),
        Item(3, "c.jpg", [{"dog": 1}]),  # one person alone
        Item(4, "d.jpg", []),
        Item(5, "e.jpg", [{"cat": -1}, {"cat": 1}]),  # unknown is no answer
    )
    assert {label: row["num_images"] for label, row in rows.items()} == {"cat": 2, "dog": 3}
    assert rows["cat"] == {"label": "cat", "num_images": 2, "agreement": 1, "alpha": 1}
    assert rows["dog"]["agreement"] == pytest.approx(2 / 3)
    # absent 6 of 7 answers: observed 2 / 7 disagree, expected 2 * 6 / (7 * 6)
    assert rows["dog"]["alpha"] == pytest.approx(1 - (2 / 7) / (2 / 7))


def test_what_is_unlisted_may_be_unknown():
    rows = measure(Item(1, "a.jpg", [{"cat": 1}, {"cat": 0, "dog": 1}]), unlisted="unknown")
    assert {label: row["num_images"] for label, row in rows.items()} == {"cat": 1}


def test_without_variation_there_is_no_alpha():
    assert measure(Item(1, "a.jpg", [{"cat": 1}, {"cat": 1}]))["cat"]["alpha"] is None


def test_readings_that_contradict_are_measured_where_they_are_refused():
    reader = FakeReader(**SETTINGS)
    reader.items = [Item(1, "a.jpg", [{"cat": 1}, {}]), Item(2, "b.jpg", [{"cat": 1}, {"cat": 1}])]
    with pytest.raises(InputError, match="contradict"):
        reader("train", must_exist=False)
    assert measure_agreement(reader.table)[0]["agreement"] == 0.5


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("image,labels\na.jpg,cat\na.jpg,cat dog\nb.jpg,\nb.jpg,\n", []),
        ("image,cat,dog\na.jpg,1,0\na.jpg,1,1\nb.jpg,0,0\nb.jpg,0,0\n", ["data.layout=columns"]),
        (
            "image,label,value\na.jpg,cat,1\na.jpg,cat,1\na.jpg,dog,0\na.jpg,dog,1\n"
            "b.jpg,cat,0\nb.jpg,cat,0\nb.jpg,dog,0\nb.jpg,dog,0\n",
            ["data.layout=pairs", "data.labels_column=label", "data.value_column=value"],
        ),
    ],
    ids=["cell", "columns", "pairs"],
)  # fmt: skip
def test_rows_of_several_people_are_measured_in_every_layout(tmp_path, text, settings):
    (tmp_path / "people.csv").write_text(text)
    overrides = [f"data.path={tmp_path / 'people.csv'}", "data.agree=majority", "data.split_column=null", *settings]
    reader = create_reader(compose_config("train", ["data=csv", *overrides]).data)
    rows = {row["label"]: row for row in measure_agreement(reader.table)}
    assert {label: row["agreement"] for label, row in rows.items()} == {"cat": 1, "dog": 0.5}
    assert rows["cat"]["alpha"] == 1


def test_one_answer_an_image_is_no_agreement(tmp_path):
    (tmp_path / "own.csv").write_text("image,labels\na.jpg,cat\n")
    reader = create_reader(compose_config("train", ["data=csv", f"data.path={tmp_path / 'own.csv'}"]).data)
    assert list(count_votes(reader.table)) == []
    assert measure_agreement(None) == []


def validate(folder, *overrides: str) -> tuple[dict, str]:
    """Returns the report and the page."""
    settings = [f"out={folder / 'report'}", "num_workers=1", *overrides]
    with pytest.raises(SystemExit):
        load_script("scripts/validate_data").main.__wrapped__(compose_config("validate_data", settings))
    return json.loads((folder / "report/report.json").read_text()), (folder / "report/report.html").read_text()


def test_the_doctor_shows_a_table_of_it(tmp_path, caplog):
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "people.csv").write_text("image,labels\na.png,cat\na.png,cat dog\nb.png,\nb.png,\n")
    caplog.set_level("INFO")
    path = f"data.path={tmp_path / 'people.csv'}"
    report, page = validate(tmp_path, path, "data.agree=majority", "data.split_column=null")
    assert [(row["label"], row["agreement"], row["alpha"]) for row in report["agreement"]] == [
        ("cat", 1, 1), ("dog", 0.5, 0)
    ]  # fmt: skip
    assert (
        "  images   agree   alpha  label\n       2     50%    0.00  dog\n       2    100%    1.00  cat" in caplog.text
    )
    assert "<h2>What several people say of an image</h2>" in page
    assert page.index("<td>dog</td>") < page.index("<td>cat</td>")


def test_the_doctor_says_which_reader_an_export_is_for(tmp_path, caplog):
    (tmp_path / "labels.jsonl").write_text('{"image_url": "a.png", "label": ["cat"], "label_confidence": [1.0]}\n')
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    caplog.set_level("INFO")
    columns = ["data.image_column=image_url", "data.labels_column=label", "data.split_column=null"]
    report, page = validate(tmp_path, "data=jsonl", f"data.path={tmp_path / 'labels.jsonl'}", *columns)
    assert report["looks_like"] == f"{tmp_path / 'labels.jsonl'}: this looks like Azure ML's JSONL: set data=azure_ml"
    assert report["looks_like"] in caplog.text
    assert "this looks like Azure ML" in page
    report, _ = validate(tmp_path, "data=azure_ml", f"data.path={tmp_path / 'labels.jsonl'}")
    assert report["looks_like"] is None
    report, _ = validate(tmp_path, f"data.path={tmp_path / 'labels.jsonl'}")  # data=csv
    assert report["looks_like"] is None  # as the error says it
    assert "this looks like Azure ML" in report["findings"][0]["entries"][0]["detail"]
