#!/usr/bin/env bash
# LitServe 0.2.19 answers every request of a batch with the error of one.
#
# What it does: with max_batch_size above 1 the requests of a batch are decoded, predicted and encoded in one go. What
#   decode_request raises for one of them, HTTPException with its status and text too, becomes the answer to all.
# One would expect: the refusal for the request that was refused, as with max_batch_size=1, and answers for the others:
#   decode_request is given one request at a time.
# Seen: four requests at once, one for "broken", which decode_request refuses by HTTPException(400, "cannot read
#   broken"): all four get 400 and this text. Without batches one gets it and three are answered. Behind it both go on.
# For users: one truncated photo is told to everybody who asked in the same moment, as their own fault, the more so the
#   busier the server is. Let decode_request return the error as a value, leave it out in predict, and write it into
#   the answer of that one request; what encode_response raises is in the same one go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litserve==0.2.19 fastapi==0.165.0
cat >"$folder/server.py" <<'PYTHON'
import sys

from fastapi import HTTPException
from litserve import LitAPI, LitServer


class Shout(LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        if request["image"] == "broken":
            raise HTTPException(400, "cannot read broken")
        return request["image"]

    def predict(self, images):
        return [image.upper() for image in images] if isinstance(images, list) else images.upper()

    def encode_response(self, answer):
        return answer


if __name__ == "__main__":
    port, size = map(int, sys.argv[1:])
    batches = {"max_batch_size": size, "batch_timeout": 2.0} if size > 1 else {}
    server = LitServer(Shout(**batches), accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="error")
PYTHON
"$folder/venv/bin/python" - "$folder/server.py" <<'PYTHON'
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def ask(port: int, image: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps({"image": image}).encode(),
                                     {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["detail"]


def ready(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
    except OSError:
        return False


def answers(size: int) -> list[list[tuple[int, str]]]:
    """What four requests at once are answered, first with a broken one among them."""
    port = free_port()
    server = subprocess.Popen([sys.executable, sys.argv[1], str(port), str(size)], start_new_session=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not ready(port):
            if time.monotonic() > until:
                raise SystemExit("the server does not start")
            time.sleep(0.2)
        with ThreadPoolExecutor(4) as pool:
            return [list(pool.map(lambda image: ask(port, image), images))
                    for images in (("cat", "broken", "dog", "car"), ("cat", "dog", "car", "bus"))]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


seen = {size: answers(size) for size in (1, 4)}
for size, (with_broken, without) in seen.items():
    print(f"max_batch_size={size}: cat, broken, dog, car", with_broken, "then", without)
REFUSED = (400, "cannot read broken")
if seen[1][0] != [(200, "CAT"), REFUSED, (200, "DOG"), (200, "CAR")] or seen[4][1][0] != (200, "CAT"):
    raise SystemExit("changed: requests one by one, or without a broken one")
if seen[4][0] != [REFUSED] * 4:
    raise SystemExit("changed: a broken request in a batch")
PYTHON
