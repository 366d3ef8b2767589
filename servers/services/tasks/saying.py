"""What a tool says while it runs as a task, its progress and its log messages: the newest, within bounds. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from servers.execution.contract import LogLevel

MAX_LINES: Final = 200
MAX_BYTES: Final = 64 * 1024
"""Of all lines together; the oldest go."""

LINE_CHARACTERS: Final = 2_000
LOGGER_CHARACTERS: Final = 100

_EACH: Final = 80
"""Bytes that a line takes beside its text, about."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said: a log message, with ``level`` and ``logger``, or progress, with ``progress``."""

    at: datetime
    text: str
    level: str = ""
    logger: str = ""
    progress: float | None = None
    total: float | None = None

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return _EACH + len((self.text + self.logger).encode("utf-8", "replace"))


@dataclass(slots=True)
class Said:
    """The newest lines, oldest first. ``dropped`` is how many came before them and are not kept."""

    lines: deque[Line] = field(default_factory=deque)
    dropped: int = 0
    _size: int = 0

    @property
    def furthest(self) -> Line | None:
        """The newest of the lines that say how far it is."""
        return next((each for each in reversed(self.lines) if each.progress is not None), None)

    def progressed(self, progress: float, total: float | None, message: str) -> None:
        """Keep how far it was."""
        self._add(Line(datetime.now(UTC), _text(message), progress=progress, total=total))

    def logged(self, level: LogLevel, data: Any, logger: str) -> None:
        """Keep a log message; what is no text is written as JSON."""
        self._add(Line(datetime.now(UTC), _text(data), level=level, logger=logger[:LOGGER_CHARACTERS]))

    def snapshot(self) -> Said:
        """What was said up to now, for another thread."""
        return Said(deque(self.lines), self.dropped)

    def to_bytes(self) -> bytes:
        """As it is sealed."""
        lines = [
            [each.at, each.text, each.level, each.logger, each.progress, each.total] for each in self.lines
        ]
        return orjson.dumps({"dropped": self.dropped, "lines": lines})

    @classmethod
    def from_bytes(cls, clear: bytes) -> Said:
        """The other direction of ``to_bytes``; nothing where nothing was kept."""
        said = cls()
        if clear:
            given: Mapping[str, Any] = orjson.loads(clear)
            for at, text, level, logger, progress, total in given["lines"]:
                said._add(Line(datetime.fromisoformat(at), text, level, logger, progress, total))
            said.dropped = given["dropped"]
        return said

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self._size += line.size
        while len(self.lines) > MAX_LINES or self._size > MAX_BYTES:
            self._size -= self.lines.popleft().size
            self.dropped += 1


def _text(data: Any) -> str:
    if isinstance(data, str):
        text = data
    else:
        try:
            text = orjson.dumps(data, default=str).decode()
        except TypeError:
            text = repr(data)
    # Lone surrogates have no UTF-8.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LINE_CHARACTERS else f"{text[: LINE_CHARACTERS - 1]}…"
