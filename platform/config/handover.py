"""Hands a client's connection to another process of Marina, with what was read of it: its request goes on there.

What crosses is the open socket itself (SCM_RIGHTS, unix(7)): nothing is copied on the way from then on, and the other
process sees the client's own address, its silence and its leaving. Linux only, as sandboxes and folders are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

LONGEST_PATH: Final = 107 - len(".4194304")
"""Bytes of a path to be found at: a Unix socket's, less those by which it is made beside (the number of a process)."""

_AT_ONCE: Final = 64
"""Connections that are taken in a row, before the loop goes on."""

logger = logging.getLogger(__name__)

Take = Callable[[socket.socket, bytes], None]
"""Goes on with a connection, of which these bytes were read."""


def hand_over(connection: int, read: Sequence[bytes], *, to: str) -> bool:
    """Give a connection to whoever takes them at this path. ``False``: nobody does, or as many wait already as may.

    What was read holds credentials, so it goes to this user alone. Whoever gave a connection away has to close its own
    copy, and to read nothing more from it. Takes no longer than a few system calls do.
    """
    try:
        with (
            _way(to) as way,
            open(os.memfd_create("request", os.MFD_CLOEXEC), "wb", buffering=0) as memory,  # noqa: PTH123
        ):
            content = b"".join(read)
            if memory.write(content) != len(content):
                return False
            socket.send_fds(way, [b"1"], [connection, memory.fileno()])
    except OSError:
        return False
    return True


def takes(path: str) -> bool:
    """Whether a process of this user is there to take connections at this path. It is told nothing, and may hang."""
    try:
        _way(path).close()
    except OSError:
        return False
    return True


def _way(to: str) -> socket.socket:
    """A way to whoever takes connections at this path. Raises ``OSError``, also where that is another user."""
    # A datagram is there as a whole or not at all, and needs nobody to accept a connection first.
    way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        way.setblocking(False)
        way.connect(to)
        if os.stat(to).st_uid != os.geteuid():  # noqa: PTH116 - for a path that is text, once a request
            raise PermissionError
    except OSError:
        way.close()
        raise
    return way


class Takeover:
    """Takes connections that others hand over at a path, which nobody but this user may do. Of one event loop."""

    def __init__(self, path: Path, take: Take) -> None:
        self._path = path
        self._take = take
        self._socket: socket.socket | None = None
        self._file = 0
        """Which file is ours: another process may be found at the path by the time that we end."""

    def open(self) -> None:
        """Begin, in place of whoever took them at this path before. Raises ``OSError``."""
        taking = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            taking.setblocking(False)
            aside.unlink(missing_ok=True)
            os.fchmod(taking.fileno(), 0o600)
            taking.bind(str(aside))
            self._file = aside.stat().st_ino
            # From one moment to the next: there is none in which nobody is found there.
            aside.replace(self._path)
        except OSError:
            taking.close()
            raise
        self._socket = taking
        asyncio.get_running_loop().add_reader(taking, self._read)

    def close(self) -> None:
        """No more are taken than have been handed over by now."""
        if (taking := self._socket) is None:
            return
        self._socket = None
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._file:
                self._path.unlink()
        asyncio.get_running_loop().remove_reader(taking)
        # Who comes from now on is refused; who came is taken.
        taking.shutdown(socket.SHUT_RD)
        while self._take_one(taking):
            pass
        taking.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket is None or not self._take_one(self._socket):
                return

    def _take_one(self, taking: socket.socket) -> bool:
        try:
            said, files, _, _ = socket.recv_fds(taking, 1, 2, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        with contextlib.ExitStack() as opened:
            for file in files:
                opened.callback(os.close, file)
            if len(files) == 2:
                connection, memory = files
                read = os.pread(memory, os.fstat(memory).st_size, 0)
                client = socket.socket(fileno=os.dup(connection))
                client.setblocking(False)
                self._take(client, read)
            elif files or said:
                # There was no room for more files.
                logger.warning("a connection that was handed over is lost: %d of 2 files came", len(files))
        return bool(said)
