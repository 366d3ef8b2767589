"""A server on loopback that counts who knocks, and a resolver that answers as the corpus of addresses says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.corpora.addresses import ANSWERS
from tests.farside import reply


class Quiet:
    """Listens on loopback, IPv4 and IPv6 on one port, and counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._sockets = _both()
        self.port = int(self._sockets[0].getsockname()[1])
        self._threads = [
            threading.Thread(target=self._accept, args=(each,), daemon=True) for each in self._sockets
        ]
        for thread in self._threads:
            thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.sendall(reply(b"reached"))

    def close(self) -> None:
        for each in self._sockets:
            each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)


def _both() -> list[socket.socket]:
    """What is free of one family may be somebody's of the other: then another is tried."""
    while True:
        six = socket.create_server(("::1", 0), family=socket.AF_INET6)
        try:
            return [six, socket.create_server(("127.0.0.1", six.getsockname()[1]))]
        except OSError:
            six.close()


def resolver() -> Callable[..., Any]:
    """In the place of ``socket.getaddrinfo``: reads numbers as the system does, and knows no other names."""
    real, asked = socket.getaddrinfo, dict.fromkeys(ANSWERS, 0)

    def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
        name = (host.decode() if isinstance(host, bytes) else host).lower()
        if name not in ANSWERS:
            return real(host, port, **{**more, "flags": socket.AI_NUMERICHOST})
        answers = ANSWERS[name]
        addresses = answers[min(asked[name], len(answers) - 1)]
        asked[name] += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo
