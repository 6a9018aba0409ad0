"""Training on SLURM. What needs a SLURM of two nodes is skipped where none answers; the rest makes its surroundings."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO, SMALL_DIGITS, run_script
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file
from test_processes import begin

from multihot.errors import InputError
from multihot.interrupt import CTRL_C, REQUEUE, Interrupted, leave_to_parent
from multihot.processes import cluster
from multihot.processes.cluster import check_devices, find_address, join_slurm, requeued_by_submitit

JOINED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
STEP = {  # what srun tells the fourth of five tasks on three nodes
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """The variables of a process outside of any launcher, given back after the test."""
    outside = {
        name: value for name, value in os.environ.items() if name not in JOINED and not name.startswith("SLURM_")
    }
    monkeypatch.setattr(os, "environ", outside)
    return outside


def joined(environment: dict[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in JOINED if name in environment}


def test_a_task_learns_its_place_as_torchrun_would_tell_it(environment):
    environment.update(STEP)
    join_slurm()
    assert joined(environment) == {
        "RANK": "3",
        "WORLD_SIZE": "5",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "16711",  # 12000 + 4711
    }


def test_an_address_that_is_given_is_kept(environment):
    environment.update(STEP, MASTER_ADDR="10.0.0.1", MASTER_PORT="29500")
    join_slurm()
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("10.0.0.1", "29500")


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},  # a batch script outside of srun
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "RANK": "0"},  # a process of `srun accelerate launch`
        {},
    ],
)
def test_a_process_that_is_alone_or_placed_already_joins_nobody(environment, changes):
    environment.update(changes)
    before = joined(environment)
    join_slurm()
    assert joined(environment) == before


def test_tasks_of_one_srun_work_as_one(tmp_path):
    code = "from multihot.processes.session import start_processes; print(start_processes().num_processes)"
    (tmp_path / "count.py").write_text(code)
    step = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_LOCALID": "0"}
    tasks = []
    for number in map(str, range(2)):
        place = {**step, "SLURM_PROCID": number, "SLURM_NODEID": number}
        tasks += begin(tmp_path / number, 1, f"{tmp_path}/count.py", **place)
    for task in tasks:
        task.join(120)
    assert [(tmp_path / number / "log").read_text().strip() for number in "01"] == ["2", "2"]


def test_a_node_that_the_network_does_not_know_has_the_address_that_slurm_has(monkeypatch):
    monkeypatch.setattr(cluster.socket, "getaddrinfo", lambda *_: exec("raise OSError"))
    answer = SimpleNamespace(stdout="NodeName=gpu07 Arch=x86_64\n   NodeAddr=10.1.2.3 NodeHostName=gpu07\n")
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: answer)
    assert find_address("gpu07") == "10.1.2.3"
    answer.stdout = ""
    with pytest.raises(InputError, match="the node gpu07 is not known in this network; set MASTER_ADDR"):
        find_address("gpu07")


def test_a_task_without_a_gpu_of_its_own_is_told_what_to_ask_for():
    for local_rank, num_devices in ((0, 0), (3, 0), (0, 1), (7, 8)):
        check_devices(local_rank, num_devices)
    with pytest.raises(InputError, match=r"task 1 of this node sees 1 of its GPUs.*--gpus-per-node"):
        check_devices(1, 1)


@pytest.mark.parametrize(
    ("executor", "code", "state", "is_requeued"),
    [
        ("slurm", REQUEUE, "RUNNING", True),
        ("slurm", REQUEUE, "CANCELLED", False),
        ("slurm", REQUEUE, "COMPLETING", False),
        ("slurm", CTRL_C, "RUNNING", False),
        ("local", REQUEUE, "RUNNING", False),
        (None, REQUEUE, "RUNNING", False),
    ],
)
def test_submitit_requeues_what_is_stopped_and_not_what_is_cancelled(
    environment, monkeypatch, executor, code, state, is_requeued
):
    environment.update({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"})
    environment.update({} if executor is None else {"SUBMITIT_EXECUTOR": executor})

    def squeue(command, **_):  # asked for 7, it would answer for the whole array
        assert command[-1] == "--jobs=7_1"
        return SimpleNamespace(stdout=f"{state}\n")

    monkeypatch.setattr(cluster.subprocess, "run", squeue)
    calls = []
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: calls.append(number))
    try:
        with pytest.raises(Interrupted), requeued_by_submitit():
            raise Interrupted(code)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert calls == [signal.SIGUSR2] * is_requeued


def decode_on_and_on(ready) -> None:
    leave_to_parent(0)
    ready.set()
    time.sleep(60)


def test_a_process_that_decodes_images_ends_by_its_parent_alone():
    context = multiprocessing.get_context("fork")  # as DataLoader does where signals go to all processes
    ready = context.Event()
    worker = context.Process(target=decode_on_and_on, args=(ready,))
    worker.start()
    assert ready.wait(60)
    for name in ("TERM", "USR1", "USR2", "INT"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)  # from a process that is not the parent
    worker.join(1)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_the_launcher_composes_and_its_shell_lines_stay_as_they_are():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    changes = ["hydra/launcher=slurm", "hydra.launcher.nodes=2", "hydra.job.name=train", "runs_folder=/scratch/runs"]
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        launcher = compose("train", changes, return_hydra_config=True).hydra.launcher
    settings = OmegaConf.create(OmegaConf.to_container(launcher, resolve=True))  # hydra resolves them twice
    assert OmegaConf.to_container(settings, resolve=True)["setup"][0] == (
        'test "$SLURM_CPUS_PER_TASK" || SLURM_CPUS_PER_TASK=1'
    )
    assert (settings.nodes, settings.submitit_folder) == (2, "/scratch/runs/.submitit/%j")


# From here on with a real SLURM.

slurm = pytest.mark.slurm


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


@pytest.fixture(scope="module")
def nodes() -> None:
    """Skips unless two nodes are there to be used."""
    if shutil.which("sinfo") is None or len(ask("sinfo", "-h", "-N", "-t", "idle,alloc,mix", "-o", "%n").split()) < 2:
        pytest.skip("sinfo does not answer or has fewer than two nodes: this test needs a SLURM")


@pytest.fixture(scope="module")
def unbroken(nodes, tmp_path_factory) -> Path:
    """A run of two processes on this machine, without SLURM."""
    folder = tmp_path_factory.mktemp("unbroken")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    result = run_script(*train_on(folder), launcher=(sys.executable, *torchrun), ACCELERATE_USE_CPU="1")
    assert result.returncode == 0, result.stderr
    return next(folder.glob("a*"))


def train_on(folder: Path, *options: str) -> list[str]:
    return ["train.py", *options, *SMALL_DIGITS, "epochs=8", "num_workers=1", f"runs_folder={folder}", "name=a"]


@pytest.fixture
def submit(nodes, tmp_path):
    """submit("batch") starts a run on two nodes by the script, submit("hydra") by the launcher; returns the job."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = []

    def batch() -> str:
        command = ["sbatch", "--parsable", "--nodes=2", f"--output={tmp_path}/job.out", "scripts/slurm/train.sbatch"]
        command += train_on(tmp_path)[1:]
        return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=True).stdout

    def hydra() -> str:
        options = ("-m", "hydra/launcher=slurm", "hydra.launcher.nodes=2", "hydra.launcher.timeout_min=5")
        command = [sys.executable, *train_on(tmp_path, *options)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, cwd=REPO, env=environment, **quiet))  # it waits for the job
        wait_for(lambda: list(tmp_path.glob(".submitit/*/*_submitted.pkl")))
        return next(tmp_path.glob(".submitit/*/*_submitted.pkl")).parent.name

    jobs = []
    yield lambda way: jobs.append({"batch": batch, "hydra": hydra}[way]().strip()) or jobs[-1]
    for job in jobs:
        ask("scancel", job)
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing after {seconds} seconds"
        time.sleep(0.1)


def is_in(job: str, *states: str) -> bool:
    return any(f"JobState={state} " in ask("scontrol", "show", "job", job) for state in states)


def wait_for_end(job: str) -> None:
    wait_for(lambda: is_in(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"))


def epochs_of(folder: Path) -> list[dict]:
    """Returns the history of the run in a folder, as far as it is written."""
    return [row for path in folder.glob("a*/history.json") for row in json.loads(path.read_text())]


def same(run: Path, other: Path) -> bool:
    """Whether two runs of two processes have the same scores and weights, to the bit."""
    assert len(list((run / "last").glob("random_states_*"))) == 2
    weights = [load_file(folder / "last/model.safetensors") for folder in (run, other)]
    histories = [(folder / "history.json").read_text() for folder in (run, other)]
    return histories[0] == histories[1] and all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


@slurm
@pytest.mark.parametrize("way", ["batch", "hydra"])
def test_two_nodes_train_as_two_processes_of_one_machine(unbroken, submit, tmp_path, way):
    job = submit(way)
    wait_for_end(job)
    [run] = tmp_path.glob("a*")
    assert same(run, unbroken)


@slurm
@pytest.mark.parametrize(("way", "stop"), [("batch", "TERM"), ("batch", "USR1"), ("hydra", "TERM"), ("hydra", "USR2")])
def test_a_job_that_is_stopped_is_requeued_and_ends_as_an_unbroken_one(unbroken, submit, tmp_path, way, stop):
    job = submit(way)
    wait_for(lambda: len(epochs_of(tmp_path)) >= 3)
    ask("scancel", f"--signal={stop}", job)
    wait_for(lambda: is_in(job, "PENDING"))
    [run] = tmp_path.glob("a*")
    assert 3 <= len(epochs_of(tmp_path)) < 9
    time.sleep(3)  # its nodes refuse a job that comes back within a second
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # else SLURM waits two minutes
    wait_for_end(job)
    assert same(run, unbroken)
    assert list(tmp_path.glob("a*")) == [run]


@slurm
@pytest.mark.parametrize("way", ["batch", "hydra"])
def test_a_job_that_is_cancelled_is_saved_and_stays_away(submit, tmp_path, way):
    job = submit(way)
    wait_for(lambda: len(epochs_of(tmp_path)) >= 3)
    ask("scancel", job)
    wait_for_end(job)
    wait_for(lambda: job not in ask("squeue", "-h", "-o", "%A"))
    assert is_in(job, "CANCELLED")
    [run] = tmp_path.glob("a*")
    assert json.loads((run / "last/seal.json").read_text())["epoch"] >= 2
