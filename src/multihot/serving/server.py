"""Runs the application until it is told to end."""

import logging
import resource
import signal
import socket

import uvicorn
from fastapi import FastAPI

from multihot.errors import InputError

log = logging.getLogger(__name__)

GRACE = 5  # seconds beyond the limit of a request, for those that are being answered when the server shall end
BACKLOG = 4096  # clients that the system lets wait until they are accepted


def bind(host: str, port: int) -> socket.socket:
    """Returns the socket of an address, where nothing is answered yet; raises InputError if it cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio has only sockets that say TCP send at once; from others each answer waits 40 ms for the client's receipt
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(f"host={host} port={port} cannot be used ({error.strerror}): choose another port=") from error
    return bound


def run_server(app: FastAPI, bound: socket.socket, seconds: float) -> None:
    """Answers until SIGTERM or Ctrl-C: then takes no more requests, finishes those that it has, and returns.

    Args:
        seconds: that a request may take.
    """
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when all is done
    host, port = bound.getsockname()[:2]
    log.info("http://%s:%d answers; Ctrl-C ends it", show_host(host), port)
    create_server(app, seconds).run([bound])


def create_server(app: FastAPI, seconds: float) -> uvicorn.Server:
    """Returns the server of an application."""
    config = uvicorn.Config(
        app, backlog=BACKLOG, log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=int(seconds + GRACE),
    )  # fmt: skip
    return uvicorn.Server(config)


def show_host(host: str) -> str:
    """Returns a host as an address has it.

    >>> show_host("0.0.0.0"), show_host("::1")
    ('localhost', '[::1]')
    """
    name = "localhost" if host in ("0.0.0.0", "::") else host
    return f"[{name}]" if ":" in name else name


def raise_file_limit() -> None:
    """Lets this process have as many connections as the system allows it: each is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
