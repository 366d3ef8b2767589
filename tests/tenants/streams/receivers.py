"""Receivers of streams on loopback: HTTP by ``tests.farside``, syslog over TLS here. What verifies is written apart."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.farside import Asked
from tests.oauth.documents import HOST, certify


def signed_by(asked: Asked, secret: str) -> bool:
    """Whether one of the request's signatures is by this secret: Standard Webhooks, in a few lines of its own."""
    key = base64.b64decode(secret.split("_", 1)[1])
    content = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.{asked.body.decode()}"
    made = base64.b64encode(hmac.new(key, content.encode(), hashlib.sha256).digest()).decode()
    return f"v1,{made}" in asked.headers["webhook-signature"].split(" ")


def seqs_in(asked: Asked) -> list[int]:
    """The numbers of the records in a webhook."""
    return [each["seq"] for each in json.loads(asked.body)["records"]]


def verified(lines: list[dict[str, Any]]) -> int:
    """The last number of a chain of lines, each hashed by what an auditor knows of it alone."""
    previous = None
    for line in lines:
        body = json.dumps(line["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        head = struct.pack(
            ">16sQQqQ", b"marina.audit.v1\0", line["tenant"], line["seq"], line["at_us"], len(body)
        )
        digest = hashlib.sha256(head + body + bytes.fromhex(line["prev"])).hexdigest()
        assert digest == line["hash"], line
        assert previous is None or line["prev"] == previous
        previous = digest
    return int(lines[-1]["seq"])


@dataclass
class SyslogReceiver:
    """Takes connections over TLS and keeps every message that it read. ``closes``: it answers the end with its own."""

    folder: Path
    closes: bool = True
    says_nothing: bool = False
    """It closes its side of TCP without a word in TLS."""
    leaves_after: int | None = None
    """It closes the connection once so many bytes were read."""
    stalls_after: int | None = None
    """It reads no more once so many bytes were read, and a moment later ends the connection in order."""
    cuts_after: int | None = None
    """Reset the connection once so many bytes were read, this one time."""
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    _socket: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    host = HOST

    def __post_init__(self) -> None:
        certify(self.folder)
        if self.stalls_after is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def authorities(self) -> str:
        return (self.folder / "authority.pem").read_text()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _talk(self, plain: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
            self.connections += 1
            while piece := connection.recv(4096):
                data += piece
                if self.leaves_after is not None and len(data) >= self.leaves_after:
                    return
                if self.stalls_after is not None and len(data) >= self.stalls_after:
                    threading.Event().wait(0.5)
                    plain_end(connection)
                    threading.Event().wait(2)
                    return
                if self.cuts_after is not None and len(data) >= self.cuts_after:
                    self.cuts_after = None
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
            self.messages += unframed(data)
            if self.says_nothing:
                connection.shutdown(socket.SHUT_RDWR)
            elif self.closes:
                connection.unwrap()
            else:
                threading.Event().wait(30)


def plain_end(connection: ssl.SSLSocket) -> None:
    """End our side of TCP, without a word in TLS; what comes can still be read."""
    socket.socket.shutdown(connection, socket.SHUT_WR)


def unframed(data: bytes) -> list[bytes]:
    """Messages by their octet counts (RFC 5425)."""
    found = []
    while data:
        count, _, rest = data.partition(b" ")
        found.append(rest[: int(count)])
        assert len(found[-1]) == int(count), "the last message is not whole"
        data = rest[int(count) :]
    return found


@contextmanager
def syslog_receiver(folder: Path, **how: Any) -> Iterator[SyslogReceiver]:
    """A receiver for the length of a test."""
    receiver = SyslogReceiver(folder, **how)
    thread = threading.Thread(target=receiver.accept, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stop()
        thread.join(10)
