"""The report: its numbers are scikit-learn's, and a person can use it in a real browser."""

import base64
import gzip
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compose_config, load_script
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from multihot.decisions import MicroF1, fit_decisions
from multihot.errors import InputError
from multihot.evaluation.intervals import add_intervals
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate as evaluate_scores
from multihot.labels import Group, LabelSpace
from multihot.metrics.bootstrap import resample
from multihot.metrics.intervals import basic_interval
from multihot.metrics.resamples import draw_weights
from multihot.report import numbers as counting
from multihot.report.curves import count_at_cuts
from multihot.report.numbers import count, probability_at_cuts
from multihot.report.page import create_page
from multihot.report.picks import find_worst_labels, pick
from multihot.report.pictures import Album
from multihot.report.result import ByThreshold, Result, open_album
from multihot.report.warnings import warn

SETTINGS = {
    "model": {"name": "vit", "image_size": 32},
    "data": {"_target_": "multihot.data.readers.csv_file.CsvReader", "path": "photos.csv"},
    "loss": {"function": {"_target_": "multihot.loss.BinaryCrossEntropy"}},
    "finetune": {"_target_": "multihot.model.finetune.Full"},
    "epochs": 2,
    "monitor": "val/map",
}
HISTORY = [{"epoch": 0, "val/map": 0.2}, {"epoch": 1, "val/map": 0.6}, {"epoch": 2, "val/map": 0.5}]


def draw_result(num_images=300, num_labels=6, groups=(), seed=0, name="a", threshold=None, labels=None, rarest=0.05):
    """Returns a result with unknown answers, equal scores and labels of all frequencies; the last has no positive."""
    rng = np.random.default_rng(seed)
    frequency = np.linspace(0.6, rarest, num_labels)
    target = (rng.random((num_images, num_labels)) < frequency).astype(np.int8)
    logits = rng.normal(2 * target - 2, 1.5).astype(np.float32).round(2)
    target[rng.random(target.shape) < 0.1] = -1
    target[:, -1] = np.minimum(target[:, -1], 0)
    space = LabelSpace(labels or tuple(f"label {column}" for column in range(num_labels)), groups)
    for columns in space.columns:
        target[:, columns] = np.eye(len(columns))[rng.integers(len(columns), size=num_images)]
    images = [f"photos/{row}.jpg" for row in range(num_images)]
    predictions = Predictions(torch.from_numpy(logits), torch.from_numpy(target), space, images)
    counts = {"label_count": [50] * num_labels, "num_known": [100] * num_labels, "num_images": 100}
    metrics = {
        "num_images": num_images,
        "map": 0.6,
        "micro_f1": 0.5,
        "threshold": 0.5 if threshold is None else threshold,
    }
    return Result(
        name=name, split="val", predictions=predictions, decisions=ByThreshold(space, threshold), fitted=None,
        is_seen=False, metrics=metrics, history=HISTORY, settings=SETTINGS, counts=counts,
    )  # fmt: skip


def read(image, min_side=None):
    """Returns a picture of a colour of its own."""
    row = int(re.search(r"\d+", image)[0])
    return Image.new("RGB", (200, 150), (row % 256, 128, 255 - row % 256))


def payload_of(page):
    """Returns what the script of a page works with."""
    packed = re.search(r'id="data">(.*?)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def judge(target, predicted):
    """Returns scikit-learn's precision, recall and F1 of a label's known answers."""
    known = target >= 0
    scores = precision_recall_fscore_support(
        target[known], predicted[known], average="binary", zero_division=0
    )  # fmt: skip
    return [float(score) for score in scores[:3]]


def scores_of(hits, alarms, support):
    """Returns precision, recall and F1 of counts."""
    return [hits / max(1, hits + alarms), hits / max(1, support), 2 * hits / max(1, hits + alarms + support)]


@pytest.mark.parametrize("num_cuts", [5, 1000])
def test_counts_at_every_cut_give_the_scores_of_scikit_learn(num_cuts):
    result = draw_result(100)
    logits, target = result.predictions.logits.numpy(), result.predictions.target.numpy()
    for scores, answers in zip(logits.T[::2], target.T[::2], strict=True):
        support = (answers == 1).sum()
        cuts = count_at_cuts(scores, answers, num_cuts, [0.0, 0.123])
        assert np.isin(np.float32([0, 0.123]), cuts.cut).all()
        assert len(cuts.cut) <= num_cuts + 4
        assert (cuts.true_positives[0], cuts.false_positives[0]) == (support, (answers == 0).sum())
        assert (cuts.true_positives[-1], cuts.false_positives[-1]) == (0, 0)
        for cut, hits, alarms in zip(*cuts, strict=True):
            assert scores_of(hits, alarms, support) == judge(answers, scores > cut)


def test_all_cuts_that_differ_are_taken_where_they_are_few():
    cuts = count_at_cuts(np.float32([1, 2, 3, 3, 4]), np.int8([0, 1, 0, 1, -1]), 10)
    assert cuts.cut[1:].tolist() == [1.5, 2.5, 3]
    assert cuts.true_positives.tolist() == [2, 2, 1, 0]


def test_a_cut_between_neighbours_in_float32_parts_them():
    scores = np.float32([1, np.nextafter(np.float32(1), np.float32(2))])
    cuts = count_at_cuts(scores, np.int8([0, 1]), 10)
    assert [(hits, alarms) for _, hits, alarms in zip(*cuts, strict=True)] == [(1, 1), (1, 0), (0, 0)]


@pytest.mark.parametrize("threshold", [None, 0.3, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
@pytest.mark.parametrize("groups", [(), (Group("kind", ("label 1", "label 2", "label 3")),)])
def test_the_numbers_of_labels_are_those_of_scikit_learn_in_any_pieces(monkeypatch, threshold, groups):
    result = draw_result(groups=groups, threshold=threshold)
    monkeypatch.setattr(counting, "ENTRIES_OF_LABELS", 2 * len(result.predictions))
    predictions, space = result.predictions, result.space
    target, decision = predictions.target.numpy(), space.decide(predictions.logits, threshold).numpy()
    log_odds = space.log_odds(predictions.logits).numpy()
    for column, label in enumerate(count(result, 10, 5).labels):
        answers, own = target[:, column], decision[:, column]
        known = answers >= 0
        assert scores_of(label.true_positives, label.false_positives, label.support) == judge(answers, own)
        if label.support:
            assert label.ap == pytest.approx(
                average_precision_score(answers[known], log_odds[known, column]), abs=1e-15
            )
        else:
            assert np.isnan(label.ap)
        if column in space.independent:
            place = np.flatnonzero(label.cuts.cut == np.float32(label.cut))[0]
            counts = label.cuts.true_positives[place], label.cuts.false_positives[place]
            assert counts == (label.true_positives, label.false_positives)
        assert label.bins.num_images.sum() == label.num_known == label.histogram.sum()
        assert label.bins.num_positives.sum() == label.support == label.histogram[1].sum()


@pytest.mark.parametrize("per_label", [False, True])
@pytest.mark.parametrize("groups", [(), (Group("kind", ("label 1", "label 2", "label 3"), none=True),)])
def test_fitted_decisions_begin_the_slider_and_calibrate_the_page(per_label, groups):
    result = draw_result(groups=groups)
    predictions, space = result.predictions, result.space
    fitted = {"description": "best micro F1", "split": "val"}
    decisions = fit_decisions(predictions, space, MicroF1(), per_label=per_label, fitted=fitted)
    result = replace(result, decisions=decisions, fitted=decisions, is_seen=True)
    numbers = count(result, 10, 5)
    target, probability = predictions.target.numpy(), decisions.probability(predictions.logits).numpy()
    own = probability_at_cuts(decisions, space, numbers.labels)
    for column, label in enumerate(numbers.labels):
        known = target[:, column] >= 0
        assert label.expected == pytest.approx(probability[known, column].sum(), rel=1e-5)
        decision = decisions.decide(predictions.logits)[:, column].numpy()
        assert scores_of(label.true_positives, label.false_positives, label.support) == judge(
            target[:, column], decision
        )
        if column in space.independent:
            [place] = np.flatnonzero(label.cuts.cut == np.float32(label.cut))
            assert own[column][place] == pytest.approx(decisions.thresholds()[column], abs=2e-3)
            assert label.cuts.true_positives[place] == label.true_positives
    assert numbers.decided["micro_f1"] > numbers.usual["micro_f1"]
    page = create_page([result])
    assert "Thresholds were fitted to these very images" in page
    assert "fitted decisions: best micro F1" in page
    assert f"{numbers.usual['micro_f1']:.4f}" in page


def test_suspected_errors_are_the_known_answers_far_from_their_probability():
    result = draw_result()
    probability, target = torch.sigmoid(result.predictions.logits).numpy(), result.predictions.target.numpy()
    difference = np.where(target >= 0, np.abs(probability - (target == 1)), 0)
    doubts = count(result, 20, 0).doubts
    assert doubts.difference.tolist() == np.sort(difference, axis=None)[::-1][:20].tolist()
    assert doubts.difference.tolist() == difference[doubts.row, doubts.label].tolist()


def test_pictures_are_the_surest_errors_of_each_label():
    numbers = count(draw_result(), 40, 5)
    rows, lists = pick(numbers, 100)
    assert len(set(rows)) == len(rows) == 100
    assert set(lists["worst"]) | set(lists["surest"]) <= set(rows)
    for label in numbers.labels:
        assert {int(examples[0]) for examples in label.examples if len(examples)} <= set(rows)


def test_places_of_labels_are_shown_where_something_tells_them():
    told = []

    def explain(picture, label):
        told.append(label)
        return picture

    result = draw_result()
    payload = payload_of(create_page([result], Album(read, explain=explain), num_pictures=20))
    worst = find_worst_labels(result, payload["lists"]["worst"])
    pairs = {(part["row"], part["label"]) for part in payload["overlays"]}
    assert pairs == {*worst, *map(tuple, payload["lists"]["doubts"])}
    assert len(told) == len(pairs)
    difference = np.abs(torch.sigmoid(result.predictions.logits).numpy() - result.predictions.target.numpy())
    difference[result.predictions.target.numpy() < 0] = 0
    assert [label for _, label in worst] == [difference[row].argmax() for row, _ in worst]


def test_frequencies_alone_have_the_mean_share_as_map():
    page = create_page([draw_result()])
    result = draw_result()
    target = result.predictions.target.numpy()
    shares = [(answers == 1).sum() / (answers >= 0).sum() for answers in target.T if (answers == 1).any()]
    assert f"{np.mean(shares):.4f}" in page


def test_warnings_follow_from_the_data():
    result = draw_result(num_images=60)
    doctor = {"findings": [{"kind": "duplicates_across_splits", "count": 3}]}
    numbers = count(result, 0, 0)
    leak, decided, few = warn(result, numbers, doctor)
    assert leak.startswith("Leakage: 3 identical images")
    assert "not calibrated" in decided
    num_few = sum(0 < label.support < 10 for label in numbers.labels)
    assert few.startswith(f"{num_few} of 6 labels have fewer than 10 positives")
    assert few.endswith("1 more have none.")


def test_names_of_labels_and_images_cannot_break_the_page():
    labels = ("</script><b>", "a\nb", "ü", "x" * 99, "&amp;", "last")
    page = create_page([draw_result(labels=labels)], Album(read), num_pictures=3)
    assert payload_of(page)["labels"][:3] == ["</script><b>", "a\\nb", "ü"]
    assert page.count("</script>") == 2


def test_a_page_without_pictures_says_why():
    def broken(image, min_side=None):
        raise InputError(f"{image} is cut short")

    page = create_page([draw_result()], Album(broken), num_pictures=10)
    assert "10 pictures could not be read: photos/" in page
    assert "is cut short" in page
    data = compose_config("train", ["data=csv", "data.path=gone.csv"]).data
    album = open_album(data, "val", ("a",))
    assert album.read is None
    assert "gone.csv" in create_page([draw_result()], album, num_pictures=10)


def test_runs_of_other_labels_or_images_are_not_compared():
    with pytest.raises(InputError, match="a and b have other labels"):
        create_page([draw_result(), draw_result(num_labels=5, name="b")])
    with pytest.raises(InputError, match="a and b have other val images"):
        create_page([draw_result(), draw_result(num_images=50, name="b")])


@pytest.fixture
def report():
    """report("run=...", "split=val"): runs scripts/report.py in this process."""
    main = load_script("scripts/report").main.__wrapped__

    def run(*overrides):
        main(compose_config("report", list(overrides)))

    return run


def test_the_script_writes_a_page_about_a_run(train, report, tmp_path, evaluate):
    train("name=a")
    file = tmp_path / "a/val/report.html"
    report(f"run={tmp_path}/a", "pictures=9")
    pictures = payload_of(file.read_text())["pictures"]
    assert [picture["url"][:14] for picture in pictures] == ["data:image/png"] * 9
    report(f"run={tmp_path}/a", "pictures=0")  # over its own
    assert payload_of(file.read_text())["pictures"] == []
    evaluate(f"run={tmp_path}/a", "threshold=0.3")
    assert not file.exists()  # it was about other decisions
    with pytest.raises(InputError, match=r"no predictions of the test split: python evaluate.py run=\S+ split=test"):
        report(f"run={tmp_path}/a", "split=test")
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.html is there and is none that this has written"):
        report(f"run={tmp_path}/a", f"out={tmp_path}/mine.html")


def test_the_page_says_how_its_numbers_are_recomputed(train, tmp_path, monkeypatch):
    train("name=a", "report=true")
    file = tmp_path / "a/val/report.html"
    monkeypatch.chdir(file.parent)
    *lines, last = html.unescape(re.search(r"<pre>(.*?)</pre>", file.read_text(), re.DOTALL)[1]).splitlines()
    exec("\n".join(lines), names := {})
    packed = payload_of(file.read_text())["runs"][0]["ap"]
    ap = np.frombuffer(base64.b64decode(packed["bytes"]))
    assert ap[0] == pytest.approx(eval(last, names), abs=1e-15)


def test_a_training_ends_with_a_page_and_never_with_its_failure(train, tmp_path, monkeypatch, caplog):
    train("name=a", "report=true")
    assert "Report of a: val" in (tmp_path / "a/val/report.html").read_text()

    def fail(*_, **__):
        raise RuntimeError("cannot draw")

    monkeypatch.setattr("multihot.report.page.create_page", fail)
    assert train("name=b", "report=true") is not None
    assert "no report is written: RuntimeError: cannot draw" in caplog.text
    assert (tmp_path / "b/finished.json").exists()


def test_the_script_shows_what_speaks_for_a_label_on_request(train, report, tmp_path):
    train("name=a")
    report(f"run={tmp_path}/a", "pictures=20", "saliency=true")
    payload = payload_of((tmp_path / "a/val/report.html").read_text())
    asked = [tuple(pair) for pair in payload["lists"]["doubts"]]
    assert asked == [(overlay["row"], overlay["label"]) for overlay in payload["overlays"]][: len(asked)]
    for overlay in payload["overlays"]:
        with Image.open(io.BytesIO(base64.b64decode(overlay["url"].split(",")[1]))) as picture:
            assert picture.size == (36, 36)
            red, _, blue = np.asarray(picture.convert("RGB"), int).transpose(2, 0, 1)
            assert (red - blue).max() > 50  # orange somewhere
            assert (red - blue).min() < 10  # and grey elsewhere


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, Result]:
    """Returns a page about a few labels, and what it is about."""
    result = draw_result()
    return write(tmp_path_factory, create_page([result], Album(read), num_pictures=60)), result


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Returns a page about 5,000 labels with 200 pictures, which do not compress well."""
    labels = tuple(f"a label of some twenty characters {number}"[-24:] for number in range(5000))
    noise = np.random.default_rng(0)

    def read_noise(image, min_side=None):
        small = Image.fromarray(noise.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        return small.resize((160, 120), Image.Resampling.BICUBIC)

    result = draw_result(200, 5000, labels=labels, rarest=0.002)
    return write(tmp_path_factory, create_page([result], Album(read_noise), num_pictures=200))


def write(factory, page):
    """Returns the file of a page."""
    file = factory.mktemp("report") / "report.html"
    file.write_text(page)
    return file


def test_five_thousand_labels_and_200_pictures_take_less_than_5_mb(large):
    assert large.stat().st_size < 5e6
    assert len(payload_of(large.read_text())["pictures"]) == 200


def numbers_of(tab):
    """Returns precision, recall and F1 to the last digit, and the logit above which the label is predicted."""
    exact = tab.eval_on_selector_all("#numbers > :not(.small) > div", "parts => parts.map(part => Number(part.title))")
    return exact, float(re.search(r"logit (\S+),", tab.inner_text("#where"))[1])


def test_the_slider_gives_the_scores_of_scikit_learn_at_its_threshold(visit, small):
    file, result = small
    tab = visit(file)
    logits, target = result.predictions.logits.numpy(), result.predictions.target.numpy()
    for column in (0, 3):
        tab.click(f"#label-{column}")
        last = int(tab.get_attribute("#cut", "max"))
        for place in {0, 1, last // 3, last // 2, last - 1, last}:
            tab.fill("#cut", str(place))
            exact, cut = numbers_of(tab)
            assert exact == judge(target[:, column], logits[:, column] > np.float32(cut))


def test_the_table_says_what_scikit_learn_does(visit, small):
    file, result = small
    tab = visit(file)
    target, decision = result.predictions.target.numpy(), result.predictions.logits.numpy() > 0
    for column in range(5):
        said = tab.eval_on_selector_all(f"#label-{column} [role=gridcell]", "cells => cells.map(cell => cell.title)")
        known = target[:, column] >= 0
        ap = average_precision_score(target[known, column], result.predictions.logits.numpy()[known, column])
        assert [float(value) for value in said[3:]] == judge(target[:, column], decision[:, column])
        assert (int(said[1]), float(said[2])) == ((target[:, column] == 1).sum(), pytest.approx(ap, abs=1e-15))


def test_the_pictures_at_the_edge_follow_the_slider(visit, small):
    file, result = small
    tab = visit(file)
    tab.click("#label-1")
    shown = [int(picture["row"]) for picture in payload_of(file.read_text())["pictures"]]
    scores, answers = result.predictions.logits.numpy()[:, 1], result.predictions.target.numpy()[:, 1]
    for place in ("40", "200"):
        tab.fill("#cut", place)
        _, cut = numbers_of(tab)
        pictures = tab.eval_on_selector_all(
            "#rows > div:first-child [data-picture]", "parts => parts.map(part => Number(part.dataset.picture))"
        )
        above = sorted(scores[row] for row in shown if answers[row] >= 0 and scores[row] > np.float32(cut))
        assert [scores[shown[number]] for number in pictures] == above[:4]


def test_five_thousand_labels_scroll_and_are_found(visit, large):
    tab = visit(large)
    assert tab.locator("#grid .body .row").count() < 60
    tab.eval_on_selector("#grid", "grid => { grid.scrollTop = grid.scrollHeight; }")
    tab.wait_for_selector('#grid .row[aria-rowindex="5001"]')
    tab.fill("#search", "characters 4321")
    assert tab.inner_text("#found") == "1 of 5,000"
    tab.press("#search", "Enter")
    assert tab.inner_text("#details h3").endswith("characters 4321")
    tab.fill("#search", "no such label")
    assert "No label has this" in tab.inner_text("#grid")


def test_a_keyboard_alone_is_enough(visit, small):
    tab = visit(small[0])
    tab.keyboard.press("/")
    tab.keyboard.type("label 2")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#details h3") == "label 2"
    tab.keyboard.press("/")
    tab.keyboard.press("Control+a")
    tab.keyboard.press("Delete")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowDown")
    assert tab.inner_text("#details h3") == "label 1"
    tab.keyboard.press("Enter")
    before = numbers_of(tab)
    tab.keyboard.press("ArrowRight")
    assert numbers_of(tab) != before
    for _ in range(3):  # past the two buttons of the slider to the first picture
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.is_visible("#viewer table")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#viewer")
    assert tab.evaluate("document.activeElement.dataset.picture") is not None


def test_a_column_sorts_by_its_numbers(visit, small):
    tab = visit(small[0])
    for _ in range(2):
        tab.click('[data-column="2"]')
    shown = tab.eval_on_selector_all("#grid .body .ap", "cells => cells.map(cell => Number(cell.title))")
    assert shown[:5] == sorted(shown[:5])
    assert tab.get_attribute('[role=columnheader]:has([data-column="2"])', "aria-sort") == "ascending"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(visit, small, large, width, color_scheme):
    for file in (small[0], large)[: 1 + (color_scheme == "light")]:
        tab = visit(file, width, color_scheme=color_scheme)
        assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_all_labels_are_printed(visit, small):
    tab = visit(small[0])
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("#grid .body .row").count() == 6
    assert not tab.is_visible("#cut")


def test_the_difference_of_two_runs_has_the_interval_of_both_on_the_same_images():
    first = draw_result()
    weaker = replace(first.predictions, logits=first.predictions.logits + torch.randn(300, 6))
    page = create_page([first, replace(first, name="b", predictions=weaker, metrics=first.metrics | {"map": 0.5})])
    weights = draw_weights(300, 1000)
    values = [
        resample(predictions, first.space, weights, first.space.decide, {"map"})["map"]
        for predictions in (first.predictions, weaker)
    ]
    low, high = basic_interval(-0.1, values[1] - values[0])
    assert f"{low:+.3f} to {high:+.3f}" in page
    assert "nan" not in create_page([first, replace(first, name="b")])  # they are the same in all resamples


def test_scores_without_intervals_get_those_of_evaluate():
    result = draw_result()
    evaluation = evaluate_scores(result.predictions)
    add_intervals(evaluation, result.predictions, 1000)
    low, high = evaluation.intervals["micro_f1"]
    assert f"{low:.4f} \u2013 {high:.4f}" in create_page([result])


def test_two_runs_stand_beside_each_other(visit, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(
        create_page([draw_result(), draw_result(seed=0, name="b", threshold=0.3)], Album(read), num_pictures=20)
    )
    tab = visit(file)
    first = numbers_of(tab)
    tab.click('[data-run="1"]')
    assert tab.get_attribute('[data-run="1"]', "aria-pressed") == "true"
    assert numbers_of(tab) != first
    assert tab.locator("#curve polyline").count() == 2
    assert tab.locator("[role=columnheader]").all_inner_texts()[3] == "B \u2212 A"
