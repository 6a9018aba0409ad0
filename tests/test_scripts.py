"""The scripts as a user runs them: whole runs on a few scenes, in this process where that is possible."""

import csv
import json
import re
import resource
import shutil

import numpy as np
import pytest
import torch
from accelerate import PartialState
from conftest import SMALL_DIGITS, run_script
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from test_processes import launch

from multihot.errors import InputError
from multihot.processes.session import start_processes
from multihot.training import epoch


def read_json(path):
    return json.loads(path.read_text())


def differences(folder, other):
    """Returns the largest difference of the weights of two model folders."""
    weights, others = load_file(folder / "model.safetensors"), load_file(other / "model.safetensors")
    return max((weights[key].float() - others[key].float()).abs().max().item() for key in weights)


def test_train_returns_the_best_score_and_fills_the_run_folder(train, tmp_path):
    best = train("name=a", "epochs=2")
    history = read_json(tmp_path / "a/history.json")
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert best == max(row["val/map"] for row in history)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        ".lock", "config.yaml", "finished.json", "labels.json", "last.1", "manifests.json", "train_counts.json",
        "code.json", "head_start.csv", "history.json", "best", "last", "val",
    }  # fmt: skip
    config = OmegaConf.load(tmp_path / "a/config.yaml")
    assert (config.name, config.kernels, config.mixed_precision) == ("a", "fused-highest", "no")
    assert read_json(tmp_path / "a/val/metrics.json")["map"] == best


def test_the_first_loss_is_the_entropy_of_the_label_frequencies(train, tmp_path):
    train("name=a", "epochs=0")
    from multihot.data import source_settings
    from multihot.data.readers.digits import create_digits

    settings = OmegaConf.to_container(OmegaConf.load(tmp_path / "a/config.yaml").data)
    counts = {key: value for key, value in source_settings(settings).items() if not key.startswith("_")}
    frequency = create_digits("train", **counts).label_frequency()
    [before] = read_json(tmp_path / "a/history.json")
    val = torch.from_numpy(create_digits("val", **counts).targets.toarray()).float()
    probability = torch.from_numpy(frequency).float().expand_as(val)
    expected = torch.nn.functional.binary_cross_entropy(probability, val).item()
    assert before["val/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_evaluate_repeats_the_validation_scores_to_the_last_digit(train, evaluate, tmp_path, mixed_precision):
    train("name=a", "epochs=2", f"mixed_precision={mixed_precision}", "ema.decay=0.9")
    in_training = read_json(tmp_path / "a/val/metrics.json")
    shutil.rmtree(tmp_path / "a/val")
    evaluate(f"run={tmp_path}/a", "split=val")
    assert read_json(tmp_path / "a/val/metrics.json") == in_training
    assert in_training["map"] in [row["val/map"] for row in read_json(tmp_path / "a/history.json")]


def test_evaluate_needs_only_the_run_folder(train, evaluate, tmp_path):
    train("name=a")
    (tmp_path / "a").rename(tmp_path / "moved")
    evaluate(f"run={tmp_path}/moved", "split=test")
    assert read_json(tmp_path / "moved/test/metrics.json")["num_images"] == 23
    predictions = load_file(tmp_path / "moved/test/predictions.safetensors")
    assert predictions["logits"].shape == predictions["target"].shape == (23, 10)
    with (tmp_path / "moved/test/labels.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == read_json(tmp_path / "moved/labels.json")


def test_another_threshold_changes_decisions_and_is_written_down(train, evaluate, tmp_path, caplog):
    train("name=a")
    scores = []
    for threshold in (0.2, 0.3):
        evaluate(f"run={tmp_path}/a", f"threshold={threshold}")
        scores.append(read_json(tmp_path / "a/val/metrics.json"))
        assert scores[-1]["threshold"] == threshold
    assert scores[0]["map"] == scores[1]["map"]
    assert scores[0]["micro_recall"] > scores[1]["micro_recall"]
    assert "val was decided by threshold 0.2 and is replaced by what 0.3 decides" in caplog.text
    evaluate(f"run={tmp_path}/a", f"threshold=[{', '.join(['0.1'] * 9)}, 0.9]", f"out={tmp_path}/each")
    assert read_json(tmp_path / "each/metrics.json")["threshold"] == [0.1] * 9 + [0.9]
    with (tmp_path / "each/labels.csv").open() as file:
        assert [row["threshold"] for row in csv.DictReader(file)] == ["0.1"] * 9 + ["0.9"]


@pytest.mark.parametrize("threshold", ["[0.5,0.3]", "[2,0,0,0,0,0,0,0,0,0]", "-1"])
def test_a_threshold_that_does_not_fit_is_named_before_data_is_read(train, evaluate, tmp_path, monkeypatch, threshold):
    train("name=a", "epochs=0")
    monkeypatch.setattr("multihot.data.load_split", None)
    with pytest.raises(InputError, match="threshold must be"):
        evaluate(f"run={tmp_path}/a", f"threshold={threshold}")


def test_a_folder_without_a_run_names_those_beside_it(train, evaluate, tmp_path):
    train("name=a")
    with pytest.raises(InputError, match=r"config.yaml, labels.json, best missing; runs beside it:\n.*/a"):
        evaluate(f"run={tmp_path}/b")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(f"name={name}", f"seed={seed}", "augment=light")
    assert differences(tmp_path / "a/last", tmp_path / "b/last") == 0
    assert differences(tmp_path / "a/last", tmp_path / "c/last") > 0


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_equals_an_unbroken_one(train, tmp_path, monkeypatch, num_workers):
    changes = (
        "epochs=3",
        "ema.decay=0.9",
        "augment=light",
        "+model.kwargs.drop_rate=0.2",
        f"num_workers={num_workers}",
    )
    train("name=unbroken", *changes)
    original = epoch.train_one_epoch

    def break_in_epoch_two(trainer, batches):
        if trainer.state.epoch == 1:
            raise KeyboardInterrupt
        return original(trainer, batches)

    monkeypatch.setattr(epoch, "train_one_epoch", break_in_epoch_two)
    with pytest.raises(KeyboardInterrupt):
        train("name=broken", *changes)
    monkeypatch.undo()
    assert len(read_json(tmp_path / "broken/history.json")) == 2
    train("name=broken", *changes, "resume=true")
    assert differences(tmp_path / "broken/last", tmp_path / "unbroken/last") == 0
    assert differences(tmp_path / "broken/best", tmp_path / "unbroken/best") == 0
    assert read_json(tmp_path / "broken/history.json") == read_json(tmp_path / "unbroken/history.json")


def test_a_run_is_never_overwritten(train, tmp_path):
    train("name=a", "epochs=2")
    with pytest.raises(InputError, match="resume=auto goes on with it"):
        train("name=a", "epochs=3", "resume=false")
    with pytest.raises(InputError, match=r"epochs: 2 -> 1"):
        train("name=a", "epochs=1")
    with pytest.raises(InputError, match=r"optimizer.lr: 0.0005 -> 0.1"):
        train("name=a", "epochs=2", "optimizer.lr=0.1")
    with pytest.raises(InputError, match=r"resume=yes: expected one of auto"):
        train("name=a", "epochs=2", "resume='yes'")
    with pytest.raises(InputError, match="needs name="):
        train("resume=true")


def test_a_start_that_failed_does_not_lock_the_name(train, tmp_path, monkeypatch):
    monkeypatch.setattr("multihot.run.checkpoint.Checkpoints.save", lambda *_: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        train("name=a", "epochs=0")
    monkeypatch.undo()
    train("name=a", "epochs=0", "optimizer.lr=0.1")


def test_a_kill_while_folders_are_replaced_loses_none(train, evaluate, tmp_path):
    train("name=a", "epochs=1")
    for name in ("best", "val"):
        (tmp_path / "a" / name).rename(tmp_path / "a" / f".{name}.old")
    train("name=a", "epochs=1")
    (tmp_path / "a/best").rename(tmp_path / "a/.best.old")
    evaluate(f"run={tmp_path}/a")


def test_a_finished_run_says_so_and_gives_its_score_at_once(train, tmp_path, monkeypatch, caplog):
    best = train("name=a")
    monkeypatch.setattr("multihot.processes.session.open_session", None)
    assert train("name=a") == best
    assert f"{tmp_path}/a is complete" in caplog.text


def test_a_finished_run_goes_on_for_more_epochs(train, tmp_path, caplog):
    train("name=a", "epochs=1")
    train("name=a", "epochs=2")
    assert [row["epoch"] for row in read_json(tmp_path / "a/history.json")] == [0, 1, 2]
    assert "epochs: 1 -> 2; the learning rate follows the longer schedule" in caplog.text


def test_validation_without_any_positive_is_refused_before_training(train, tmp_path):
    write_photos(tmp_path)
    text = re.sub(r"(val\d+.jpg,val),.*", r"\1,", (tmp_path / "my.csv").read_text())
    (tmp_path / "my.csv").write_text(text)
    with pytest.raises(InputError, match="monitor=val/map is nan for the best and for the worst predictions"):
        train(*photo_settings(tmp_path), "name=a", "finetune=full")
    assert not (tmp_path / "a/history.json").exists()


def test_early_stopping_waits_as_many_epochs_as_patience_says(train, tmp_path):
    train("name=a", "epochs=5", "patience=2", "optimizer.lr=1e-30", "schedule.factory.warmup_lr_init=0")
    assert [row["epoch"] for row in read_json(tmp_path / "a/history.json")] == [0, 1, 2]


def test_the_ema_is_measured_and_saved_instead_of_the_raw_weights(train, tmp_path):
    for name, decay in (("raw", "null"), ("a", 0.5)):
        train(f"name={name}", f"ema.decay={decay}")
    raw, average = (read_json(tmp_path / name / "history.json")[-1] for name in ("raw", "a"))
    assert raw["train/loss"] == average["train/loss"]
    assert raw["val/loss"] != average["val/loss"]
    # after the first update the average starts anew, so best/ (the average) differs from last/ (raw)
    assert differences(tmp_path / "a/best", tmp_path / "a/last") > 0


def test_a_score_to_be_lowered_can_be_monitored(train, tmp_path):
    best = train("name=a", "epochs=2", "monitor=val/loss")
    assert best == min(row["val/loss"] for row in read_json(tmp_path / "a/history.json"))


def test_the_single_label_case_trains_and_evaluates(train, evaluate, tmp_path):
    train("experiment=digits_single_label", "name=a", "epochs=1", "data.num_images={train:50,val:21,test:23}")
    evaluate(f"run={tmp_path}/a", "split=test")
    assert 0 <= read_json(tmp_path / "a/test/metrics.json")["accuracy"] <= 1
    with pytest.raises(InputError, match="single_label=true"):
        train("loss=cross_entropy", "name=b")
    message = r"not exactly one label, but single_label=true:\n  digits/train/0: 4 labels"
    with pytest.raises(InputError, match=message):
        train("single_label=true", "data.single_label=false", "loss=cross_entropy", "name=c")


def test_training_never_reads_the_test_split(train, tmp_path):
    write_photos(tmp_path)
    for image in (tmp_path / "photos").glob("test*"):
        image.unlink()
    train(*photo_settings(tmp_path), "name=a")


def write_photos(folder):
    """Writes 24 photos with labels: 12 for train, 6 each for val and test."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = ["image,split,labels"]
    for number in range(24):
        split = ("train", "train", "val", "test")[number % 4]
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(folder / f"photos/{split}{number}.jpg")
        rows.append(f"photos/{split}{number}.jpg,{split},{['cat', 'dog', 'cat dog', ''][number % 3]}")
    (folder / "my.csv").write_text("\n".join(rows) + "\n")


def photo_settings(folder):
    small = [
        "model.name=vit_tiny_patch16_224",
        "model.pretrained=false",
        "model.image_size=48",
        "model.train_image_size=32",
    ]
    return ["experiment=photos", f"data.path={folder}/my.csv", "epochs=1", "+model.kwargs.embed_dim=24",
            "+model.kwargs.num_heads=2", *small]  # fmt: skip


def test_my_own_csv_trains_and_evaluates(train, evaluate, tmp_path):
    write_photos(tmp_path)
    train(*photo_settings(tmp_path), "name=a")
    assert read_json(tmp_path / "a/labels.json") == ["cat", "dog"]
    evaluate(f"run={tmp_path}/a", "split=test")
    assert read_json(tmp_path / "a/test/metrics.json")["num_images"] == 6
    assert read_json(tmp_path / "a/test/images.json")[0] == str(tmp_path / "photos/test3.jpg")
    # the photos moved: evaluation finds them by the one setting that changed
    (tmp_path / "photos").rename(tmp_path / "new")
    text = (tmp_path / "my.csv").read_text().replace("photos/", "")
    (tmp_path / "my.csv").write_text(text)
    evaluate(f"run={tmp_path}/a", "split=test", f"+data.root={tmp_path}/new")


def test_a_setting_that_the_data_has_not_is_named(train, evaluate, tmp_path):
    train("name=a", "epochs=0")
    with pytest.raises(InputError, match=r"=sed: choose from .*num_images, .*seed"):
        evaluate(f"run={tmp_path}/a", "+data.sed=1")


def test_a_label_that_the_run_does_not_know_is_refused(train, evaluate, tmp_path):
    write_photos(tmp_path)
    train(*photo_settings(tmp_path), "name=a")
    text = (tmp_path / "my.csv").read_text()
    (tmp_path / "my.csv").write_text(text.replace("photos/test3.jpg,test,cat", "photos/test3.jpg,test,bird"))
    with pytest.raises(InputError, match=r"line 5: 'bird'"):
        evaluate(f"run={tmp_path}/a", "split=test")
    config = tmp_path / "a/config.yaml"  # as if the run were older than the setting that helps
    config.write_text(config.read_text().replace("  unseen_labels: error\n", ""))
    evaluate(f"run={tmp_path}/a", "split=test", "+data.unseen_labels=drop")


# From here on in processes of their own.


def small_run(folder, *overrides):
    sweep = ["-m"] if "-m" in overrides else []
    return ["train.py", *sweep, *SMALL_DIGITS, f"runs_folder={folder}", *(word for word in overrides if word != "-m")]


def test_debug_fast_runs_one_batch_of_everything(tmp_path, call_script):
    settings = ("debug=fast", "kernels=default", "mixed_precision=no", f"runs_folder={tmp_path}/runs")
    printed = run_together(tmp_path / "log", 1, "train.py", *settings)
    [run] = (tmp_path / "runs").iterdir()
    history = read_json(run / "history.json")
    assert [row["update"] for row in history] == [0, 1]
    assert history[0]["val/num_images"] == 64
    [command] = [line for line in printed.splitlines() if line.startswith("evaluate it: ")]
    arguments = command.removeprefix("evaluate it: python ").split()
    assert call_script(*arguments).returncode == 0
    assert (run / "test/metrics.json").exists()


def test_jobs_of_a_sweep_do_not_disturb_each_other(tmp_path):
    sweep = small_run(tmp_path, "-m", "name=s", "tracker=wandb", "mixed_precision=no,bf16", "seed=0,1")
    run_together(tmp_path / "log", 1, *sweep)
    names = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("s-"))
    assert [name[:3] for name in names] == ["s-0", "s-1", "s-2", "s-3"]
    configs = [OmegaConf.load(tmp_path / name / "config.yaml") for name in names]
    assert [(cfg.mixed_precision, cfg.seed) for cfg in configs] == [("no", 0), ("no", 1), ("bf16", 0), ("bf16", 1)]
    assert len({read_json(tmp_path / name / "tracker.json")["wandb_run_id"] for name in names}) == 4
    assert all(len(list((tmp_path / name / "wandb").glob("offline-run-*"))) == 1 for name in names)


def test_a_job_of_a_sweep_equals_the_same_run_alone(tmp_path, train, call_script):
    assert call_script(*small_run(tmp_path, "-m", "name=s", "seed=0,1")).returncode == 0
    train("name=alone", "seed=1")
    [job] = tmp_path.glob("s-1-*")
    assert differences(job / "last", tmp_path / "alone/last") == 0


def run_together(folder, num_processes, *arguments):
    """Runs a script in several processes, and returns what they printed."""
    ended = launch(folder, num_processes, *arguments, WANDB_MODE="offline")
    assert ended.codes == [0] * num_processes, ended.printed
    return ended.printed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained by two processes, and what they printed."""
    folder, log = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("log")
    settings = small_run(folder, "name=two", "tracker=wandb", "tracker.mode=offline", "epochs=2")
    return folder / "two", run_together(log, 2, *settings)


def test_two_processes_write_one_run_and_speak_once(trained):
    run, output = trained
    assert sorted(path.name for path in (run / "last").glob("random_states_*")) == [
        "random_states_0.pkl",
        "random_states_1.pkl",
    ]  # fmt: skip  both took part
    assert [path.name for path in run.parent.iterdir()] == ["two"]
    assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    assert output.count("epoch 2:") == 1
    # 50 images, 8 at a time in each of two processes: 3 full updates and one of 2 images
    assert read_json(run / "history.json")[-1]["update"] == 8


def test_processes_that_do_not_know_of_each_other_are_stopped(monkeypatch):
    PartialState(cpu=True)  # as Accelerate finds it: one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        InputError, match=r"2 processes were launched, but Accelerate works with 1: each would train alone"
    ):
        start_processes()


def test_an_unreadable_image_is_one_line_also_from_a_worker(tmp_path, call_script):
    write_photos(tmp_path)
    (tmp_path / "photos/train0.jpg").write_bytes(b"no picture")
    options = ("kernels=default", "mixed_precision=no", "num_workers=1", "tracker=none", f"runs_folder={tmp_path}")
    result = call_script("train.py", *photo_settings(tmp_path), *options)
    assert result.returncode == 1
    assert "train0.jpg" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_comes_in_under_three_seconds():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run_script("-X", "importtime", "train.py", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # other programs do not count
    assert re.search(r"\| +hydra$", result.stderr, re.MULTILINE)
    assert not re.search(r"\| +(torch|timm|sklearn)$", result.stderr, re.MULTILINE)


def test_a_users_mistake_prints_no_traceback(tmp_path, call_script):
    (tmp_path / "my.csv").write_text("image,split,labels\nabsent.jpg,train,cat\nabsent2.jpg,val,cat\n")
    result = call_script("train.py", "experiment=photos", f"data.path={tmp_path}/my.csv", f"runs_folder={tmp_path}",
                         "tracker=none", "kernels=default", "mixed_precision=no")  # fmt: skip
    assert result.returncode == 1
    assert "my.csv line 2" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_of_digits_is_a_name(train, tmp_path):
    train("name=2024", "epochs=0")
    assert (tmp_path / "2024/last").exists()
