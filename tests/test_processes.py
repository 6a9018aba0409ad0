"""Several processes are one: the same updates, the same scores; and where one of them fails, all end with its error."""

import atexit
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from multiprocessing.connection import wait
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from compose_once import patch_hydra
from conftest import REPO, SMALL_DIGITS, run_script
from safetensors.torch import load_file

from multihot.data.readers.digits import LABELS
from multihot.errors import InputError
from multihot.evaluation.predictions import Predictions
from multihot.evaluation.scores import evaluate
from multihot.run import sweep

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
PLACES = {  # the function that fails, and at which call
    "reading": ("multihot.data.load_split", 1),
    "training": ("multihot.training.epoch.compute_loss", 3),
    "validation": ("multihot.training.validation.predict", 2),
    "saving": ("multihot.training.trained.save_model", 1),
    "decoding": ("multihot.data.loader.ManifestDataset.__getitems__", 1),
}

SERVER = multiprocessing.get_context("forkserver")  # it does once what is in forked.py: a process takes half a second
SERVER.set_forkserver_preload(["forked"])


@dataclass
class Ended:
    """What processes that were started together came to."""

    codes: list[int]  # by rank
    printed: str  # by all, in the order of time
    at: float  # the last end, in seconds of the monotonic clock


def start_server() -> None:
    """Starts the server of processes, unless it runs; Python 3.11 does not tell it where forked.py is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPO / "tests"), prepend=os.pathsep)
        ensure_running()


def begin(folder: Path, num_processes: int, *arguments: str, failures=None, **environment: str) -> list[BaseProcess]:
    """Starts a script in processes that know of each other by their variables alone, as SLURM starts them.

    All that they print goes to the file log of the folder.

    Args:
        arguments: the script and its overrides.
        failures: rank -> arguments of `fail_at`.
        environment: more variables.
    """
    start_server()
    folder.mkdir(exist_ok=True)
    log, together = folder / "log", {}
    if num_processes > 1:
        together = {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = []
    for rank in range(num_processes):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if together else {}
        failure = (failures or {}).get(rank)
        variables = {**together, **place, **environment}
        processes.append(SERVER.Process(target=run, args=(arguments, variables, log, failure)))
        processes[-1].start()
        atexit.register(processes[-1].kill)  # should a test leave it running: the end of pytest waits for it
    return processes


def launch(folder: Path, num_processes: int, *arguments: str, **options) -> Ended:
    """Starts a script as `begin` does, and waits for the end."""
    processes = begin(folder, num_processes, *arguments, **options)
    running = {process.sentinel for process in processes}
    while running:
        ended = wait(running, timeout=300)
        if not ended:
            for process in processes:
                process.kill()
        running -= set(ended)
    at = time.monotonic()
    for process in processes:
        process.join()
    return Ended([process.exitcode for process in processes], (folder / "log").read_text(), at)


def free_port() -> str:
    """Returns a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run(arguments, environment, log, failure):
    """Runs a script in this process as `python -u` would."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(environment, ACCELERATE_USE_CPU="1", HF_HUB_OFFLINE="1")
    if failure is not None:
        fail_at(*failure)
    sys.argv = list(arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch_hydra(patch)
        runpy.run_path(str(REPO / arguments[0]), run_name="__main__")


def fail_at(place: str, way: str) -> None:
    """Lets this process fail in the middle of a run, by a user's mistake, a bug or a kill, and print when."""
    path, call = PLACES[place]
    owner, _, name = path.rpartition(".")
    owner, calls = resolve_name(owner), count(1)  # a module or a class
    original = getattr(owner, name)

    def failing(*args, **kwargs):
        if next(calls) != call:
            return original(*args, **kwargs)
        print(f"fails at {time.monotonic()}", flush=True)
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        sweep.WAIT = timedelta(seconds=2)  # the others will not fail
        raise {"mistake": InputError, "bug": RuntimeError}[way]("made on purpose")

    setattr(owner, name, failing)


def seconds_to_the_end(ended: Ended) -> float:
    """Returns the time from the failure to the end of the last process."""
    return ended.at - float(re.search(r"fails at ([\d.]+)", ended.printed).group(1))


def errors(printed: str) -> list[str]:
    """Returns what was told as errors, the first first."""
    return re.findall(r"^(?:\[rank\d\]: )?(?:Error(?: \(process \d\))?|\w+Error): .*", printed, flags=re.MULTILINE)


def read_json(path):
    return json.loads(path.read_text())


# The same updates and the same scores

# Updates of 32, 32 and 23 images: the last is 12 + 11 in two processes, 16 + 7 in two batches. The eps of AdamW is not
# small beside the gradients: else their scale would not matter, and the noise of those near 0 would. Half are clipped.
SAME = [setting for setting in SMALL_DIGITS if not setting.startswith(("batch_size", "epochs", "data"))]
SAME += ["data.num_images={train:87,val:33,test:9}", "epochs=2", "augment=light", "start=random", "clip_norm=0.9",
         "optimizer.lr=0.01", "optimizer.weight_decay=0.5", "+optimizer.factory.eps=1e-3"]  # fmt: skip
ATOL = 1e-5  # of weights: rounding moves them by 1e-7, a mean over processes instead of images by 8e-4
WAYS = {  # number of processes, batch_size, accumulate_steps
    "one": (1, 32, 1), "two": (2, 16, 1), "accumulated": (1, 16, 2), "two_accumulated": (2, 8, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a run of each of the WAYS."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (num_processes, batch_size, accumulate_steps) in WAYS.items():
        way = (f"name={name}", f"batch_size={batch_size}", f"accumulate_steps={accumulate_steps}")
        ended = launch(folder / name, num_processes, "train.py", *SAME, f"runs_folder={folder}", *way)
        assert ended.codes == [0] * num_processes, ended.printed
        assert len(list((folder / name / "last").glob("random_states_*"))) == num_processes
    return folder


@pytest.mark.parametrize("name", list(WAYS)[1:])
def test_processes_and_accumulated_batches_make_the_updates_of_one_large_batch(runs, name):
    one, other = (read_json(runs / run / "history.json") for run in ("one", name))
    assert [row["update"] for row in other] == [0, 3, 6]
    weights, expected = (load_file(runs / run / "last/model.safetensors") for run in (name, "one"))
    torch.testing.assert_close(weights, expected, rtol=0, atol=ATOL)
    for loss in ("train/loss", "val/loss"):  # scores jump where rounding changes the order of two logits
        assert [row[loss] for row in other[1:]] == pytest.approx([row[loss] for row in one[1:]], rel=1e-5)


def test_the_scores_of_two_processes_are_those_of_their_saved_predictions(runs):
    predictions = Predictions.load(runs / "two/val")
    assert predictions.space.labels == LABELS
    logits, target = predictions.logits, predictions.target
    again = evaluate(predictions).scores
    scores = read_json(runs / "two/val/metrics.json")
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float()).item()
    assert scores.pop("loss") == pytest.approx(expected, rel=1e-6)
    assert scores.pop("threshold") == 0.5
    assert scores == again
    assert scores["num_images"] == len(logits) == 33
    best = max(read_json(runs / "two/history.json"), key=lambda row: row["val/map"])
    assert {name: best[f"val/{name}"] for name in scores} == scores


@pytest.mark.parametrize("num_processes", [1, 2, 4])  # 16 + 16 + 1 images; the fourth has none
def test_any_number_of_processes_measures_the_same_to_the_bit(runs, tmp_path, num_processes):
    shutil.copytree(runs / "two", tmp_path / "two", ignore=shutil.ignore_patterns("val", "last*"))
    ended = launch(tmp_path / "two", num_processes, "evaluate.py", f"run={tmp_path}/two", "split=val", "resamples=0")
    assert ended.codes == [0] * num_processes, ended.printed
    # an image alone in its batch has other last bits than beside others: all must make the same batches
    for name in ("metrics.json", "labels.csv", "images.json", "predictions.safetensors", "predictions.json"):
        assert (tmp_path / "two/val" / name).read_bytes() == (runs / "two/val" / name).read_bytes()


# One fails


def start(folder: Path, failures) -> Ended:
    """Starts a training of two processes, of which one fails."""
    return launch(folder / "a", 2, "train.py", *SMALL_DIGITS, f"runs_folder={folder}", "name=a", failures=failures)


@pytest.mark.parametrize(
    ("rank", "place"), [(1, "reading"), (1, "training"), (1, "validation"), (0, "training"), (0, "saving")]
)
def test_a_mistake_that_one_process_meets_ends_all_and_is_told_first(tmp_path, rank, place):
    ended = start(tmp_path, {rank: (place, "mistake")})
    assert ended.codes == [1, 1], ended.printed
    assert seconds_to_the_end(ended) < 20  # they would wait for each other for half an hour
    first, *others = errors(ended.printed)
    assert first == f"Error{' (process 1)' * rank}: made on purpose"
    assert ["the connection to another process is lost" in other for other in others] == [True]
    assert "Traceback" not in ended.printed


def test_a_bug_in_one_process_leaves_its_traceback_alone(tmp_path):
    ended = start(tmp_path, {1: ("training", "bug")})
    assert ended.codes == [1, 1], ended.printed
    assert seconds_to_the_end(ended) < 20
    assert [error.partition(":")[0] for error in errors(ended.printed)] == ["RuntimeError", "Error"]
    assert ended.printed.count("Traceback") == 1


def test_a_killed_process_ends_the_other_which_says_so(tmp_path):
    ended = start(tmp_path, {0: ("training", "kill")})
    assert ended.codes == [-signal.SIGKILL, 1], ended.printed
    assert seconds_to_the_end(ended) < 20
    [error] = errors(ended.printed)
    assert "was killed, most often because the memory was full" in error
    assert "Traceback" not in ended.printed


@pytest.mark.parametrize("rank", [0, 1])
def test_a_sweep_ends_where_only_one_process_fails_in_a_job(tmp_path, rank):
    settings = ("-m", "seed=0,1", *SMALL_DIGITS, f"runs_folder={tmp_path}", "name=a")
    ended = launch(tmp_path / "log", 2, "train.py", *settings, failures={rank: ("training", "mistake")})
    assert ended.codes == [1, 1], ended.printed
    assert seconds_to_the_end(ended) < 40
    assert "job failed: made on purpose" in ended.printed
    assert len(list(tmp_path.glob("a-*"))) == 1  # the second job has not begun


def test_torchrun_ends_all_and_the_mistake_is_told_first(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        f"import os, runpy, sys\nsys.path[:0] = [{str(REPO / 'tests')!r}]\n"
        "from test_processes import fail_at\n"
        "if os.environ['RANK'] == '1':\n    fail_at('training', 'mistake')\n"
        "sys.argv[0] = 'train.py'\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    settings = (*SMALL_DIGITS, f"runs_folder={tmp_path}", "name=a")
    result = run_script(str(script), *settings, launcher=TORCHRUN, ACCELERATE_USE_CPU="1")
    ended = Ended([result.returncode], result.stdout + result.stderr, time.monotonic())
    assert ended.codes == [1], ended.printed
    assert seconds_to_the_end(ended) < 30
    assert errors(result.stderr)[0] == "Error (process 1): made on purpose"
    assert "[rank0]: Traceback" not in result.stderr
    assert result.stderr.index("made on purpose") < result.stderr.index("Traceback")  # torchrun's own report
