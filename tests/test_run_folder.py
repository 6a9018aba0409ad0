"""What a training finds in its run folder, and what it does where that is not what it left there."""

import hashlib
import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL_DIGITS, compose_config, train_as_told
from omegaconf import OmegaConf
from safetensors.torch import load_file

from multihot.errors import InputError
from multihot.files import publish_folder, stage_folder
from multihot.ownership import MODEL
from multihot.run.checkpoint import Checkpoints, list_checkpoints
from multihot.run.enter import lock_folder
from multihot.run.folder import Run
from multihot.seal import read_seal
from multihot.settings.saved import GONE, SINCE, check_same_config, hash_config, is_free, read_config


def read(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A run folder with a training of two epochs that has come to its end."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", "epochs=2")
    return folder / "a"


@pytest.fixture
def run(done, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(done, tmp_path / "a"))


def test_a_finished_run_is_not_begun_again(run, train):
    best, weights = read(run / "finished.json")["score"], (run / "best/model.safetensors").read_bytes()
    for path in list_checkpoints(run / "last"):
        shutil.rmtree(path)
    assert train("name=a", "epochs=2") == best
    with pytest.raises(InputError, match="a finished run of other settings and no checkpoint"):
        train("name=a", "epochs=2", "seed=1")
    with pytest.raises(InputError, match="holds a run already"):
        train("name=a", "epochs=2", "seed=1", "resume=false")
    assert (run / "best/model.safetensors").read_bytes() == weights


def test_a_run_that_goes_on_is_not_finished(run, train, monkeypatch):
    monkeypatch.setattr("multihot.training.epoch.compute_loss", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train("name=a", "epochs=3")
    assert not (run / "finished.json").exists()


def test_more_patience_goes_on(train, tmp_path):
    train("name=a", "epochs=6", "patience=1", "optimizer.lr=1e-9", "monitor=val/subset_accuracy")
    assert read(tmp_path / "a/finished.json") | {"config_sha256": ""} == {
        "score": 0.0, "epoch": 0, "last_epoch": 1, "pruned": False, "global_batch_size": 8, "config_sha256": "",
    }  # fmt: skip
    again = ("name=a", "epochs=6", "optimizer.lr=1e-9", "monitor=val/subset_accuracy")
    train(*again, "patience=3")
    assert [row["epoch"] for row in read(tmp_path / "a/history.json")] == [0, 1, 2, 3]
    written = (tmp_path / "a/last/seal.json").read_bytes()
    train(*again, "patience=2")
    assert (tmp_path / "a/last/seal.json").read_bytes() == written


def test_another_number_of_processes_may_go_on_again_and_again(run, train, caplog):
    seal = read(run / "last/seal.json")
    (run / "last/seal.json").write_text(json.dumps(seal | {"global_batch_size": 16}))  # as if two had begun it
    for epochs in (3, 4):
        caplog.clear()
        train("name=a", f"epochs={epochs}")
        assert "batch_size=16 keeps the batches of 16 images in 1 process" in caplog.text
        assert OmegaConf.load(run / "config.yaml").batch_size == 8
        assert read(run / "finished.json")["global_batch_size"] == 16
    with pytest.raises(InputError, match="batch_size: 8 -> 4"):
        train("name=a", "epochs=5", "batch_size=4")


def test_what_a_search_gave_up_is_finished_for_the_search_alone(tmp_path):
    run = Run(tmp_path, config_sha256="x")
    run.finish(score=0.5, epoch=1, last_epoch=1, pruned=True, global_batch_size=8)
    assert run.read_finished(epochs=4, patience=None) is None
    run = replace(run, is_trial=True)
    assert run.read_finished(epochs=4, patience=None)["score"] == 0.5
    assert replace(run, config_sha256="y").read_finished(epochs=4, patience=None) is None


@pytest.mark.parametrize("damage", ["empty", "gone"])
def test_a_damaged_best_model_is_named_and_never_evaluated(run, train, evaluate, damage):
    weights = run / "best/model.safetensors"
    if damage == "empty":
        weights.write_bytes(b"")
    else:
        shutil.rmtree(run / "best")
    words = r"the best model .*a/best is damaged" if damage == "empty" else r"is damaged|best missing"
    for overrides in (["epochs=2"], ["epochs=3"]):  # complete; it goes on
        with pytest.raises(InputError, match=r"the best model .*a/best is damaged"):
            train("name=a", *overrides)
    with pytest.raises(InputError, match=words):
        evaluate(f"run={run}", "split=test")


@pytest.mark.parametrize("name", ["config.yaml", "labels.json", "manifests.json", "finished.json"])
@pytest.mark.parametrize("content", ["", '{"a": [', "data: 3", None])
def test_a_damaged_file_is_named(run, train, name, content):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    if content is None and name in ("manifests.json", "finished.json"):
        train("name=a", "epochs=2")
        return
    with pytest.raises(InputError, match=rf"a/{name} is damaged .*bring it back from a copy, or give the run"):
        train("name=a", "epochs=2")


def test_a_training_ends_without_the_predictions_of_its_best_epoch(run, train):
    shutil.rmtree(run / "val")
    (run / "finished.json").unlink()
    train("name=a", "epochs=2")
    assert read(run / "finished.json")["last_epoch"] == 2


def test_fewer_checkpoints_are_fewer_at_once(run, train, monkeypatch):
    assert [path.name for path in list_checkpoints(run / "last")] == ["last", "last.1"]
    monkeypatch.setattr(Checkpoints, "save", lambda self: (_ for _ in ()).throw(InputError("full")))
    with pytest.raises(InputError, match="full"):
        train("name=a", "epochs=3", "checkpoint.keep=1")
    assert [path.name for path in list_checkpoints(run / "last")] == ["last"]


def test_a_checkpoint_behind_a_link_is_replaced(run, train, tmp_path):
    (run / "last").rename(tmp_path / "elsewhere")
    (run / "last").symlink_to(tmp_path / "elsewhere")
    train("name=a", "epochs=4", "checkpoint.keep=1")
    assert read_seal(run / "last")["epoch"] == 4


def test_a_folder_that_is_gone_is_said(tmp_path):
    with pytest.raises(InputError, match=r"gone is gone: it was moved or deleted"):
        stage_folder(tmp_path / "gone/last")


def test_a_stop_while_measuring_keeps_the_epoch(done, train, tmp_path, monkeypatch):
    def end(self, is_saved):
        if not is_saved and self.state.update == 14 and len(self.state.history) == 2:
            self.stop.note(15, None)
        original(self, is_saved)

    original = Checkpoints.end_if_asked
    monkeypatch.setattr(Checkpoints, "end_if_asked", end)
    with pytest.raises(SystemExit) as stopped:
        train("name=b", "epochs=2")
    assert stopped.value.code == 75
    assert {key: read_seal(tmp_path / "b/last")[key] for key in ("epoch", "batch", "update")} == {
        "epoch": 1, "batch": 7, "update": 14,
    }  # fmt: skip
    monkeypatch.undo()
    train("name=b", "epochs=2")
    assert read(tmp_path / "b/history.json") == read(done / "history.json")
    ends = [load_file(folder / "last/model.safetensors") for folder in (tmp_path / "b", done)]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1])


def test_a_gradient_that_is_not_finite_changes_no_weight(train, tmp_path, monkeypatch):
    from multihot.training import epoch

    def compute(trainer, batch):
        loss = original(trainer, batch)
        if trainer.state.update == 3:
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    original = epoch.compute_loss
    monkeypatch.setattr(epoch, "compute_loss", compute)
    with pytest.raises(InputError, match=r"the gradient's norm is nan at update 4 \(epoch 1\).*optimizer.lr"):
        train("name=a", "checkpoint.every_minutes=0")
    assert read_seal(tmp_path / "a/last")["update"] == 3
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "a/last/model.safetensors").values())


def test_a_version_of_the_code_that_changes_is_noted(run, train, caplog, monkeypatch):
    assert set(read(run / "code.json")) >= {"version"}
    monkeypatch.setattr("multihot.run.folder.code_version", lambda: {"version": "9.9"})
    train("name=a", "epochs=3")
    assert "the code is not what the run began with" in caplog.text
    assert read(run / "code.json")["went_on_with"] == {"version": "9.9"}


def test_a_head_does_not_go_on_with_another_backbone(train, tmp_path):
    for seed in (0, 1):
        train(f"name=source-{seed}", "epochs=0", f"seed={seed}")
    begin = ("name=a", "finetune=head", f"model.weights={tmp_path}/weights", f"data.cache_folder={tmp_path}/cache")
    shutil.copytree(tmp_path / "source-0/best", tmp_path / "weights")
    train(*begin, "epochs=1")
    assert list((tmp_path / "cache/features").glob("*.npy"))
    shutil.rmtree(tmp_path / "weights")
    shutil.copytree(tmp_path / "source-1/best", tmp_path / "weights")
    with pytest.raises(InputError, match="a frozen backbone, which is now another than it began with"):
        train(*begin, "epochs=2")
    shutil.rmtree(tmp_path / "weights")
    shutil.copytree(tmp_path / "source-0/best", tmp_path / "weights")
    train(*begin, "epochs=2")


def test_settings_that_are_newer_than_the_run_are_warned_of(run, train, caplog):
    config = OmegaConf.load(run / "config.yaml")
    del config["compile"]
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(InputError, match="compile: None -> auto"):  # by the same code: somebody has changed it
        train("name=a", "epochs=3")
    (run / "code.json").unlink()
    with pytest.raises(InputError, match="compile: None -> True"):
        train("name=a", "epochs=3", "compile=true")
    with pytest.raises(InputError, match=r"BinaryCrossEntropy -> multihot\.loss\.FocalLoss"):
        train("name=a", "epochs=3", "loss=focal")
    assert "did not have" not in caplog.text  # loss.function.gamma comes with the other loss
    train("name=a", "epochs=3")
    assert "did not have these settings: compile=auto" in caplog.text
    with pytest.raises(InputError, match=r"model.kwargs.drop_rate: None -> 0.1"):
        train("name=a", "epochs=4", "+model.kwargs.drop_rate=0.1")


def test_a_default_that_has_changed_leaves_a_run_what_it_was():
    before, now, other = (OmegaConf.create({"epochs": 1, "compile": value}) for value in (False, "auto", True))
    assert hash_config(before) == hash_config(now) != hash_config(other)


def test_a_run_of_before_a_setting_is_the_same_run_with_what_was_true_of_it(caplog):
    begun = {"epochs": 1, "data": {"_target_": "multihot.data.readers.csv_file.CsvReader", "path": "a.csv"}}
    now = OmegaConf.create(begun | {"data": begun["data"] | {"agree": "error", "answers": None}})
    begun = OmegaConf.create(begun)
    assert hash_config(begun) == hash_config(now)
    check_same_config(begun, now, ["data=csv", "data.path=a.csv"], is_other_code=False)
    now.data.agree = "majority"
    assert hash_config(begun) != hash_config(now)
    with pytest.raises(InputError, match="agree: error -> majority"):
        check_same_config(begun, now, ["data=csv", "data.agree=majority"], is_other_code=True)


def test_a_run_from_before_augmentation_had_a_device_goes_on():
    overrides = ["augment=light", "experiment=photos", "data.path=a.csv"]
    now = compose_config("train", overrides)
    OmegaConf.set_struct(now, False)
    begun = now.copy()
    del begun.augment["device"]
    assert hash_config(begun) == hash_config(now)
    check_same_config(begun, now, overrides, is_other_code=False)
    now.augment.device = True
    assert hash_config(begun) != hash_config(now)


@pytest.mark.parametrize(("reader", "untagged"), [("csv_file.CsvReader", "absent"), ("folders.FolderReader", None)])
def test_what_was_true_of_a_run_of_before_may_depend_on_its_source(reader, untagged):
    begun = {"epochs": 1, "data": {"_target_": f"multihot.data.readers.{reader}", "path": "a"}}
    now = OmegaConf.create(begun | {"data": begun["data"] | {"untagged": untagged}})
    begun = OmegaConf.create(begun)
    assert hash_config(begun) == hash_config(now)
    check_same_config(begun, now, ["data.path=a"], is_other_code=False)
    now.data.untagged = "skip"
    assert hash_config(begun) != hash_config(now)


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet", "folder", "coco", "voc", "chexpert", "webdataset"])
def test_a_run_from_before_there_were_settings_of_its_data_goes_on(source):
    now = compose_config("train", [f"data={source}", "data.path=a"])
    OmegaConf.set_struct(now, False)
    begun = now.copy()
    for name in (*SINCE, "data.misread"):
        begun.data.pop(name.removeprefix("data."), None)
    assert hash_config(begun) == hash_config(now)
    check_same_config(begun, now, [f"data={source}", "data.path=a"], is_other_code=False)


def test_a_run_of_before_a_setting_was_gone_is_the_same_run_with_what_is_left_of_it(run, train, evaluate):
    config = OmegaConf.load(run / "config.yaml")
    old = OmegaConf.merge(config, {"ema": {"warmup": True, "evaluate": "instead"}})
    assert hash_config(old) == hash_config(config)
    OmegaConf.save(OmegaConf.merge(old, {"ema": {"evaluate": "beside"}}), run / "config.yaml")
    train("name=a", "epochs=3")
    other = {"ema": {"warmup": False}, "loss": {"unknown": {"strategy": "large_loss_rejection", "rejection": 0.2}}}
    OmegaConf.save(OmegaConf.merge(old, other), run / "config.yaml")
    evaluate(f"run={run}", "split=test")
    with pytest.raises(InputError, match="can be evaluated but not go on") as refused:
        train("name=a", "epochs=4")
    lost = str(refused.value).splitlines()[1:]
    assert sorted(map(str.strip, lost)) == ["ema.warmup=False", "loss.unknown.strategy=large_loss_rejection"]


@pytest.mark.parametrize(
    ("start", "option", "value"),
    [
        ("random", None, None),
        ("prior", None, None),
        ("fit", None, None),
        ("by_name", "aliases", "a.yaml"),
        ("keep", "grow", True),
        ("keep", "class_names", ["cat", "dog"]),
    ],
)
def test_a_run_of_before_starts_were_a_group_has_the_same_settings_and_their_hash(start, option, value, tmp_path):
    head = {"aliases": None, "class_names": None, "grow": False, "layer": None, "start": start}
    head |= {option: value} if option else {}
    OmegaConf.save({"epochs": 1, "head": head}, tmp_path / "config.yaml")
    more = [f"start.{option}={value}"] if option else []
    cfg = compose_config("train", [f"start={start}", *more])
    now = OmegaConf.create({"epochs": 1, "head": cfg.head, "start": cfg.start})
    begun = read_config(tmp_path / "config.yaml")
    del begun["data"]
    assert begun == now
    gone = {key: value for key, value in GONE.items() if not is_free(key)}
    text = json.dumps({"epochs": 1} | {f"head.{key}": entry for key, entry in head.items()} | gone, sort_keys=True)
    assert hash_config(now) == hashlib.sha256(text.encode()).hexdigest()


def test_a_run_of_before_settings_moved_evaluates_and_goes_on(run, train, evaluate):
    config = OmegaConf.load(run / "config.yaml")
    del config["start"]
    config.data.feature_cache = "features"
    config.head = {**config.head, "start": "prior", "class_names": None, "aliases": None, "grow": False}
    OmegaConf.save(config, run / "config.yaml")
    evaluate(f"run={run}", "split=test")
    train("name=a", "epochs=3")
    assert [row["epoch"] for row in read(run / "history.json")] == [0, 1, 2, 3]


def test_a_group_that_is_chosen_gives_none_of_its_new_settings(caplog):
    begun = OmegaConf.create({"epochs": 1, "data": {"path": "a.csv"}})
    now = OmegaConf.create({"epochs": 1, "data": {"path": "a.csv", "newest": 1}})
    check_same_config(begun, now, ["data=csv"], is_other_code=True)
    assert "did not have these settings: data.newest=1" in caplog.text
    for override in ("data.newest=1", "data={newest: 1}"):
        with pytest.raises(InputError, match="newest: None -> 1"):
            check_same_config(begun, now, [override], is_other_code=True)


def hold(path: Path, ready, end):
    ready.set()
    end.wait(60)


def test_the_lock_ends_with_the_training_and_not_with_its_workers(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready, end = fork.Event(), fork.Event()
    lock = lock_folder(tmp_path / "a")
    worker = fork.Process(target=hold, args=(tmp_path, ready, end))
    worker.start()
    ready.wait(60)
    lock.close()
    result = fork.Process(target=lambda: lock_folder(tmp_path / "a"))
    result.start()
    result.join()
    end.set()
    worker.join()
    assert result.exitcode == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batch_size=0", "batch_size=0: expected a whole number from 1 up"),
        ("epochs=-1", "epochs=-1: expected a whole number from 0 up"),
        ("epochs=1.5", "epochs=1.5: expected a whole number from 0 up"),
        ("seed=-5", "seed=-5"),
        ("optimizer.lr=fast", "optimizer.lr=fast: expected a number above 0"),
        ("optimizer.lr=0", "optimizer.lr=0"),
        ("checkpoint.every_minutes=-1", "checkpoint.every_minutes=-1"),
        ("clip_norm=true", "clip_norm=true"),
    ],
)
def test_numbers_are_checked_before_anything_is_made(train, tmp_path, override, words):
    with pytest.raises(InputError) as raised:
        train("name=a", override)
    assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["name=''", "name=' '"])
def test_an_empty_name_is_refused(train, name):
    with pytest.raises(InputError, match="name is empty"):
        train(name)


@pytest.mark.parametrize("override", ["monitor=map", "threshold=2", "monitor=val_raw/map"])
def test_what_is_measured_is_checked_before_the_model_is_made(train, monkeypatch, override):
    monkeypatch.setattr("multihot.training.build.build_model", lambda *_: pytest.fail("too late"))
    with pytest.raises(InputError, match=override.partition("=")[0]):
        train("name=a", override)


def tree(folder: Path) -> dict[str, bytes]:
    """Returns all files in a folder with their bytes, but for locks."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


OUT = {
    ".": "is, or is in, the run",
    "..": "holds more than the evaluation of a split",
    "best": "is, or is in, the run",
    "last.1": "is, or is in, the run",
    "val": "is, or is in, the run",  # split=test is asked for
    "new/../best": "is, or is in, the run",
    "../b/test": "is, or is in, the run",
    "../file": "is a file",
    "../file/test": "could not be written",
    "../photos": "holds more than the evaluation of a split",
    "../labels": "holds more than the evaluation of a split",
    "../scores": "holds more than the evaluation of a split",
    "../link": "is a link to",
    f"../{'x' * 254}": "could not be written",
}


@pytest.mark.parametrize("out", OUT)
def test_an_evaluation_replaces_only_another_one(run, evaluate, tmp_path, monkeypatch, out):
    shutil.copytree(run, tmp_path / "b")
    for file in ("file", "photos/metrics.json", "photos/cat.jpg", "labels/labels.csv"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("label,of mine")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/metrics.json").write_text('{"accuracy": 0.9}')  # of another program
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    before = tree(tmp_path)
    monkeypatch.setattr("multihot.data.load_split", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(InputError, match=OUT[out]):
        evaluate(f"run={run}", "split=test", f"out='{run}/{out}'")
    with pytest.raises(InputError, match="where a disk is mounted"):
        evaluate(f"run={run}", "split=test", "out=/")
    assert tree(tmp_path) == before


def test_the_same_evaluation_may_be_repeated(run, evaluate, tmp_path):
    (tmp_path / "new").mkdir()
    for out in ("new", "a/test_of_mine", "a/val"):
        for _ in range(2):
            evaluate(f"run={run}", "split=val", f"out={tmp_path}/{out}")
            (tmp_path / out / ".DS_Store").write_text("")
        assert (tmp_path / out / "metrics.json").read_bytes() == (run / "val/metrics.json").read_bytes()
    (run / "val/mine.txt").write_text("")
    with pytest.raises(InputError, match=r"(?s)a/val would be replaced, and holds more than.*mine.txt"):
        evaluate(f"run={run}", "split=val")


@pytest.mark.parametrize(
    "file", ["best/mine.onnx", "best/config.json", "val/mine.txt", "last/mine.txt", "val/metrics.json", "config.yaml"]
)
def test_a_new_run_replaces_nothing_that_is_not_ours(train, tmp_path, monkeypatch, file):
    (tmp_path / "a" / file).parent.mkdir(parents=True)
    (tmp_path / "a" / file).write_text("mine")
    monkeypatch.setattr("multihot.training.build.build_model", lambda *_: pytest.fail("too late"))
    for _ in range(2):
        with pytest.raises(InputError, match=r"give .*another name"):
            train("name=a")
    assert tree(tmp_path) == {f"a/{file}": b"mine"}


def test_a_run_goes_on_beside_what_is_not_ours(run, train):
    kept = [run / name for name in ("notes.txt", "last.backup/a", "last.1.copy/a", ".notes.old")]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    train("name=a", "epochs=3")
    assert [path.read_text() for path in kept] == ["mine"] * 4


def test_what_comes_into_a_folder_while_it_is_written_is_kept(tmp_path):
    folder = tmp_path / "best"
    for text in ("one", "two", "three"):
        (stage_folder(folder) / "config.json").write_text(text)
        if text == "two":
            (folder / "mine.txt").write_text("mine")
            (folder / "seal.json").write_text("{}")
        publish_folder(folder, MODEL)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"config.json": "three", "mine.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize(
    "name", ["../up", "..", ".", ".cache", ".sweep", "/a", "a/b", "a\\b", "'a '", "' a'", '"a\tb"', "x" * 151]
)
def test_a_name_is_one_folders_name(train, tmp_path, name):
    with pytest.raises(InputError, match=r"^name=.*(one folder|a dot|a blank|printed|bytes)"):
        train(f"name={name}")
    assert not list(tmp_path.iterdir())


def test_a_run_is_in_no_other_run(run, train):
    before = tree(run)
    with pytest.raises(InputError, match=r"inside the run .*set runs_folder to another"):
        train("name=best", f"runs_folder={run}")
    assert tree(run) == before
