"""Reads what a process writes, line by line, and no faster than it may write. Knows no message.

A process that writes more waits: what is not read stays in the pipe, and that is small.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from core.pace import Pace

BYTES_A_SECOND: Final = 8_388_608
LINES_A_SECOND: Final = 2_000
_REST_SECONDS: Final = 0.05
"""At least, so that whoever writes without end wakes nobody all the time."""
_AT_ONCE: Final = 64
"""Lines, before others run."""
_PIECE: Final = 16_384


class WritingPace:
    """How much one process may write: each byte and each line takes its part of a second."""

    def __init__(self) -> None:
        self._used = Pace(1.0)
        self._lines = 0
        """Since others were let run."""
        self.free = False
        """Whether it is over: what is left of its words is little, and need not wait."""

    async def use(self, size: int) -> None:
        """Count bytes that were read. Then others run; and it is waited where more was read than may be."""
        await self._use(size / BYTES_A_SECOND)

    async def use_line(self) -> None:
        """Count a line. Others run after some of them."""
        self._lines += 1
        if self._lines == _AT_ONCE:
            await self._use(0)

    async def _use(self, seconds: float) -> None:
        ahead = self._used.count(seconds + self._lines / LINES_A_SECOND)
        self._lines = 0
        if self.free:
            ahead = 0.0
        await asyncio.sleep(max(ahead, _REST_SECONDS) if ahead > 0 else 0)


async def lines_of(
    stream: asyncio.StreamReader, pace: WritingPace, *, most: int
) -> AsyncGenerator[tuple[bytes, bool]]:
    """Each line, without its end. One of ``most`` bytes and more comes in parts: ``False`` is with all but the last."""
    line = bytearray()
    while piece := await stream.read(_PIECE):
        start = 0
        while start < len(piece):
            stop = min(len(piece), start + most - len(line))
            end = piece.find(b"\n", start, stop)
            line += piece[start : stop if end < 0 else end]
            start = stop if end < 0 else end + 1
            if end >= 0 or len(line) >= most:
                yield bytes(line), end >= 0
                line.clear()
                await pace.use_line()
        await pace.use(len(piece))
    if line:
        yield bytes(line), True
