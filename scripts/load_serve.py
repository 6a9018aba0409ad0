"""Asks a server on this machine as fast as it answers, in turn with the same run's model without a server.

python scripts/load_serve.py runs/<name> photos --clients 32 --seconds 10 --rounds 3
"""

import argparse
import http.client
import itertools
import logging
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil
import torch

from multihot.prediction.answer_images import compute
from multihot.prediction.images import list_images, without_answers
from multihot.prediction.lanes import open_lanes
from multihot.prediction.pictures import Pictures, read_batch
from multihot.prediction.predictor import Predictor, open_predictor
from multihot.run.folder import load_run

NUM_IMAGES = 256
BOUNDARY = "between-the-parts"


def create_body(path: str) -> bytes:
    """Returns a form with one image."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{Path(path).name}"\r\n\r\n'
    return head.encode() + Path(path).read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(port: int, bodies: Sequence[bytes], start: int, end: float, latencies: list[float]) -> None:
    """Sends one image after another until the time is over, and notes the seconds of each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for body in itertools.islice(itertools.cycle(bodies), start, None):
        begin = time.perf_counter()
        if begin > end:
            break
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        latencies.append(time.perf_counter() - begin)
    connection.close()


def load(
    server: psutil.Process, port: int, bodies: Sequence[bytes], num_clients: int, seconds: float
) -> tuple[float, float, float]:
    """Returns images a second of so many clients, the median seconds of an answer, and the CPU seconds of an image."""
    latencies: list[float] = []
    start, before = time.perf_counter(), cpu_seconds(server)
    clients = [
        threading.Thread(target=ask, args=(port, bodies, 7 * number, start + seconds, latencies))
        for number in range(num_clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    spent = cpu_seconds(server) - before
    return len(latencies) / (time.perf_counter() - start), statistics.median(latencies), spent / len(latencies)


def cpu_seconds(process: psutil.Process) -> float:
    """Returns what a process has computed, of all its threads; others on the machine do not change it much."""
    times = process.cpu_times()
    return times.user + times.system


def predict(predictor: Predictor, images: Sequence[str], batch_size: int, seconds: float) -> tuple[float, float]:
    """Returns images a second, and the CPU seconds of one, as scripts/predict.py reads and computes them."""
    pictures = Pictures(without_answers(images, predictor.labels), predictor)
    rows = [range(start, start + batch_size) for start in range(0, len(images) - batch_size + 1, batch_size)]
    start, before, num_done = time.perf_counter(), cpu_seconds(psutil.Process()), 0
    with open_lanes(predictor.accelerator.device) as run:
        jobs = (partial(compute, predictor, partial(read_batch, pictures, each)) for each in itertools.cycle(rows))
        for batch, _ in run(jobs):
            num_done += len(batch.pixels)
            if time.perf_counter() - start > seconds:
                break
        seconds = time.perf_counter() - start
    return num_done / seconds, (cpu_seconds(psutil.Process()) - before) / num_done


def time_alone(action: Callable[[int], object], seconds: float) -> float:
    """Returns the median seconds of an action that is called with 0, 1, ..."""
    spent, end = [], time.perf_counter() + seconds
    for number in itertools.count():
        start = time.perf_counter()
        if start > end:
            return statistics.median(spent)
        action(number)
        spent.append(time.perf_counter() - start)
    raise AssertionError


def start_server(run: str) -> tuple[subprocess.Popen, int]:
    """Returns a server and its port, once it answers."""
    command = [sys.executable, "scripts/serve.py", f"run={run}", "port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if line.startswith("http://"):
            threading.Thread(target=server.stdout.read, daemon=True).start()
            return server, int(line.split(":")[2].split()[0])
    raise SystemExit("the server has not begun")


def main() -> None:
    """Prints images a second and milliseconds of each round, and their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("images")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("multihot").setLevel(logging.WARNING)
    images = list_images(options.images, "image", None)[:NUM_IMAGES]
    bodies = [create_body(path) for path in images]
    run, trained, labels = load_run(options.run, {})
    server, port = start_server(options.run)
    rows: list[tuple[float, ...]] = []
    try:
        with open_predictor(run, trained, labels) as predictor:
            pictures = Pictures(without_answers(images, labels), predictor)
            pixels = [torch.from_numpy(pictures[row][0])[None] for row in range(16)]
            ask_server = partial(load, psutil.Process(server.pid), port, bodies)
            for _ in range(options.rounds + 1):
                many, plain = (
                    ask_server(options.clients, options.seconds),
                    predict(predictor, images, trained.batch_size, options.seconds),
                )
                one = ask_server(1, options.seconds / 2)[1]
                decoded = time_alone(
                    lambda number: predictor.logits(torch.from_numpy(pictures[number % len(images)][0])[None]),
                    options.seconds / 2,
                )
                model = time_alone(lambda number: predictor.logits(pixels[number % 16]), options.seconds / 2)
                rows.append((many[0], plain[0], many[2], plain[1], one, decoded, model))
                show(options.clients, *rows[-1])
    finally:
        server.terminate()
        server.wait()
    print("the median of all rounds but the first:")
    show(options.clients, *map(statistics.median, zip(*rows[1:], strict=True)))


def show(
    num_clients: int, speed: float, plain: float, cpu: float, plain_cpu: float, one: float, decoded: float, model: float
) -> None:
    """Prints what was measured, and its ratios."""
    print(
        f"{num_clients} clients: {speed:.1f} images/s, without a server {plain:.1f}, ratio {speed / plain:.3f}; "
        f"{1000 * cpu:.1f} ms of CPU an image, without a server {1000 * plain_cpu:.1f}, ratio {plain_cpu / cpu:.3f}\n"
        f"one client: {1000 * one:.1f} ms; decoding and the model {1000 * decoded:.1f} ms, ratio {one / decoded:.3f}; "
        f"the model alone {1000 * model:.1f} ms, ratio {one / model:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
