"""Annotations of CVAT become the tags of its images, and predictions become such annotations."""

from pathlib import Path

import pytest
from PIL import Image
from test_columns import error_of, read

TASK = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>1</id>
      <name>photos</name>
      <size>3</size>
      <labels>
        <label><name>cat</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
        <label><name>dog &amp; owl</name><color>#fa3253</color><type>tag</type><attributes>
          <attribute><name>side</name><mutable>False</mutable><input_type>select</input_type></attribute>
        </attributes></label>
        <label><name>car</name><color>#fa3253</color><type>rectangle</type><attributes></attributes></label>
        <label><name>body</name><color>#fa3253</color><type>skeleton</type><attributes></attributes></label>
        <label><name>head</name><color>#fa3253</color><type>points</type><attributes></attributes>
          <parent>body</parent></label>
      </labels>
    </task>
    <dumped>2026-11-28 08:00:00.000000+00:00</dumped>
  </meta>
  <image id="0" name="a.png" width="8" height="8">
    <tag label="cat" source="manual">
    </tag>
    <tag label="dog &amp; owl" source="manual">
      <attribute name="side">left</attribute>
    </tag>
    <box label="car" source="manual" occluded="0" xtl="0.00" ytl="0.00" xbr="4.00" ybr="4.00" z_order="0">
    </box>
  </image>
  <image id="1" name="b.png" width="8" height="8">
    <skeleton label="body" source="manual" z_order="0">
      <points label="head" source="manual" outside="0" occluded="0" points="1.00,1.00">
      </points>
    </skeleton>
  </image>
  <image id="2" name="c.png" width="8" height="8">
  </image>
</annotations>
"""
PROJECT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <project>
      <id>1</id>
      <labels>
        <label><name>cat</name><type>any</type></label>
        <label><name>dog</name><type>any</type></label>
      </labels>
      <tasks><task><id>1</id><subset>Train</subset></task><task><id>2</id><subset>Validation</subset></task></tasks>
    </project>
  </meta>
  <image id="0" name="a.png" subset="Train" task_id="1" width="8" height="8">
    <tag label="cat" source="manual"></tag></image>
  <image id="1" name="b.png" subset="Validation" task_id="2" width="8" height="8">
    <tag label="dog" source="manual"></tag></image>
  <image id="2" name="c.png" subset="default" task_id="3" width="8" height="8">
    <tag label="dog" source="file"></tag></image>
</annotations>
"""
# what datumaro 1.13.12 writes as `cvat`
DATUMARO = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id></id>
      <name>train</name>
      <size>2</size>
      <mode>annotation</mode>
      <labels>
        <label>
          <name>cat</name>
          <attributes>
          </attributes>
        </label>
        <label>
          <name>dog</name>
          <attributes>
          </attributes>
        </label>
      </labels>
    </task>
  </meta>
  <image id="0" name="a/b 1.png" width="4" height="4">
    <tag label="cat">
    </tag>
    <tag label="dog">
    </tag>
  </image>
  <image id="1" name="c.png" width="4" height="4">
    <tag label="dog" group_id="1">
    </tag>
  </image>
</annotations>"""


@pytest.fixture
def folder(tmp_path) -> Path:
    draw(tmp_path, "a.png", "b.png", "c.png")
    return tmp_path


def draw(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(folder / name)


def write(folder: Path, text: str | bytes, name: str = "annotations.xml") -> list[str]:
    """Writes a file and returns what reads it."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [f"data.path={folder}/{name}", "data.val_fraction=0"]


def read_file(folder: Path, text: str | bytes, *overrides: str, **settings):
    return read(*write(folder, text), *overrides, source="cvat", **settings)


def error(folder: Path, text: str | bytes, *overrides: str, **settings) -> str:
    return error_of(*write(folder, text), *overrides, source="cvat", **settings)


def test_tags_are_the_labels_of_their_image(folder, caplog):
    manifest = read_file(folder, TASK, "data.untagged=unknown")
    assert manifest.labels == ("cat", "dog & owl")  # not those that only a box or a skeleton can have
    assert list(manifest.images) == [f"{folder}/{name}.png" for name in "abc"]
    assert manifest.dense_targets().tolist() == [[1, 1], [-1, -1], [-1, -1]]
    assert manifest.places[0] == f"{folder}/annotations.xml line 22"
    assert "2 of 3 images have no answer" in caplog.text
    assert "has 2 labels of whole images, and 2 objects (boxes, outlines, ...), which are not read" in caplog.text
    assert "data.objects=present" in caplog.text


def test_what_images_without_a_tag_are_must_be_said(folder):
    message = error(folder, TASK)
    assert (
        "2 images without a label, and CVAT lists images that nobody has looked at like those without a tag" in message
    )
    assert f"{folder}/annotations.xml line 31: b.png" in message
    assert read_file(folder, TASK, "data.untagged=absent").dense_targets().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert read_file(folder, TASK, "data.untagged=skip").dense_targets().tolist() == [[1, 1]]


def test_objects_label_their_image_if_asked(folder, caplog):
    manifest = read_file(folder, TASK, "data.untagged=absent", "data.objects=present")
    assert manifest.labels == ("cat", "dog & owl", "car", "body")
    assert manifest.dense_targets().tolist() == [[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert "not read" not in caplog.text
    boxes = TASK[: TASK.index('    <tag label="cat"')] + TASK[TASK.index("    <box") :]
    message = error(folder, boxes, "data.untagged=skip")
    assert "has 0 labels of whole images, and 2 objects (boxes, outlines, ...): data.objects=present takes" in message


def test_a_project_says_the_split_of_each_image(folder):
    assert [list(read_file(folder, PROJECT, split=split).images) for split in ("train", "val")] == [
        [f"{folder}/a.png", f"{folder}/c.png"],
        [f"{folder}/b.png"],
    ]
    assert read_file(folder, PROJECT, split="val").dense_targets().tolist() == [[0, 1]]
    other = PROJECT.replace("Validation", "batch 2")
    assert "splits other than train, val, test:\n" in error(folder, other)
    assert len(read_file(folder, other, "data.split_names={Batch 2: test}", split="test")) == 1
    overrides = [*write(folder, PROJECT), f"data.val_path={write(folder, TASK, 'val.xml')[0].partition('=')[2]}"]
    assert "whose split is another than that of their file" in error_of(*overrides, source="cvat")


def test_images_are_where_they_are_saved_with_the_annotations(folder):
    draw(folder, "images/Train/a.png", "images/b.png")
    assert list(read_file(folder, PROJECT).images) == [f"{folder}/images/Train/a.png", f"{folder}/c.png"]
    assert list(read_file(folder, PROJECT, split="val").images) == [f"{folder}/images/b.png"]


def test_a_data_set_of_datumaro_is_read(folder):
    draw(folder, "images/a/b 1.png", "images/c.png")
    manifest = read_file(folder, DATUMARO)
    assert list(manifest.images) == [f"{folder}/images/a/b 1.png", f"{folder}/images/c.png"]
    assert manifest.dense_targets().tolist() == [[1, 1], [0, 1]]


def test_files_of_several_people_are_readings(folder):
    (folder / "jobs").mkdir()
    first = write(folder / "jobs", PROJECT.replace("Validation", "Train"), "1.xml")
    second = PROJECT.replace("Validation", "Train").replace('<tag label="cat" source="manual"></tag>', "", 1)
    write(folder / "jobs", second.replace('label="dog" source="file"', 'label="cat"'), "2.xml")
    jobs = [f"data.path={folder}/jobs", *first[1:], f"data.root={folder}", "data.untagged=skip"]
    assert "1.xml line 18: 'dog' is 1, but another answer" in error_of(*jobs, source="cvat")
    manifest = read(*jobs, "data.agree=mean", source="cvat")
    assert manifest.dense_targets().tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    jobs[0] = f"data.path={folder}/jobs/*.xml"
    assert read(*jobs, "data.agree=any", source="cvat").dense_targets().tolist() == [[1, 0], [0, 1], [1, 1]]
    assert "there is no file" in error_of(f"data.path={folder}/*.zip", source="cvat")


def test_only_a_block_is_held_at_once(folder, monkeypatch):
    monkeypatch.setattr("multihot.data.readers.tools.cvat.BLOCK", 7)
    assert read_file(folder, TASK, "data.untagged=absent").dense_targets().tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TASK[:900], "annotations.xml is not XML: unclosed token: line 20, column 4; restore it"),
        (TASK.replace("</image>", "</imag>", 1), "annotations.xml is not XML: mismatched tag: line"),
        (TASK.encode("latin-1").replace(b"photos", b"\xe9"), "annotations.xml is not XML: not well-formed"),
        (TASK.replace("utf-8", "no-such"), "annotations.xml is not XML: unknown encoding"),
        ("", "annotations.xml is not XML: no element found"),
        (
            "<annotation><filename>a.jpg</filename></annotation>",
            "it holds <annotation>, not <annotations>; export",
        ),
        ("<!DOCTYPE html><html></html>", "it has a document type (html)"),
        (TASK.replace("<image", '<track id="0" label="cat"/><image', 1), "holds <track>, as CVAT for video writes it"),
        (TASK.replace("<image", '<tag frame="0" label="cat"/><image', 1), "holds <tag>, as CVAT for video writes it"),
        (TASK.replace('<tag label="cat"', "<tag"), "images without a name, or tags without a label:\n"),
        (TASK.replace(' name="a.png"', ""), "images without a name, or tags without a label:\n"),
        (TASK.replace('tag label="cat"', 'tag label="cow"'), "labels that are not in the list"),
        (TASK.replace("a.png", "../a.png"), "images outside of their folder"),
        ("\0", "no text"),
        (b"PK\x03\x04", "a zip archive"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(folder, text, words):
    assert words in error(folder, text, "data.untagged=skip")


def test_a_list_of_labels_may_be_missing(folder):
    text = TASK[: TASK.index("  <meta>")] + TASK[TASK.index("  <image") :]
    assert read_file(folder, text, "data.untagged=skip").labels == ("cat", "dog & owl")
