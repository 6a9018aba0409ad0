"""Answers that are far from what a model says which has not seen them are found, listed, and can be corrected."""

import csv
import json
import logging
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL_MODEL, compose_config, load_script, train_as_told
from PIL import Image
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from multihot.data import create_reader
from multihot.data.corrections import CorrectedReader
from multihot.data.manifest import Manifest
from multihot.data.planting import plant_errors
from multihot.data.splitting import k_folds
from multihot.decisions.suspects import NO_OTHER, cross_calibrate, find_suspects, measure_doubt, score_planted
from multihot.errors import InputError
from multihot.evaluation.predictions import Predictions
from multihot.labels import Group, LabelSpace
from multihot.model.out_of_fold import predict_out_of_fold
from multihot.report.label_errors import create_interface, create_page, create_tasks, format_suspects, list_cases

LABELS = ("cat", "dog", "owl")
SPACE = LabelSpace(LABELS)
COLOURS = ("red", "green", "blue")


def manifest(target, labels=LABELS, dtype=np.int8, groups=(), **parts):
    target = np.asarray(target, dtype)
    images = [f"/photos/{row}.jpg" for row in range(len(target))]
    return Manifest(tuple(labels), images, csr_array(target), groups=groups, **parts)


def suspects_of(probability, target, space=SPACE, most=10):
    probability, target = np.asarray(probability, np.float32), np.asarray(target)
    return find_suspects(measure_doubt(probability, target, space), probability, target, space).first(most)


# The ranking


def test_known_answers_are_ranked_by_their_distance_from_the_probability():
    found = suspects_of([[0.9, 0.2, 0.99], [0.1, 0.7, 0.0]], [[0, 1, -1], [1, 1, 0]])
    # cat of the first: 0.9, cat of the second: 0.9, dog of the first: 0.8; dog of the second: 0.3; owl is not known
    assert list(zip(found.rows, found.columns, strict=True)) == [(0, 0), (1, 0), (0, 1)]
    np.testing.assert_allclose(found.doubts, [0.9, 0.9, 0.8], atol=1e-6)
    assert len(suspects_of([[0.9, 0.2, 0.99], [0.1, 0.7, 0.0]], [[0, 1, -1], [1, 1, 0]], most=2)) == 2


def test_unknown_answers_are_never_listed():
    doubt = measure_doubt(np.ones((4, 3)), np.full((4, 3), -1), SPACE)
    assert np.isnan(doubt).all()
    assert len(suspects_of(np.ones((4, 3)), np.full((4, 3), -1))) == 0


def test_soft_answers_are_doubted_by_their_distance_and_proposed_to_be_the_contrary():
    target = np.float32([[0.75, 0.25, 0.5]])
    found = suspects_of([[0.05, 0.95, 0.99]], target)
    np.testing.assert_allclose(found.doubts, [0.7, 0.7], atol=1e-6)  # of 0.5 nothing is further than a half
    cases = list_cases(found, manifest(target, dtype=np.float32), np.float32([[0.05, 0.95, 0.99]]))
    assert [(case.changes[0].given, case.changes[0].answer) for case in cases] == [
        ("0.75", "absent"),
        ("0.25", "present"),
    ]


@pytest.mark.parametrize(
    ("none", "probability", "target", "expected"),
    [
        (False, [0.1, 0.7, 0.2], [1, 0, 0], (0, 1, 0.9)),  # red is given, green is likelier
        (True, [0.1, 0.2, 0.1], [1, 0, 0], (0, NO_OTHER, 0.9)),  # none of them (0.6) is likeliest
        (False, [0.1, 0.45, 0.45], [1, 0, 0], None),  # red is unlikely, but no other is likelier than not
        (True, [0.3, 0.3, 0.3], [0, 0, 0], None),
        (True, [0.1, 0.7, 0.1], [0, 0, 0], (1, NO_OTHER, 0.9)),  # none is given, green is missing
        (False, [0.1, 0.7, 0.2], [1, -1, -1], (0, 1, 0.9)),
        (False, [0.1, 0.7, 0.2], [-1, 0, -1], None),
        (False, [0.6, 0.3, 0.1], [1, 0, 0], None),
    ],
)
def test_a_group_has_one_doubt_an_image(none, probability, target, expected):
    space = LabelSpace(COLOURS, (Group("colour", COLOURS, none=none),))
    found = suspects_of([probability], [target], space)
    assert np.count_nonzero(~np.isnan(measure_doubt(np.array([probability]), np.array([target]), space))) <= 1
    if expected is None:
        assert len(found) == 0
    else:
        assert (found.columns[0], found.others[0]) == expected[:2]
        assert found.doubts[0] == pytest.approx(expected[2])


def test_the_score_of_planted_errors_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    doubt, planted = rng.random((50, 4)).astype(np.float32), rng.random((50, 4)) < 0.1
    doubt[rng.random(doubt.shape) < 0.2] = np.nan
    known = ~np.isnan(doubt)
    scores = score_planted(doubt, planted)
    assert scores["ap"] == pytest.approx(average_precision_score(planted[known], doubt[known]))
    assert scores["ap_at_random"] == pytest.approx(planted[known].mean())
    assert scores["num_planted"] == planted[known].sum()


# Predictions out of fold


def test_the_logits_of_a_fold_are_those_of_sklearn_fitted_to_the_others():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 6)).astype(np.float32)
    target = (features @ rng.normal(size=(6, 3)) + rng.normal(size=(300, 3)) > 0).astype(np.int8)
    target[::7, 1] = -1
    folds = k_folds(csr_array(target), 3, seed=0)
    logits = predict_out_of_fold(torch.from_numpy(features), manifest(target), SPACE, folds)
    best = min(
        (np.abs(logits[folds == 1, 1].numpy() - logits_of_sklearn(features, target, folds, l2)).max(), l2)
        for l2 in (1.0, 10.0, 100.0, 1000.0)
    )
    assert best[0] < 2e-2


def logits_of_sklearn(features, target, folds, l2):
    """Returns the logits of label 1 in fold 1."""
    rest = folds != 1
    mean, scale = features[rest].mean(axis=0), features[rest].std(axis=0)
    known = rest & (target[:, 1] != -1)
    fitted = LogisticRegression(C=1 / l2, tol=1e-8).fit((features[known] - mean) / scale, target[known, 1])
    return fitted.decision_function((features[folds == 1] - mean) / scale)


def test_an_answer_does_not_change_the_logits_of_its_own_fold(monkeypatch):
    monkeypatch.setattr("multihot.model.logistic.L2_STRENGTHS", (10.0,))  # which are chosen by all folds but the first
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(60, 4)).astype(np.float32))
    target = (rng.random((60, 3)) < 0.4).astype(np.int8)
    folds = np.arange(60) % 3
    before = predict_out_of_fold(features, manifest(target), SPACE, folds)
    target[5] = 1 - target[5]  # of fold 2
    after = predict_out_of_fold(features, manifest(target), SPACE, folds)
    assert torch.equal(before[folds == 2], after[folds == 2])
    assert not torch.equal(before[folds == 1], after[folds == 1])


def test_a_label_that_the_other_folds_cannot_teach_has_its_prior():
    target = np.zeros((40, 3), np.int8)
    target[::2, 0], target[3, 1] = 1, 1
    features, folds = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), np.arange(40) % 2
    logits = predict_out_of_fold(features, manifest(target), SPACE, folds)
    assert logits[folds == 1, 1].unique().sigmoid().item() == pytest.approx(0.5 / 20)  # no positive among 20 images
    assert len(logits[folds == 0, 1].unique()) == 20
    with pytest.raises(InputError, match="nothing to learn"):
        predict_out_of_fold(features, manifest(np.ones_like(target)), SPACE, folds)


def test_each_fold_is_calibrated_by_the_others():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(400, 3)).astype(np.float32))
    target = (torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) < torch.sigmoid(logits)).to(torch.int8)
    folds = np.arange(400) % 4
    probability = cross_calibrate(4 * logits, target, SPACE, folds)  # four times too sure
    assert (probability - torch.sigmoid(logits)).abs().max() < 0.1
    target[0] = 1 - target[0]
    assert torch.equal(cross_calibrate(4 * logits, target, SPACE, folds)[::4], probability[::4])


# Planted errors


def test_planted_errors_are_the_part_that_is_asked_for_and_known():
    rng = np.random.default_rng(0)
    target = rng.choice([-1, 0, 1], p=[0.2, 0.5, 0.3], size=(200, 3)).astype(np.int8)
    planted, is_planted = plant_errors(manifest(target), SPACE, 0.1, seed=1)
    after = planted.dense_targets()
    assert is_planted.sum() == round(0.1 * (target != -1).sum())
    assert np.array_equal(after[is_planted], 1 - target[is_planted])
    assert np.array_equal(after[~is_planted], target[~is_planted])
    again = plant_errors(manifest(target), SPACE, 0.1, seed=1)[0]
    assert again.fingerprint() == planted.fingerprint() != manifest(target).fingerprint()


@pytest.mark.parametrize("none", [False, True])
def test_planted_errors_in_a_group_leave_it_a_group(none):
    group = Group("colour", COLOURS, none=none)
    outcome = np.random.default_rng(0).integers(0, 3 + none, 300)
    target = (outcome[:, None] == np.arange(3)).astype(np.int8)
    planted, is_planted = plant_errors(
        manifest(target, COLOURS, groups=(group,)), LabelSpace(COLOURS, (group,)), 0.2, seed=0
    )
    changed = (planted.dense_targets() != target).any(axis=1)
    assert changed.sum() == 60
    assert np.array_equal(is_planted, np.repeat(changed[:, None], 3, axis=1))


# What is written


def case_of(target, probability, space=SPACE, labels=LABELS, groups=()):
    data, probability = manifest(target, labels, groups=groups), np.asarray(probability, np.float32)
    return list_cases(suspects_of(probability, np.asarray(target), space), data, probability), data


def test_the_file_of_suspects_is_one_of_corrections(tmp_path):
    cases, data = case_of([[0, 1, -1], [1, 1, 0]], [[0.9, 0.2, 0.99], [0.05, 0.7, 0.0]])
    text = format_suspects(cases)
    assert text.splitlines() == [
        "image,label,answer,given,probability,rank",
        "/photos/1.jpg,cat,absent,present,0.0500,1",
        "/photos/0.jpg,cat,present,absent,0.9000,2",
        "/photos/0.jpg,dog,absent,present,0.2000,3",
    ]
    (tmp_path / "suspects.csv").write_text(text)
    corrected = CorrectedReader(lambda split, **_: data, str(tmp_path / "suspects.csv"))("train")
    assert corrected.dense_targets().tolist() == [[1, 0, -1], [0, 1, 0]]


def test_labels_of_a_group_change_places_in_two_lines_of_one_rank():
    group = Group("colour", COLOURS)
    space = LabelSpace(COLOURS, (group,))
    cases, _ = case_of([[1, 0, 0]], [[0.1, 0.7, 0.2]], space, COLOURS, (group,))
    assert format_suspects(cases).splitlines()[1:] == [
        "/photos/0.jpg,red,absent,present,0.1000,1",
        "/photos/0.jpg,green,present,absent,0.7000,1",
    ]
    assert [case.kind for case in cases] == ["other"]


def test_a_task_of_label_studio_has_the_proposed_labels_as_its_prediction():
    cases, data = case_of([[0, 1, -1], [1, 1, 0]], [[0.9, 0.2, 0.99], [0.05, 0.7, 0.0]])
    picture = Image.new("RGB", (4, 4))
    data = SimpleNamespace(
        labels=LABELS, groups=(), sparse_target=data.sparse_target, read=lambda image, min_side: picture
    )
    second, first = create_tasks(cases, data, "/photos")
    expected = {"image": "", "name": "/photos/0.jpg", "given": "dog", "present": ["dog"], "rank": 2}
    assert first["data"] | {"image": ""} == expected
    assert first["data"]["image"].startswith("data:image/png;base64,")  # there is no such file
    assert first["predictions"][0]["result"] == [
        {"from_name": "labels", "to_name": "image", "type": "choices", "value": {"choices": ["cat"]}}
    ]
    assert second["predictions"][0]["result"][0]["value"]["choices"] == ["dog"]
    assert second["predictions"][0]["score"] == 0.95
    assert '<Choices name="labels" toName="image" choice="multiple">' in create_interface(("a<b", 'say "x"'))
    assert '<Choice value="a&lt;b"/>\n    <Choice value=\'say "x"\'/>' in create_interface(("a<b", 'say "x"'))


def test_labels_that_exclude_each_other_are_choices_of_their_own_in_a_task():
    group = Group("colour", COLOURS)
    cases, data = case_of([[1, 0, 0]], [[0.1, 0.7, 0.2]], LabelSpace(COLOURS, (group,)), COLOURS, (group,))
    data = SimpleNamespace(
        labels=COLOURS,
        groups=(group,),
        sparse_target=data.sparse_target,
        read=lambda image, min_side: Image.new("RGB", (4, 4)),
    )
    [task] = create_tasks(cases, data, "/photos")
    assert task["predictions"][0]["result"] == [
        {"from_name": "colour", "to_name": "image", "type": "choices", "value": {"choices": ["green"]}}
    ]
    assert '<Choices name="colour" toName="image" choice="single" required="true">' in create_interface(
        COLOURS, (group,)
    )


# The script


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 160 drawn images in a.csv, whose labels are the colours they are made of; 4 answers are wrong.

    Returns the folder and the wrong answers, {(image, label): right answer}.
    """
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    rows, wrong = ["image,split,red,green,blue"], {}
    for row in range(160):
        truth = rng.random(3) < 0.4
        pixels = rng.integers(0, 60, (32, 32, 3), np.uint8)
        for channel in np.flatnonzero(truth):
            pixels[:, :, channel] += 150
        Image.fromarray(pixels).save(folder / f"{row}.png")
        split, given = "val" if row >= 140 else "train", truth.copy()
        if row in (10, 20, 30, 40):
            given[row % 3] ^= True
            wrong[f"{row}.png", COLOURS[row % 3]] = "present" if truth[row % 3] else "absent"
        rows.append(",".join([f"{row}.png", split, *map(str, given.astype(int))]))
    (folder / "a.csv").write_text("\n".join(rows))
    return folder, wrong


@pytest.fixture
def find():
    """find("run=...", ...): runs the script in this process."""
    main = load_script("scripts/find_label_errors").main.__wrapped__

    return lambda *overrides: main(compose_config("find_label_errors", list(overrides)))


def train_on(file, name):
    """Makes a run on some of the photos beside them, without training."""
    source = ("data=csv", f"data.path={file}", "data.layout=columns", "data.label_columns=[red,green,blue]")
    train_as_told(
        *SMALL_MODEL, *source, "model.pretrained=false", "epochs=0", f"name={name}", f"runs_folder={file.parent}"
    )


@pytest.fixture(scope="module")
def trained(photos):
    """A run on the photos."""
    train_on(photos[0] / "a.csv", "a")
    return photos[0] / "a"


@pytest.fixture
def of_photos(trained, tmp_path):
    """A copy of the run on the photos."""
    return shutil.copytree(trained, tmp_path / "a")


def read_csv(file):
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_wrong_answers_are_found_corrected_and_change_the_fingerprint(photos, of_photos, find, caplog):
    folder, wrong = photos
    caplog.set_level(logging.INFO, "multihot")
    find(f"run={of_photos}")
    assert "random weights" in caplog.text
    found = read_csv(of_photos / "label_errors/suspects.csv")
    worst = {(row["image"].rpartition("/")[2], row["label"]): row["answer"] for row in found[:4]}
    assert worst == wrong
    summary = json.loads((of_photos / "label_errors/label_errors.json").read_text())
    assert (summary["num_images"], summary["num_answers"], summary["planted"]) == (140, 420, None)
    assert summary["num_suspects"] == len(found)

    settings = compose_config("train", ["data=csv", f"data.path={folder}/a.csv", "data.layout=columns"]).data
    settings.label_columns = list(COLOURS)
    plain = create_reader(settings)("train")
    settings.corrections = str(folder / "corrections.csv")
    lines = ["image,label,answer", *(f"{row['image']},{row['label']},{row['answer']}" for row in found[:4])]
    (folder / "corrections.csv").write_text("\n".join(lines))
    fixed = create_reader(settings)("train")
    assert fixed.fingerprint() != plain.fingerprint()
    changed = np.argwhere(fixed.dense_targets() != plain.dense_targets())
    assert {(plain.images[row].rpartition("/")[2], COLOURS[column]) for row, column in changed} == set(wrong)


def test_the_saved_predictions_are_what_the_suspects_are_ranked_by(of_photos, find):
    find(f"run={of_photos}", "num_folds=4")
    out = of_photos / "label_errors"
    saved, tensors = Predictions.load(out), load_file(out / "out_of_fold.safetensors")
    assert saved.space.labels == COLOURS
    assert np.bincount(tensors["fold"]).tolist() == [35] * 4
    first = read_csv(out / "suspects.csv")[0]
    row, column = saved.images.index(first["image"]), COLOURS.index(first["label"])
    assert f"{tensors['probability'][row, column]:.4f}" == first["probability"]
    doubt = np.abs(saved.target.numpy() - tensors["probability"])
    assert doubt.max() == doubt[row, column]


def test_planted_errors_are_measured_in_a_folder_of_their_own(of_photos, find, caplog):
    caplog.set_level(logging.INFO, "multihot")
    find(f"run={of_photos}", "plant=0.05")
    planted = json.loads((of_photos / "label_errors_planted/label_errors.json").read_text())["planted"]
    assert planted["num_planted"] == 21
    assert planted["ap"] > 0.8  # 0.97 here
    assert f"average precision {planted['ap']:.3f}" in caplog.text
    assert not (of_photos / "label_errors").exists()


def test_val_is_doubted_by_what_the_run_has_predicted(of_photos, find):
    (of_photos / "val").rename(of_photos / "moved")
    with pytest.raises(InputError, match=r"has no predictions.*evaluate.py run=.* split=val"):
        find(f"run={of_photos}", "split=val", "num_folds=2")
    (of_photos / "moved").rename(of_photos / "val")
    find(f"run={of_photos}", "split=val", "num_folds=2", f"out={of_photos}/val_errors")
    logits = Predictions.load(of_photos / "val").logits
    assert torch.equal(Predictions.load(of_photos / "val_errors").logits, logits)


def test_runs_of_folds_are_joined(photos, find, tmp_path):
    lines = (photos[0] / "a.csv").read_text().splitlines()
    for fold in range(2):
        splits = [line.replace(",val,", ",test,") for line in lines]
        splits[1:141] = [
            line.replace(",train,", ",val,") if number % 2 == fold else line
            for number, line in enumerate(splits[1:141])
        ]
        (photos[0] / f"fold{fold}.csv").write_text("\n".join(splits))
        train_on(photos[0] / f"fold{fold}.csv", f"fold{fold}")
    runs = f"run=[{photos[0]}/fold0,{photos[0]}/fold1]"
    find(runs, "split=val", f"out={tmp_path}/joined")
    assert json.loads((tmp_path / "joined/label_errors.json").read_text())["num_images"] == 140
    with pytest.raises(InputError, match="several runs are those of folds"):
        find(runs)


def test_only_own_files_that_nobody_has_edited_are_replaced(of_photos, find, tmp_path):
    out = of_photos / "label_errors"
    find(f"run={of_photos}")
    find(f"run={of_photos}")
    with (out / "suspects.csv").open("a") as file:
        file.write("x.png,red,absent,present,0.1,99\n")
    with pytest.raises(InputError, match=r"suspects.csv has been edited"):
        find(f"run={of_photos}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    for other in (tmp_path / "mine", of_photos, of_photos / "val", of_photos / "best"):
        with pytest.raises(InputError, match=r"out=|would be replaced"):
            find(f"run={of_photos}", f"out={other}")
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


def test_the_page_has_every_suspect_with_its_picture_and_needs_no_network(of_photos, find):
    find(f"run={of_photos}")
    page = (of_photos / "label_errors/index.html").read_text()
    lines = [json.loads(text) for text in re.findall(r"data-lines='(.*?)'", page)]
    found = read_csv(of_photos / "label_errors/suspects.csv")
    assert [line[:2] for case in lines for line in case] == [[row["image"], row["label"]] for row in found]
    assert page.count('src="data:image/') == len(lines)
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page.replace("http-equiv", "")


@pytest.fixture
def page(tmp_path):
    """A page of eight suspects of both kinds, and the lines of their file of corrections."""
    rng = np.random.default_rng(0)
    probability = rng.choice([0.01, 0.02, 0.3, 0.98, 0.99], size=(8, 3))
    target = (probability < 0.5).astype(np.int8) * (probability != 0.3)
    target[:, 2] = probability[:, 2] > 0.5
    cases, data = case_of(target, probability)
    data = replace(data, read=lambda image, min_side: Image.new("RGB", (40, 30), "teal"))
    counts = {"num_suspects": len(cases), "num_answers": 24, "num_images": 8, "num_folds": 5}
    (tmp_path / "index.html").write_text(create_page(cases, data, "a, b", {"split": "train", "sha256": "0", **counts}))
    return tmp_path / "index.html", format_suspects(cases).splitlines(keepends=True)


def test_a_keyboard_alone_ticks_suspects_and_saves_them_as_corrections(page, visit, tmp_path):
    file, suspects = page
    tab = visit(file, accept_downloads=True)
    tab.focus("#none")
    for key in ("Tab", "Space", "Tab", "Tab", "Space"):
        tab.keyboard.press(key)
    while tab.evaluate("document.activeElement.id") != "save":
        tab.keyboard.press("Shift+Tab")
    with tab.expect_download() as saved:
        tab.keyboard.press("Enter")
    saved.value.save_as(tmp_path / "corrections.csv")
    assert (tmp_path / "corrections.csv").read_text().splitlines(keepends=True) == [suspects[0], *suspects[1:4:2]]
    tab.select_option("#label", "dog")
    tab.select_option("#kind", "absent")
    tab.click("#all")
    lines = [line for line in suspects[1:] if ",dog,present,absent" in line]
    assert tab.inner_text("#count") == f"{len({*lines, *suspects[1:4:2]})} ticked, {len(lines)} shown"
    tab.reload()
    assert tab.inner_text("#count") == f"{len({*lines, *suspects[1:4:2]})} ticked, {len(suspects) - 1} shown"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_window(page, visit, width):
    tab = visit(page[0], width=width, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
