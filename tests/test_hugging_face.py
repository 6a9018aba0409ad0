"""A data set of Hugging Face `datasets` becomes exactly the rows, labels and splits that its features say.

The data sets are made and saved by `datasets` itself: huggingface.co/docs/datasets/about_dataset_features and
huggingface.co/docs/datasets/image_load.
"""

import io
import pickle
import shutil
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from conftest import compose_config, run_script
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Picture

from multihot.data import create_reader
from multihot.data.images import read_image
from multihot.data.readers.hugging_face import HuggingFaceReader, quiet
from multihot.errors import InputError

SETTINGS = {
    "name": None,
    "config_name": None,
    "root": None,
    "train_split": "train",
    "val_split": "validation",
    "test_split": "test",
    "image_column": "image",
    "labels_column": "labels",
    "label_columns": None,
    "separator": " ",
    "blank": "unknown",
    "numbers": "multi_hot",
    "unlisted": "absent",
    "weight_column": None,
    "cluster_column": None,
    "labels": None,
    "groups": {},
    "val_fraction": 0.5,
    "split_seed": 0,
}
NAMES = ["owl", "dog", "cat"]
LISTED = List(ClassLabel(names=NAMES))
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
SPLITS = {"train": 2, "validation": 1, "test": 1}  # rows
CELLS = [[1, 2], [], [2], [0]]


def encode(colour: str, file_format: str = "PNG", **options) -> bytes:
    """Returns an image file of one colour."""
    file = io.BytesIO()
    Picture.new("RGB", (16, 16), colour).save(file, file_format, **options)
    return file.getvalue()


PICTURES = [{"bytes": encode(colour), "path": None} for colour in ("red", "green", "blue", "white")]


def create(labels: list = CELLS, feature=LISTED, pictures: list = PICTURES, image=None, **others) -> Dataset:
    """Returns a data set of four rows; `others` are (values, feature) of further columns."""
    columns = {"image": (pictures, image or Image()), "labels": (labels, feature), **others}
    features = Features({name: feature for name, (_, feature) in columns.items()})
    return Dataset.from_dict({name: values for name, (values, _) in columns.items()}, features)


def save(folder: Path, data: Dataset, sizes: dict = SPLITS) -> str:
    """Saves the rows of a data set in splits and returns their folder."""
    ends = np.cumsum(list(sizes.values())).tolist()
    parts = {name: data.select(range(end - sizes[name], end)) for name, end in zip(sizes, ends, strict=True)}
    with quiet():
        DatasetDict(parts).save_to_disk(folder / "saved")
    return str(folder / "saved")


def read(path: str | None, split: str = "train", **changes):
    cache = str(Path(path or ".").parent / "cache")
    return HuggingFaceReader(**{**SETTINGS, "path": path, "cache_path": cache, **changes})(split)


def error_of(path: str | None, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def targets(manifest) -> list[list]:
    return manifest.dense_targets().tolist()


def colours(manifest) -> list[tuple]:
    return [manifest.read(image).getpixel((8, 8)) for image in manifest.images]


def test_class_labels_keep_the_order_of_their_names_and_pictures_their_rows(tmp_path):
    path = save(tmp_path, create())
    manifest = read(path)
    assert manifest.labels == tuple(NAMES)
    assert manifest.images == [f"{path}/train#0", f"{path}/train#1"]
    assert list(manifest.places) == [f"{path}/train row 0", f"{path}/train row 1"]
    assert targets(manifest) == [[0, 1, 1], [0, 0, 0]]
    assert manifest.targets.dtype == np.int8
    assert colours(manifest) == [RED, GREEN]
    assert targets(read(path, "val")) == [[0, 0, 1]]
    assert colours(read(path, "val")) + colours(read(path, "test")) == [BLUE, WHITE]
    assert read(path, labels=["cat", "owl", "dog"]).labels == ("cat", "owl", "dog")


def test_one_class_label_is_one_label(tmp_path):
    manifest = read(save(tmp_path, create([1, 0, 2, 2], ClassLabel(names=NAMES))))
    assert targets(manifest) == [[0, 1, 0], [1, 0, 0]]
    assert manifest.label_space(single_label=True, activation="sigmoid").labels == tuple(NAMES)


@pytest.mark.parametrize(
    ("cells", "feature", "changes"),
    [
        ([["dog", "cat"], [], ["cat"], []], List(Value("string")), {}),
        ([["dog", None, " cat"], None, ["cat"], []], List(Value("large_string")), {"blank": "absent"}),
        (["dog|cat", "", "cat", ""], Value("string"), {"separator": "|"}),
        (["dog cat", None, "cat", ""], Value("string"), {"blank": "absent"}),
        ([[1, 2], [], [2], []], List(Value("int32")), {"numbers": "ids", "labels": NAMES}),
    ],
)
def test_labels_are_a_list_of_strings_or_text_or_places_in_the_list_of_labels(tmp_path, cells, feature, changes):
    path = save(tmp_path, create(cells, feature))
    manifest = read(path, **changes)
    assert manifest.labels == (tuple(NAMES) if "labels" in changes else ("cat", "dog"))
    assert targets(manifest) == ([[0, 1, 1], [0, 0, 0]] if "labels" in changes else [[1, 1], [0, 0]])


@pytest.mark.parametrize("is_text", [True, False])
def test_a_text_with_another_separator_is_warned_of_and_a_list_is_not(tmp_path, caplog, is_text):
    cells, feature = ["cat;dog", "", "", ""], Value("string")
    path = save(tmp_path, create(cells, feature) if is_text else create([[cell] for cell in cells], List(feature)))
    read(path)
    assert ("1 of 1 labels have a ';' in them, as 'cat;dog'. If it" in caplog.text) == is_text


def test_a_single_number_is_a_place_in_the_list_of_labels(tmp_path):
    path = save(tmp_path, create([1, 0, 2, 2], Value("int64")))
    assert targets(read(path, numbers="ids", labels=NAMES)) == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("cells", "feature", "expected"),
    [
        ([[0, 1, 1], [1, 0, -1], [0, 0, 0], [0, 0, 0]], List(Value("int8")), [[0, 1, 1], [1, 0, -1]]),
        ([[0, 1, 1], [1, 0, None], [0, 0, 0], [0, 0, 0]], List(Value("int8"), length=3), [[0, 1, 1], [1, 0, -1]]),
        ([[0, 0.5, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]], List(Value("float32")), [[0, 0.5, 1], [1, 0, 0]]),
        ([[False, True, True], [True, False, False], [], []], List(Value("bool")), None),
    ],
)
def test_a_multi_hot_list_answers_for_each_label(tmp_path, cells, feature, expected):
    path = save(tmp_path, create(cells, feature))
    if expected is None:
        message = error_of(path, labels=NAMES)
        assert "2 rows that have not one answer for each of data.labels (are they data.numbers=ids?)" in message
        assert f"{path}/validation row 0: 0 instead of 3" in message
    else:
        assert targets(read(path, labels=NAMES)) == expected


@pytest.mark.parametrize(("blank", "nothing"), [("unknown", -1), ("absent", 0)])
def test_a_column_a_label(tmp_path, blank, nothing):
    answers = {
        "dog": ([1, 0, -1, 0], Value("int8")),
        "owl": ([0.25, None, 1, 0], Value("float32")),
        "cat": ([1, 0, 0, 0], ClassLabel(names=["no", "yes"])),
    }
    path = save(tmp_path, create(**answers))
    manifest = read(path, label_columns=list(answers), blank=blank)
    assert manifest.labels == ("dog", "owl", "cat")
    assert targets(manifest) == [[1, 0.25, 1], [0, nothing, 0]]


def test_classes_that_are_words_for_yes_and_no_say_so_whatever_their_numbers(tmp_path):
    cat, dog = ClassLabel(names=["yes", "no"]), ClassLabel(names=["healthy", "ill"])
    path = save(tmp_path, create(cat=([0, 1, -1, 1], cat), dog=([1, 0, 0, 0], dog)))
    assert targets(read(path, label_columns=["cat"], val_fraction=0.0)) == [[1], [0]]
    assert "'dog' is 'ill'" in error_of(path, label_columns=["dog"])
    answers = {"ill": "present", "healthy": "absent"}
    assert targets(read(path, label_columns=["dog"], answers=answers)) == [[1], [0]]


def test_labels_inside_of_a_struct_may_repeat_with_the_objects(tmp_path):
    objects = [{"category": [2, 2, 1], "area": [1.0, 2.0, 3.0]}, *([{"category": [], "area": []}] * 3)]
    feature = {"category": LISTED, "area": List(Value("float32"))}
    path = save(tmp_path, create(objects=(objects, feature)))
    assert targets(read(path, labels_column="objects.category")) == [[0, 1, 1], [0, 0, 0]]
    assert "has no column 'objects.name'; its columns are:" in error_of(path, labels_column="objects.name")
    assert "holds plain numbers: give data.labels" in error_of(path, labels_column="objects.area")


def test_labels_that_are_not_listed_may_be_unknown(tmp_path):
    assert targets(read(save(tmp_path, create()), unlisted="unknown")) == [[-1, 1, 1], [-1, -1, -1]]


def test_a_split_that_the_source_lacks_is_an_error_that_says_how_to_name_one(tmp_path):
    path = save(tmp_path, create(), {"train": 2, "validation": 2})
    words = "name what the source calls it by data.train_split, data.val_split or data.test_split"
    assert f"splits without rows:\n  test: {words}" in error_of(path, "test")
    assert len(read(path, "test", val_split=None, test_split="validation")) == 2


def test_weights_and_clusters_have_columns(tmp_path):
    path = save(
        tmp_path, create(much=([2, 0.5, 1, 1], Value("float32")), patient=(["p", "q", "p", "r"], Value("string")))
    )
    manifest = read(path, weight_column="much", cluster_column="patient")
    assert manifest.weights.tolist() == [2.0, 0.5]
    assert manifest.clusters.tolist() == [0, 1]
    message = error_of(path, weight_column="patient")
    assert f"4 weights that are no number from 0 up:\n  {path}/train row 0: 'p" in message


def test_without_a_validation_split_a_share_of_the_train_rows_is_val(tmp_path):
    path = save(tmp_path, create(), {"train": 3, "test": 1})
    assert len(read(path)) + len(read(path, "val")) == 3
    path = save(tmp_path, create(), {"train": 2, "extra": 2})
    assert len(read(path, "val", val_split=None, test_split=None)) == 1


def test_a_split_that_may_have_another_name_is_an_error(tmp_path):
    path = save(tmp_path, create(), {"train": 2, "valid": 1, "test": 1})
    message = error_of(path)
    assert f"{path} has the splits train, valid, test, but not data.val_split=validation: choose another" in message
    assert len(read(path, "val", val_split="valid")) == 1
    assert "but not data.train_split=training" in error_of(path, train_split="training")
    assert "must differ from each other" in error_of(path, val_split="test")
    assert len(read(path, "test", train_split=None, val_split=None)) == 1
    assert "but not data.train_split" in error_of(path, train_split=None, val_split=None, test_split=None)


def test_a_saved_data_set_without_splits_is_for_training_or_what_is_asked_for(tmp_path):
    with quiet():
        create().save_to_disk(tmp_path / "one")
    path = str(tmp_path / "one")
    assert len(read(path)) + len(read(path, "val")) == 4
    assert len(read(path, "test", train_split=None, val_split=None)) == 4


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_parquet_files_of_datasets_keep_their_features(tmp_path, kind):
    (tmp_path / "data").mkdir()
    with quiet():
        create().to_parquet(tmp_path / "data/train-00000-of-00001.parquet")
    path = str(tmp_path / ("data" if kind == "folder" else "data/train-00000-of-00001.parquet"))
    changes = {"cache_path": str(tmp_path / "cache")}
    train, val = read(path, **changes), read(path, "val", **changes)
    assert train.labels == tuple(NAMES)
    assert sorted(colours(train) + colours(val)) == sorted([RED, GREEN, BLUE, WHITE])
    place = path if kind == "file" else f"{path}/train"
    assert {image.split("#")[0] for image in train.images} == {place}


@pytest.mark.parametrize("is_struct", [False, True])
def test_parquet_files_of_others_hold_bytes_and_strings(tmp_path, is_struct):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = PICTURES if is_struct else [picture["bytes"] for picture in PICTURES]
    table = pa.table({"image": pictures, "labels": [["x"], ["y"], ["x"], []]})
    pq.write_table(table, tmp_path / "my.parquet")
    train, val = (read(str(tmp_path / "my.parquet"), split) for split in ("train", "val"))
    assert train.labels == ("x", "y")
    assert sorted(colours(train) + colours(val)) == sorted([RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("image", [Image(), Value("string")])
def test_pictures_may_be_files(tmp_path, image):
    names = [str(tmp_path / f"{letter}.png") for letter in "abcd"]
    for name, picture in zip(names, PICTURES, strict=True):
        Path(name).write_bytes(picture["bytes"])
    path = save(tmp_path, create(pictures=names, image=image))
    if image == Image():  # save_to_disk has taken them in
        assert colours(read(path)) == [RED, GREEN]
        return
    manifest = read(path)
    assert manifest.images == names[:2]
    assert manifest.read is read_image
    Path(names[1]).unlink()
    assert f"{path}/train row 1: {names[1]}" in error_of(path)


def test_relative_paths_start_at_the_saved_folders_splits_or_at_root(tmp_path):
    path = save(tmp_path, create(pictures=["a.png", "b.png", "c.png", "d.png"], image=Value("string")))
    for folder in (tmp_path, Path(path)):
        for letter, picture in zip("abcd", PICTURES, strict=True):
            (folder / f"{letter}.png").write_bytes(picture["bytes"])
    assert read(path).images == [f"{path}/a.png", f"{path}/b.png"]
    assert read(path, root=str(tmp_path)).images == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]


def test_pictures_are_decoded_as_files_are(tmp_path):
    exif = Picture.Exif()
    exif[0x0112] = 6  # a quarter turn
    Picture.new("RGB", (64, 32), "red").save(tmp_path / "0.jpg", exif=exif)
    Picture.new("RGBA", (4, 4), (0, 0, 255, 128)).save(tmp_path / "1.png")
    files = [tmp_path / "0.jpg", tmp_path / "1.png"]
    pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in files] + PICTURES[2:]
    manifest = read(save(tmp_path, create(pictures=pictures)))
    for file, image in zip(files, manifest.images, strict=True):
        for min_side in (None, 8):
            picture = manifest.read(image, min_side=min_side)
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(read_image(str(file), min_side)))
    assert manifest.read(manifest.images[0]).size == (32, 64)


def test_a_worker_gets_a_few_bytes_and_maps_the_pictures_itself(tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Picture.fromarray(noise).save(file, "PNG")
    manifest = read(save(tmp_path, create(pictures=[{"bytes": file.getvalue(), "path": None}, *PICTURES[1:]])))
    sent = pickle.dumps(manifest.read)
    assert len(sent) < 8000 < len(file.getvalue())
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)(manifest.images[0])), noise)


def test_a_broken_picture_is_an_error_with_its_split_and_row(tmp_path):
    broken = [encode("red", "JPEG")[:-20], b"text", b"", encode("red")]
    path = save(tmp_path, create(pictures=[{"bytes": file, "path": None} for file in broken]))
    manifest = read(path)
    with pytest.raises(InputError, match=f"cannot read the image {path}/train row 0: (?i:truncated)"):
        manifest.read(manifest.images[0])
    with pytest.raises(InputError, match=f"{path}/train row 1: it is not an image"):
        manifest.read(manifest.images[1])
    manifest = read(path, "val")
    with pytest.raises(InputError, match=f"{path}/validation row 0: the file is empty"):
        manifest.read(manifest.images[0])


def test_wrong_rows_come_in_one_error_with_their_places(tmp_path):
    pictures = [PICTURES[0], None, *PICTURES[2:]]
    path = save(tmp_path, create([1, 0, 2, -1], ClassLabel(names=NAMES), pictures))
    message = error_of(path)
    assert f"rows without an image:\n  {path}/train row 1" in message
    assert (
        f"labels that are unknown or have no name (where a split has none: data.test_split=null):\n  {path}" in message
    )
    assert f"{path}/test row 0: -1" in message
    path = save(tmp_path / "more", create([[1, 1], [7], [], []], List(Value("int8"))))
    message = error_of(path, numbers="ids", labels=NAMES)
    assert f"{path}/train row 1: [7]" in message
    assert f"labels that an image has twice:\n  {path}/train row 0: 'dog'" in message


def test_wrong_columns_and_settings_are_errors(tmp_path):
    path = save(tmp_path, create(boxes=([[1.0]] * 4, List(Value("float32")))))
    message = error_of(path, image_column="photo")
    assert (
        f"{path} has no column 'photo'; its columns are: image, labels, boxes. Choose by data.image_column" in message
    )
    for setting in ("labels_column", "weight_column", "cluster_column"):
        assert "has no column 'nothing'" in error_of(path, **{setting: "nothing"})
    assert "has no column 'owl'" in error_of(path, label_columns=["owl"])
    assert "the column 'boxes' holds List(Value('float32')) and no images" in error_of(path, image_column="boxes")
    assert "holds plain numbers: give data.labels" in error_of(path, labels_column="boxes")
    assert "which are no labels; choose another" in error_of(path, labels_column="image", image_column="image")


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    assert "one of data.name (on the Hugging Face hub) and data.path" in error_of(None)
    assert "one of data.name" in error_of("x", name="y")
    path = str(tmp_path / "nowhere")
    assert f"there is no {path}; correct data.path, or set data.name" in error_of(path)
    (tmp_path / "empty").mkdir()
    assert f"cannot load {tmp_path}/empty: The directory at" in error_of(str(tmp_path / "empty"))
    (tmp_path / "a.csv").write_text("image,labels\n")
    assert "a.csv must be a folder or end with .parquet or .arrow" in error_of(str(tmp_path / "a.csv"))
    (tmp_path / "bad.parquet").write_text("image,labels\n")
    message = error_of(str(tmp_path / "bad.parquet"))
    assert f"cannot load {tmp_path}/bad.parquet" in message
    assert len(message) < 600
    saved = save(tmp_path, create())
    shutil.rmtree(Path(saved) / "test")
    assert f"cannot load {saved}: " in error_of(saved)


@pytest.mark.slow
def test_a_name_on_the_hub_without_a_network_is_an_error_of_one_line(tmp_path):
    code = (
        "from conftest import compose_config; from multihot.data import create_reader\n"
        "try:\n    create_reader(compose_config('train', ['data=hf', 'data.name=nobody/nothing']).data)('train')\n"
        "except ValueError as error:\n    print(error)"
    )
    folder = str(Path(__file__).parent)
    result = run_script("-c", code, launcher=(sys.executable,), PYTHONPATH=folder, HF_HOME=str(tmp_path))
    assert result.stdout.startswith("cannot load nobody/nothing: ")
    assert "check the network; without one, copy the data set to this machine and set data.path" in result.stdout
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_nothing_is_printed_and_the_settings_of_datasets_stay_as_they_were(tmp_path, capfd):
    with quiet():
        (tmp_path / "data").mkdir()
        create().to_parquet(tmp_path / "data/train.parquet")
    before = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    read(str(tmp_path / "data"))
    assert (datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()) == before
    assert capfd.readouterr() == ("", "")


def test_the_config_reads_a_saved_folder(tmp_path):
    cfg = compose_config("train", ["data=hf", f"data.path={save(tmp_path, create())}"])
    reader = create_reader(cfg.data)
    manifest = reader("train")
    assert manifest.labels == tuple(NAMES)
    assert colours(manifest) == [RED, GREEN]
    assert colours(reader("test", labels=manifest.labels)) == [WHITE]
