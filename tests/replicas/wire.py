"""Reads and copies HTTP/1.1 messages as bytes. For the round-robin proxy only; judges nothing it carries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

_HEAD_END = b"\r\n\r\n"
_PIECE = 64 * 1024
# What speaks of one connection only, and so is not passed on.
_OF_ONE_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection"}


class Broken(Exception):
    """The side that was read from ended before its message did."""


class Reader(asyncio.StreamReader):
    """A stream that also tells, unread, that its other side has gone."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Any) -> None:
        super().set_exception(exc)
        self.gone.set()


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and the header lines after it, as they came."""

    start: bytes
    lines: tuple[bytes, ...]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head:
        """The next message's head. Raises ``Broken`` where there is none."""
        try:
            raw = await reader.readuntil(_HEAD_END)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as fault:
            raise Broken from fault
        start, *lines = raw[: -len(_HEAD_END)].split(b"\r\n")
        return cls(start, tuple(lines))

    def get(self, name: bytes) -> bytes:
        """A header's value, empty where it is missing."""
        for line in self.lines:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return b""

    @property
    def status(self) -> int:
        """A response's status."""
        return int(self.start.split(b" ", 2)[1])

    @property
    def method(self) -> str:
        """A request's method."""
        return self.start.split(b" ", 1)[0].decode("latin-1")

    @property
    def path(self) -> str:
        """A request's target without its query."""
        return self.start.split(b" ")[1].partition(b"?")[0].decode("latin-1")

    @property
    def is_upgrade(self) -> bool:
        """Whether the connection is to become something else (a WebSocket)."""
        return b"upgrade" in self.get(b"connection").lower()

    def encode(self, connection: bytes) -> bytes:
        """The same bytes, with a ``Connection`` header of ours."""
        kept = [line for line in self.lines if line.partition(b":")[0].lower() not in _OF_ONE_CONNECTION]
        return b"\r\n".join((self.start, *kept, b"Connection: " + connection)) + _HEAD_END


async def copy_body(
    head: Head, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, until_end: bool
) -> None:
    """Pass the message's body on, each piece as it comes. ``until_end``: without a length it ends with its side.

    Raises ``Broken`` where the source ends too soon, and ``OSError`` where the sink has gone.
    """
    if b"chunked" in head.get(b"transfer-encoding").lower():
        await _copy_chunks(source, sink)
    elif length := head.get(b"content-length"):
        await _copy_length(int(length), source, sink)
    elif until_end:
        await copy_rest(source, sink)


async def copy_rest(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass on whatever comes until the source ends."""
    while piece := await _read(source.read(_PIECE)):
        sink.write(piece)
        await sink.drain()


async def _copy_length(length: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while length:
        piece = await _read(source.read(min(length, _PIECE)))
        if not piece:
            raise Broken
        length -= len(piece)
        sink.write(piece)
        await sink.drain()


async def _copy_chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while True:
        line = await _read(source.readuntil(b"\r\n"))
        size = int(line.split(b";")[0], 16)
        # The last chunk is followed by an empty line: trailers are sent by nobody here.
        rest = await _read(source.readexactly(size + 2))
        sink.write(line + rest)
        await sink.drain()
        if size == 0:
            return


async def _read(reading: Any) -> bytes:
    try:
        read: bytes = await reading
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as fault:
        raise Broken from fault
    return read
