"""One program beside Marina for long work in Python of all teams, one piece a team at a time. Knows no work.

A thread shares the interpreter with the event loop, which asks for it a dozen times a call: beside half a second of
work each of these is a wait. A program has an interpreter of its own, and a bound of its own on memory; what brings it
down brings down nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import threading
import weakref
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, Final, TypeVar

from core.beside import Beside
from core.doing import CLOCK_SECONDS, ENDING, LAST, READY
from core.programs import start_program

T = TypeVar("T")

START_SECONDS: Final = 20.0
"""For it to begin: a fifth of a second where a processor is free."""
AGAIN_SECONDS: Final = 60.0
"""Before it is begun again where it could not be."""

_PROGRAM: Final = "core.doing"

logger = logging.getLogger(__name__)


class GaveUp(Exception):
    """A piece of work took more time or memory than there is for one, or brought the program down."""


class NotThere(Exception):
    """The program cannot be started, or was ended."""


class Aside:
    """The program, and whose turn it is. It begins with the first work, and ends some time after the last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()
        # A forked process is nobody that its parent's program answers.
        os.register_at_fork(after_in_child=partial(_begin_anew, weakref.ref(self)))

    async def run(self, work: Callable[[], T], *, team: int) -> T:
        """What ``work`` gives, and raises, which can be pickled, as it can. ``team`` is whose it is.

        Raises ``GaveUp`` and ``NotThere``. Once it has begun, it is done to its end, though nobody may wait for it any
        more.
        """
        return await self._beside.run(partial(self._program.do, work), team=team)

    def close(self) -> None:
        """End the program and what it does. May be used again."""
        self._beside.close()
        self._end()
        self._begin()

    def _begin(self) -> None:
        # The thread that waits for it: what it gives is made of bytes in there, too.
        self._beside = Beside(self._name)
        self._program = _Program()
        self._end = weakref.finalize(self, self._program.end)


def _begin_anew(known: weakref.ref[Aside]) -> None:
    aside = known()
    if aside is not None:
        aside._end.detach()  # noqa: SLF001 - its own
        aside._begin()  # noqa: SLF001


class _Program:
    """The program, until it is ended for good. One thread at a time has it do something; any may end it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: Connection | None = None
        self._in_use = threading.Lock()
        self._failed = -AGAIN_SECONDS
        self._over = False

    def do(self, work: Callable[[], T]) -> T:
        given = pickle.dumps(work)
        with self._in_use:
            try:
                done, came = pickle.loads(self._ask(given))  # noqa: S301 - from our own program
            except BaseException:
                # Nobody is to get an answer that was another's.
                self._forget()
                raise
        self._forget_if_over()
        if done:
            return came  # type: ignore[no-any-return]
        if isinstance(came, MemoryError):
            raise GaveUp from came
        raise came

    def end(self) -> None:
        """End it, and whatever it does. Who waits for it clears it away."""
        self._over = True
        process = self._process
        if process is not None:
            process.kill()
        self._forget_if_over()

    def _ask(self, given: bytes) -> bytes:
        for _ in range(2):
            process, asking = self._started()
            told, sent = b"", False
            with _killed_after(process, CLOCK_SECONDS):
                with contextlib.suppress(OSError):
                    asking.send_bytes(given)
                    sent = True
                # Where it ends just now, what it said last is still there.
                with contextlib.suppress(OSError, EOFError):
                    told = asking.recv_bytes()
            if told not in (b"", ENDING):
                if told[:1] == LAST:
                    self._forget()
                return told[1:]
            if self._over:
                raise NotThere
            code = self._forget()
            if sent and not told:
                logger.error("a program beside Marina ended early", extra={"returncode": code})
                raise GaveUp
        raise NotThere

    def _started(self) -> tuple[subprocess.Popen[bytes], Connection]:
        if self._asking is not None and self._asking.poll():
            # It says that it ends, or has ended.
            self._forget()
        if self._process is not None and self._asking is not None:
            return self._process, self._asking
        if monotonic() - self._failed < AGAIN_SECONDS:
            raise NotThere
        try:
            return self._start()
        except (OSError, NotThere) as fault:
            self._forget()
            if not self._over:
                self._failed = monotonic()
                logger.exception(
                    "a program beside Marina cannot be started: threads do its work for a minute"
                )
            raise NotThere from fault

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        asking, theirs = Pipe()
        self._asking = asking
        with theirs:
            process = start_program(_PROGRAM, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._process = process
        said = b""
        with _killed_after(process, START_SECONDS), contextlib.suppress(EOFError):
            said = b"" if self._over else asking.recv_bytes()
        if said != READY:
            raise NotThere(f"it ended with {self._forget()} before it was ready")
        return process, asking

    def _forget(self) -> int | None:
        """End it where it has not ended. Returns how it did, None where there is none."""
        process, self._process = self._process, None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.close()
        if process is None:
            return None
        process.kill()
        return process.wait()

    def _forget_if_over(self) -> None:
        # Whoever of the two comes second finds the lock free.
        if self._over and self._in_use.acquire(blocking=False):
            try:
                self._forget()
            finally:
                self._in_use.release()


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Any:
    """Within, the process is killed once so many seconds are over: whoever waits for it hears that it ended."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as fault:
        # No thread can be had.
        raise NotThere from fault
    try:
        yield
    finally:
        timer.cancel()
