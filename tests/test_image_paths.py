"""Paths of images as other programs write them are read, or refused with what is there in their place."""

import json

import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.table.table import Table
from multihot.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b c.jpg", "D.JPG", "e.jpg", "e.png", "caf\u00e9.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    return tmp_path


def read(folder, image: str, *overrides: str):
    (folder / "data.csv").write_text(f"image,labels\n{image},cat\n")
    cfg = compose_config("train", ["data=csv", f"data.path={folder}/data.csv", "data.val_fraction=0", *overrides])
    return create_reader(cfg.data)("train").images


@pytest.mark.parametrize(
    "image", ["photos\\a.jpg", ".\\photos\\a.jpg", "./photos/a.jpg", "file://{folder}/photos/a.jpg"]
)
def test_paths_of_other_programs_are_read(folder, image):
    assert read(folder, image.replace("{folder}", str(folder))) == [f"{folder}/photos/a.jpg"]


def test_a_backslash_may_be_part_of_a_name(folder):
    (folder / "photos\\a.jpg").write_bytes(b"")
    assert read(folder, "photos\\a.jpg") == [f"{folder}/photos\\a.jpg"]


def test_ids_get_the_ending_that_they_lack(folder):
    assert read(folder, "photos/a", "data.image_suffix=.jpg") == [f"{folder}/photos/a.jpg"]
    Image.new("RGB", (8, 8)).save(folder / "7.jpg")
    (folder / "data.jsonl").write_text(json.dumps({"image": 7, "labels": ["cat"]}))
    overrides = ["data=jsonl", f"data.path={folder}/data.jsonl", "data.val_fraction=0", "data.image_suffix=.jpg"]
    assert create_reader(compose_config("train", overrides).data)("train").images == [f"{folder}/7.jpg"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("photos/a", "there is a.jpg: data.image_suffix=.jpg adds the ending"),
        ("photos/e", "there are e.jpg, e.png: write which one is meant"),
        ("photos/a.png", "there is a.jpg: write its ending"),
        ("photos/d.jpg", "there is D.JPG, which differs in capital letters"),
        ("photos/cafe\u0301.jpg", "the form of its letters"),
        ("photos/b%20c.jpg", "there is 'b c.jpg': write names as they are, not as in a URL"),
        ("pictures/a.jpg", "there is no folder {folder}/pictures; images start from data.root"),
        ("/home/me/photos/a.jpg", "data.root does not apply to absolute paths"),
        ("C:\\photos\\a.jpg", "a path of Windows: write it from data.root on"),
        ("~/photos/a.jpg", "~ is not replaced by a home folder"),
        ("photos", "(a folder and no file)"),
        (
            "https://example.com/a.jpg",
            "images that are not on this machine (download them first, and say where they are",
        ),
    ],
)
def test_what_is_there_instead_of_an_image_is_said(folder, image, words):
    with pytest.raises(InputError) as error:
        read(folder, image)
    assert words.replace("{folder}", str(folder)) in str(error.value)
    assert "data.csv line 2" in str(error.value)


def test_a_file_an_image_keeps_one_text_of_the_folder(tmp_path):
    table = Table()
    for name in ("a.json", "b.json", "c.json"):
        table.begin(f"{tmp_path}/{name}")
    table.begin(f"{tmp_path}/other/a.json")
    assert table.roots == [str(tmp_path)] * 3 + [f"{tmp_path}/other"]
    assert len({id(root) for root in table.roots}) == 2
