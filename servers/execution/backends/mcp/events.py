"""Reads a stream of server-sent events (WHATWG HTML, section 9.2) in pieces. Pure: opens nothing."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``id`` is ``None`` where none was given, ``retry`` is in milliseconds."""

    data: str
    id: str | None
    retry: int | None


class EventReader:
    """Takes pieces of a stream and gives its events. What the stream may hold is bounded by whoever reads it."""

    __slots__ = ("_data", "_decoder", "_id", "_line", "_retry", "_skip")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None
        self._skip = False

    def feed(self, piece: bytes) -> Iterator[Event]:
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
            line = "".join(self._line)
            self._line = [following]
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if not line:
            if not self._data and self._id is None and self._retry is None:
                return None
            event = Event("\n".join(self._data), self._id, self._retry)
            self._data, self._id, self._retry = [], None, None
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 9:
            self._retry = int(value)
        return None
