"""A small HTTP/2 server over TLS on loopback: it echoes, sends without end, resets a stream, goes away, is silent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.oauth.documents import HOST, certify


@dataclass(frozen=True)
class Http2Server:
    """Where it is, and whose certificate it shows."""

    origin: str
    authority: Path


@contextmanager
def http2_server(folder: Path) -> Iterator[Http2Server]:
    """``/echo`` gives method, path and body back; the other paths are faults."""
    certify(folder)
    listening = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.set_alpn_protocols(["h2"])

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_talk, args=(connection, context), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield Http2Server(f"https://{HOST}:{listening.getsockname()[1]}", folder / "authority.pem")
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def _talk(connection: socket.socket, context: ssl.SSLContext) -> None:
    with (
        contextlib.suppress(OSError, h2.exceptions.ProtocolError),
        context.wrap_socket(connection, server_side=True) as sealed,
    ):
        state = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        state.initiate_connection()
        sealed.sendall(state.data_to_send())
        lines: dict[int, str] = {}
        bodies: dict[int, bytes] = {}
        endless: set[int] = set()
        while data := sealed.recv(65_536):
            for event in state.receive_data(data):
                match event:
                    case h2.events.RequestReceived(stream_id=int(stream), headers=list(headers)):
                        named = {str(name): str(value) for name, value in headers}
                        lines[stream], bodies[stream] = f"{named[':method']} {named[':path']}", b""
                    case h2.events.DataReceived(stream_id=int(stream), data=bytes(piece)):
                        bodies[stream] += piece
                        state.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                    case h2.events.StreamEnded(stream_id=int(stream)):
                        _answer(state, stream, lines[stream], bodies[stream], endless)
                    case h2.events.StreamReset(stream_id=int(stream)):
                        endless.discard(stream)
            for stream in list(endless):
                while (room := min(state.local_flow_control_window(stream), 16_384)) > 0:
                    state.send_data(stream, b"x" * room)
            sealed.sendall(state.data_to_send())


def _answer(
    state: h2.connection.H2Connection, stream: int, line: str, body: bytes, endless: set[int]
) -> None:
    if "/reset" in line:
        state.reset_stream(stream)
    elif "/away" in line:
        state.close_connection()
    elif "/silent" not in line:
        state.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        if "/endless" in line:
            endless.add(stream)
        else:
            state.send_data(stream, f"{line} ".encode() + body, end_stream=True)
