"""The same images and answers in the format of every annotation tool are the same Manifest, value for value."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from exports import LABELS, answer, create_cases, reduce
from PIL import Image
from test_columns import read

from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.table import Table
from multihot.errors import InputError

FORMATS = sorted(file.stem for file in (Path(__file__).parent / "export_formats").glob("[!_]*.py"))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name, tmp_path):
    format_ = import_module(f"export_formats.{name}")
    (tmp_path / "images").mkdir()
    cases = [reduce(case, format_.KEEPS) for case in create_cases()]
    for case in cases:
        Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / case.image)
    source, *overrides = format_.write(tmp_path, cases)
    if "annotators" in format_.KEEPS:
        overrides.append("data.agree=majority")
    if "unknown" in format_.KEEPS:
        overrides.append("data.untagged=unknown")
    manifest = read(*overrides, source=source.removeprefix("data="))
    assert manifest.labels == LABELS
    assert {
        Path(image).name: row for image, row in zip(manifest.images, manifest.dense_targets().tolist(), strict=True)
    } == {case.image: [answer(case.readings, label) for label in LABELS] for case in cases}


class FakeReader(ExportReader):
    """Reads what a test gives."""

    untagged_means = None

    def read(self, file: str, table: Table) -> Iterator[Item]:
        return iter(self.items)


SETTINGS = {
    "path": "export.json", "val_path": None, "test_path": None, "root": None, "labels": None, "groups": None,
    "val_fraction": 0, "split_seed": 0, "image_suffix": None, "agree": "error", "unlisted": "absent", "untagged": None,
}  # fmt: skip


def read_items(*items: Item, cannot_tell: str | None = None, split: str = "train", **settings):
    reader = FakeReader(**SETTINGS | settings)
    reader.items, reader.untagged_means = items, cannot_tell
    return reader(split, must_exist=False)


def targets(*items: Item, **settings) -> list[list[float]]:
    return read_items(*items, **settings).dense_targets().tolist()


A, B = {"cat": 1.0}, {"dog": 1.0}


def test_people_who_do_not_agree_are_named():
    with pytest.raises(
        InputError, match=r"export.json line 3: 'cat' is 1, but another answer about the image does not"
    ):
        read_items(Item(3, "a.jpg", [A, {}]))
    assert targets(Item(3, "a.jpg", [A, A]), Item(4, "b.jpg", [{}, {}])) == [[1], [0]]


def test_people_vote():
    items = [Item(1, "a.jpg", [A, A, {}]), Item(2, "a.jpg", [A | B]), Item(3, "b.jpg", [{}, A])]
    assert targets(*items, agree="majority") == [[1, 0], [-1, 0]]
    assert targets(*items, agree="any") == [[1, 1], [1, 0]]
    assert targets(*items, agree="all") == [[0, 0], [0, 0]]
    assert targets(*items, agree="mean") == [[0.75, 0.25], [0.5, 0]]


def test_what_nobody_has_answered_is_left_out_or_what_data_untagged_says(caplog):
    items = [Item(1, "a.jpg", [A]), Item(2, "b.jpg", []), Item(3, "c.jpg", [{}])]
    assert targets(*items) == [[1], [0]]
    assert "1 of 3 images have no answer, and are left out" in caplog.text
    assert targets(*items, untagged="unknown") == [[1], [-1], [0]]
    assert targets(*items, untagged="absent") == [[1], [0], [0]]


def test_an_export_without_an_answer_is_named():
    with pytest.raises(InputError, match=r"exports without an answer .*:\n  export\.json"):
        read_items(Item(1, "a.jpg", []), Item(2, "b.jpg", []))


def test_an_image_of_a_task_without_an_answer_has_that_of_another():
    items = [Item(1, "a.jpg", []), Item(2, "a.jpg", [A]), Item(3, "b.jpg", [B])]
    assert targets(*items, untagged="unknown") == [[1, 0], [0, 1]]


def test_a_format_that_cannot_tell_asks():
    items = [Item(1, "a.jpg", [A]), Item(2, "b.jpg", [])]
    with pytest.raises(InputError, match=r"images without a label, and it lists all alike: .* or skip[^:]*:\n.*line 2"):
        read_items(*items, cannot_tell="it lists all alike")
    assert targets(*items, cannot_tell="it lists all alike", untagged="absent") == [[1], [0]]


def test_people_may_only_name_what_they_were_asked_about():
    items = [Item(1, "a.jpg", [{"cat": 1.0}]), Item(2, "b.jpg", [{"dog": 1.0, "cat": 0.0}]), Item(3, "c.jpg", [])]
    assert targets(*items, unlisted="unknown", untagged="unknown") == [[1, -1], [0, 1], [-1, -1]]


def test_the_words_for_none_stand_for_one_person_alone():
    items = [Item(1, "a.jpg", [{"none": 1.0}, A]), Item(2, "b.jpg", [{"none": 1.0}]), Item(3, "c.jpg", [A])]
    assert targets(*items, agree="any", none_labels=["none"]) == [[1], [0], [1]]
    assert targets(*items, agree="majority", none_labels=["none"]) == [[-1], [0], [1]]
    with pytest.raises(InputError, match="also name one"):
        read_items(Item(1, "a.jpg", [{"none": 1.0} | A]), none_labels=["none"])


def test_a_tool_may_say_the_split_of_an_image():
    items = [Item(1, "a.jpg", [A]), Item(2, "b.jpg", [A], "Validation"), Item(3, "c.jpg", [A], "test")]
    assert [read_items(*items, split=split).images[0][-5:] for split in ("train", "val", "test")] == [
        "a.jpg", "b.jpg", "c.jpg",
    ]  # fmt: skip


def test_addresses_are_read_from_where_the_files_are(tmp_path):
    items = [Item(1, "gs://bucket/x/a b.jpg", [A]), Item(2, "https://host/y/c%20d.jpg?token=1", [A])]
    images = read_items(*items, root=str(tmp_path), replace_prefix={"gs://bucket/": "", "https://host/": "z/"}).images
    assert list(images) == [f"{tmp_path}/x/a b.jpg", f"{tmp_path}/z/y/c d.jpg"]
    with pytest.raises(InputError, match="not on this machine"):
        read_items(*items)


def test_a_prefix_that_no_image_has_is_named(caplog):
    read_items(Item(1, "gs://bucket/a.jpg", [A]), replace_prefix={"gs://bucket/": "", "gs://buckets/": "b/"})
    assert "no image of export.json begins with 'gs://buckets/'; correct it or leave it out" in caplog.text


def test_images_are_looked_for_by_name(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg", "y/deep/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    settings = {"root": str(tmp_path), "search_images": True}
    assert list(read_items(Item(1, "b", [A]), Item(2, "y/a", [A]), image_suffix=".jpg", **settings).images) == [
        f"{tmp_path}/y/deep/b.jpg", f"{tmp_path}/y/a.jpg",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"several files have the name .*:\n.*a\.jpg: x/a\.jpg, y/a\.jpg"):
        read_items(Item(1, "a.jpg", [A]), **settings)


def test_labels_of_one_choice_exclude_each_other():
    class GroupReader(FakeReader):
        def read(self, file, table):
            table.exclude("colour", ["red", "blue"], none=False)
            return iter(self.items)

    reader = GroupReader(**SETTINGS)
    reader.items = [Item(1, "a.jpg", [{"red": 1.0}]), Item(2, "b.jpg", [{"blue": 1.0, "cat": 1.0}])]
    (group,) = reader("train", must_exist=False).label_space(False, "sigmoid").groups
    assert (group.name, group.labels, group.none) == ("colour", ("red", "blue"), False)
