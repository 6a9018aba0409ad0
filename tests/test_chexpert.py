"""A CheXpert file becomes the answers that the chosen policies make of present, absent, uncertain and not mentioned.

Format: https://stanfordmlgroup.github.io/competitions/chexpert/ and arxiv.org/abs/1901.07031 (labels, U-Ignore, U-Ones,
U-Zeros).
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.readers.chexpert import OBSERVATIONS, ChexpertReader
from multihot.errors import InputError

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "root": None,
    "labels": ["Edema", "Atelectasis", "Cardiomegaly"],
    "uncertain": "unknown",
    "uncertain_by_label": None,
    "blank": "absent",
    "view": "all",
    "groups": None,
    "val_fraction": 0.5,
    "split_seed": 0,
}
HEADER = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]) + "\n"
FOLDER = "CheXpert-v1.0-small"


def row(patient: int, view: str = "view1_frontal", split: str = "train", **answers: str) -> str:
    """Returns a line of a file; observations that are not given are not mentioned."""
    position = "Frontal,AP" if "frontal" in view else "Lateral,"
    path = f"{FOLDER}/{split}/patient{patient:05d}/study1/{view}.jpg"
    cells = [answers.get(name.replace(" ", "_"), "") for name in OBSERVATIONS]
    return ",".join([path, "Female", "68", position, *cells]) + "\n"


TRAIN = (
    row(1, Edema="1.0", Atelectasis="-1.0", Cardiomegaly="0.0")
    + row(2, Edema="-1.0")
    + row(2, "view2_lateral", Atelectasis="1.0")
)
VAL = row(64541, split="valid", Edema="0.0", Atelectasis="1.0", Cardiomegaly="1.0")


def write(top: Path, name: str, text: str) -> str:
    """Writes a file of the data set, and the images of its lines, and returns its path."""
    (top / FOLDER).mkdir(exist_ok=True)
    (top / FOLDER / name).write_text(HEADER + text, encoding="utf-8")
    for line in text.splitlines():
        image = top / line.split(",")[0]
        if image.suffix == ".jpg":
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(image)
    return str(top / FOLDER / name)


def reader(top: Path, train: str = TRAIN, val: str = VAL, **changes) -> ChexpertReader:
    files = {"path": write(top, "train.csv", train), "val_path": write(top, "valid.csv", val)}
    return ChexpertReader(**{**SETTINGS, **files, **changes})


def targets(top: Path, split: str = "train", **changes) -> list[list[float]]:
    return reader(top, **changes)(split).dense_targets().tolist()


def error_of(top: Path, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        reader(top, **changes)(split)
    return str(error.value)


def test_images_and_answers_are_those_of_the_lines(tmp_path):
    manifest = reader(tmp_path)("train")
    assert manifest.labels == ("Edema", "Atelectasis", "Cardiomegaly")
    assert manifest.images == [
        f"{tmp_path}/{FOLDER}/train/{name}.jpg"
        for name in (
            "patient00001/study1/view1_frontal",
            "patient00002/study1/view1_frontal",
            "patient00002/study1/view2_lateral",
        )
    ]
    assert manifest.targets.dtype == np.int8
    assert manifest.dense_targets().tolist() == [[1, -1, 0], [-1, 0, 0], [0, 1, 0]]
    assert targets(tmp_path, "val") == [[0, 1, 1]]
    assert list(manifest.places)[1] == f"{tmp_path}/{FOLDER}/train.csv line 3"


def test_all_fourteen_observations_are_the_labels_by_themselves(tmp_path):
    manifest = reader(tmp_path, labels=None)("train")
    assert manifest.labels == OBSERVATIONS
    assert len(OBSERVATIONS) == 14
    assert manifest.label_count().tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("policy", "value"), [("unknown", -1), ("ones", 1), ("zeros", 0)])
def test_uncertain_answers_follow_the_policy(tmp_path, policy, value):
    assert targets(tmp_path, uncertain=policy) == [[1, value, 0], [value, 0, 0], [0, 1, 0]]


def test_a_label_may_have_a_policy_of_its_own(tmp_path):
    changes = {"uncertain": "zeros", "uncertain_by_label": {"Edema": "ones"}}
    assert targets(tmp_path, **changes) == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_observations_that_are_not_mentioned_can_be_unknown(tmp_path):
    assert targets(tmp_path, uncertain="ones", blank="unknown") == [[1, 1, 0], [1, -1, -1], [-1, 1, -1]]


@pytest.mark.parametrize(("view", "expected"), [("frontal", [[1, -1, 0], [-1, 0, 0]]), ("lateral", [[0, 1, 0]])])
def test_one_view_can_be_chosen(tmp_path, view, expected):
    assert targets(tmp_path, val=VAL + row(64541, "view2_lateral", "valid"), view=view) == expected


def test_a_patient_is_never_divided_between_train_and_val(tmp_path):
    train = "".join(
        row(patient, view, Edema="1.0") for patient in range(8) for view in ("view1_frontal", "view2_lateral")
    )
    for seed in range(5):
        both = reader(tmp_path, train, val_path=None, split_seed=seed)
        patients = [{Path(image).parts[-3] for image in both(split).images} for split in ("train", "val")]
        assert [len(part) for part in patients] == [4, 4]
        assert patients[0].isdisjoint(patients[1])
        assert len(both("train")) == len(both("val")) == 8


def test_root_is_the_folder_that_the_paths_start_from(tmp_path):
    reader(tmp_path)
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (elsewhere / "train.csv").write_text(HEADER + TRAIN)
    (elsewhere / "valid.csv").write_text(HEADER + VAL)
    files = {"path": str(elsewhere / "train.csv"), "val_path": str(elsewhere / "valid.csv")}
    manifest = ChexpertReader(**{**SETTINGS, **files, "root": str(tmp_path)})("train")
    assert manifest.images[0].startswith(f"{tmp_path}/{FOLDER}/train/patient00001")
    outside = ChexpertReader(**{**SETTINGS, **files, "root": str(elsewhere / FOLDER)})
    with pytest.raises(InputError, match="3 images that do not exist"):
        outside("train")


def test_a_test_file_needs_only_paths_and_labels(tmp_path):
    path = tmp_path / FOLDER / "test.csv"
    settings = reader(tmp_path)
    path.write_text(f"Path,Edema,Atelectasis,Cardiomegaly\n{FOLDER}/test/patient64741/study1/view1_frontal.jpg,1,0,1\n")
    settings.test_path = str(path)
    assert settings("test", must_exist=False).dense_targets().tolist() == [[1, 0, 1]]


def test_missing_images_are_listed_with_their_line(tmp_path):
    both = reader(tmp_path)
    (tmp_path / FOLDER / "train/patient00001/study1/view1_frontal.jpg").unlink()
    with pytest.raises(InputError, match=r"(?s)images that do not exist.*train.csv line 2: .*patient00001"):
        both("train")
    assert len(both("train", must_exist=False)) == 3


def test_all_bad_lines_come_in_one_error(tmp_path):
    bad = f"{FOLDER}/train/a.jpg,,,,{',' * 14}\n" + row(3).replace(",Female", "") + row(4, Edema="maybe") + row(1)
    file = f"{tmp_path}/{FOLDER}/train.csv"
    message = error_of(tmp_path, train=TRAIN + bad)
    assert f"patient00001/study1/view1_frontal.jpg:\n  {file} line 5: {FOLDER}/train/a.jpg" in message
    assert f"rows of the wrong length:\n  {file} line 6: 18 cells instead of 19" in message
    assert (
        f"answers that are not 1, 0, between them, or -1 for unknown:\n  {file} line 7: 'Edema' is 'maybe'" in message
    )
    assert (
        f"{file} line 8: {tmp_path}/{FOLDER}/train/patient00001/study1/view1_frontal.jpg, as in {file} line 2"
        in message
    )


def test_an_image_in_two_files_is_an_error(tmp_path):
    assert "images that have a row already; in two splits" in error_of(tmp_path, val=VAL + row(1))


def test_files_that_are_not_of_chexpert_are_errors(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("image,Edema\na.png,1\n")
    message = (
        f"{path} is no file of CheXpert: it must have one column 'Path', 'Atelectasis', 'Cardiomegaly'; its columns are"
    )
    assert message in error_of(tmp_path, path=str(path))
    assert "cannot read nowhere.csv" in error_of(tmp_path, path="nowhere.csv")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uncertain_by_label": {"Oedema": "ones"}}, "data.labels=Oedema: choose from No Finding"),
        ({"labels": ["Effusion"]}, "data.labels=Effusion: choose from No Finding"),
        ({"path": None, "val_path": None}, "one of data.path, data.val_path and data.test_path must not be empty"),
    ],
)
def test_wrong_settings_are_errors(tmp_path, changes, words):
    assert words in error_of(tmp_path, **changes)


def test_a_split_without_a_file_is_an_error_that_says_how_to_give_one(tmp_path):
    words = "give each split its own source (data.path for train, data.val_path, data.test_path)"
    assert f"splits without rows:\n  test: {words}" in error_of(tmp_path, "test")


def test_the_config_builds_a_reader_that_workers_can_copy(tmp_path):
    both = reader(tmp_path)
    overrides = [
        f"data.path={both.path}",
        f"data.val_path={both.val_path}",
        "data.uncertain_by_label={Pleural Effusion: ones}",
    ]
    manifest = create_reader(compose_config("train", ["data=chexpert", *overrides]).data)("train")
    copied = pickle.loads(pickle.dumps(manifest))
    assert copied.labels == OBSERVATIONS
    assert copied.read(copied.images[0]).mode == "RGB"
