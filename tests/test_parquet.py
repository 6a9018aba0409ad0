"""A Parquet file becomes exactly the rows, labels and splits that it says, wherever its images are.

The files are written by pyarrow in the format of parquet.apache.org/docs/file-format; images in the table are bytes, or
{bytes, path} as huggingface.co/docs/datasets/image_load describes them.
"""

import io
import logging
import os
import pickle
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import compose_config
from PIL import Image

from multihot.data import create_reader
from multihot.data.images import read_image
from multihot.data.readers.parquet import ParquetReader
from multihot.data.readers.parquet_images import EmbeddedImages
from multihot.errors import InputError

CACHE = ".cache/parquet"

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "root": None,
    "layout": "cell",
    "image_column": "image",
    "labels_column": "labels",
    "unknown_column": None,
    "label_columns": None,
    "blank": "unknown",
    "value_column": None,
    "unlisted_pairs": "absent",
    "split_column": "split",
    "weight_column": None,
    "cluster_column": None,
    "separator": " ",
    "labels": None,
    "groups": {},
    "val_fraction": 0.25,
    "split_seed": 0,
}
COLOURS = ("red", "green", "blue", "white")
SPLITS = ("train", "train", "val", "test")
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LISTS = [["dog", "cat"], [], ["dog"], ["cat"]]


def encode(colour: str, file_format: str = "PNG", **options) -> bytes:
    """Returns an image file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, file_format, **options)
    return file.getvalue()


def write(folder: Path, columns: dict, name: str = "data.parquet", **options) -> str:
    """Writes a Parquet file and returns its path."""
    pq.write_table(pa.table(columns), folder / name, **options)
    return str(folder / name)


def write_paths(folder: Path, labels, split=SPLITS, name: str = "data.parquet", **others) -> str:
    """Writes a Parquet file with the paths of images a.png, b.png, ... beside it."""
    for letter, colour in zip("abcd", COLOURS, strict=True):
        Image.new("RGB", (16, 16), colour).save(folder / f"{letter}.png")
    columns = {"image": ["a.png", "b.png", "c.png", "d.png"], "labels": labels, "split": list(split), **others}
    return write(folder, columns, name)


def write_bytes(folder: Path, images=None, name: str = "data.parquet", **options) -> str:
    """Writes a Parquet file with four images in it."""
    images = pa.array([encode(colour) for colour in COLOURS]) if images is None else images
    return write(folder, {"labels": LISTS, "image": images, "split": list(SPLITS)}, name, **options)


def read(path: str | None, split: str = "train", **changes):
    cache = os.path.join(os.path.dirname(path or "."), CACHE)
    return ParquetReader(**{**SETTINGS, "path": path, "image_cache_path": cache, **changes})(split)


def error_of(path: str | None, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def colours(manifest) -> list[tuple]:
    return [manifest.read(image).getpixel((8, 8)) for image in manifest.images]


def copies(folder: Path) -> list[Path]:
    return sorted((folder / CACHE).glob("*.arrow"))


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
STRINGS = pa.list_(pa.string())
ANSWERS = [[("dog", 1.0), ("cat", 0.5)], [("dog", -1.0)], [("dog", 1.0)], []]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(LISTS, STRINGS),
        pa.array(LISTS, pa.large_list(pa.large_string())),
        pa.array(LISTS, pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        pa.array([["dog", None, "cat"], None, ["dog"], ["cat"]], STRINGS),
        pa.array(["dog cat", "", "dog", "cat"]),
        pa.array(["dog cat", None, "dog", "cat"]).dictionary_encode(),
        pa.array([dict.fromkeys(labels, 1) for labels in LISTS]),  # a struct, where a key left out is null
        pa.array([[(label, True) for label in labels] for labels in LISTS], pa.map_(pa.string(), pa.bool_())),
    ],
    ids=lambda labels: str(labels.type),
)
def test_labels_in_a_cell_are_a_list_or_text_or_a_map_or_a_struct(tmp_path, labels):
    path = write_paths(tmp_path, labels)
    manifest = read(path, blank="absent")
    assert manifest.images == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert manifest.labels == ("cat", "dog")
    assert manifest.targets.dtype == np.int8
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 1], [0, 0]])
    np.testing.assert_array_equal(read(path, "val", blank="absent").targets.toarray(), [[0, 1]])
    np.testing.assert_array_equal(read(path, "test", blank="absent").targets.toarray(), [[1, 0]])


@pytest.mark.parametrize("is_text", [True, False])
def test_a_text_with_another_separator_is_warned_of_and_a_list_is_not(tmp_path, caplog, is_text):
    cells = ["cat;dog", "", "", ""]
    read(write_paths(tmp_path, pa.array(cells if is_text else [[cell] for cell in cells])))
    assert ("1 of 1 labels have a ';' in them, as 'cat;dog'. If it" in caplog.text) == is_text


def test_a_map_holds_soft_and_unknown_answers(tmp_path):
    manifest = read(write_paths(tmp_path, pa.array(ANSWERS, pa.map_(pa.string(), pa.float32()))))
    np.testing.assert_array_equal(manifest.targets.toarray(), [[0.5, 1], [0, -1]])


@pytest.mark.parametrize(
    ("blank", "expected"), [("unknown", [[1, 1, 0.5], [0, -1, -1]]), ("absent", [[1, 1, 0.5], [0, 0, 0]])]
)
def test_a_column_a_label_may_hold_integers_booleans_numbers_and_nulls(tmp_path, blank, expected):
    answers = {
        "dog": pa.array([1, 0, 1, 0], pa.int8()),
        "cat": pa.array([True, None, False, True]),
        "owl": pa.array([0.5, float("nan"), 0.25, None]),
    }
    path = write_paths(tmp_path, ["x", "y", "z", ""], **answers)
    manifest = read(path, layout="columns", label_columns=list(answers), blank=blank)
    assert manifest.labels == ("dog", "cat", "owl")
    np.testing.assert_array_equal(manifest.dense_targets(), np.array(expected, np.float32))
    assert "4 answers that are not" not in error_of(path, layout="columns")  # labels holds no answers at all
    assert "0: 'labels' is 'x'" in error_of(path, layout="columns")


def test_pairs_of_image_and_label_make_one_row_an_image(tmp_path):
    write_paths(tmp_path, LISTS)
    rows = {"image": ["a.png", "b.png", "a.png", "c.png"], "label": ["cat", "dog", "owl", "cat"]}
    path = write(tmp_path, {**rows, "value": [1, 0.5, 1, 1], "split": ["train", "train", "train", "val"]})
    manifest = read(path, layout="pairs", labels_column="label", value_column="value")
    assert manifest.labels == ("cat", "dog", "owl")
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 0, 1], [0, 0.5, 0]])


def test_weights_clusters_and_unknown_labels_have_columns(tmp_path):
    others = {"much": [2, 0.5, 1, 1], "patient": [7, 7, 8, 9], "unsure": [["owl"], ["dog", "owl"], [], []]}
    path = write_paths(tmp_path, LISTS, **others)
    manifest = read(path, weight_column="much", cluster_column="patient", unknown_column="unsure")
    assert manifest.weights.tolist() == [2.0, 0.5]
    assert manifest.clusters.tolist() == [0, 0]
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 1, -1], [0, -1, -1]])


IMAGE_COLUMNS = {
    "bytes": lambda files: pa.array(files, pa.binary()),
    "large bytes": lambda files: pa.array(files, pa.large_binary()),
    "bytes and path": lambda files: pa.array([{"bytes": file, "path": "x.png"} for file in files], PICTURE),
}


@pytest.mark.parametrize("column", IMAGE_COLUMNS)
def test_images_in_the_table_are_read_by_row(tmp_path, column):
    path = write_bytes(tmp_path, IMAGE_COLUMNS[column](list(map(encode, COLOURS))), row_group_size=3)
    manifest = read(path)
    assert manifest.images == [f"{path}#0", f"{path}#1"]
    assert list(manifest.places) == [f"{path} row 0", f"{path} row 1"]
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 1], [0, 0]])
    assert colours(manifest) == [RED, GREEN]
    assert colours(read(path, "val")) + colours(read(path, "test")) == [BLUE, WHITE]


def test_many_images_in_the_table_keep_their_order_whatever_the_row_groups(tmp_path):
    shades = [(shade, 0, 0) for shade in range(200)]
    columns = {"image": [encode(shade) for shade in shades], "labels": [["x"]] * 200, "split": ["test"] * 200}
    manifest = read(write(tmp_path, columns, row_group_size=77), "test", labels=["x"])
    assert colours(manifest) == shades


def test_images_in_the_table_are_decoded_as_files_are(tmp_path):
    turned = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "0.jpg", exif=exif)
    Image.new("RGBA", (4, 4), (0, 0, 255, 128)).save(tmp_path / "1.png")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "2.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "3.jpg")
    files = [tmp_path / name for name in ("0.jpg", "1.png", "2.png", "3.jpg")]
    path = write_bytes(tmp_path, pa.array([file.read_bytes() for file in files]))
    manifest = read(path, split_column=None, val_path=write_bytes(tmp_path, name="val.parquet"))
    for file, image in zip(files, manifest.images, strict=True):
        for min_side in (None, 8):
            picture = manifest.read(image, min_side=min_side)
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(read_image(str(file), min_side)))
    assert manifest.read(manifest.images[0]).size == (2, 4)
    assert manifest.read(manifest.images[3], min_side=8).size == (16, 16)


def test_pictures_without_bytes_are_files_at_their_paths(tmp_path):
    write_paths(tmp_path, LISTS)
    pictures = pa.array([{"bytes": None, "path": f"{letter}.png"} for letter in "abcd"], PICTURE)
    manifest = read(write_bytes(tmp_path, pictures))
    assert manifest.images == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert manifest.read is read_image
    assert not copies(tmp_path)
    Path(tmp_path / "b.png").unlink()
    assert f"{tmp_path}/data.parquet row 1: {tmp_path}/b.png" in error_of(f"{tmp_path}/data.parquet")


def test_the_images_are_copied_once_and_again_when_the_file_changes(tmp_path, caplog):
    path = write_bytes(tmp_path)
    with caplog.at_level(logging.INFO):
        read(path)
    assert caplog.messages == [f"the images of {path} (0.0 GB) are copied once, to {tmp_path}/{CACHE}"]
    (first,) = copies(tmp_path)
    written = first.stat().st_mtime_ns
    read(path)
    assert copies(tmp_path) == [first]
    assert first.stat().st_mtime_ns == written
    write_bytes(tmp_path, pa.array([encode(colour) for colour in reversed(COLOURS)]))
    os.utime(path, ns=(1, 1))
    assert colours(read(path)) == [WHITE, BLUE]
    assert len(copies(tmp_path)) == 2


def test_a_copy_that_was_cut_short_is_made_anew(tmp_path):
    path = write_bytes(tmp_path)
    read(path)
    (copy,) = copies(tmp_path)
    copy.with_name(f"{copy.name}.tmp").write_bytes(copy.read_bytes()[:100])  # what a kill leaves
    copy.unlink()
    assert colours(read(path)) == [RED, GREEN]
    assert [file.suffix for file in sorted(copy.parent.iterdir())] == [".arrow", ".lock"]


def test_several_readers_may_want_the_same_images_at_once(tmp_path):
    path = write_bytes(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda path: colours(read(path)), [path] * 4)) == [[RED, GREEN]] * 4
    assert len(copies(tmp_path)) == 1


def test_a_worker_gets_a_few_bytes_and_maps_the_images_itself(tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3), np.uint8)
    files = []
    for pixels in noise:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
    manifest = read(write_bytes(tmp_path, pa.array(files)))
    before = [np.asarray(manifest.read(image)) for image in manifest.images]
    sent = pickle.dumps(manifest.read)
    assert len(sent) < 1000 < len(files[0])
    for image, pixels in zip(manifest.images, before, strict=True):
        np.testing.assert_array_equal(np.asarray(pickle.loads(sent)(image)), pixels)
    np.testing.assert_array_equal(before, noise[:2])


@pytest.mark.parametrize("column", IMAGE_COLUMNS)
def test_a_broken_image_is_an_error_with_its_file_and_row(tmp_path, column):
    files = [encode("red"), encode("red", "JPEG")[:-20], b"", b"text"]
    path = write_bytes(tmp_path, IMAGE_COLUMNS[column](files))
    wrong = read(path)
    with pytest.raises(InputError, match=f"cannot read the image {path} row 1: (?i:truncated)"):
        wrong.read(wrong.images[1])
    wrong = read(path, "val")
    with pytest.raises(InputError, match=f"{path} row 2: the file is empty"):
        wrong.read(wrong.images[0])
    wrong = read(path, "test")
    with pytest.raises(InputError, match=f"{path} row 3: it is not an image"):
        wrong.read(wrong.images[0])


@pytest.mark.parametrize("column", IMAGE_COLUMNS)
def test_a_row_without_an_image_is_an_error(tmp_path, column):
    path = write_bytes(tmp_path, IMAGE_COLUMNS[column]([encode("red"), None, encode("red"), None]))
    assert f"2 rows without an image:\n  {path} row 1\n  {path} row 3" in error_of(path)


def test_a_null_picture_is_a_row_without_an_image(tmp_path):
    pictures = [{"bytes": encode("red"), "path": None}, None, {"bytes": encode("red"), "path": None}, None]
    path = write_bytes(tmp_path, pa.array(pictures, PICTURE))
    assert f"2 rows without an image:\n  {path} row 1\n  {path} row 3" in error_of(path)


def write_parts(folder: Path) -> None:
    for number, letter in enumerate("cab"):
        part = {"image": [encode(COLOURS[number])], "labels": [[letter]]}
        write(folder, part, f"train-0000{2 - number}.parquet")
    write(folder, {"image": [encode("white")], "labels": [["a"]]}, "validation-00000.parquet")


def test_files_of_several_splits_in_one_are_warned_of_unless_a_column_says_which(tmp_path, caplog):
    write_parts(tmp_path)
    read(str(tmp_path), labels=["a", "b", "c"])
    files = f"{tmp_path}/train-00000.parquet, {tmp_path}/validation-00000.parquet"
    assert f"named after several: {files}; give each split its own" in caplog.text
    caplog.clear()
    for number, name in enumerate(("train-00000", "train-00001", "train-00002", "validation-00000")):
        write(tmp_path, {"image": [f"{number}.png"], "labels": [["a"]], "split": [SPLITS[number]]}, f"{name}.parquet")
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    assert len(read(str(tmp_path))) == 2
    assert not caplog.records


def test_a_pattern_is_all_files_of_that_name_in_their_order(tmp_path):
    write_parts(tmp_path)
    changes = {"val_path": f"{tmp_path}/validation-*.parquet", "image_cache_path": str(tmp_path / "cache")}
    manifest = read(f"{tmp_path}/train-*.parquet", **changes)
    assert manifest.images == [f"{tmp_path}/train-0000{number}.parquet#0" for number in range(3)]
    assert colours(manifest) == [BLUE, GREEN, RED]
    assert manifest.labels == ("a", "b", "c")
    np.testing.assert_array_equal(manifest.targets.toarray(), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert colours(read(f"{tmp_path}/train-*.parquet", "val", **changes)) == [WHITE]


def test_a_folder_is_all_parquet_files_in_it(tmp_path):
    (tmp_path / "deep[er]").mkdir()
    write_parts(tmp_path / "deep[er]")
    (tmp_path / "notes.txt").write_text("not data")
    cache = str(tmp_path / "cache")
    manifest = read(str(tmp_path), split_column=None, image_cache_path=cache, labels=["a", "b", "c"])
    assert len(manifest) == 3  # of four, of which one is for validation
    assert len(read(f"{tmp_path}/deep[er]", image_cache_path=cache)) == 3
    message = error_of(f"{tmp_path}/test-*.parquet")
    assert f"there is no Parquet file (*.parquet) in {tmp_path}/test-*.parquet" in message


def test_an_image_has_the_answers_of_all_part_files(tmp_path):
    write_paths(tmp_path, LISTS, name="none.parquet")
    write(tmp_path, {"image": ["a.png", "b.png"], "cat": [1, 0]}, "part-0.parquet")
    write(tmp_path, {"image": ["a.png", "c.png"], "cat": [1, 1], "dog": [1, 1]}, "part-1.parquet")
    changes = {"layout": "columns", "agree": "majority", "split_column": None, "val_fraction": 0}
    manifest = read(f"{tmp_path}/part-*.parquet", **changes)
    assert manifest.labels == ("cat", "dog")
    np.testing.assert_array_equal(manifest.targets.toarray(), [[1, 1], [0, -1], [1, 1]])


def test_a_wrong_row_is_named_with_its_part_file(tmp_path):
    write_paths(tmp_path, LISTS, name="part-0.parquet")
    columns = {"image": ["a.png", "e.png"], "labels": [["dog"], ["cat"]], "split": ["train", "training"]}
    path = write(tmp_path, columns, "part-1.parquet")
    message = error_of(str(tmp_path))
    assert f"{path} row 0: {tmp_path}/a.png, as in {tmp_path}/part-0.parquet row 0" in message
    assert f"{path} row 1: 'training'" in message


def test_wrong_columns_are_errors_before_any_image_is_copied(tmp_path):
    path = write_bytes(tmp_path)
    message = error_of(path, image_column="photo")
    assert f"{path} must have one column 'photo'; its columns are: labels, image, split" in message
    assert "data.labels_column" in error_of(path, labels_column="tags")
    assert "data.split_column" in error_of(path, split_column="part")
    message = error_of(path, layout="columns", label_columns=["owl"])
    assert f"{path} has no column 'owl' of data.label_columns" in message
    assert "data.layout=pairs needs paths of images" in error_of(path, layout="pairs")
    assert not copies(tmp_path)


def test_columns_of_a_wrong_type_are_errors(tmp_path):
    path = write_bytes(tmp_path, pa.array([[1.0]] * 4))
    message = error_of(path)
    assert f"the column 'image' of {path} holds list<element: double>, but images must be paths, bytes" in message
    path = write_paths(tmp_path, pa.array([b"cat"] * 4))
    assert f"the column 'labels' of {path} holds bytes; store it as text" in error_of(path)


def test_images_in_one_file_and_paths_in_another_are_an_error(tmp_path):
    path, other = write_bytes(tmp_path, name="a.parquet"), write_paths(tmp_path, LISTS, name="b.parquet")
    for first, second in ((path, other), (other, path)):
        message = error_of(first, test_path=second, split_column=None)
        assert f"{path} holds its images and {other} paths of images" in message


def test_files_that_are_missing_broken_or_empty_are_errors_that_name_them(tmp_path):
    message = error_of(f"{tmp_path}/nowhere.parquet")
    assert f"cannot read {tmp_path}/nowhere.parquet: No such file or directory; correct its path" in message
    (tmp_path / "text.parquet").write_text("image,labels\na.png,cat\n")
    assert f"{tmp_path}/text.parquet is broken or not Parquet" in error_of(f"{tmp_path}/text.parquet")
    path = write_bytes(tmp_path)
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert f"{path} has no rows" in error_of(path)


def test_a_file_whose_pages_are_broken_is_an_error_that_names_it(tmp_path):
    path = write_paths(tmp_path, LISTS)
    content = bytearray(Path(path).read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    content[start : start + 40] = bytes(40)
    Path(path).write_bytes(content)
    assert str(path) in error_of(path)


def test_a_full_disk_is_an_error_that_says_how_much_is_needed(tmp_path, monkeypatch):
    path = write_bytes(tmp_path)
    usage = namedtuple("Usage", "free")(3)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    message = error_of(path)
    assert f"the images of {path} take 0.0 GB and {tmp_path}/{CACHE} has 0.0 GB free" in message
    assert "data.image_cache_path" in message
    assert not copies(tmp_path)


def test_a_cache_folder_that_cannot_be_written_is_an_error(tmp_path):
    path = write_bytes(tmp_path)
    (tmp_path / "file").write_text("")
    message = error_of(path, image_cache_path=f"{tmp_path}/file")
    assert f"cannot copy the images of {path} to {tmp_path}/file/data-" in message
    assert "data.image_cache_path" in message


def test_a_copy_that_was_removed_while_in_use_is_an_error(tmp_path):
    manifest = read(write_bytes(tmp_path))
    (copy,) = copies(tmp_path)
    copy.unlink()
    with pytest.raises(InputError, match=f"cannot read {copy}: No such file or directory"):
        manifest.read(manifest.images[0])


def test_the_config_reads_a_file_and_its_images(tmp_path):
    cfg = compose_config("train", ["data=parquet", f"data.path={write_bytes(tmp_path)}", f"runs_folder={tmp_path}"])
    reader = create_reader(cfg.data)
    manifest = reader("train")
    assert isinstance(manifest.read, EmbeddedImages)
    assert colours(manifest) == [RED, GREEN]
    assert colours(reader("val", labels=manifest.labels)) == [BLUE]
    assert len(copies(tmp_path)) == 1
