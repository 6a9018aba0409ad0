#!/usr/bin/env bash
# uvicorn 0.54.0 with --workers 2 answers each request on a kept connection 40 ms later than with one worker.
#
# What it does: with one worker asyncio opens the port and sends small pieces at once (TCP_NODELAY). With several, or
#   with --reload or a socket of one's own, uvicorn makes the socket without naming TCP, and asyncio leaves such sockets
#   as they are. Headers and body of an answer are two writes: the second waits until the client has confirmed the
#   first, which Linux delays by 40 ms.
# One would expect: the same answer in the same time.
# Seen: the median of 30 answers of an empty app is about 1 ms with one worker, and about 41 ms with two.
# For users: a model that takes 35 ms seems to take 75, and more cores, smaller models and other threads change nothing.
#   Make the socket by socket.socket(family, SOCK_STREAM, IPPROTO_TCP) and hand it to Server.run(sockets=[...]), or put
#   a proxy on the same machine before it only after measuring that it is not itself delayed.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0
cat > "$folder/app.py" <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
PYTHON
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from statistics import median


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(connection):
    start = time.perf_counter()
    connection.request("POST", "/", b"x")
    assert connection.getresponse().read() == b"ok"
    return 1000 * (time.perf_counter() - start)


def measure(workers):
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(workers)]
    server = subprocess.Popen([*command, "--log-level", "error"])
    try:
        for _ in range(200):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.connect()
                break
            except OSError:
                time.sleep(0.1)
        return median([ask(connection) for _ in range(40)][10:])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


one, two = measure(1), measure(2)
print(f"one worker: {one:.1f} ms an answer; two workers: {two:.1f} ms")
if not (one < 20 and two > one + 25):
    sys.exit("uvicorn no longer answers later with several workers: correct this finding")
PYTHON
