"""The host's pipes: lines in, lines out, each in a thread of its own. Knows nothing of what the lines say.

Threads, because a pipe may be a file, a terminal or a Windows handle, which event loops cannot watch, and
because a host that does not read must not stop the loop that answers signals.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

MAX_LINE: Final = 16 * 1024 * 1024
"""The longest line, in bytes, in either direction."""
_CHUNK: Final = 64 * 1024
_MOST_UNREAD: Final = 200


class LineTooLong:
    """Stands for a line that was longer than ``MAX_LINE`` and was thrown away."""


class Lines:
    """The lines of a file descriptor, one at a time: nothing is read ahead while a line is worked on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | LineTooLong | None] = asyncio.Queue(maxsize=1)

    async def __aiter__(self) -> AsyncIterator[bytes | LineTooLong]:
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        while (line := await self._lines.get()) is not None:
            yield line

    def _read(self) -> None:
        # The loop has ended where these are raised: nobody waits for lines any more.
        with suppress(RuntimeError, asyncio.CancelledError):
            for line in self._split():
                self._put(line)
            self._put(None)

    def _put(self, line: bytes | LineTooLong | None) -> None:
        turn = self._lines.put(line)
        try:
            asyncio.run_coroutine_threadsafe(turn, self._loop).result()
        except RuntimeError:
            turn.close()
            raise

    def _split(self) -> Iterator[bytes | LineTooLong]:
        buffer = bytearray()
        is_skipping = False
        while chunk := self._chunk():
            searched = len(buffer)
            buffer += chunk
            start = 0
            while (end := buffer.find(b"\n", max(start, searched))) >= 0:
                if not is_skipping:
                    yield bytes(buffer[start:end])
                start, is_skipping = end + 1, False
            del buffer[:start]
            if len(buffer) > MAX_LINE:
                if not is_skipping:
                    yield LineTooLong()
                is_skipping = True
            if is_skipping:
                buffer.clear()
        if buffer and not is_skipping:
            yield bytes(buffer)

    def _chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:
            return b""


class LineWriter:
    """Writes whole lines, in the order they were given. ``broken`` is set once nobody reads any more."""

    def __init__(self, descriptor: int) -> None:
        self.broken = asyncio.Event()
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="stdout", daemon=True).start()

    async def write(self, line: bytes) -> None:
        """Write ``line``, and return when it is written: who waits here reads no more from the server."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._lines.put((line + b"\n", written))
        await written

    def _write(self) -> None:
        is_broken = False
        while True:
            line, written = self._lines.get()
            if not is_broken:
                is_broken = not write_all(self._descriptor, line)
            try:
                self._loop.call_soon_threadsafe(self._finish, written, is_broken)
            except RuntimeError:
                return

    def _finish(self, written: asyncio.Future[None], is_broken: bool) -> None:
        if not written.done():
            written.set_result(None)
        if is_broken:
            self.broken.set()


class Journal:
    """Lines for people on stderr. A host that never reads them loses some, and stops nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(maxsize=_MOST_UNREAD)
        threading.Thread(target=self._write, name="stderr", daemon=True).start()

    def note(self, text: str) -> None:
        """One line. Control characters of a server do not reach the terminal."""
        clean = "".join(letter if letter.isprintable() else " " for letter in text)
        with suppress(queue.Full):
            self._lines.put_nowait(f"marina-stdio: {clean}\n".encode(errors="replace"))

    async def flush(self, seconds: float) -> None:
        """Wait until the lines are out, but not for ever."""
        flushed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            self._lines.join()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(flushed.set)

        threading.Thread(target=tell, name="flush", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(flushed.wait(), seconds)

    def _write(self) -> None:
        while True:
            write_all(self._descriptor, self._lines.get())
            self._lines.task_done()


def write_all(descriptor: int, data: bytes) -> bool:
    """Write all of it. False where the other end has gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except OSError:
            return False
    return True
