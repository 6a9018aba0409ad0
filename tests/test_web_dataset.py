"""Tar shards become the samples that the webdataset package finds in them, or one error that names every bad one.

The format: github.com/webdataset/webdataset#the-webdataset-format and huggingface.co/docs/hub/datasets-webdataset.
"""

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from braceexpand import braceexpand
from conftest import compose_config
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader

from multihot.data import create_reader
from multihot.data.bad_images import drop_bad_images
from multihot.data.images import read_image
from multihot.data.loader import ManifestDataset, collate
from multihot.data.readers import tar_index
from multihot.data.readers.tar_index import index_shards
from multihot.data.readers.web_dataset import MAX_OPEN, WebDatasetReader, expand_braces, open_shard
from multihot.errors import InputError, ShardError

SETTINGS = {
    "val_path": None,
    "test_path": None,
    "root": None,
    "labels": None,
    "groups": None,
    "val_fraction": 0.25,
    "split_seed": 0,
    "image_extensions": ["jpg", "png"],
    "labels_extension": None,
    "labels_key": "labels",
    "separator": " ",
    "unlisted": "absent",
    "weight_key": None,
    "cluster_key": None,
    "index_path": None,
}
NAMES = list("abcdefghijkl")
SPARE = {
    "__key__": "spare",
    "png": b"",
    "b.png": b"",
    "json": {"labels": [], "tags": [], "weight": 1, "patient": 0},
    "tags.txt": "",
}


def draw(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 20, 3), np.uint8))


def encode(number: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    draw(number).save(file, kind)
    return file.getvalue()


def write_shard(path: Path, samples: list[dict]) -> str:
    """Writes a shard with the webdataset package, the keys of the samples as given, and returns its path."""
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return str(path)


def write_files(path: Path, files: list[tuple[str, bytes]], **settings) -> str:
    """Writes a tar file by file, for what the webdataset package would not write, and returns its path."""
    with tarfile.open(path, "w", **settings) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def samples(names=tuple(NAMES), labels=lambda name: [name]) -> list[dict]:
    return [
        {"__key__": name, "png": encode(NAMES.index(name)), "json": {"labels": labels(name), "weight": 0.5}}
        for name in names
    ]


def one(**members) -> list[dict]:
    """Returns one sample beside a good one."""
    return [{"__key__": "good", "png": encode(0), "json": {"labels": []}}, {"__key__": "odd", **members}]


def read(path: str | None, split: str = "train", **changes):
    """Reads shards; unless the test says otherwise a spare shard is for validation, so that all of them are train."""
    if "val_path" not in changes:
        nothing = {"json": {}} if changes.get("labels_key", "") is None else {}
        changes["val_path"] = write_shard(Path(path).parent.parent / "spare.tar", [SPARE | nothing])
    return WebDatasetReader(**{**SETTINGS, "path": path, **changes})(split)


def error_of(path: str | None, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(path, split, **changes)
    return str(error.value)


def names(manifest) -> list[str]:
    return [image.rpartition("#")[2] for image in manifest.images]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "shards").mkdir()
    return tmp_path / "shards"


@pytest.fixture
def shards(folder) -> str:
    """Three shards of 5, 5 and 2 samples, written as a user of the webdataset package would."""
    with webdataset.ShardWriter(str(folder / "train-%06d.tar"), maxcount=5, verbose=0) as writer:
        for sample in samples():
            writer.write(sample)
    return str(folder / "train-{000000..000002}.tar")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the webdataset package leaves them open
def test_images_labels_and_order_are_what_the_webdataset_package_yields(shards):
    manifest = read(shards)
    expected = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(manifest) == len(expected) == 12
    for row, sample in enumerate(expected):
        np.testing.assert_array_equal(manifest.read(manifest.images[row]), sample["png"])
        present = [manifest.labels[column] for column in np.flatnonzero(manifest.target(row))]
        assert present == sample["json"]["labels"]
        assert manifest.images[row].startswith(f"{sample['__url__']}#")
        assert names(manifest)[row] == f"{sample['__key__']}.png"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_keys_in_folders_and_endings_are_divided_as_the_webdataset_package_does(folder):
    files = [
        ("x.y/a.b.PNG", encode(0)),
        ("x.y/a.json", b'{"labels": ["cat"]}'),
        ("README", b""),
        ("__meta__/i.txt", b""),
    ]
    path = write_files(folder / "a.tar", [*files, ("./é/c.b.png", encode(1)), ("./é/c.json", b'{"labels": []}')])
    expected = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    assert [sorted(key for key in sample if key[0] != "_") for sample in expected] == [["b.png", "json"]] * 2
    manifest = read(path, image_extensions=["b.png"])
    assert names(manifest) == ["x.y/a.b.PNG", "./é/c.b.png"]
    for image, sample in zip(manifest.images, expected, strict=True):
        pixels = Image.open(io.BytesIO(sample["b.png"]))
        np.testing.assert_array_equal(manifest.read(image), pixels)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read_with_names_of_any_length_that_it_allows(folder, form):
    long = "d" * 90 + "/" + "n" * (80 if form == tarfile.USTAR_FORMAT else 240)
    files = [(f"{long}.png", encode(7)), (f"{long}.txt", "été".encode())]
    manifest = read(write_files(folder / "a.tar", files, format=form))
    assert names(manifest) == [f"{long}.png"]
    assert manifest.labels == ("été",)
    np.testing.assert_array_equal(manifest.read(manifest.images[0]), draw(7))


@pytest.mark.parametrize(
    "pattern", ["", "*.tar", "**/train-*.tar", "train-{000000..000002}.tar", "train-00000{0,1,2}.tar"]
)
def test_a_folder_a_pattern_and_braces_mean_the_same_shards(shards, folder, pattern, monkeypatch):
    expected = read(shards)
    assert read(str(folder / pattern)).images == expected.images
    monkeypatch.chdir(folder.parent)
    assert read(os.path.join("shards", pattern), val_path=str(folder.parent / "spare.tar")).images == expected.images


@pytest.mark.parametrize("pattern", ["", "*.tar", "{train,val}-000000.tar"])
def test_shards_of_several_splits_in_one_are_warned_of(shards, folder, pattern, caplog):
    write_shard(folder / "val-000000.tar", [SPARE])
    read(str(folder / pattern), val_path=None)
    assert f"named after several: {folder}/train-000000.tar, {folder}/val-000000.tar; give each split" in caplog.text


@pytest.mark.parametrize("pattern", ["{0..3}", "{000..011}", "a{8..12}b{x,y}", "{08..10}-{a,b,}", "plain", "{a}", "{}"])
def test_braces_expand_as_the_webdataset_package_expands_them(pattern):
    assert expand_braces(pattern) == list(braceexpand(pattern))


@pytest.mark.parametrize(
    ("members", "settings"),
    [
        ({"json": {"labels": ["dog", "cat"]}}, {}),
        ({"json": {"labels": "dog  cat"}}, {}),
        ({"json": {"labels": "dog|cat "}}, {"separator": "|"}),
        ({"json": {"tags": ["cat", "dog"]}}, {"labels_key": "tags"}),
        ({"json": ["cat", "dog"]}, {"labels_key": None, "val_path": None, "val_fraction": 0}),
        ({"json": {"labels": {"cat": 1, "dog": True, "owl": 0}}}, {"labels": ["cat", "dog", "owl"]}),
        ({"txt": "cat dog\n"}, {}),
        ({"txt": "cat\ndog\n"}, {"separator": "\n"}),
        ({"cls": "0 1"}, {"labels": ["cat", "dog"]}),
        ({"txt": "a cat and a dog", "json": {}, "tags.txt": "cat dog"}, {"labels_extension": "tags.txt"}),
    ],
)
def test_labels_may_be_json_text_or_class_indices(folder, members, settings):
    manifest = read(write_shard(folder / "a.tar", [{"__key__": "a", "jpg": encode(0, "JPEG"), **members}]), **settings)
    assert manifest.labels == tuple(settings.get("labels", ["cat", "dog"]))
    np.testing.assert_array_equal(manifest.target(0)[:2], [1, 1])
    assert manifest.targets.sum() == 2


def test_null_in_a_list_of_labels_is_no_label(folder):
    manifest = read(write_shard(folder / "a.tar", one(png=encode(1), json={"labels": ["cat", None]})))
    assert (manifest.labels, manifest.dense_targets().tolist()) == (("cat",), [[0], [1]])


@pytest.mark.parametrize(
    ("members", "is_text"),
    [
        ({"txt": "cat;dog"}, True),
        ({"json": {"labels": "cat;dog"}}, True),
        ({"json": {"labels": ["cat;dog"]}}, False),
        ({"json": {"labels": {"cat;dog": 1}}}, False),
    ],
)
def test_a_text_with_another_separator_is_warned_of(folder, caplog, members, is_text):
    read(write_shard(folder / "a.tar", one(png=encode(1), **members)))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * is_text
    assert ("1 of 1 labels have a ';' in them, as 'cat;dog'. If it" in caplog.text) == is_text


def test_one_class_index_as_the_webdataset_package_writes_it(folder):
    path = write_shard(folder / "a.tar", [{"__key__": f"{k}", "png": encode(k), "cls": k} for k in (2, 0)])
    manifest = read(path, labels=["zebra", "ant", "cat"])
    np.testing.assert_array_equal(manifest.targets.toarray(), [[0, 0, 1], [1, 0, 0]])


def test_answers_may_be_soft_or_unknown_and_so_may_what_is_not_listed(folder):
    answers = {"cat": 1, "dog": 0.75, "owl": -1, "ant": 0}
    path = write_shard(folder / "a.tar", samples("a", lambda name: answers))
    manifest = read(path, labels=["ant", "cat", "dog", "owl", "yak"])
    np.testing.assert_array_equal(manifest.target(0), np.float32([0, 1, 0.75, -1, 0]))
    manifest = read(path, labels=["ant", "cat", "dog", "owl", "yak"], unlisted="unknown")
    np.testing.assert_array_equal(manifest.target(0), np.float32([0, 1, 0.75, -1, -1]))


def test_each_split_has_its_shards_and_each_image_its_shards_number(shards, folder):
    splits = {
        "path": f"{folder}/train-000000.tar",
        "val_path": f"{folder}/*1.tar",
        "test_path": f"{folder}/*2.tar",
        "labels": list(NAMES),
    }
    train, val, test = (read(split=split, **splits) for split in ("train", "val", "test"))
    assert ["".join(name[0] for name in names(part)) for part in (train, val, test)] == ["abcde", "fghij", "kl"]
    assert read(shards).shards.tolist() == [0] * 5 + [1] * 5 + [2] * 2
    assert test.shards.tolist() == [2, 2]


def test_without_val_shards_a_share_of_the_train_images_is_val(shards):
    train, val = (read(shards, split, val_path=None, labels=list(NAMES)) for split in ("train", "val"))
    assert (len(train), len(val)) == (9, 3)
    assert sorted(names(train) + names(val)) == [f"{name}.png" for name in NAMES]


def test_a_split_without_shards_is_an_error_that_says_how_to_give_some(shards):
    words = "give each split its own source (data.path for train, data.val_path, data.test_path)"
    assert f"splits without rows:\n  test: {words}" in error_of(shards, "test")


def test_images_may_have_weights_and_clusters_in_their_json(folder):
    parts = [{**sample, "json": {**sample["json"], "patient": number // 2}} for number, sample in enumerate(samples())]
    path = write_shard(folder / "a.tar", parts)
    manifest = read(path, weight_key="weight", cluster_key="patient")
    assert manifest.weights.tolist() == [0.5] * 12
    assert manifest.clusters.tolist() == [k // 2 for k in range(12)]
    val = read(path, "val", val_path=None, cluster_key="patient", labels=list(NAMES))
    assert np.unique(val.clusters, return_counts=True)[1].tolist() == [2] * (len(val) // 2)
    assert read(path).weights is None
    message = error_of(path, val_path=None, weight_key="much")
    assert f"12 samples whose data.weight_key is no number from 0 up:\n  {path} sample 1: a" in message
    assert "12 samples without data.cluster_key" in error_of(path, val_path=None, cluster_key="scene")


def test_an_image_is_decoded_as_a_file_is_turned_upright_and_made_smaller_if_that_is_enough(folder):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    picture.save(folder / "a.jpg", exif=exif)
    path = write_shard(folder / "a.tar", [{"__key__": "a", "jpg": (folder / "a.jpg").read_bytes(), "txt": "cat"}])
    manifest = read(path)
    for min_side in (None, 16):
        expected = read_image(str(folder / "a.jpg"), min_side)
        np.testing.assert_array_equal(manifest.read(manifest.images[0], min_side), expected)
    assert expected.size == (32, 48)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a machine with one core
def test_workers_read_the_same_pixels_as_one_process(shards):
    manifest = read(shards)
    transform = create_transform(input_size=(3, 16, 16), is_training=True, use_prefetcher=True)
    dataset = ManifestDataset(manifest, transform, seed=3)
    manifest.read(manifest.images[0])  # workers inherit an open shard
    order = [[(1, row) for row in rows] for rows in ([11, 0, 6], [1, 10, 5], [2, 7, 9], [8, 4, 3])]
    settings = {"batch_sampler": order, "collate_fn": collate}
    alone = list(DataLoader(dataset, **settings))
    shared = list(DataLoader(dataset, **settings, num_workers=2))
    assert len(alone) == len(shared) == 4
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["index"], other["index"])


def test_what_workers_copy_does_not_grow_with_the_number_of_images(shards, folder):
    many = write_shard(folder / "many.tar", [{"__key__": str(k), "png": b"x", "txt": ""} for k in range(2000)])
    assert len(pickle.dumps(read(many, labels=["cat"]).read)) < 1000


def test_an_index_is_kept_and_used_until_its_shard_changes(shards, folder, tmp_path, monkeypatch):
    expected = read(shards, index_path=str(tmp_path / "index"))
    kept = sorted((tmp_path / "index").iterdir())
    assert [file.name.rpartition("-")[0] for file in kept] == ["spare"] + [f"train-00000{k}" for k in range(3)]
    scanned = []
    scan = tar_index.scan_shard
    monkeypatch.setattr(tar_index, "scan_shard", lambda shard: scanned.append(Path(shard).name) or scan(shard))
    again = {"index_path": str(tmp_path / "index"), "val_path": str(tmp_path / "spare.tar")}
    manifest = read(shards, **again)
    assert scanned == []
    assert manifest.images == expected.images
    np.testing.assert_array_equal(manifest.targets.toarray(), expected.targets.toarray())
    assert read(shards, **again, labels_extension="json", image_extensions=["png"]).images == expected.images

    write_shard(folder / "train-000001.tar", samples("gf"))
    os.utime(folder / "train-000000.tar", ns=(0, 0))
    kept[3].write_bytes(b"broken")
    assert "".join(name[0] for name in names(read(shards, **again))) == "abcdegfkl"
    assert sorted(scanned) == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    assert sorted((tmp_path / "index").iterdir()) == kept


def test_several_processes_index_shards_as_one_does(shards, folder, tmp_path, monkeypatch):
    paths = sorted(map(str, folder.glob("*.tar")))
    alone = index_shards(paths, None, 0)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    shared = index_shards(paths, str(tmp_path / "index"), 2)
    for one, other in zip(alone, shared, strict=True):
        assert list(one.members()) == list(other.members())
    assert len(list((tmp_path / "index").iterdir())) == 3


def test_an_index_folder_that_cannot_be_written_is_an_error(shards, tmp_path):
    (tmp_path / "file").write_text("")
    assert "data.index_path" in error_of(shards, index_path=str(tmp_path / "file"))


@pytest.mark.parametrize("change", ["size", "time", "place"])
def test_a_shard_that_changes_after_it_was_indexed_is_an_error(folder, change):
    path = write_shard(folder / "a.tar", samples("ab"))
    manifest = read(path)
    manifest.read(manifest.images[0])
    if change == "size":
        with open(path, "ab") as file:
            file.write(b"\0" * 512)
    elif change == "time":
        os.utime(path, ns=(1, 1))
    else:
        os.replace(write_shard(folder / "new", samples("ab")), path)
        open_shard.cache_clear()
    with pytest.raises(ShardError, match=r"a.tar has changed since it was indexed"):  # no bad image to be skipped
        drop_bad_images(manifest, folder / "bad", num_workers=0)
    with pytest.raises(InputError, match=r"a.tar has changed since it was indexed"):
        manifest.read(manifest.images[0])
    again = read(path)
    np.testing.assert_array_equal(again.read(again.images[0]), draw(0))


def test_a_shard_that_is_gone_is_an_error(folder):
    path = write_shard(folder / "a.tar", samples("ab"))
    manifest = pickle.loads(pickle.dumps(read(path)))
    os.remove(path)
    with pytest.raises(InputError, match=r"cannot read the shard .*a.tar: No such file or directory"):
        manifest.read(manifest.images[0])


def test_a_broken_image_is_named_with_its_shard_and_place(folder):
    path = write_shard(folder / "a.tar", [{"__key__": "a", "png": encode(0)[:-90], "txt": "x"}])
    manifest = read(path)
    with pytest.raises(InputError, match=r"cannot read the image .*a.tar#1536\+\d+#a.png: .*truncated"):
        manifest.read(manifest.images[0])


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"json": {"labels": []}}, ["samples without an image (data.image_extensions", "odd has json"]),
        (
            {"png": b"", "jpg": b"", "txt": ""},
            ["several files for an image (data.image_extensions", "odd has jpg, png"],
        ),
        ({"png": b""}, ["samples without labels (data.labels_extension", "odd has png"]),
        ({"b.png": b"", "txt": ""}, ["samples without an image", "ends at the first dot", "odd has b.png, txt"]),
        ({"png": b"", "txt": "", "json": {}}, ["several files for labels", "odd has json, png, txt"]),
        (
            {"png": b"", "json": {"tags": []}},
            ["labels cannot be read", "odd.json", "no 'labels' but only tags (data.lab"],
        ),
        ({"png": b"", "json": [1]}, ["odd.json: there is no 'labels' but no object"]),
        ({"png": b"", "json": {"labels": [["cat"]]}}, ["cells with lists inside of lists", "odd.json: ['cat']"]),
        ({"png": b"", "json": b"{"}, ["odd.json: Expecting property name"]),
        ({"png": b"", "txt": b"\xff"}, ["odd.txt: 'utf-8' codec can't decode byte 0xff"]),
        ({"png": b"", "cls": b"3"}, ["odd.cls: it holds class indices: data.labels must list"]),
        ({"png": b"", "json": {"labels": {"cat": 2}}}, ["answers that are not 1, 0", "'cat' is 2"]),
        ({"png": b"", "json": {"labels": ["cat", "cat"]}}, ["labels that an image has twice", "'cat'"]),
    ],
)
def test_a_sample_that_cannot_be_used_is_named_with_its_shard_and_number(folder, members, words):
    path = write_shard(folder / "a.tar", one(**members))
    message = error_of(path)
    assert f"{path} sample 2: " in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["2", "-1", "cat", "0 2", "1.0"])
def test_a_class_index_that_is_not_in_the_list_is_an_error(folder, text):
    message = error_of(write_shard(folder / "a.tar", one(png=b"", cls=text)), labels=["cat", "dog"])
    assert f"odd.cls: {text.split()[-1]!r} is no class index from 0 to 1" in message


def test_a_label_that_is_not_in_the_list_is_named_with_its_sample(folder):
    path = write_shard(folder / "a.tar", samples("ab"))
    assert f"{path} sample 2: 'b'" in error_of(path, labels=["a"])


def test_a_key_or_a_name_twice_in_a_shard_is_an_error_and_in_another_shard_it_is_not(folder):
    a, b = [("a.png", encode(0)), ("a.txt", b"x")], [("b.png", encode(1)), ("b.txt", b"x")]
    apart = write_files(folder / "apart.tar", [a[0], *b, a[1]])
    message = error_of(apart)
    assert "samples that come twice, or whose files do not follow each other (write the shard again)" in message
    assert f"{apart} sample 3: a" in message
    twice = write_files(folder / "twice.tar", [*a, a[1], *b])
    assert f"samples with two files of one name:\n  {twice} sample 1: a.txt" in error_of(twice)
    both = "{0,1}.tar"
    for number in (0, 1):
        write_files(folder / f"{number}.tar", [*a, *b])
    assert names(read(str(folder / both))) == ["a.png", "b.png", "a.png", "b.png"]


def test_the_problems_of_all_shards_come_in_one_error(folder):
    write_shard(folder / "a.tar", one(txt="x"))
    write_shard(folder / "b.tar", one(png=b""))
    write_files(folder / "c.tar", [])
    message = error_of(str(folder))
    assert (
        f"samples without an image (data.image_extensions; a sample ends at the first dot of its name):\n  {folder}/a"
        in message
    )
    assert f"{folder}/b.tar sample 2: odd has png" in message
    assert f"shards without a sample:\n  {folder}/c.tar" in message


def test_compressed_shards_are_an_error_that_says_to_unpack_them(folder):
    plain = Path(write_shard(folder / "a.tar", samples("ab"))).read_bytes()
    (folder / "a.tar").unlink()
    (folder / "a.tar.gz").write_bytes(gzip.compress(plain))
    for path in (folder, folder / "a.tar.gz", folder / "*"):
        message = error_of(str(path))
        assert "a.tar.gz is compressed" in message
        assert "unpack it to .tar first (gunzip)" in message


def test_shards_that_are_cut_short_at_any_block_are_an_error(folder):
    whole = Path(write_shard(folder / "whole.tar", samples("abc"))).read_bytes()
    with tarfile.open(folder / "whole.tar") as tar:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in tar)
    (folder / "whole.tar").unlink()
    for length in [*range(0, end + 1, 512), end + 100, 700]:
        (folder / "cut.tar").write_bytes(whole[:length])
        assert "cut.tar is damaged or cut short" in error_of(str(folder)), length
    (folder / "cut.tar").write_bytes(whole[: end + 512])
    assert len(read(str(folder))) == 3


def test_a_header_that_is_broken_is_an_error_and_not_the_end(folder):
    content = bytearray(Path(write_shard(folder / "a.tar", samples("abc"))).read_bytes())
    with tarfile.open(folder / "a.tar") as tar:
        content[tar.getmembers()[2].offset + 3] ^= 1
    (folder / "a.tar").write_bytes(content)
    (folder / "b.tar").write_bytes(b"not a tar" * 200)
    message = error_of(str(folder))
    assert "2 of 3 shards cannot be used" in message
    assert "a.tar is damaged or cut short at byte" in message
    assert "b.tar is damaged or cut short" in message


def test_joined_tars_are_an_error_because_readers_stop_at_the_first_end(folder):
    content = Path(write_shard(folder / "a.tar", samples("abc"))).read_bytes()
    (folder / "a.tar").write_bytes(content + content)
    assert "a.tar goes on behind its end mark" in error_of(str(folder))


@pytest.mark.parametrize("pattern", ["none-{0..2}.tar", "none-*.tar", "none", "none.tar"])
def test_a_pattern_that_means_no_file_is_an_error(shards, folder, pattern):
    message = error_of(f"{folder}/{pattern}")
    assert f"{folder}/{pattern} means shards that do not exist" in message
    assert f"\n  {folder}/none" in message


def test_shards_that_lack_in_a_row_are_listed(shards, folder):
    message = error_of(f"{folder}/train-{{000001..000004}}.tar")
    assert message.endswith(f":\n  {folder}/train-000003.tar\n  {folder}/train-000004.tar")


@pytest.mark.parametrize("path", ["https://a.org/b-{0..9}.tar", "s3://a/b.tar", "pipe:curl -s a.org/b.tar", "gs://a/b"])
def test_shards_that_are_not_on_this_machine_are_an_error(path, tmp_path):
    for written in (path, os.path.abspath(path)):  # as a run makes its paths absolute
        assert "download the shards first" in error_of(written, val_path=None)


def test_a_shard_in_two_splits_is_an_error_under_whatever_name(shards, folder):
    (folder.parent / "other.tar").symlink_to(folder / "train-000001.tar")
    message = error_of(shards, val_path=str(folder.parent / "other.tar"))
    assert f"other.tar is a val shard, and already, as {folder}/train-000001.tar, a train shard" in message
    assert "name each once" in error_of(f"{folder}/train-00000{{0,0}}.tar")


def test_wrong_settings_are_errors(shards, folder):
    assert "one of data.path, data.val_path and data.test_path must not be empty" in error_of(None, val_path=None)
    assert "data.root" in error_of(shards, root=str(folder))
    assert "data.labels_extension=npy: choose from json, txt, cls" in error_of(shards, labels_extension="npy")
    assert "choose from train, val, test" in error_of(shards, "validation")


def test_few_shards_are_open_at_a_time(folder):
    for number in range(2 * MAX_OPEN):
        write_shard(folder / f"{number:02d}.tar", samples("a"))
    manifest = read(str(folder))
    before = len(os.listdir("/proc/self/fd"))
    for image in [*manifest.images, *manifest.images]:
        np.testing.assert_array_equal(manifest.read(image), draw(0))
    assert len(os.listdir("/proc/self/fd")) <= before + MAX_OPEN


def test_the_settings_of_conf_read_shards(shards, folder, tmp_path):
    folders = [f"runs_folder={tmp_path}/runs", f"data.val_path='{folder.parent}/val-*.tar'"]
    write_shard(folder.parent / "val-0.tar", samples("c"))
    cfg = compose_config("train", ["data=webdataset", f'data.path="{shards}"', *folders])
    manifest = create_reader(cfg.data)("train")
    assert len(manifest) == 12
    assert len(create_reader(cfg.data)("val", labels=manifest.labels)) == 1
    assert len(list((tmp_path / "runs/.cache/shards").glob("*.npz"))) == 4
