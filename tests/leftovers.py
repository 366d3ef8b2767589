"""What this process has opened and begun since a moment: for tests that say that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit


class Leftovers:
    """What is there when it is made. Afterwards, what is there more.

    Not by number: what an earlier test left to the collector may be closed at any time between, and would
    make room for what the test at hand forgot. Connections to this process's own database and Redis do not count:
    pools and the bus on ``core.loop``'s thread renew them when they like.
    """

    def __init__(self) -> None:
        gc.collect()
        self._files = _open_files()
        self._tasks = asyncio.all_tasks()

    def found(self) -> list[str]:
        files = [told for each in _open_files() - self._files if (told := _told(each))]
        return sorted(files) + [repr(task) for task in asyncio.all_tasks() - self._tasks]

    async def none(self, *, seconds: float = 30) -> None:
        """Wait until there are none; what is still there after `seconds` is told."""
        found = self.found()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while found:
                    await asyncio.sleep(0.01)
                    found = self.found()
        if found:
            gc.collect()
            found = self.found()
        assert not found, found


def _open_files() -> set[str]:
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        # The folder itself, as it was listed, and what ends meanwhile.
        with contextlib.suppress(OSError):
            found.add(f"{each.name}: {os.readlink(each)}")  # noqa: PTH115
    return found


def _told(file: str) -> str:
    """What it is; a connection by both its ends. Nothing of one to the database or to Redis."""
    number, _, what = file.partition(": ")
    if not what.startswith("socket:"):
        return file
    copy = None
    try:
        copy = os.dup(int(number))
        with socket.socket(fileno=copy) as connection:
            copy = None
            ends = []
            for ask in (connection.getsockname, connection.getpeername):
                try:
                    ends.append(ask())
                except OSError as fault:  # It listens, or the other end is gone.
                    ends.append(fault.strerror)
    except OSError:  # Closed meanwhile, as the next look shows.
        if copy is not None:
            os.close(copy)
        return file
    if any(_is_ours(end) for end in ends):
        return ""
    return f"{file} ({ends[0]} to {ends[1]})"


def _is_ours(end: object) -> bool:
    ports = [urlsplit(os.environ[name]).port for name in ("DATABASE_URL", "REDIS_URL")]
    return isinstance(end, tuple) and end[1] in ports
