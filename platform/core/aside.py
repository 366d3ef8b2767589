"""One program beside Marina for long work in Python of all teams, one piece a team at a time. Knows no work.

A thread shares the interpreter with the event loop, which asks for it a dozen times a call: beside half a second of
work each of these is a wait. A program has an interpreter of its own, and a bound of its own on memory; what brings it
down brings down nothing else.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from core.beside import Beside
from core.doing import LENGTH, read_exactly
from core.programs import start_program

T = TypeVar("T")

SECONDS: Final = 30.0
"""For one piece of work, by the clock, from when it has its turn."""

_PROGRAM: Final = "core.doing"


class GaveUp(Exception):
    """A piece of work took more time or memory than there is for one, or brought the program down."""


class Aside:
    """The program, and whose turn it is. It begins with the first work, and ends some time after the last."""

    def __init__(self, name: str) -> None:
        # The thread that waits for it: what it gives is made of bytes in there, too.
        self._beside = Beside(name)
        self._program = _Program()
        self._end = weakref.finalize(self, self._program.end)

    async def run(self, work: Callable[[], T], *, team: int) -> T:
        """What ``work`` gives, and raises, which can be pickled, as it can. Raises ``GaveUp``. ``team`` is whose it is.

        Once it has begun, it is done to its end, though nobody may wait for it any more.
        """
        return await self._beside.run(partial(self._program.do, work), team=team)

    def close(self) -> None:
        """End the program and what it does. May be used again."""
        self._program.end()
        self._beside.close()


class _Program:
    """The program's process. One thread at a time has it do something; any may end it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._in_use = threading.Lock()
        self._ends = 0

    def do(self, work: Callable[[], T]) -> T:
        given = pickle.dumps(work)
        with self._in_use:
            ends = self._ends
            # One that was there may have ended, for nobody had wanted anything.
            told = None if self._process is None else self._ask(given, self._process)
            if told is None and ends == self._ends:
                self._process = start_program(_PROGRAM)
                told = self._ask(given, self._process)
            if ends != self._ends:
                self._forget()
        if told is None:
            raise GaveUp
        done, came = told
        if done:
            return came  # type: ignore[no-any-return]
        if isinstance(came, MemoryError):
            raise GaveUp from came
        raise came

    def end(self) -> None:
        """Kill it. Who waits for it forgets it."""
        self._ends += 1
        process = self._process
        if process is not None:
            process.kill()
        if self._in_use.acquire(blocking=False):
            self._forget()
            self._in_use.release()

    def _ask(self, given: bytes, process: subprocess.Popen[bytes]) -> Any:
        """What the program tells of it; ``None`` where it ended, or was ended at its time."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both were asked for")
        until = time.monotonic() + SECONDS
        answers = process.stdout.fileno()

        def read(size: int) -> bytes:
            left = until - time.monotonic()
            return os.read(answers, size) if left > 0 and select.select([answers], [], [], left)[0] else b""

        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(LENGTH.pack(len(given)) + given)
            process.stdin.flush()
            head = read_exactly(LENGTH.size, read)
            body = None if head is None else read_exactly(LENGTH.unpack(head)[0], read)
            if body is not None:
                return pickle.loads(body)  # noqa: S301 - from our own program
        self._forget()
        return None

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Reaps it, and closes its pipes.
            with contextlib.suppress(BrokenPipeError), process:
                pass
