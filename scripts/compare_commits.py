"""Trains and evaluates a fixed set of runs at two commits and says whether losses, weights and scores are equal.

python scripts/compare_commits.py main~1 main
python scripts/compare_commits.py v1 HEAD --photos "data.path=my.csv data.root=photos model.weights=vit.safetensors"

Everything is compared to the last bit, so both sides are made on this machine with one thread a process. What a commit
came to is kept in --folder, and not made again.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

REPO = Path(__file__).resolve().parents[1]
SMALL = "tracker=none num_workers=0 mixed_precision=no kernels=default epochs=2 log_every=5"
DIGITS = f"{SMALL} data.num_images={{train:320,val:100,test:100}}"
RUNS = {
    "digits": DIGITS,
    "augmented": f"{DIGITS} augment=light mix.mixup=0.5 ema.decay=0.9 accumulate_steps=2 loss=asymmetric",
    "unknown": f"{DIGITS} data.hidden_fraction=0.4 head=csra",
    "decoder": f"{DIGITS} head=ml_decoder data.sampling.strategy=class_balanced",
    "single_label": f"{DIGITS} experiment=digits_single_label",
    "lora": f"{DIGITS} finetune=lora",
    "features": f"{DIGITS} finetune=head",
    "fitted": f"{DIGITS} finetune=lp_ft optimizer.layer_decay=0.8",
    "processes": f"{DIGITS} batch_size=32",
    "resumed": f"{DIGITS} batch_size=8 checkpoint.every_minutes=0.0001",
}  # name -> settings
PHOTOS = f"{SMALL} experiment=photos epochs=1 max_images=200"


def main() -> int:
    """Prints a line for each run; returns 1 if one of them differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another one")
    parser.add_argument("--photos", help="settings of the photos recipe, whose run on 200 images is made too")
    parser.add_argument("--only", nargs="+", choices=(*RUNS, "photos"), help="these runs alone")
    parser.add_argument("--folder", type=Path, default=REPO / "runs/.commits", help="for what is made")
    arguments = parser.parse_args()
    runs = RUNS | ({"photos": f"{PHOTOS} {arguments.photos}"} if arguments.photos else {})
    runs = {name: settings for name, settings in runs.items() if name in (arguments.only or runs)}
    num_different = 0
    for name, settings in runs.items():
        folders = [make_run(arguments.folder, commit, name, settings) for commit in (arguments.before, arguments.after)]
        before, after = map(read_run, folders)
        faults, num_new = compare(before, after), len(after.keys() - before.keys())
        num_different += bool(faults)
        more = f" ({num_new} values are new)" if num_new else ""
        print(f"{name:<14}{'equal to the last bit' if not faults else '; '.join(faults[:5])}{more}", flush=True)
    print(f"{len(runs) - num_different} of {len(runs)} runs are equal")
    return int(num_different > 0)


def make_run(folder: Path, commit: str, name: str, settings: str) -> Path:
    """Returns the run folder of a training and its evaluation at a commit, which are made unless they are there."""
    sha = git("rev-parse", f"{commit}^{{commit}}")
    code, run = folder.absolute() / sha[:12] / "code", folder.absolute() / sha[:12] / name
    if (run / "test/metrics.json").exists():
        return run
    if not code.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", str(code), sha)
    shutil.rmtree(run, ignore_errors=True)
    command = ["train.py", f"name={name}", f"runs_folder={run.parent}", *shlex.split(settings)]
    if name == "resumed":
        stop_in_the_middle(code, command, run)
    call(code, command, num_processes=2 if name == "processes" else 1)
    call(code, ["evaluate.py", f"run={run}", "split=test"])
    return run


def git(*arguments: str) -> str:
    """Returns what git prints; an error of its own ends the script."""
    return subprocess.run(["git", *arguments], cwd=REPO, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def start(code: Path, command: list[str], num_processes: int = 1) -> subprocess.Popen:
    """Returns a script of the code that has been started, one thread a process."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2"] if num_processes > 1 else []
    environment = {**os.environ, "PYTHONPATH": str(code / "src"), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    log = (code.parent / "log.txt").open("a")
    return subprocess.Popen([sys.executable, *launcher, *command], cwd=code, env=environment, stdout=log, stderr=log)


def call(code: Path, command: list[str], num_processes: int = 1) -> None:
    """Waits for a script of the code; ends this one if it fails."""
    exit_code = start(code, command, num_processes).wait()
    if exit_code:
        sys.exit(f"exit code {exit_code} of {shlex.join(command)} in {code}: see {code.parent}/log.txt")


def stop_in_the_middle(code: Path, command: list[str], run: Path) -> None:
    """Stops a training by SIGTERM once it has saved some updates of an epoch."""
    process = start(code, command)
    while process.poll() is None and read_json(run / "last/seal.json").get("batch", 0) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    if process.wait() == 0:
        sys.exit("the training to be stopped in the middle ended before: the machine is too fast for its size")


def read_json(path: Path) -> dict:
    """Returns the content of a file; nothing while it is not there or being replaced."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def read_run(run: Path) -> dict[str, object]:
    """Returns the losses, weights and scores of a run by name."""
    found = {f"best/{name}": value for name, value in read_weights(run / "best/model.safetensors").items()}
    for row in json.loads((run / "history.json").read_text()):
        found |= {f"epoch {row['epoch']} {name}": repr(value) for name, value in row.items()}
    for split in ("val", "test"):
        scores = json.loads((run / split / "metrics.json").read_text())
        found |= {f"{split}/{name}": repr(value) for name, value in scores.items()}
        with (run / split / "labels.csv").open(newline="") as file:
            found |= {
                f"{split}/{row['label']}/{name}": value for row in csv.DictReader(file) for name, value in row.items()
            }
    return found


def read_weights(path: Path) -> Mapping[str, bytes]:
    """Returns the bytes of each tensor of a file."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 (it is no mapping)


def compare(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Returns what is gone or has changed; what is new is no fault.

    >>> compare({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    ['b: 2 -> 3']
    """
    return [
        f"{name}: {'gone' if name not in after else describe_change(before[name], after[name])}"
        for name in before
        if name not in after or before[name] != after[name]
    ]


def describe_change(before: object, after: object) -> str:
    """Returns both values, of tensors only that they differ."""
    return "differs" if isinstance(before, bytes) else f"{before} -> {after}"


if __name__ == "__main__":
    sys.exit(main())
