"""Has OpenAPI documents read by a program beside Marina, and takes what it made of them. Reads no document itself.

Reading one is work in Python for as long as the document likes, up to its bounds: in this process everybody else would
wait for it, in a thread as well as on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO, Final

import orjson

from core.errors import InvalidInput
from core.finishing import heed
from core.programs import start_program
from servers.execution.backends.http.openapi.documents import refuse_document
from servers.execution.backends.http.openapi.imports import ImportedDocument
from servers.execution.backends.http.openapi.reader import read_head, read_operation

SECONDS: Final = 55.0
"""For one document, from when it has its turn: by the clock, for where others take the processors. The program has a
bound of its own, of what it takes of them."""
WAIT_SECONDS: Final = 60.0
"""For a turn: longer than a document takes."""
AT_ONCE: Final = 2
"""Documents that are read at the same time, for each process of Marina."""
MOST_BYTES: Final = 96 * 1024 * 1024
"""Of what is made of a document."""

_PROGRAM: Final = "servers.execution.backends.http.openapi.reader"

logger = logging.getLogger(__name__)


class Readers:
    """The programs of one process, used from one event loop. Each reads one document and ends."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self, text: Sequence[bytes], *, fetched_from: str = "") -> ImportedDocument:
        """As ``import_document``, without keeping anybody waiting; the text is in pieces, as it came.

        Raises ``InvalidInput``.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise refuse_document(
                "Other documents are being read, and this one had no turn. Try again in a minute."
            ) from None
        try:
            async with asyncio.timeout(SECONDS):
                return await _Reading([orjson.dumps(fetched_from), b"\n", *text]).done()
        except TimeoutError:
            raise refuse_document(
                f"The document was not read within {SECONDS:g} seconds. Where this machine has much to do, try again "
                "later; otherwise split it."
            ) from None
        finally:
            self._turns.release()


class _Reading:
    """One run of the program, in a thread: megabytes go each way, and operations are made of them.

    The loop would start the program by a fork, which takes 20 ms and more with what a web process holds; a thread has
    it started without one (``vfork``), for 2. What is made of bytes in the thread others may interrupt.
    """

    def __init__(self, given: Sequence[bytes]) -> None:
        self._given = given
        self._program: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    async def done(self) -> ImportedDocument:
        """What comes of it. The program ends with whoever waits for it."""
        work = asyncio.ensure_future(asyncio.to_thread(self._run))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._unwanted = True
            if self._program is not None:
                self._program.kill()
            await asyncio.wait([work])
            heed(work)
            raise

    def _run(self) -> ImportedDocument:
        with start_program(_PROGRAM) as program:
            self._program = program
            try:
                return self._converse(program)
            except _EndedEarly:
                returncode = program.wait()
            finally:
                program.kill()
        if not self._unwanted:
            logger.error("a document's reader ended early", extra={"returncode": returncode})
        raise refuse_document(
            "The document takes more time or memory to read than there is for one. Split it."
        )

    def _converse(self, program: subprocess.Popen[bytes]) -> ImportedDocument:
        """Say what there is to read, and take what is made of it."""
        if program.stdin is None or program.stdout is None:
            raise AssertionError("both were asked for")
        # One that ends early closes the pipe; its return code tells.
        with contextlib.suppress(BrokenPipeError), program.stdin as pipe:
            for piece in self._given:
                if self._unwanted:
                    raise _EndedEarly
                pipe.write(piece)
        lines = _lines(program.stdout)
        about = orjson.loads(next(lines, b"null"))
        operations = [read_operation(line) for line in lines]
        if about is None or program.wait():
            raise _EndedEarly
        if fault := about.get("fault"):
            raise InvalidInput(fault["message"], errors=fault["errors"], code=fault["code"])
        return read_head(about, operations)


class _EndedEarly(Exception):
    """The program did, or nobody wants any more what it makes."""


def _lines(pipe: IO[bytes]) -> Iterator[bytes]:
    left = MOST_BYTES
    while line := pipe.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise refuse_document("The document makes more of tools than there is room for. Pick operations.")
        if not line.endswith(b"\n"):
            raise _EndedEarly
        yield line
