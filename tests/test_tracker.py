import json
import struct
import time

import pytest
from conftest import SMALL_DIGITS, run_script
from hydra.core.hydra_config import HydraConfig

from multihot.errors import InputError
from multihot.run import Run
from multihot.tracker import GROUP_LENGTH, group_name, wandb_arguments


def read_offline_run(folder):
    """Yields the records of W&B's offline file: a LevelDB log (blocks of 32 KiB) of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    [file] = (folder / "wandb").glob("offline-run-*/*.wandb")
    data, position, message = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        message += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(message)
            message = b""
            yield record


def history_of(records):
    rows = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    return [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item} for row in rows]


def test_the_offline_run_holds_what_was_logged(train, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no netrc
    train("name=a", "tracker=wandb", "epochs=2", "log_every=1", "loss=asymmetric", "seed=3")
    records = list(read_offline_run(tmp_path / "a"))
    [run] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert run.display_name == "a"
    assert run.run_id == json.loads((tmp_path / "a/tracker.json").read_text())["wandb_run_id"]
    assert run.run_group == group_name("a", list(HydraConfig.get().overrides.task), is_sweep=False)
    rows = history_of(records)
    saved = json.loads((tmp_path / "a/history.json").read_text())
    for epoch in saved:
        [row] = [row for row in rows if row.get("epoch") == epoch["epoch"]]
        assert row["_step"] == epoch["update"]
        assert {key: row[key] for key in epoch if key not in ("epoch", "update")} == pytest.approx(
            {key: value for key, value in epoch.items() if key not in ("epoch", "update")}
        )
    # one row an update with its rate and loss, one table of labels, one panel of pictures
    assert [row["_step"] for row in rows if "train/lr" in row] == list(range(1, saved[-1]["update"] + 1))
    last = rows[-1]
    assert (last["val/labels._type"], last["val/labels.nrows"]) == ("table-file", 10)
    assert last["val/examples.count"] == 16
    assert "true: " in last["val/examples.captions"][0]
    assert not [key for row in rows for key in row if "zero" in key]  # no scalar a label


def test_a_server_that_does_not_answer_makes_the_run_offline(tmp_path):
    nobody = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": None}
    result = run_script(
        "train.py", *SMALL_DIGITS, "name=a", "tracker=wandb", "epochs=0", f"runs_folder={tmp_path}", **nobody
    )
    assert result.returncode == 0, result.stderr
    assert "W&B did not start" in result.stdout
    assert f"wandb sync {tmp_path}/a/wandb" in result.stdout
    [row] = [row for row in history_of(read_offline_run(tmp_path / "a")) if "val/map" in row]
    assert row["val/map"] == json.loads((tmp_path / "a/history.json").read_text())[0]["val/map"]


def test_a_malformed_key_is_said_and_the_run_is_offline(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_arguments(Run(tmp_path), "group", [], "auto")["mode"] == "offline"
    assert "API key" in caplog.text


def test_long_groups_stay_different_within_the_length_that_wandb_allows():
    groups = [group_name(None, [f"data.path={'x' * 200}", f"loss={loss}"], is_sweep=False) for loss in ("bce", "asl")]
    assert len(set(groups)) == 2
    assert max(map(len, groups)) == GROUP_LENGTH


def test_a_run_that_fails_is_closed_as_failed(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(InputError, match="the loss is"):
        train("name=a", "tracker=wandb", "optimizer.lr=1e30", "clip_norm=null", "schedule.warmup_fraction=0")
    codes, deadline = [], time.monotonic() + 30
    while not codes and time.monotonic() < deadline:  # W&B's own process may write it a little later
        codes = [record.exit.exit_code for record in read_offline_run(tmp_path / "a") if record.HasField("exit")]
    assert codes == [1]
    train("name=b", "tracker=wandb", "epochs=0")
    [run] = [record.run for record in read_offline_run(tmp_path / "b") if record.HasField("run")]
    assert run.display_name == "b"


@pytest.mark.filterwarnings("ignore:.*no supported trackers")
def test_a_tracker_that_is_not_installed_is_named(train, monkeypatch):
    monkeypatch.setattr("accelerate.tracking.is_tensorboard_available", lambda: False)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(InputError, match="pip install tensorboard"):
        train("name=a", "tracker=tensorboard")


def test_without_a_key_it_is_offline_and_says_how_to_sync(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with caplog.at_level("INFO", "multihot"):
        arguments = wandb_arguments(Run(tmp_path), "group", [], "auto")
    assert arguments["mode"] == "offline"
    assert f"wandb sync {tmp_path}/wandb" in caplog.text


def test_a_run_that_goes_on_keeps_its_id(tmp_path):
    first, second = (wandb_arguments(Run(tmp_path), "group", [], "offline")["id"] for _ in range(2))
    assert first == second


def test_a_wrong_mode_lists_the_right_ones(tmp_path):
    with pytest.raises(InputError, match="auto, online, offline, disabled"):
        wandb_arguments(Run(tmp_path), "group", [], "of")


def test_tensorboard_holds_the_scores(train, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train("name=a", "tracker=tensorboard")
    saved = json.loads((tmp_path / "a/history.json").read_text())
    events = accumulator.EventAccumulator(str(tmp_path / "a/tensorboard")).Reload()
    scores = [event.value for event in events.Scalars("val/map")]
    assert scores == pytest.approx([row["val/map"] for row in saved], rel=1e-6)
