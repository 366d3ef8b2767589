"""Reads a stream of server-sent events (WHATWG HTML, section 9.2) in pieces. Pure: opens nothing."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

AT_ONCE: Final = 40
"""Lines that are read and handled in a row. Many come in one piece, or in pieces that are all there."""
REST_SECONDS: Final = 0.003
"""After them. A call takes a dozen turns of the loop: had others only one in between, each of these would wait for
as many lines."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``id`` is ``None`` where none was given, ``retry`` is in milliseconds; of most, ``name`` is empty."""

    data: str
    id: str | None
    retry: int | None
    name: str = ""


class EventReader:
    """Takes pieces of a stream and gives its events. What the stream may hold is bounded by whoever reads it."""

    __slots__ = ("_count", "_data", "_decoder", "_id", "_line", "_name", "_retry", "_skip")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._id: str | None = None
        self._name = ""
        self._retry: int | None = None
        self._skip = False
        self._count = 0

    async def feed(self, piece: bytes) -> AsyncGenerator[Event]:
        """The events that end in this piece."""
        text = self._decoder.decode(piece)
        if not text:
            return
        if self._skip and text[0] == "\n":
            # The second half of a line's end that lay across two pieces.
            text = text[1:]
        self._skip = text.endswith("\r")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._line.append(lines[0])
        for following in lines[1:]:
            self._count += 1
            if self._count % AT_ONCE == 0:
                await asyncio.sleep(REST_SECONDS)
            line = "".join(self._line)
            self._line = [following]
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if not line:
            if not self._data and self._id is None and self._retry is None:
                self._name = ""
                return None
            event = Event("\n".join(self._data), self._id, self._retry, self._name)
            self._data, self._id, self._retry, self._name = [], None, None, ""
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 9:
            self._retry = int(value)
        return None
