import gc
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL_DIGITS, save_every, train_as_told
from hydra.core.hydra_config import HydraConfig
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.errors import InputError
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate, format_evaluation
from multihot.interrupt import REQUEUE, Interrupted
from multihot.labels import LabelSpace
from multihot.run.checkpoint import find_whole
from multihot.run.code import code_version
from multihot.tracking.filing import GROUP_LENGTH, group_name
from multihot.tracking.tracker import overwrite, read_told
from multihot.tracking.wandb_tracker import WandbRun, caption, wandb_arguments

KEY = "0" * 40  # of the right form


class WandbServer(ThreadingHTTPServer):
    """As much of W&B as its client needs: it keeps the lines of each run's history, and can fail in several ways."""

    daemon_threads = True

    def __init__(self, fault: str = "", fault_later: str = ""):
        super().__init__(("127.0.0.1", 0), WandbHandler)
        self.fault, self.fault_later = fault, fault_later  # from the beginning; once a run has started
        self.asked = []  # the path of each request
        self.lines = []  # of the history, as JSON
        self.runs = []  # how each start describes the run

    def handle_error(self, *_):
        """A client that hangs up is no news."""

    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]


class WandbHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fault == "hangs":
            time.sleep(60)
        elif self.server.fault == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise ConnectionError
        elif self.server.fault.isdigit():
            self.answer({"error": "no"}, int(self.server.fault))
        elif self.server.fault == "answers nonsense":
            self.answer("<html>log in to the guest network</html>")
        elif self.path == "/graphql":
            self.answer({"data": self.answer_query(json.loads(body))})
        else:
            history = (
                json.loads(body).get("files", {}).get("wandb-history.jsonl") if "file_stream" in self.path else None
            )
            if history:
                self.server.lines[history["offset"] :] = history["content"]
            self.answer({})

    do_PUT = do_GET = do_POST  # noqa: N815

    def answer(self, value, status=200):
        if self.server.fault == "is slow":
            time.sleep(0.2)
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_query(self, query):
        name, told = re.search(r"(?:query|mutation) (\w+)", query["query"])[1], query.get("variables", {})
        owner = {"id": "me", "name": "me"}
        if name == "RunResumeStatus":
            return {"model": {"id": "p", "name": "multihot", "entity": owner, "bucket": self.describe_run()}}
        if name == "UpsertBucket":
            self.server.runs.append(told)
            project = {"id": "p", "name": "multihot", "entity": owner}
            run = {"id": "r", "name": told["name"], "displayName": told["displayName"], "project": project}
            self.server.fault = self.server.fault_later
            return {"upsertBucket": {"bucket": run | {"config": "{}", "historyLineCount": 0}, "inserted": True}}
        if name == "CreateRunFiles":
            url = f"http://127.0.0.1:{self.server.server_port}/upload/"
            files = [{"name": file, "uploadUrl": url + file} for file in told["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":
            artifact = {"id": "t", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if name == "Viewer":
            return {"viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        return {"project": None}

    def describe_run(self):
        """What a run that is there already has been told; None if there is none."""
        if not self.server.runs:
            return None
        counts = {"historyLineCount": len(self.server.lines), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps(self.server.lines[-1:]), "eventsTail": "[]", "summaryMetrics": "{}"}
        return {"id": "r", "name": "r", "displayName": "a", "config": "{}", "tags": [], **counts, **tails,
                "wandbConfig": json.dumps({"t": 1})}  # fmt: skip


@pytest.fixture
def serve(monkeypatch):
    """serve("hangs"): a server, to which W&B speaks from then on."""
    import wandb

    wandb.teardown()  # it remembers the server of the test before
    servers = []

    def start(*faults: str) -> WandbServer:
        server = WandbServer(*faults)
        servers.append(server)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    wandb.teardown()


def read_offline_run(folder):
    """Yields the records of W&B's offline file: a LevelDB log (blocks of 32 KiB) of protobuf messages."""
    [file] = (folder / "wandb").glob("offline-run-*/*.wandb")
    yield from read_wandb_file(file)


def read_wandb_file(file):
    """Yields the records of a file as `read_offline_run` does."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service writes the end of a file when it ends itself
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
    loss = ("loss=asymmetric", "seed=3")
    train("name=a", "tracker=wandb", "epochs=2", "log_every=1", *loss, "tracker.tags=[first]", "report=true")
    records = list(read_offline_run(tmp_path / "a"))
    [run] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.job_type) == ("a", "train")
    assert run.run_id == json.loads((tmp_path / "a/tracker.json").read_text())["wandb_run_id"]
    assert run.run_group == group_name("a", list(HydraConfig.get().overrides.task), is_sweep=False)
    assert list(run.tags) == ["first", "loss=asymmetric"]
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
    [page] = [row for row in rows if "val/report._type" in row]
    assert page["val/report._type"] == "html-file"
    assert "true: " in last["val/examples.captions"][0]
    assert not [key for row in rows for key in row if "zero" in key]  # no scalar a label


def values_of(records, kind):
    """Returns the last value of each entry of the config or the summary."""
    updates = [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]
    return {
        item.key or ".".join(item.nested_key): json.loads(item.value_json)
        for update in updates
        for item in update.update
    }


def test_config_and_summary_can_be_filtered_on(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("name=a", "tracker=wandb", "epochs=3", "monitor=val/ranking_loss", "optimizer.lr=0.05", "loss.smoothing=0.1")
    records = list(read_offline_run(tmp_path / "a"))
    config, summary = values_of(records, "config"), values_of(records, "summary")
    assert (config["loss.smoothing"], config["data.num_images.train"]) == (0.1, 50)
    manifests = json.loads((tmp_path / "a/manifests.json").read_text())
    assert config["manifests.val.sha256"] == manifests["val"]["sha256"]
    assert {key: config[f"code.{key}"] for key in code_version()} == code_version()
    history = json.loads((tmp_path / "a/history.json").read_text())
    best = min(history, key=lambda row: row["val/ranking_loss"])
    assert {key: summary[f"best/{key}"] for key in best} == pytest.approx(best)


def test_a_checkout_is_known_by_its_commit_and_an_installed_package_by_its_version(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init")
    module = tmp_path / "tracker.py"
    module.write_text("")
    (tmp_path / "other.py").write_text("")
    git("add", "other.py")
    git("commit", "-m", "one")
    monkeypatch.setattr("multihot.run.code.__file__", str(module))
    assert list(code_version()) == ["version"]  # somebody else's repository is around it
    git("add", "tracker.py")
    git("commit", "-m", "two")
    assert code_version() | {"version": ""} == {
        "version": "", "commit": git("rev-parse", "HEAD").strip(), "dirty": False
    }  # fmt: skip
    module.write_text("changed")
    assert code_version()["dirty"]


ONLINE = ("tracker=wandb", "tracker.mode=online", "tracker.finish_seconds=1")
SECONDS = 25  # a run takes a few; W&B that nobody stops takes the 30 of conf/tracker/wandb.yaml or more
FAULTS = ("hangs", "500", "resets", "401")


@pytest.fixture(scope="module")
def without_wandb(tmp_path_factory):
    """The history of the run that the tests of a failing W&B make."""
    folder = tmp_path_factory.mktemp("without")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", "epochs=2")
    return json.loads((folder / "a/history.json").read_text())


def check_whole(folder, expected):
    """Checks scores, model and checkpoint of a run folder."""
    assert json.loads((folder / "history.json").read_text()) == expected
    assert {"config.json", "model.safetensors"} <= {path.name for path in (folder / "best").iterdir()}
    assert find_whole(folder / "last") == folder / "last"


def test_to_look_for_a_key_asks_no_server(serve, tmp_path, monkeypatch):
    server = serve("hangs")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_arguments(tmp_path, "group", [], "auto")["mode"] == "online"
    assert server.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*FAULTS, "answers nonsense"])
def test_a_server_that_fails_at_the_start_makes_the_run_offline(fault, serve, train, without_wandb, tmp_path, caplog):
    serve(fault, fault)
    start = time.monotonic()
    train("name=a", *ONLINE, "tracker.start_seconds=1", "epochs=2")
    assert time.monotonic() - start < SECONDS
    check_whole(tmp_path / "a", without_wandb)
    assert "W&B did not start" in caplog.text
    assert f"wandb sync {tmp_path}/a/wandb" in caplog.text
    rows = [row for row in history_of(read_offline_run(tmp_path / "a")) if "val/map" in row]
    assert [row["val/map"] for row in rows] == [row["val/map"] for row in without_wandb]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_in_the_middle_costs_little_time_and_loses_nothing(
    fault, serve, train, without_wandb, tmp_path, caplog
):
    serve("", fault)
    start = time.monotonic()
    train("name=a", *ONLINE, "epochs=2", "log_every=1")
    assert time.monotonic() - start < SECONDS
    check_whole(tmp_path / "a", without_wandb)
    [file] = tmp_path.glob("a/wandb/run-*/*.wandb")
    rows = [row for row in history_of(read_wandb_file(file)) if "val/map" in row]
    assert [row["val/map"] for row in rows] == [row["val/map"] for row in without_wandb]


@pytest.mark.slow
def test_a_slow_server_gets_everything(serve, train, without_wandb, tmp_path):
    server = serve("is slow", "is slow")
    train("name=a", "tracker=wandb", "tracker.mode=online", "epochs=2", "log_every=1")
    check_whole(tmp_path / "a", without_wandb)
    assert [row["_step"] for row in server.rows()] == list(range(without_wandb[-1]["update"] + 1))
    assert server.runs[0]["displayName"] == "a"


@pytest.mark.slow
def test_what_did_not_go_up_can_be_synced(serve, train, tmp_path, caplog):
    serve("", "hangs")
    train("name=a", *ONLINE)
    [arguments] = re.findall(r"wandb sync (.+)", caplog.text)
    server = serve()
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *arguments.split()], check=True, capture_output=True, timeout=60
    )
    assert [row["epoch"] for row in server.rows() if "epoch" in row] == [0, 1]


def test_a_service_that_is_killed_does_not_stop_the_training(train, without_wandb, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "offline")

    def kill_service(*_):
        for process in [item for item in gc.get_objects() if type(item) is subprocess.Popen]:
            if "wandb-core" in str(process.args) and process.poll() is None:
                process.kill()
                process.wait()

    monkeypatch.setattr("multihot.training.epoch.mix_images", kill_service)
    train("name=a", "tracker=wandb", "epochs=2")
    check_whole(tmp_path / "a", without_wandb)
    assert "the run goes on without wandb" in caplog.text
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("name=b", "tracker=wandb", "epochs=0")
    [run] = [record.run for record in read_offline_run(tmp_path / "b") if record.HasField("run")]
    assert run.display_name == "b"


def stop_after(monkeypatch, update, how):
    """Lets something happen after an update."""
    import multihot.training.epoch

    make_update = multihot.training.epoch.update

    def act(trainer, ledger):
        make_update(trainer, ledger)
        if trainer.state.update == update:
            how()

    monkeypatch.setattr(multihot.training.epoch, "update", act)


def train_and_kill(train, monkeypatch, *overrides):
    """Trains until update 14, two after a checkpoint and before the epoch is measured."""

    def kill():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        save_every(patch, 3)
        stop_after(patch, 14, kill)
        with pytest.raises(KeyboardInterrupt):
            train(*overrides)


def steps_of(rows):
    """Returns the updates at which each value was told."""
    steps = defaultdict(list)
    for row in rows:
        for name in row:
            if name.startswith(("train/", "val/")) and name.count(".") == 0:
                steps[name].append(row["_step"])
    return steps


RESUMED = ("name=a", "epochs=2", "log_every=1")  # 7 updates an epoch


def test_a_run_that_is_killed_and_goes_on_tells_nothing_twice(train, tmp_path, monkeypatch):
    train_and_kill(train, monkeypatch, *RESUMED, "tracker=wandb", "tracker.mode=offline")
    train(*RESUMED, "tracker=wandb", "tracker.mode=offline")
    files = sorted(tmp_path.glob("a/wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    rows = [row for file in files for row in history_of(read_wandb_file(file))]
    assert [row["_step"] for row in rows] == list(range(15))
    steps = steps_of(rows)
    assert steps["train/lr"] == list(range(1, 15))
    assert steps["val/map"] == [0, 7, 14]
    assert steps["train/loss"] == [7, 14]


@pytest.mark.slow
@pytest.mark.parametrize("online", [False, True])
def test_an_epoch_that_is_measured_after_the_run_was_stopped_is_told_once(online, serve, train, tmp_path, monkeypatch):
    server = serve() if online else None
    options = (*RESUMED, "tracker=wandb", f"tracker.mode={'online' if online else 'offline'}")
    stop_after(monkeypatch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(*options)
    train(*options)
    files = sorted(tmp_path.glob("a/wandb/offline-run-*/*.wandb"))
    rows = server.rows() if online else [row for file in files for row in history_of(read_wandb_file(file))]
    assert [row["_step"] for row in rows] == sorted(row["_step"] for row in rows)
    assert [row["epoch"] for row in rows if "epoch" in row] == [0, 1, 2]
    assert steps_of(rows)["train/lr"] == list(range(1, 15))


@pytest.mark.slow
def test_parts_of_an_offline_run_are_synced_as_one(serve, train, tmp_path, monkeypatch):
    train_and_kill(train, monkeypatch, *RESUMED, "tracker=wandb", "tracker.mode=offline")
    train(*RESUMED, "tracker=wandb", "tracker.mode=offline")
    server = serve()
    parts = map(str, tmp_path.glob("a/wandb/offline-run-*"))
    subprocess.run([sys.executable, "-m", "wandb", "sync", *parts], check=True, capture_output=True, timeout=60)
    assert [row["_step"] for row in server.rows()] == list(range(15))
    assert {run["name"] for run in server.runs} == {read_told(tmp_path / "a")["wandb_run_id"]}


def test_the_best_model_is_an_artifact_if_wanted(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("name=a", "tracker=wandb", "tracker.artifacts=true")
    artifacts = [record.artifact for record in read_offline_run(tmp_path / "a") if record.HasField("artifact")]
    [best] = [artifact for artifact in artifacts if artifact.type == "model"]
    assert best.name == f"best-{read_told(tmp_path / 'a')['wandb_run_id']}"
    files = {entry.path: entry.local_path for entry in best.manifest.contents}
    assert files["model.safetensors"] == str(tmp_path / "a/best/model.safetensors")  # no copy
    assert "val/map" in json.loads(best.metadata)


def test_a_damaged_record_begins_a_new_run(tmp_path, caplog):
    (tmp_path / "tracker.json").write_text('{"wandb_run_id": "abc"')
    assert read_told(tmp_path) == {}
    assert "damaged" in caplog.text


def test_a_shorter_text_replaces_a_longer_one(tmp_path):
    for text in ("one", "three", "2"):
        overwrite(tmp_path / "a", text)
        assert (tmp_path / "a").read_text() == text


def test_where_no_server_is_the_run_is_offline(serve, train, tmp_path, monkeypatch, caplog):
    serve()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    train("name=a", "tracker=wandb", "epochs=0")
    assert "W&B did not start: http://127.0.0.1:9 does not answer" in caplog.text
    assert f"wandb sync {tmp_path}/a/wandb" in caplog.text
    [row] = [row for row in history_of(read_offline_run(tmp_path / "a")) if "val/map" in row]
    assert row["val/map"] == json.loads((tmp_path / "a/history.json").read_text())[0]["val/map"]


def test_a_malformed_key_is_said_and_the_run_is_offline(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_arguments(tmp_path, "group", [], "auto")["mode"] == "offline"
    assert "API key" in caplog.text


def test_long_groups_stay_different_within_the_length_that_wandb_allows():
    groups = [group_name(None, [f"data.path={'x' * 200}", f"loss={loss}"], is_sweep=False) for loss in ("bce", "asl")]
    assert len(set(groups)) == 2
    assert max(map(len, groups)) == GROUP_LENGTH


def test_a_run_that_is_stopped_is_closed_as_preempted(train, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train("name=a", "tracker=wandb", "tracker.mode=offline")
    records = list(read_offline_run(tmp_path / "a"))
    assert any(record.HasField("preempting") for record in records)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [REQUEUE]


def test_a_run_that_fails_is_closed_as_failed(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(InputError, match="the loss is"):
        train("name=a", "tracker=wandb", "optimizer.lr=1e30", "clip_norm=null", "schedule.warmup_fraction=0")
    codes = [record.exit.exit_code for record in read_offline_run(tmp_path / "a") if record.HasField("exit")]
    assert codes == [1]
    train("name=b", "tracker=wandb", "epochs=0")
    [run] = [record.run for record in read_offline_run(tmp_path / "b") if record.HasField("run")]
    assert run.display_name == "b"


def test_a_tracker_that_is_not_installed_is_named(train, monkeypatch):
    monkeypatch.setattr("multihot.tracking.open.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        train("name=a", "tracker=tensorboard")


def test_without_a_key_it_is_offline_and_says_how_to_sync(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with caplog.at_level("INFO", "multihot"):
        arguments = wandb_arguments(tmp_path, "group", [], "auto")
    assert arguments["mode"] == "offline"
    assert f"wandb sync {tmp_path}/wandb" in caplog.text


def test_a_run_that_goes_on_keeps_its_id(tmp_path):
    first, second = (wandb_arguments(tmp_path, "group", [], "offline")["id"] for _ in range(2))
    assert first == second


def test_a_wrong_mode_lists_the_right_ones(tmp_path):
    with pytest.raises(InputError, match="auto, online, offline, disabled"):
        wandb_arguments(tmp_path, "group", [], "of")


def test_tensorboard_holds_the_scores_once_also_of_a_run_that_was_killed(train, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_and_kill(train, monkeypatch, *RESUMED, "tracker=tensorboard")
    train(*RESUMED, "tracker=tensorboard")
    saved = json.loads((tmp_path / "a/history.json").read_text())
    events = accumulator.EventAccumulator(str(tmp_path / "a/tensorboard")).Reload()
    scores = [event.value for event in events.Scalars("val/map")]
    assert scores == pytest.approx([row["val/map"] for row in saved], rel=1e-6)
    assert [event.step for event in events.Scalars("train/lr")] == list(range(1, 15))


ODD_LABELS = (
    "[a]",
    'q"',
    "s/l\\",
    "<b>",
    "100%",
    "new\nline",
    "Größe",
    "x" * 3000,
    "label",
    "7",
    "sur\udce9",
    "a=b",
    " ",
)


def test_labels_of_any_kind_fit_into_captions_and_tables(tmp_path, monkeypatch, caplog):
    target = (np.arange(26)[:, None] % np.arange(2, 15) == 0).astype(np.int8)
    data = Manifest(ODD_LABELS, [str(tmp_path / "gone.png")] * 26, csr_array(target))
    logits = torch.from_numpy(target * 2.0 - 1).float()
    evaluation = evaluate(Predictions(logits, torch.from_numpy(target), LabelSpace(ODD_LABELS)))
    assert max(map(len, format_evaluation(evaluation).splitlines())) < 120
    assert caption(data, 0, np.zeros(13)).startswith('true: [a], q", s/l\\, <b>, 100%, new\\nline, Größe, xxx')
    assert len(caption(data, 0, np.ones(13)).splitlines()) == 2
    logged = []
    run = SimpleNamespace(settings=SimpleNamespace(finish_timeout=5), log=logged.append)
    tracker = WandbRun(SimpleNamespace(name="wandb", run=run), tmp_path)
    tracker.log_examples(evaluation, data, lambda rows: torch.ones(len(rows), 13), step=1)
    assert [row[0] for row in logged[0]["val/labels"].data] == list(ODD_LABELS)
    assert "the tracker failed: InputError" in caplog.text  # the picture that is gone stops nothing
