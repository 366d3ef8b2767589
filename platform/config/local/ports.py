"""Finds and checks loopback ports. Never holds one open for longer than the check takes."""

from __future__ import annotations

import errno
import random
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"

_KEPT: Final = range(16_384, 32_768)
"""Ports that systems give to nobody who does not ask for them: a server that is started again finds its own."""
_TRIES: Final = 50


def find_free_port(host: str = LOOPBACK) -> int:
    """A port that nothing listened on a moment ago, and that no connection of others is given meanwhile."""
    for port in random.sample(_KEPT, _TRIES):
        if why_port_is_unusable(host, port) is None:
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def why_port_is_unusable(host: str, port: int) -> str | None:
    """None where a server could listen on ``host``:``port``; else the reason, as the end of a sentence."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do: connections in TIME_WAIT from the last run do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is taken by another program"
            if error.errno == errno.EACCES:
                return "is reserved for the system's administrator"
            return f"cannot be used here ({error.strerror})"
    return None
