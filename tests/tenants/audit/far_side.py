"""A real TCP relay before PostgreSQL whose faults a test switches on: refused, silent, or cut at a chosen moment."""

from __future__ import annotations

import asyncio
import socket
from enum import Enum, auto
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit


class Fault(Enum):
    """What the relay does to the bytes that pass from now on."""

    NONE = auto()
    SILENCE = auto()
    """Nothing passes either way, and nothing is closed."""
    LOSE_REQUEST = auto()
    """The next request is dropped and the connection closed: the server never saw it."""
    LOSE_ANSWER = auto()
    """The next request reaches the server; its answer is dropped and the connection closed."""


class Relay:
    """Listens on a port of its own and passes on to the server of ``url``. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.fault = Fault.NONE
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        # Held as long as the relay is: a port that nothing listens at for a while is soon somebody else's.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self._port: int = self._held.getsockname()[1]

    @property
    def url(self) -> str:
        """The database's URL by way of this relay."""
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    async def __aenter__(self) -> Relay:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self._held.close()

    async def listen(self) -> None:
        """Take connections (again), on the same port."""
        self.fault = Fault.NONE
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, reuse_address=True)

    async def refuse(self) -> None:
        """Close every connection and take no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Close every connection now."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            self._writers |= {writer, to_server}
            await asyncio.gather(
                self._pass(reader, to_server, request=True), self._pass(from_server, writer, request=False)
            )
        except OSError:
            pass
        finally:
            for end in (writer, to_server):
                if end is not None:
                    end.transport.abort()
                    self._writers.discard(end)

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, request: bool
    ) -> None:
        while data := await source.read(65536):
            if self.fault is Fault.SILENCE:
                continue
            if self.fault is (Fault.LOSE_REQUEST if request else Fault.LOSE_ANSWER):
                self.fault = Fault.NONE
                break
            target.write(data)
            await target.drain()
        raise ConnectionResetError
