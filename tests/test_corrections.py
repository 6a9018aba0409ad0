"""Answers of data.corrections take the place of the source's own; what cannot be meant is named with its line."""

import json
import logging

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image
from scipy.sparse import csr_array

from multihot.data import create_reader
from multihot.data.corrections import CorrectedReader
from multihot.data.manifest import Manifest
from multihot.errors import InputError, MissingSplitError
from multihot.labels import Group

LABELS = ("cat", "dog", "owl")
TRAIN = [[1, 0, 0], [0, 1, -1], [1, 1, 0], [0, 0, 0]]
COLOURS = Group("colour", ("red", "green", "blue"))


def reader(targets=TRAIN, labels=LABELS, dtype=np.int8, splits=("train", "val"), **parts):
    """Returns a reader of images /photos/<split>/0.jpg, 1.jpg, ..., whose val has the first two answers of train."""
    read_splits = []

    def read(split, labels=labels, must_exist=True):
        read_splits.append(split)
        if split not in splits:
            raise MissingSplitError(split)
        own = np.asarray(targets, dtype)[: 2 if split == "val" else None]
        stored = np.nonzero(own != parts.get("unlisted", 0))
        sparse = csr_array((own[stored], stored), shape=own.shape)
        return Manifest(LABELS if labels is None else labels, names(split, len(own)), sparse, **parts)

    read.splits = read_splits
    return read


def names(split, count):
    return [f"/photos/{split}/{row}.jpg" for row in range(count)]


@pytest.fixture
def corrected(tmp_path):
    """corrected("0.jpg,cat,absent", ..., targets=...) -> the manifest of train with these lines in a file."""

    def read(*lines, split="train", header="image,label,answer", **source):
        file = tmp_path / "corrections.csv"
        file.write_text("\n".join([header, *lines]) + "\n")
        return CorrectedReader(reader(**source), str(file))(split, source.get("labels", LABELS))

    return read


def test_answers_of_all_kinds_are_replaced(corrected, caplog):
    caplog.set_level(logging.INFO, "multihot")
    lines = ("train/0.jpg,cat,absent", "train/0.jpg,dog,Present", "train/1.jpg,owl,absent", "train/3.jpg,owl,unknown")
    manifest = corrected(*lines, "train/2.jpg,cat,present")
    assert manifest.dense_targets().tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, -1]]
    assert manifest.targets.dtype == np.int8
    assert "5 corrections, 4 answers of the train split changed" in caplog.text


def test_the_fingerprint_changes_with_an_answer_and_only_with_one(corrected):
    plain = reader()("train")
    assert corrected("train/0.jpg,dog,present").fingerprint() != plain.fingerprint()
    assert corrected("train/0.jpg,dog,absent").fingerprint() == plain.fingerprint()
    assert corrected("val/0.jpg,dog,present").fingerprint() == plain.fingerprint()
    there_and_back = [[1, 1, 0], *TRAIN[1:]]
    assert corrected("train/0.jpg,dog,absent", targets=there_and_back).fingerprint() == plain.fingerprint()


def test_unlisted_answers_that_are_unknown_get_absent_ones(corrected):
    manifest = corrected("train/0.jpg,cat,unknown", "train/3.jpg,dog,unknown", "train/1.jpg,owl,absent", unlisted=-1)
    assert manifest.dense_targets().tolist() == [[-1, 0, 0], [0, 1, 0], [1, 1, 0], [0, -1, 0]]
    assert manifest.num_known().tolist() == [3, 3, 4]


def test_soft_answers_become_hard_and_the_others_stay(corrected):
    manifest = corrected("train/0.jpg,cat,absent", targets=[[0.7, 0.25, 0]] * 2, dtype=np.float32)
    assert manifest.dense_targets().tolist() == [[0, 0.25, 0], [np.float32(0.7), 0.25, 0]]
    assert manifest.is_soft


def test_an_image_is_found_by_the_unique_ending_of_its_path(corrected):
    for name in ("/photos/train/3.jpg", "photos/train/3.jpg", "./train/3.jpg", "train\\3.jpg", "3.jpg"):
        assert corrected(f"{name},cat,present").dense_targets()[3].tolist() == [1, 0, 0]
    with pytest.raises(
        InputError, match=r"several with this ending.*\n.*line 2: 0.jpg \(/photos/train/0.jpg, /photos/v"
    ):
        corrected("0.jpg,cat,present")
    with pytest.raises(InputError, match=r"does not have:\n.*line 2: in/3.jpg"):
        corrected("in/3.jpg,cat,present")


def test_lines_of_another_split_change_that_one_alone(corrected):
    lines = ("val/0.jpg,cat,absent", "/photos/train/3.jpg,dog,present")
    assert corrected(*lines).dense_targets().tolist() == [*TRAIN[:3], [0, 1, 0]]
    assert corrected(*lines, split="val").dense_targets().tolist() == [[0, 0, 0], TRAIN[1]]


def test_no_other_split_is_read_for_images_as_they_are_listed(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("image,label,answer\n/photos/train/3.jpg,cat,present\n")
    read = reader()
    corrected = CorrectedReader(read, str(file))
    for split in ("train", "val"):
        corrected(split, LABELS)
    assert read.splits == ["train", "val"]


def test_all_that_is_wrong_is_said_with_its_line(corrected):
    lines = (
        "train/0.jpg,cat,absent",
        "train/9.jpg,cat,absent",
        "train/0.jpg,Cat,absent",
        "/photos/train/0.jpg,cat,present",
        "train/1.jpg,dog,present",
        "train/1.jpg,dog,present",
    )
    with pytest.raises(InputError) as raised:
        corrected(*lines)
    for part in (
        "images that the data does not have:\n",
        "line 3: train/9.jpg",
        "line 4: 'Cat' ('Cat' looks like 'cat')",
        "answers that contradict another line",
        "line 5: /photos/train/0.jpg, 'cat', as in line 2",
    ):
        assert part in str(raised.value)
    with pytest.raises(InputError, match=r"none of present, absent, unknown:\n.*line 2: 'yes'\n.*line 3: ''"):
        corrected("train/0.jpg,cat,yes", "train/0.jpg,cat,")
    with pytest.raises(
        InputError, match="must name the columns image, label, answer, divided by commas, and is 'image;l"
    ):
        corrected("train/0.jpg;cat;absent", header="image;label;answer")
    with pytest.raises(InputError, match=r"too short:\n.*line 2"):
        corrected("train/0.jpg,cat")


def test_other_columns_are_allowed_in_any_order(corrected):
    manifest = corrected("present,0.9,cat,absent,train/3.jpg", header="given,probability,label,answer,image")
    assert manifest.dense_targets().tolist() == TRAIN
    manifest = corrected("1,present,cat,train/3.jpg,look again", header="rank,answer,label,image,note")
    assert manifest.dense_targets()[3].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("lines", "none", "before", "after"),
    [
        (["green,present"], False, [1, 0, 0], [0, 1, 0]),
        (["green,present"], True, [0, 0, 0], [0, 1, 0]),
        (["red,absent"], True, [1, 0, 0], [0, 0, 0]),
        (["red,absent"], False, [1, 0, 0], [0, -1, -1]),
        (["red,unknown"], False, [1, 0, 0], [-1, -1, -1]),
        (["red,unknown"], True, [1, 0, 0], [-1, 0, 0]),
        (["red,absent", "green,absent"], False, [1, 0, 0], [0, 0, 1]),
        (["red,absent"], False, [-1, -1, 0], [0, -1, 0]),
        (["red,absent"], False, [0.75, 0.25, 0], [0, -1, -1]),
        (["red,present"], False, [-1, -1, -1], [1, 0, 0]),
    ],
)
def test_groups_stay_groups(corrected, lines, none, before, after):
    group = Group("colour", COLOURS.labels, none=none)
    dtype = np.float32 if 0.25 in before else np.int8
    lines = [f"/photos/train/1.jpg,{line}" for line in lines]
    source = {"labels": COLOURS.labels, "groups": (group,), "dtype": dtype, "splits": ("train",)}
    manifest = corrected(*lines, targets=[[0, 0, 1], before], **source)
    assert manifest.dense_targets().tolist() == [[0, 0, 1], after]


def test_corrections_that_no_group_can_have_are_refused(corrected):
    source = {"labels": COLOURS.labels, "groups": (COLOURS,), "targets": [[1, 0, 0]]}
    for lines in (("red,present", "green,present"), ("red,absent", "green,absent", "blue,absent")):
        with pytest.raises(
            InputError, match=r"corrections.csv leaves answers that cannot be together: 1 image has not"
        ):
            corrected(*(f"/photos/train/0.jpg,{line}" for line in lines), **source)


def test_every_source_takes_the_setting_and_a_run_writes_it_down(train, evaluate, tmp_path, caplog):
    rng = np.random.default_rng(0)
    rows = ["image,split,labels"]
    for row in range(30):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / f"{row}.png")
        rows.append(f"{row}.png,{('train', 'train', 'val')[row % 3]},{'cat' if row % 2 else 'dog'}")
    (tmp_path / "a.csv").write_text("\n".join(rows))
    (tmp_path / "fix.csv").write_text("image,label,answer\n0.png,cat,present\n2.png,dog,unknown\n")
    source = ("data=csv", f"data.path={tmp_path}/a.csv", f"data.corrections={tmp_path}/fix.csv")
    manifest = create_reader(compose_config("train", [*source]).data)("val")
    assert manifest.dense_targets()[0].tolist() == [0, -1]
    for name, corrections in (("plain", "null"), ("fixed", f"{tmp_path}/fix.csv")):
        train(*source[:2], f"name={name}", "epochs=0", f"data.corrections={corrections}")
    plain, fixed = (json.loads((tmp_path / name / "manifests.json").read_text()) for name in ("plain", "fixed"))
    assert all(plain[split]["sha256"] != fixed[split]["sha256"] for split in ("train", "val"))
    caplog.clear()
    evaluate(f"run={tmp_path}/fixed")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
