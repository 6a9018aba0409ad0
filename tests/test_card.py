"""The model card: it says what is so, whatever labels and data are called."""

import html
import re

import pytest
from huggingface_hub import ModelCard

from multihot.decisions import Decisions
from multihot.export.card import About, Measured, create_card, create_metadata, escape
from multihot.labels import Group, LabelSpace

ODD = ("a|b", "<script>alert(1)</script>", "line\nbreak", "🙂 *bold* _x_ `code`", "[link](http://x.y)", "# ---", "$x$")
METRICS = {
    "map": 0.5, "micro_f1": 0.25, "hamming_loss": 0.125, "loss": None, "num_images": 7, "num_labels_evaluated": 5,
    "threshold": 0.5, "intervals": {"map": [0.4, 0.625], "micro_f1": [None, None]},
}  # fmt: skip


def describe(space: LabelSpace | None = None, **changes) -> About:
    """Returns what a card tells of a model."""
    space = space or LabelSpace(ODD)
    table = [
        {"label": label, "support": str(place), "ap": "0.5", "precision": "nan", "recall": "", "f1": "0.25"}
        for place, label in enumerate(space.labels)
    ]
    values = {
        "repo": "someone/odd", "license": "mit", "decisions": Decisions.by_threshold(space), "architecture": "vit",
        "size": "32 x 32", "start": "random weights", "head": None, "base_model": None, "license_of_start": None,
        "data_name": "odd", "sizes": {"train": 1000, "test": 7}, "num_unknown": 0,
        "measured": [Measured("test", METRICS, table)], "has_onnx": False, "has_tagger": True,
    }  # fmt: skip
    return About(**values | changes)


def load(about: About, tmp_path) -> ModelCard:
    """Returns the card as the hub's own library reads it from a file."""
    (tmp_path / "README.md").write_text(create_card(about), encoding="utf-8")
    return ModelCard.load(tmp_path / "README.md")


@pytest.mark.parametrize("data_name", ["odd", 'a: "b" #c\n---\n- x', "🙂 \u2028 \x07", "no", "1.0", "{a: b}", "'"])
def test_metadata_are_read_as_they_were_meant(tmp_path, data_name):
    about = describe(data_name=data_name, base_model="timm/vit", license_of_start="apache-2.0")
    card = load(about, tmp_path)
    assert card.data.to_dict() == create_metadata(about).to_dict()
    assert card.data.eval_results == create_metadata(about).eval_results
    assert [(one.metric_type, one.metric_value) for one in card.data.eval_results] == [("map", 0.5), ("micro_f1", 0.25)]
    assert (card.data.license, card.data.base_model) == ("mit", "timm/vit")
    assert card.data.library_name == "timm"
    assert card.text.startswith("\n# odd\n")


def test_odd_labels_are_cells_and_no_markup(tmp_path):
    text = load(describe(), tmp_path).text
    table = text.partition("## Labels")[2].partition("## Limits")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert [len(row) for row in rows] == [7] * len(ODD)
    assert [html.unescape(row[0].strip()) for row in rows] == [label.replace("\n", "\\n") for label in ODD[::-1]]
    assert rows[0][1:] == [" 6 ", " 0.5000 ", " - ", " - ", " 0.2500 ", " 0.5000 "]
    assert not re.search(r"<script|\*bold|\[link|`code", text)


def test_markdown_shows_labels_as_they_are():
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    for label in ODD:
        page = markdown.render(f"| a |\n|---|\n| {escape(label)} |\n")
        cell = re.search(r"<td>(.*?)</td>", page, re.DOTALL)[1]
        assert html.unescape(cell) == label.replace("\n", "\\n")
        assert "<" not in cell


def test_numbers_that_are_none_are_left_out(tmp_path):
    text = load(describe(), tmp_path).text
    assert "| `map` | 0.5000 | 0.4000 to 0.6250 |" in text
    assert "| `micro_f1` | 0.2500 | - |" in text
    assert "`loss`" not in text
    assert "2 labels have no positive in the test split" in text


def test_groups_have_no_counterpart_in_transformers(tmp_path):
    space = LabelSpace(("a", "b", "c"), (Group("x", ("a", "b")),))
    text = load(describe(space, has_tagger=False, has_onnx=True), tmp_path).text
    assert "transformers has no counterpart:\n`handler.py` does it and so does `model.onnx`" in text
    assert "pipeline(" not in text
    assert "| largest |" in text


def test_labels_that_all_exclude_each_other_are_a_softmax_in_transformers(tmp_path):
    text = load(describe(LabelSpace.single_label(("a", "b")), has_tagger=False), tmp_path).text
    assert "no counterpart" not in text
    assert 'function_to_apply="softmax", top_k=2' in text


def test_a_head_that_timm_lacks_is_named_with_what_works(tmp_path):
    text = load(describe(head="CSRA", has_tagger=False), tmp_path).text
    assert "**Its head, CSRA, is not timm's: plain timm and transformers cannot load this model.**" in text
    assert "timm.create_model" not in text
    assert "pipeline(" not in text
    assert "EndpointHandler" in text


def test_of_many_labels_the_most_frequent_have_a_row(tmp_path):
    text = load(describe(LabelSpace(tuple(f"label {number}" for number in range(200)))), tmp_path).text
    assert "The most frequent of them; `labels.csv` has all." in text
    rows = re.findall(r"^\| label (\d+) ", text, re.MULTILINE)
    assert rows == [str(number) for number in range(199, 149, -1)]
