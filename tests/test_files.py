"""Files and folders: who may read them, and what is said where they cannot be written or read."""

import errno
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import SMALL_DIGITS, compose_config, load_script, train_as_told
from PIL import Image
from safetensors import SafetensorError
from scipy.sparse import csr_array
from torchvision.transforms import InterpolationMode

from multihot.data.bad_images import drop_bad_images
from multihot.data.image_cache import DiskCache
from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.files import save_tensors, write_text, writing
from multihot.run.sweep import name_job
from multihot.training.features import open_values

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A run folder."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", "epochs=1")
    return folder / "a"


@pytest.fixture
def run(done, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(done, tmp_path / "a"))


def modes(folder: Path) -> set[int]:
    """Returns the permissions of all files in a folder."""
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def raising(error: Exception):
    """Returns a function that raises the error, whatever it is given."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_all_files_of_a_run_follow_the_umask(train, evaluate, tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        train("name=a", "epochs=1" if mask == 0o022 else "epochs=0")
        evaluate(f"run={tmp_path}/a", "split=test")
        save_tensors(tmp_path / "a/weights.safetensors", {"weight": torch.zeros(1)})
    finally:
        os.umask(before)
    assert modes(tmp_path / "a") == {mode}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device\nmore"),
            "No space left on device",
        ),
        (
            RuntimeError("[enforce fail at inline_container] . PytorchStreamWriter failed writing"),
            "PytorchStreamWriter failed",
        ),
        (OSError("4096 requested and 0 written"), "4096 requested and 0 written"),  # numpy's
        (FULL, "No space left on device"),
    ],
)
def test_an_error_of_writing_names_path_cause_and_way_out(tmp_path, error, words):
    told = rf"^{tmp_path}/gone/file could not be written \(.*{words}.*\)\. Do this$"
    with pytest.raises(InputError, match=told), writing(tmp_path / "gone/file", "Do this"):
        raise error


def test_a_full_disk_is_told_by_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    with pytest.raises(InputError, match=r"\(2 MB free on its disk\)"), writing(tmp_path, "Do this"):
        raise FULL
    with pytest.raises(InputError, match="Permission denied"), writing(tmp_path, "Do this"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(RuntimeError, match="a bug"), writing(tmp_path, "Do this"):
        raise RuntimeError("a bug")


def test_caches_that_cannot_be_written_name_their_setting(tmp_path):
    (tmp_path / "file").write_text("")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    cache = DiskCache(
        lambda *_, **__: Image.new("RGB", (40, 40)), tmp_path / "file/images", 32, InterpolationMode.BICUBIC
    )
    for write in (lambda: cache(str(tmp_path / "a.png")), lambda: cache.check_space(1)):
        with pytest.raises(
            InputError,
            match=r"could not be written \(a file is where a folder belongs\)\. Set data.cache_folder to ano",
        ):
            write()
    with pytest.raises(InputError, match=r"could not be written.*Set data.cache_folder to another folder"):
        open_values(Accelerator(cpu=True), tmp_path / "file/a.npy", (1, 2))
    with pytest.raises(InputError, match=r"could not be written.*Set runs_folder to another"):
        name_job(tmp_path / "file/.sweep", "hash", str)


def test_a_full_disk_leaves_no_torn_copy(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    cache = DiskCache(lambda *_, **__: Image.new("RGB", (40, 40)), tmp_path / "copies", 32, InterpolationMode.BICUBIC)
    monkeypatch.setattr(np, "save", raising(FULL))
    with pytest.raises(InputError, match=r"could not be written .*or data.cache=none"):
        cache(str(tmp_path / "a.png"))
    assert not [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]


def test_a_list_of_bad_images_that_is_damaged_is_made_anew(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    data = Manifest(("a",), [f"{tmp_path}/bad.png", f"{tmp_path}/good.png"], csr_array(np.ones((2, 1), np.int8)))
    for content in (None, "null", '[{"row": 7, "image": "x", "reason": "y"}]'):
        for path in (tmp_path / "checked").glob("*.json"):
            path.write_text(content)
        assert drop_bad_images(data, tmp_path / "checked", num_workers=0).images == [f"{tmp_path}/good.png"]
    with pytest.raises(
        InputError,
        match=r"could not be written \(a file is where a folder belongs\)\. Set data.cache_folder to another",
    ):
        drop_bad_images(data, tmp_path / "good.png/checked", num_workers=0)


def test_features_that_are_cut_short_are_made_anew(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY")
    assert open_values(Accelerator(cpu=True), path, (1, 3, 2))[0].shape == (1, 3, 2)


@pytest.mark.parametrize("place", ["predict.write_json", "predictions.take_space", "predict.publish_folder"])
def test_an_evaluation_that_cannot_be_written_says_where_else(run, evaluate, monkeypatch, place):
    monkeypatch.setattr(f"multihot.evaluation.{place}", raising(FULL))
    with pytest.raises(InputError, match=r"could not be written .*give another folder by out="):
        evaluate(f"run={run}", "split=test")


def test_a_run_that_may_not_be_written_says_out_before_the_pass(run, evaluate, monkeypatch):
    monkeypatch.setattr("multihot.data.load_split", lambda *_, **__: pytest.fail("too late"))
    monkeypatch.setattr(Path, "mkdir", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(
        InputError, match=r"a/test could not be written \(Permission denied\)\. Give another folder by out="
    ):
        evaluate(f"run={run}", "split=test")


def test_a_training_without_a_checkpoint_does_not_speak_of_one(train, monkeypatch):
    monkeypatch.setattr("multihot.evaluation.predictions.take_space", raising(FULL))
    with pytest.raises(InputError, match=r"could not be written .*\. Make space") as raised:
        train("name=a")
    assert "checkpoint is whole" not in str(raised.value)


DAMAGED = {
    "labels.json": ("{}", "[]", '{"zero": 0}', '["zero", "zero"]', "[1, 2]", "null", "", b"\xff", None),
    "train_counts.json": ("[]", "{}", '{"label_count": [1], "num_known": [1], "num_images": 1}', "null", None),
    "manifests.json": ("[]", '{"val": 1}', '{"val": {"num_images": 2}}', None),
    "config.yaml": ("{}", "data: 3", "data: {}", "a: [", None),
    "best/config.json": ("[]", "{}", "", None),
    "best/seal.json": ("[]", '{"files": []}', '{"files": {"config.json": 1}}', "", None),
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in DAMAGED for content in DAMAGED[name]])
def test_a_damaged_file_is_named_by_evaluate(run, evaluate, name, content):
    path = run / name
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "best/config.json":
        (run / "best/seal.json").unlink()
    with pytest.raises(InputError, match=Path(name).name):
        evaluate(f"run={run}")


def test_a_name_that_is_not_utf8_is_kept(tmp_path):
    write_text(tmp_path / "a.csv", "caf\udce9.jpg")
    assert (tmp_path / "a.csv").read_bytes() == b"caf\xe9.jpg"


def test_a_report_replaces_only_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("multihot.data.create_reader", lambda _: pytest.fail("too late"))
    main = load_script("scripts/validate_data").main.__wrapped__
    for name, file in (("photos", "cat.jpg"), ("lists", "clusters.csv"), ("file", None)):
        if file is None:
            (tmp_path / name).write_text("image,cluster\n")
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / file).write_text("image,cluster\n")
        with pytest.raises(InputError, match=rf"{name}.*[Gg]ive another folder by out="):
            main(compose_config("validate_data", [f"data.path={tmp_path}/a.csv", f"out={tmp_path}/{name}"]))
    assert (tmp_path / "lists/clusters.csv").read_text() == "image,cluster\n"


def test_weights_replace_only_weights_of_ours(run, tmp_path, monkeypatch, capsys):
    main = load_script("scripts/shrink_weights").main
    before = (run / "best/model.safetensors").read_bytes()
    for file, worked in ((run / "best/model.safetensors", False), (tmp_path / "a.safetensors", True)):
        for _ in range(2):
            monkeypatch.setattr("sys.argv", ["shrink_weights.py", str(run), str(file)])
            if worked:
                main()
                continue
            with pytest.raises(SystemExit):
                main()
            assert "is there and is none that this has written" in capsys.readouterr().err
    assert (run / "best/model.safetensors").read_bytes() == before
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    """Returns the bits that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("overrides", [("out={}/all.csv",), ("out={}/clusters.csv", "clusters={}/clusters.csv")])
def test_a_split_does_not_replace_what_it_reads(tmp_path, overrides):
    for name in ("all.csv", "clusters.csv"):
        (tmp_path / name).write_text("image,labels\n")
    main = load_script("scripts/split_data").main.__wrapped__
    told = [f"data.path={tmp_path}/all.csv", "fractions={train:0.8,val:0.2}", "overwrite=true"]
    with pytest.raises(InputError, match=r"is read \((path|clusters)=.*and is not replaced: give another file by out="):
        main(compose_config("split_data", [*told, *(override.format(tmp_path) for override in overrides)]))
    assert (tmp_path / "all.csv").read_text() == "image,labels\n"
