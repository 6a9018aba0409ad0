"""Prints how fast a ViT-tiny trains on the CPU, alone and beside a busy process, by how its threads wait.

python scripts/time_threads.py

Each way is a process of its own, since OpenMP reads its variables once; they train in turn. The busy process has a
session of its own, like one that was started in another terminal: Linux gives each session the same share of a core.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from multihot.processes.threads import VARIABLES, spin_briefly

WAYS = {
    "this package": {},
    "libgomp's own count": {"GOMP_SPINCOUNT": "300000"},
    "10,000": {"GOMP_SPINCOUNT": "10000"},
    "`OMP_WAIT_POLICY=passive`": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = "while True: pass"
BATCH_SIZE = 16


@dataclass(frozen=True)
class Speed:
    """What a way came to in one round."""

    images: float  # a second
    milliseconds: float  # of the processor, an image


def main() -> None:
    """Prints a row a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each way in each round")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)  # what the processes of the ways do
    arguments = parser.parse_args()
    if arguments.train:
        spin_briefly(os.environ)
        answer()
        return
    with ExitStack() as stack:
        processes = [stack.enter_context(start(variables)) for variables in WAYS.values()]
        alone, beside = [], []
        for _ in range(arguments.rounds):
            alone.append([ask(process, arguments.seconds) for process in processes])
            beside.append([ask(process, arguments.seconds, busy=1) for process in processes])
    print_table(alone, beside)


@contextmanager
def start(variables: dict[str, str]):
    """Gives a process that trains when asked, with variables of OpenMP."""
    plain = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "OMP_NUM_THREADS")}
    command = [sys.executable, __file__, "--train"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=plain | variables, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen, seconds: float, busy: int = 0) -> Speed:
    """Lets a process train for some seconds beside so many busy ones."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) for _ in range(busy)]
    try:
        print(seconds, file=process.stdin, flush=True)
        return Speed(*map(float, process.stdout.readline().split()))
    finally:
        for other in others:
            other.kill()
            other.wait()


def answer() -> None:
    """Trains for as many seconds as each line of stdin says, and prints images a second and milliseconds an image."""
    import timm
    import torch

    model = timm.create_model("vit_tiny_patch16_224", num_classes=20)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loss = torch.nn.BCEWithLogitsLoss()
    image, target = torch.randn(BATCH_SIZE, 3, 224, 224), torch.rand(BATCH_SIZE, 20).round()

    def update() -> None:
        loss(model(image), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    update()
    print("ready", flush=True)
    for line in sys.stdin:
        num_images, start_time, start_cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start_time < float(line):
            update()
            num_images += BATCH_SIZE
        computed = (time.process_time() - start_cpu) / num_images * 1e3
        print(num_images / (time.perf_counter() - start_time), computed, flush=True)


def print_table(alone: list[list[Speed]], beside: list[list[Speed]]) -> None:
    """Prints the medians over rounds, and those of the ratios to the first way."""
    print("| | alone, images/s | times | ms of the processor an image | beside a busy process, images/s | times | ms |")
    print("|---|---|---|---|---|---|---|")
    for way, name in enumerate(WAYS):
        print(f"| {name} | {describe(alone, way)} | {describe(beside, way)} |")


def describe(rounds: list[list[Speed]], way: int) -> str:
    """Returns three cells of a table.

    >>> describe([[Speed(8.0, 120.0), Speed(2.0, 400.0)]], 1)
    '2.0 | 0.25 (0.25 to 0.25) | 400'
    """
    ratios = sorted(speeds[way].images / speeds[0].images for speeds in rounds)
    images = median(speeds[way].images for speeds in rounds)
    milliseconds = median(speeds[way].milliseconds for speeds in rounds)
    return f"{images:.1f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {milliseconds:.0f}"


if __name__ == "__main__":
    main()
