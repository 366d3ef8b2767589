"""Has OpenAPI documents read by a program beside Marina, and takes what it made of them. Reads no document itself.

Reading one is work in Python for as long as the document likes, up to its bounds: in this process everybody else would
wait for it, in a thread as well as on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from time import monotonic
from typing import Final

import orjson

from core.errors import InvalidInput
from servers.execution.backends.http.openapi.documents import refuse_document
from servers.execution.backends.http.openapi.imports import ImportedDocument
from servers.execution.backends.http.openapi.reader import read_head, read_operation

SECONDS: Final = 30.0
"""For one document, from when it has its turn."""
WAIT_SECONDS: Final = 60.0
"""For a turn."""
AT_ONCE: Final = 2
"""Documents that are read at the same time, for each process of Marina."""
MOST_BYTES: Final = 96 * 1024 * 1024
"""Of what is made of a document."""

_PROGRAM: Final = "servers.execution.backends.http.openapi.reader"
_PIECE_BYTES: Final = 256 * 1024
_TURN_SECONDS: Final = 0.002
"""How long the event loop is kept at a time."""

logger = logging.getLogger(__name__)


class Readers:
    """The programs of one process, used from one event loop. Each reads one document and ends."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self, text: bytes, *, fetched_from: str = "") -> ImportedDocument:
        """As ``import_document``, without keeping anybody waiting. Raises ``InvalidInput``."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise refuse_document(
                "Other documents are being read, and this one had no turn. Try again in a minute."
            ) from None
        try:
            async with asyncio.timeout(SECONDS):
                made = await _run(orjson.dumps(fetched_from) + b"\n" + text)
        except TimeoutError:
            raise refuse_document(
                f"The document takes longer than {SECONDS:g} seconds to read. Split it."
            ) from None
        finally:
            self._turns.release()
        return await _taken(made)


async def _run(given: bytes) -> bytes:
    """What the program says to this. It ends with whoever waits for it."""
    # No environment: what Marina has there, its master key among it, is nothing that a document should be near.
    path = ":".join(each for each in sys.path if each)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", _PROGRAM),
        env={"PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        made = await _converse(process, given)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode or not made.endswith(b"\n"):
        logger.error("a document's reader ended early", extra={"returncode": process.returncode})
        raise refuse_document(
            "The document takes more time or memory to read than there is for one. Split it."
        )
    return made


async def _converse(process: asyncio.subprocess.Process, given: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both were asked for")
    writing = asyncio.create_task(_write(process.stdin, given))
    made = bytearray()
    try:
        while piece := await process.stdout.read(_PIECE_BYTES):
            made += piece
            if len(made) > MOST_BYTES:
                raise refuse_document(
                    "The document makes more of tools than there is room for. Pick operations."
                )
        await process.wait()
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    return bytes(made)


async def _write(stream: asyncio.StreamWriter, given: bytes) -> None:
    # One that ends early closes the pipe; its return code tells.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        view = memoryview(given)
        while view:
            stream.write(view[:_PIECE_BYTES])
            view = view[_PIECE_BYTES:]
            await stream.drain()
        stream.close()


async def _taken(made: bytes) -> ImportedDocument:
    """The document again, a few operations at a time: thousands of them would keep the loop for long."""
    head, *lines = made.removesuffix(b"\n").split(b"\n")
    about = orjson.loads(head)
    if fault := about.get("fault"):
        raise InvalidInput(fault["message"], errors=fault["errors"], code=fault["code"])
    operations = []
    turn = monotonic()
    for line in lines:
        operations.append(read_operation(line))
        if monotonic() - turn > _TURN_SECONDS:
            await asyncio.sleep(0)
            turn = monotonic()
    return read_head(about, operations)
