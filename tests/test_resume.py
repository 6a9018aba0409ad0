"""A training that is killed, stopped or damaged goes on as if nothing had happened, or says what to do."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, SMALL_DIGITS, run_script, save_every, train_as_told
from omegaconf import OmegaConf
from safetensors.torch import load_file
from test_processes import TORCHRUN, begin, launch

from multihot import interrupt
from multihot.errors import InputError
from multihot.run.checkpoint import find_whole, list_checkpoints
from multihot.run.enter import keep_global_batch, lock_folder
from multihot.run.folder import Run
from multihot.seal import find_fault, read_seal, seal

EPOCHS = 16  # enough to be stopped in the middle
CHANGES = ("ema.decay=0.9", "augment=light", "+model.kwargs.drop_rate=0.2", "mix.mixup=0.5", "accumulate_steps=2")


def history(run: Path):
    return json.loads((run / "history.json").read_text())


def same_run(first: Path, second: Path) -> bool:
    """Whether weights, EMA and history of two runs are equal to the bit."""
    files = ("last/model.safetensors", "best/model.safetensors")
    weights = [[load_file(run / file) for file in files] for run in (first, second)]
    equal = all(torch.equal(one[key], two[key]) for one, two in zip(*weights, strict=True) for key in one)
    return equal and history(first) == history(second)


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at(monkeypatch, update: int):
    """Ends training before it saves or measures anything after an update."""
    from multihot.run.checkpoint import Checkpoints

    original = Checkpoints.after_update

    def after_update(self, settle):
        if self.state.update == update:
            raise Killed
        original(self, settle)

    monkeypatch.setattr(Checkpoints, "after_update", after_update)


def test_a_script_kills_at_random_moments_and_every_end_is_the_same_to_the_bit():
    result = run_script("scripts/kill_drill.py", "--kills", "3", "--seed", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 kills ended bit-identical (1 processes)" in result.stdout


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Path:
    """A training of two epochs with much that a resume could get wrong."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, *CHANGES, "epochs=2", f"runs_folder={folder}", "name=a")
    return folder / "a"


@pytest.mark.parametrize("update", [3, 5, 8])  # in the first epoch; at its checkpoint; in the last
def test_a_kill_in_the_middle_of_an_epoch_changes_nothing(changed, train, tmp_path, monkeypatch, update):
    # 50 images in batches of 8: 7 a epoch, 4 updates
    save_every(monkeypatch, 2)
    kill_at(monkeypatch, update)
    with pytest.raises(Killed):
        train("name=killed", *CHANGES, "epochs=2")
    monkeypatch.undo()
    assert read_seal(tmp_path / "killed/last")["update"] == {3: 2, 5: 4, 8: 6}[update]
    train("name=killed", *CHANGES, "epochs=2")
    assert same_run(tmp_path / "killed", changed)


def test_so_many_checkpoints_are_kept_and_each_is_whole(train, tmp_path):
    train("name=a", "epochs=2", "checkpoint.every_minutes=0", "checkpoint.keep=3")
    kept = list_checkpoints(tmp_path / "a/last")
    assert [path.name for path in kept] == ["last", "last.1", "last.2"]
    assert [read_seal(path)["update"] for path in kept] == [14, 14, 13]  # the last: after the last update, and measured
    assert [find_fault(path) for path in kept] == [None] * 3
    with pytest.raises(InputError, match=r"checkpoint\.keep=0: expected a whole number from 1 up"):
        train("name=b", "checkpoint.keep=0")


def test_minutes_are_those_of_a_clock_that_nobody_sets(train, tmp_path, monkeypatch):
    now = iter(range(0, 10**9, 60))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    start = time.time()
    monkeypatch.setattr(time, "time", lambda: start - 10**6)  # set back by 12 days
    train("name=a", "checkpoint.every_minutes=2", "checkpoint.keep=9")
    assert len(list_checkpoints(tmp_path / "a/last")) > 3


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory) -> Path:
    """A training of two epochs, each with a checkpoint at its end."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*SMALL_DIGITS, f"runs_folder={folder}", "name=a", "epochs=2")
    return folder / "a"


@pytest.mark.parametrize("damage", ["cut", "bit", "gone", "seal"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(two_epochs, train, tmp_path, caplog, damage):
    shutil.copytree(two_epochs, tmp_path / "a")
    (tmp_path / "a/finished.json").unlink()
    weights = tmp_path / "a/last/model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:-100])
    elif damage == "bit":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "gone":
        weights.unlink()
    else:
        (tmp_path / "a/last/seal.json").write_text("{")
    train("name=a", "epochs=2")
    assert f"the checkpoint {tmp_path}/a/last is damaged (" in caplog.text
    assert same_run(tmp_path / "a", two_epochs)


def test_no_whole_checkpoint_is_an_error(train, tmp_path):
    train("name=a", "epochs=1")
    (tmp_path / "a/finished.json").unlink()
    for path in list_checkpoints(tmp_path / "a/last"):
        (path / "optimizer.bin").unlink()
    with pytest.raises(InputError, match=r"no checkpoint of .*/a is whole"):
        train("name=a", "epochs=1")


def test_a_seal_finds_every_change(tmp_path):
    folder = tmp_path / "last"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"weights")
    seal(folder, {"update": 3})
    assert (find_fault(folder), read_seal(folder)["update"], find_whole(folder)) == (None, 3, folder)
    (folder / "a.bin").write_bytes(b"Weights")
    assert find_fault(folder) == "a.bin has changed"
    (folder / "a.bin").unlink()
    assert find_fault(folder) == "a.bin is missing"


def test_a_full_disk_leaves_the_checkpoint_before_it(train, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        train("name=a", f"runs_folder={disk}", "epochs=1")
        filler = disk / "filler"
        free = shutil.disk_usage(disk).free
        filler.write_bytes(bytes(free - 500_000))
        with pytest.raises(
            InputError, match=r"could not be written \(\d+ MB free on its disk\)\. The last checkpoint is whole"
        ):
            train("name=a", f"runs_folder={disk}", "epochs=3", "checkpoint.every_minutes=0")
        assert find_fault(find_whole(disk / "a/last")) is None
        filler.unlink()
        train("name=a", f"runs_folder={disk}", "epochs=3")
        assert [row["epoch"] for row in history(disk / "a")] == [0, 1, 2, 3]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_folder_that_cannot_be_written_is_named(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to the run folder .*set runs_folder to another"):
        train("name=a", f"runs_folder={tmp_path}/file")


def test_two_trainings_in_one_folder_are_refused_and_a_crash_leaves_no_lock(train, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); "
         "print('held', flush=True); time.sleep(60)", tmp_path / "lock"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "lock").rename(tmp_path / "a/.lock")
    with pytest.raises(InputError, match=r"another training is at work in .*/a: wait for it"):
        train("name=a", "epochs=0")
    holder.kill()
    holder.communicate()
    train("name=a", "epochs=0")


def test_the_lock_is_free_again_after_an_error(train, tmp_path):
    with pytest.raises(InputError):
        train("name=a", "loss.reduction=none")
    lock_folder(tmp_path / "a").close()


@pytest.mark.parametrize(("error", "words"), [
    (RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "memory"),
    (MemoryError(), "memory"),
    (RuntimeError("DataLoader worker (pid(s) 17) exited unexpectedly"), "worker"),
])  # fmt: skip
def test_what_a_machine_runs_out_of_is_said_with_the_setting_to_lower(train, tmp_path, monkeypatch, error, words):
    from multihot.training import epoch

    def fail(trainer, batch):
        if trainer.state.update == 3:
            raise error
        return original(trainer, batch)

    original = epoch.compute_loss
    monkeypatch.setattr(epoch, "compute_loss", fail)
    with pytest.raises(InputError) as raised:
        train("name=a", "checkpoint.every_minutes=0")
    text = str(raised.value)
    assert "at update 4 (epoch 1)" in text
    assert ("batch_size=8 lower and accumulate_steps higher" in text) == (words == "memory")
    assert ("Lower num_workers" in text) == (words == "worker")
    assert read_seal(tmp_path / "a/last")["update"] == 3


def test_other_errors_stay_as_they_are(train, monkeypatch):
    monkeypatch.setattr("multihot.training.epoch.compute_loss", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train("name=a")


def test_a_killed_worker_is_said_in_one_line(tmp_path):
    settings = (*SMALL_DIGITS, f"runs_folder={tmp_path}", "num_workers=1", "data.num_images.val=0")
    ended = launch(tmp_path, 1, "train.py", *settings, failures={0: ("decoding", "kill")})
    assert ended.codes == [1]
    assert "Error: a process that decodes images was killed at update 1 (epoch 1)" in ended.printed
    assert "Traceback" not in ended.printed


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """A training that nobody stops."""
    folder = tmp_path_factory.mktemp("runs")
    train_as_told(*settings(folder), "name=unbroken")
    return folder / "unbroken"


def settings(folder: Path) -> list[str]:
    """Returns the settings of a training that is long enough to be stopped in its middle."""
    return [*SMALL_DIGITS, *CHANGES, f"runs_folder={folder}", f"epochs={EPOCHS}"]


def stop_after_first_epoch(pid: int, log: Path, number: int) -> None:
    """Sends a signal to a training once its first epoch is in its log."""
    deadline = time.monotonic() + 120
    while "\nepoch 1:" not in (printed := log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline, printed
        time.sleep(0.01)
    os.kill(pid, number)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=["TERM", "USR1", "INT"]
)
def test_a_signal_saves_exits_with_its_code_and_the_printed_command_goes_on(unbroken, tmp_path, number, code):
    [process] = begin(tmp_path / "log", 1, "train.py", *settings(tmp_path / "runs"))
    stop_after_first_epoch(process.pid, tmp_path / "log/log", number)
    process.join(60)
    printed = (tmp_path / "log/log").read_text()
    assert process.exitcode == code, printed
    assert "stopping as soon as this step is done, and saving everything" in printed
    assert "Traceback" not in printed
    [command] = re.findall(r"to go on: python train\.py (.*)", printed)
    [folder] = (tmp_path / "runs").iterdir()
    assert command.endswith(f"name={folder.name}")
    assert read_seal(folder / "last")["epoch"] < EPOCHS
    train_as_told(*shlex.split(command))
    assert same_run(folder, unbroken)


def test_two_processes_stop_together_and_go_on_in_one(tmp_path, caplog):
    two = ("batch_size=4", "name=a")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*TORCHRUN, "train.py", *settings(tmp_path), *two],
            cwd=REPO, env={**os.environ, "ACCELERATE_USE_CPU": "1"}, stdout=log, stderr=log,
        )  # fmt: skip
        stop_after_first_epoch(process.pid, tmp_path / "log", signal.SIGTERM)
        assert process.wait(60) != 0
    place = read_seal(tmp_path / "a/last")
    assert (place["global_batch_size"], place["epoch"] >= 1) == (8, True), (tmp_path / "log").read_text()
    train_as_told(*settings(tmp_path), *two)
    assert "batch_size=8 keeps the batches of 8 images in 1 process" in caplog.text
    assert len(history(tmp_path / "a")) == EPOCHS + 1


@pytest.mark.parametrize(("num_processes", "size"), [(1, 24), (2, 12), (3, 8), (5, None)])
def test_processes_keep_the_batch_of_all_or_are_refused(tmp_path, monkeypatch, num_processes, size):
    (tmp_path / "last").mkdir()
    seal(tmp_path / "last", {"global_batch_size": 24})
    monkeypatch.setattr("multihot.run.enter.PartialState", lambda: SimpleNamespace(num_processes=num_processes))
    cfg, saved = (OmegaConf.create({"batch_size": 12}) for _ in range(2))
    if size is None:
        with pytest.raises(InputError, match="batches of 24 images in all processes, which 5 processes cannot share"):
            keep_global_batch(cfg, saved, Run(tmp_path))
        return
    keep_global_batch(cfg, saved, Run(tmp_path))
    assert (cfg.batch_size, saved.batch_size) == (size, size)


def test_a_requeued_job_finds_its_folder(train, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    best = train("epochs=1")
    assert train("epochs=1") == best
    assert [path.name[:9] for path in tmp_path.iterdir()] == ["slurm-77-"]
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    train("epochs=0")
    assert len(list(tmp_path.glob("slurm-70_3-*/last"))) == 1


def test_a_second_ctrl_c_ends_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background lets it be ignored
    with interrupt.noting_signals() as stop:
        stop.note(signal.SIGINT, None)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
