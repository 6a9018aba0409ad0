"""Whether a server can be reached, found out before something waits for it much longer."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

CONNECT_SECONDS = 5.0


def answers(url: str) -> bool:
    """Returns whether a server takes a connection; behind a proxy it is taken for granted."""
    address = urlsplit(url)
    try:
        if not getproxies():
            socket.create_connection((address.hostname, address.port or 443), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
