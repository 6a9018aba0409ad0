"""Kills a short training with SIGKILL at random moments, starts it again each time, and compares the end to the bit.

python scripts/kill_drill.py --kills 50
python scripts/kill_drill.py --kills 5 --processes 2
"""

import argparse
import contextlib
import hashlib
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

SETTINGS = (
    "data.num_images={train:64,val:20,test:10}", "model.kwargs.depth=2", "+model.kwargs.drop_rate=0.2",
    "model.weights=null", "batch_size=8", "epochs=3", "accumulate_steps=2", "augment=light", "ema.decay=0.9",
    "mix.mixup=0.5", "num_workers=1", "checkpoint.every_minutes=0.001", "mixed_precision=no", "kernels=default",
    "tracker=none",
)  # fmt: skip
FOLDER_SECONDS = 120.0  # until a start has made its run folder


def main() -> int:
    """Prints how many kills ended bit-identical; returns 1 if not all did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=count, default=50)
    parser.add_argument("--processes", type=count, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        same = drill(Path(folder), arguments.kills, arguments.processes, random.Random(arguments.seed))
    print(f"{same} of {arguments.kills} kills ended bit-identical ({arguments.processes} processes)")
    return int(same < arguments.kills)


def count(text: str) -> int:
    """Returns a whole number from 1 up; raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text!r}")
    return int(text)


def drill(folder: Path, kills: int, processes: int, moments: random.Random) -> int:
    """Returns how many of the killed trainings ended with the weights, state and history of the unbroken one."""
    child = launch(folder, "unbroken", processes)
    wait_for(folder / "unbroken/.lock", child)
    start = time.perf_counter()
    wait(child)
    seconds = time.perf_counter() - start
    expected = fingerprint(folder / "unbroken")
    same = 0
    for number in range(1, kills + 1):
        name, moment = f"killed{number}", moments.uniform(0, seconds)
        child = launch(folder, name, processes)
        wait_for(folder / name / ".lock", child)
        time.sleep(moment)
        kill(child)
        stood = describe(folder / name)
        wait(launch(folder, name, processes))
        is_same = fingerprint(folder / name) == expected
        same += is_same
        print(f"{number}: killed after {moment:.1f} s ({stood}): {'identical' if is_same else 'DIFFERENT'}", flush=True)
        shutil.rmtree(folder / name)
    return same


def launch(folder: Path, name: str, processes: int) -> subprocess.Popen | int:
    """Returns a training that has been started: a process, or the number of a fork, which need not import again."""
    arguments = ["train.py", *SETTINGS, f"runs_folder={folder}", f"name={name}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        return subprocess.Popen(
            [*launcher, *arguments], cwd=REPO, env=environment | {"ACCELERATE_USE_CPU": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    import_everything()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(REPO)
        sys.argv = arguments
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 1
        with contextlib.suppress(BaseException):
            runpy.run_path(str(REPO / "train.py"), run_name="__main__")
            code = 0
        os._exit(code)
    return child


def import_everything() -> None:
    """Imports what a training needs and draws what it shows, all in one thread: others would not survive the fork."""
    import torchmetrics  # noqa: F401

    import multihot.cli
    import multihot.training.build
    import multihot.training.validation  # noqa: F401
    from multihot.data.readers.digits import create_stamps

    for split in ("train", "val"):
        create_stamps(split)


def wait(child: subprocess.Popen | int) -> None:
    """Waits for the end of a training and asserts that it went well."""
    code = child.wait() if isinstance(child, subprocess.Popen) else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"the training ended with code {code}"


def wait_for(path: Path, child: subprocess.Popen | int) -> None:
    """Waits until a file is there."""
    deadline = time.monotonic() + FOLDER_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came; {child}"
        time.sleep(0.005)


def kill(child: subprocess.Popen | int) -> None:
    """Kills a training with all its processes."""
    number = child.pid if isinstance(child, subprocess.Popen) else child
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.killpg(number, signal.SIGKILL)
    if isinstance(child, subprocess.Popen):
        child.wait()
    else:
        os.waitpid(number, 0)


def describe(run: Path) -> str:
    """Returns where a killed training stood, as its folder tells."""
    from multihot.run.checkpoint import list_checkpoints
    from multihot.seal import read_seal

    seals = [seal for path in list_checkpoints(run / "last") if (seal := read_seal(path))]
    left = sorted(path.name for path in run.glob(".*.new"))
    place = f"epoch {seals[0]['epoch']}, update {seals[0]['update']}" if seals else "no checkpoint"
    return place + (f", while writing {' '.join(left)}" if left else "")


def fingerprint(run: Path) -> str:
    """Returns a hash of weights, optimizer, EMA, random states, history and best model of a finished training."""
    import torch

    digest = hashlib.sha256()
    for path in sorted([*(run / "last").glob("*.safetensors"), run / "best/model.safetensors", run / "history.json"]):
        digest.update(path.name.encode() + path.read_bytes())
    for path in sorted([*(run / "last").glob("*.bin"), *(run / "last").glob("*.pkl")]):
        digest.update(path.name.encode())
        add(digest, torch.load(path, weights_only=False))
    return digest.hexdigest()


def add(digest, value: object) -> None:
    """Adds a value made of dicts, lists, tensors and numbers to a hash."""
    import numpy as np
    import torch

    if isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            add(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            add(digest, item)
    elif isinstance(value, torch.Tensor | np.ndarray):
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


if __name__ == "__main__":
    sys.exit(main())
