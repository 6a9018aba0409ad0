"""Labels that cannot be learnt or measured: named before training, and refused where nothing is left."""

import json
import logging
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from multihot.data.answer_kinds import unlike_train
from multihot.data.manifest import Manifest
from multihot.data.unlearnable import check_learnable, describe_alike, describe_lacking
from multihot.errors import InputError
from multihot.labels import Group, LabelSpace
from multihot.loss import BinaryCrossEntropy, MultiLabelLoss, UnknownStrategy
from multihot.run.checkpoint import TrainingState
from multihot.training.checks import check_choosable, check_measured
from multihot.training.validation import Validator

LABELS = ("cat", "dog", "owl")
IGNORE, NEGATIVE = UnknownStrategy(), UnknownStrategy("negative")
COLUMNS = {"layout": "columns", "blank": "unknown", "unlisted_pairs": "absent", "answers": None, "path": "a.csv"}


def make(rows, labels=LABELS, unlisted=0, groups=()) -> Manifest:
    targets = np.asarray(rows)
    targets = targets.astype(np.float32 if np.any((targets > 0) & (targets < 1)) else np.int8)
    if unlisted:
        row, column = np.nonzero(targets != unlisted)
        stored = csr_array((targets[row, column], (row, column)), shape=targets.shape)
    else:
        stored = csr_array(targets)
    images = [f"{row}.jpg" for row in range(len(targets))]
    return Manifest(labels, images, stored, groups=groups, unlisted=unlisted)


def draw(num_images: int, *shares: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((num_images, len(shares))) < shares).astype(np.int8)


def warn(train, val, unknown=IGNORE, settings=COLUMNS, is_cut=False) -> list[str]:
    space = LabelSpace(train.labels, train.groups)
    return describe_lacking(train, val, space, unknown, settings, is_cut=is_cut)


GOOD = draw(400, 0.5, 0.3, 0.2)


def without_no(targets: np.ndarray) -> np.ndarray:
    """Returns answers as they are read from a file that codes "no" as -1 or leaves it empty."""
    return np.where(targets == 1, 1, -1)


# nothing to learn


@pytest.mark.parametrize(
    ("rows", "unlisted", "message"),
    [
        (without_no(GOOD), 0, r"'cat', 'dog', 'owl'.*answers={-1: absent}' \(by -1\) or data.blank=absent \(by an"),
        (without_no(GOOD), -1, "each label has the same answer in all of the 400 train images"),
        (np.zeros((5, 3)), 0, r"the 5 train images have none of the labels.*data.path=a.csv data.layout=columns"),
        (np.full((5, 3), -1), 0, r"no answer at all \(all are unknown\)"),
        (np.full((5, 3), -1), -1, r"no answer at all \(all are unknown\)"),
        ([[1, 0, -1]] * 4, 0, "Always present: 'cat'; never: 'dog'"),
    ],
)  # fmt: skip
def test_train_images_that_have_nothing_to_tell_apart_are_refused(rows, unlisted, message):
    data = make(rows, unlisted=unlisted)
    with pytest.raises(InputError, match=message):
        check_learnable(data, LabelSpace(LABELS), IGNORE, COLUMNS)


def test_images_of_weight_0_teach_nothing():
    space, weights = LabelSpace(LABELS), np.float32(np.arange(400) < 200)
    none = replace(make(GOOD), weights=np.zeros(400, np.int8))
    with pytest.raises(InputError, match=r"all have the weight 0.*data\.weight_column=null"):
        check_learnable(none, space, IGNORE, COLUMNS)
    check_learnable(replace(make(GOOD), weights=weights), space, IGNORE, COLUMNS)
    half = make(np.where(weights[:, None] > 0, without_no(GOOD), GOOD))
    with pytest.raises(InputError, match="in all of the 200 train images"):
        check_learnable(replace(half, weights=weights), space, IGNORE, COLUMNS)


@pytest.mark.parametrize(
    ("rows", "unknown"),
    [
        (GOOD, IGNORE),
        (without_no(GOOD), NEGATIVE),  # positives alone, the rest trained as absent
        ([[0.2, 0, 0], [0.4, 0, 0]], IGNORE),  # soft answers below a half
        ([[0.9, 0, 0], [0.6, 0, 0]], IGNORE),
    ],
)
def test_what_can_be_learnt_is_not_refused(rows, unknown):
    check_learnable(make(rows), LabelSpace(LABELS), unknown, COLUMNS)


def test_in_a_group_the_other_labels_are_what_a_label_is_told_from():
    space = LabelSpace(LABELS, (Group("animal", LABELS),))
    check_learnable(make([[1, -1, -1], [-1, 1, -1]], groups=space.groups), space, IGNORE, COLUMNS)
    with pytest.raises(InputError, match="Always present: 'dog'; never: 'cat', 'owl'"):
        check_learnable(make([[0, 1, 0]] * 3), LabelSpace.single_label(LABELS), IGNORE, {"path": "folder"})


# labels of one kind among others


def test_good_data_has_no_warnings():
    assert warn(make(GOOD), make(draw(100, 0.5, 0.3, 0.2, seed=1))) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_a_long_tailed_set_has_no_warnings(seed):
    shares = 0.5 / np.arange(1, 301)
    targets = draw(2000, *shares, seed=seed)
    targets = targets[:, targets.any(axis=0)]
    labels = tuple(map(str, range(targets.shape[1])))
    is_val = np.random.default_rng(seed).random(len(targets)) < 0.1
    is_val &= ~(targets[:, targets.sum(axis=0) < 3].any(axis=1))  # a label with all its images in val is lacking
    train, val = make(targets[~is_val], labels), make(targets[is_val], labels)
    assert (val.label_count() == 0).sum() > 20
    assert warn(train, val) == []


def test_a_column_that_never_says_no_is_named_with_the_settings_that_help():
    targets = GOOD.copy()
    targets[:, 1] = without_no(targets[:, 1])
    [line] = warn(make(targets[:300]), make(targets[300:]))
    assert line.startswith("1 of 3 labels has no train image known to be without it: 'dog'; it will be predicted")
    assert "'data.answers={-1: absent}' (by -1) or data.blank=absent (by an empty cell)" in line
    assert warn(make(targets[:300]), make(targets[300:]), NEGATIVE) == []


def test_labels_on_no_train_image_are_named_unless_only_some_images_are_used():
    targets = GOOD * np.int8([1, 1, 0])
    [line] = warn(make(targets), make(targets))
    assert line.startswith("1 of 3 labels has no train image with it: 'owl'; it will never be predicted")
    assert warn(make(targets), make(targets), is_cut=True) == []


def test_labels_without_any_answer_are_named():
    targets = GOOD.copy()
    targets[:, :1] = -1
    line = warn(make(targets), make(targets))[0]
    assert line.startswith("1 of 3 labels has no known answer in train: 'cat'; nothing is learnt about it")


def test_a_val_file_that_is_written_otherwise_is_named():
    train, val = make(GOOD), make(without_no(GOOD[:30]))
    assert {name: lacking.tolist() for name, lacking in unlike_train(train, val).items()} == {
        "known to be without them": [True, True, True]
    }
    empty = make(GOOD[:60] * np.int8([0, 1, 1]))
    [line] = warn(train, empty)
    assert line.startswith("1 of 3 labels has no val image with it, where train has many: 'cat'; there is no AP of it")
    assert warn(train, make(np.zeros((0, 3)))) == []


def test_codes_in_which_minus_1_says_no_are_doubted():
    """VOC codes absent as -1 and difficult as 0: -1 is read as unknown, 0 as absent."""
    shares = np.random.default_rng(2).random((400, 3))
    codes = np.where(shares < 0.15, 1, np.where(shares < 0.2, 0, -1))
    [line] = warn(make(codes[:300]), make(codes[300:]))
    assert re.match(r"\d+ train answers are unknown, \d+ are present, and hardly any is given as absent", line)
    assert "data.answers={-1: absent}" in line
    assert warn(make(codes[:300]), make(codes[300:]), NEGATIVE) == []
    declared = COLUMNS | {"answers": {-1: "unknown"}}
    assert warn(make(codes[:300]), make(codes[300:]), settings=declared) == []
    pairs = COLUMNS | {"layout": "pairs"}  # image,label,-1 where others are not listed and so absent
    listed = np.where(shares < 0.1, 1, np.where(shares < 0.15, -1, 0))
    for settings in (pairs, {"labels_key": "labels", "answers": None}):
        assert len(warn(make(listed), make(listed), settings=settings)) == 1
    told = replace(make(listed), num_listed_absent=600)  # who writes each no as 0 means something else by -1
    assert warn(told, told, settings=pairs) == []
    assert warn(make(listed), make(listed)) == []
    partial = np.where(shares < 0.1, 1, np.where(shares < 0.4, 0, -1))
    assert warn(make(partial), make(partial)) == []


def test_val_images_that_tell_no_labels_apart_are_told():
    [line] = describe_alike(make([[0, 0, 1]]))
    assert line.startswith("none of 3 labels is known to be on some of 1 val image and not on others")
    assert describe_alike(make(GOOD)) == describe_alike(make(np.zeros((0, 3)))) == []


def test_settings_that_read_a_no_are_named_only_where_answers_are_unknown():
    targets = GOOD | np.int8([0, 1, 0])
    [line] = warn(make(targets), make(targets))
    assert line.endswith("'dog'; it will be predicted for every image.")


# nothing to choose by


def check(monitor, val, space=None, threshold=None, settings=COLUMNS):
    space = space or LabelSpace(val.labels, val.groups)
    function = torch.nn.CrossEntropyLoss(reduction="none") if not space.independent else BinaryCrossEntropy()
    check_choosable(monitor, val, space, threshold, MultiLabelLoss(function, space), settings)


@pytest.mark.parametrize(
    ("monitor", "rows", "message"),
    [
        ("val/map", np.zeros((4, 3)), "of the 4 val images.*None of 3 labels.*0 answers are present, 12 absent"),
        ("val/map", without_no(GOOD), "data.answers={-1: absent}"),
        ("val/map", GOOD[:1], "of the 1 val images"),
        ("val/macro_auroc", np.ones((4, 3)), "12 answers are present, 0 absent"),
        ("val/micro_ap", without_no(GOOD), "is nan"),
        ("val/micro_f1", np.zeros((4, 3)), "is 0 for the best and for the worst"),
        ("val/ranking_loss", np.zeros((4, 3)), "is 0 for"),
        ("val/lrap", np.zeros((4, 3)), "is 1 for"),
        ("val/loss", np.full((4, 3), -1), "12 unknown"),
        ("val/hamming_loss", np.full((4, 3), -1), "is nan"),
    ],
)
def test_a_score_that_cannot_choose_an_epoch_is_refused(monitor, rows, message):
    with pytest.raises(InputError, match=message):
        check(monitor, make(rows))


@pytest.mark.parametrize(
    ("monitor", "rows"),
    [
        ("val/map", GOOD),
        ("val/map", [[1, 0, 0], [0, 0, -1]]),
        ("val/hamming_loss", np.zeros((4, 3))),
        ("val/loss", np.zeros((4, 3))),
        ("val/loss", [[0.2, 0.3, -1]]),
        ("val/micro_f1", GOOD[:1]),
        ("val/map", np.zeros((0, 3))),  # no val part: the last epoch is kept
    ],
)
def test_a_score_that_can_choose_is_taken(monitor, rows):
    check(monitor, make(rows))


def test_one_image_among_many_is_enough_to_choose_by(monkeypatch):
    monkeypatch.setattr("multihot.training.checks.FEW_IMAGES", 3)
    rows = np.zeros((50, 3))
    rows[20, 1] = 1
    check("val/map", make(rows))


def test_thresholds_that_nothing_passes_cannot_choose():
    check("val/micro_f1", make(GOOD), threshold=[0.5, 0.999, 0.1])
    check("val/micro_f1", make(GOOD), LabelSpace(LABELS, activation="identity"), threshold=500)
    with pytest.raises(InputError, match="val/micro_f1 is 0"):
        check("val/micro_f1", make(GOOD), threshold=1.0)


def test_groups_are_chosen_by_their_accuracy_where_an_image_has_an_answer():
    space = LabelSpace(LABELS, (Group("animal", ("cat", "dog")),))
    check("val/animal_accuracy", make([[1, 0, 0], [1, 0, 1]]), space)
    with pytest.raises(InputError, match="is nan"):
        check("val/animal_accuracy", make([[-1, -1, 0], [-1, -1, 1]]), space)
    check("val/accuracy", make([[1, 0, 0], [1, 0, 0]]), LabelSpace.single_label(LABELS))
    with pytest.raises(InputError, match="val/accuracy is nan"):
        check("val/accuracy", make(np.full((2, 3), -1)), LabelSpace.single_label(LABELS))


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_raw/map", "choose from val/map"),
        ("val/num_images", "monitor=val/num_images: choose from val/map"),
        ("val/num_labels_ranked", "choose from"),
        ("val/colour_accuracy", "choose from"),
        ("val/accuracy", "choose from"),
        ("train/loss", "choose from"),
        ("map", "choose from"),
    ],
)
def test_a_name_that_is_no_score_to_choose_by_is_refused(monitor, message):
    with pytest.raises(InputError, match=message):
        check_measured(monitor, None, LabelSpace(LABELS))


# as a user meets it


def write_table(folder, header: str, lines: list[str], name="a.csv") -> str:
    (folder / name).write_text("\n".join([header, *lines]) + "\n")
    return f"data.path={folder / name}"


@pytest.fixture
def images(tmp_path):
    from PIL import Image

    for number in range(24):
        Image.new("RGB", (32, 32), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("no", ["-1", ""])
def test_a_file_without_a_known_no_is_refused_before_training(train, images, no):
    lines = [f"{number}.png,{1 if number % 2 else no},{1 if number % 3 else no}" for number in range(24)]
    path = write_table(images, "image,smiling,young", lines)
    with pytest.raises(InputError, match="Always present: 'smiling', 'young'"):
        train("name=a", "data=csv", "data.layout=columns", path)
    assert not (images / "a/history.json").exists()


def test_a_val_part_without_a_positive_is_refused_and_a_run_without_one_is_not(train, images):
    lines = [
        f"{number}.png,{int(number % 2 and number < 16)},{'val' if number > 15 else 'train'}" for number in range(24)
    ]
    settings = ("data=csv", "data.layout=columns", write_table(images, "image,cat,split", lines))
    with pytest.raises(InputError, match="val/map is nan for the best and for the worst predictions of the 8 val"):
        train("name=a", *settings)
    score = train("name=a", *settings, "monitor=val/hamming_loss", "epochs=0")
    assert not math.isnan(score)


def test_good_scenes_have_no_warnings(train, caplog):
    with caplog.at_level(logging.WARNING):
        train("name=a", "epochs=0")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("losses", "best", "last", "message"),
    [
        ([math.nan, 0.5, math.nan, math.nan], (0.5, 1), 3, "val/loss is nan after epoch 3"),
        ([math.nan, math.nan], (None, 1), 1, "val/loss was nan in all epochs: the model after epoch 1 is kept"),
    ],
)
def test_a_score_that_is_nan_is_never_the_best(train, tmp_path, monkeypatch, caplog, losses, best, last, message):
    made_up = iter([0.0, 1.0, *losses])  # two to see that the loss tells epochs apart
    monkeypatch.setattr("multihot.evaluation.scores.mean_loss", lambda *given: next(made_up))
    settings = [
        "monitor=val/loss",
        "patience=2",
        f"epochs={max(5 * (last > 1), 1)}",
        "data.num_images={train:8,val:9,test:8}",
    ]
    train("name=a", *settings)
    finished = json.loads((tmp_path / "a/finished.json").read_text())
    assert (finished["score"], finished["epoch"], finished["last_epoch"]) == (*best, last)
    assert message in caplog.text


def test_a_search_without_val_images_is_refused(train, images, monkeypatch):
    monkeypatch.setattr("multihot.run.sweep.proposed", [SimpleNamespace()])
    lines = [f"{number}.png,{'cat' * (number % 2)}" for number in range(24)]
    with pytest.raises(InputError, match="a search compares scores"):
        train("name=a", "data=csv", "data.val_fraction=0", write_table(images, "image,labels", lines))


@pytest.mark.parametrize(
    ("rows", "newer", "is_told"),
    [(without_no(GOOD), {}, True), (GOOD, {}, False), (without_no(GOOD), {"val/num_labels_ranked": 0}, False)],
)
def test_a_run_of_before_is_told_that_its_map_was_another(rows, newer, is_told, caplog):
    batches = SimpleNamespace(manifest=make(rows))
    validator = Validator(None, batches, "val/map", LabelSpace(LABELS), None, None)
    validator.warn_of_older_scores(TrainingState(history=[{"epoch": 0, "val/map": 1.0, **newer}]))
    assert ("val/map of the 1 epochs so far counts labels" in caplog.text) == is_told
