"""A web server on loopback that answers each path as a test says, byte for byte: sound, or as no server should."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.oauth.documents import HOST, certify
from tests.turns import step_back


@dataclass(frozen=True)
class Asked:
    """A request as it came. ``target`` is the path with its query; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


Send = Callable[[bytes], None]
Route = Callable[[Asked, Send], None]
"""Writes what is answered. The connection is closed after it unless the answer says how long it is."""


def reply(
    body: bytes = b"",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "text/plain",
) -> bytes:
    """A sound answer."""
    lines = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


@dataclass
class FarSide:
    """``asked`` are the requests so far, ``connections`` counts who connected, ``ended`` those of
    them that are closed. ``over`` is set when the test ends. ``last``: its threads leave the processors to all others,
    as if it were a machine of its own."""

    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    authority: Path | None = None
    last: bool = False
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _socket: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}" if self.authority is None else f"https://{HOST}:{self.port}"

    def serve(self, path: str, answer: bytes | Route) -> str:
        """Answer so at a path, whatever its query. Gives the address."""
        if isinstance(answer, bytes):
            said = answer
            self.routes[path] = lambda asked, send: send(said)
        else:
            self.routes[path] = answer
        return self.origin + path

    def stop(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def accept(self) -> None:
        """Serve until stopped, each connection in a thread of its own."""
        context = None
        if self.authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            folder = self.authority.parent
            context.load_cert_chain(folder / "server.pem", folder / "server.key")
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection, peer, context), daemon=True).start()

    def _talk(self, connection: socket.socket, peer: tuple[str, int], context: ssl.SSLContext | None) -> None:
        if self.last:
            step_back()
        try:
            self._converse(connection, peer, context)
        finally:
            with self._counting:
                self.ended += 1

    def _converse(
        self, connection: socket.socket, peer: tuple[str, int], context: ssl.SSLContext | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline():
                    method, target, _ = line.decode("latin-1").split(" ", 2)
                    headers = {}
                    while (line := lines.readline().strip()) != b"":
                        name, _, value = line.decode("latin-1").partition(":")
                        headers[name.strip().lower()] = value.strip()
                    body = lines.read(int(headers.get("content-length", 0)))
                    asked = Asked(method, target, headers, body, peer)
                    self.asked.append(asked)
                    if not self._answer(asked, connection):
                        return

    def _answer(self, asked: Asked, connection: socket.socket) -> bool:
        sent = bytearray()

        def send(data: bytes) -> None:
            if len(sent) < 4_096:
                sent.extend(data[:4_096])
            connection.sendall(data)

        route = self.routes.get(asked.path)
        if route is None:
            send(reply(b"there is no such page", status=404))
        else:
            route(asked, send)
        return b"Content-Length: " in sent


@contextmanager
def far_side(folder: Path | None = None) -> Iterator[FarSide]:
    """A server for the length of a test; with a folder over TLS, by an ``authority`` whose certificate is there."""
    authority = None
    if folder is not None:
        authority = folder / "authority.pem"
        if not authority.exists():
            certify(folder)
    server = FarSide(authority=authority)
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
