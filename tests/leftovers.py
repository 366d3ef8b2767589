"""What this process has opened and begun since a moment: for tests that say that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path


class Leftovers:
    """What is there when it is made. Afterwards, what is there more.

    Not by number: what an earlier test left to the collector may be closed at any time between, and would
    make room for what the test at hand forgot.
    """

    def __init__(self) -> None:
        gc.collect()
        self._files = _open_files()
        self._tasks = asyncio.all_tasks()

    def found(self) -> list[str]:
        files = sorted(_open_files() - self._files)
        return files + [repr(task) for task in asyncio.all_tasks() - self._tasks]

    async def none(self, *, seconds: float = 30) -> None:
        """Wait until there are none; what is still there after `seconds` is told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.found():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        gc.collect()
        assert self.found() == []


def _open_files() -> set[str]:
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        # The folder itself, as it was listed, and what ends meanwhile.
        with contextlib.suppress(OSError):
            found.add(f"{each.name}: {os.readlink(each)}")  # noqa: PTH115
    return found
