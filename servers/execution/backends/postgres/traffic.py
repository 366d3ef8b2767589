"""Counts the bytes that a connection's socket has received, so that reading can stop in the middle of a row.

A single value can be a gigabyte, and libpq hands out no part of a row: rows alone cannot be counted.
"""

from __future__ import annotations

import array
import socket
import struct
import sys
from typing import Final

if sys.platform != "win32":
    import fcntl
    import termios

_RECEIVE_BUFFER: Final = 65_536
"""Small, so that libpq, which reads until the kernel has nothing left, takes no more than a little at a time."""
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_BYTES_RECEIVED_AT: Final = 128
"""Offset of ``tcpi_bytes_received`` (u64) in Linux' ``struct tcp_info``, since 4.1."""


def narrow_receive_buffer(descriptor: int) -> None:
    """Bound what the kernel holds for a connection (and with it what one read can bring)."""
    view = socket.socket(fileno=descriptor)
    try:
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    finally:
        view.detach()


class ReceivedMeter:
    """Bytes received since it was made. ``read`` before each read of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._counted = 0
        self._base = self._total()

    def read(self) -> int:
        """Exact on Linux (of TCP's payload, TLS included); elsewhere what was waiting at each call."""
        if self._base is not None:
            return (self._total() or 0) - self._base
        self._counted += self._waiting()
        return self._counted

    def _total(self) -> int | None:
        if _TCP_INFO is None or not sys.platform.startswith("linux"):
            return None
        view = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=self._descriptor)
        try:
            info = view.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
        except OSError:
            return None
        finally:
            view.detach()
        if len(info) < _BYTES_RECEIVED_AT + 8:
            return None
        return int(struct.unpack_from("Q", info, _BYTES_RECEIVED_AT)[0])

    def _waiting(self) -> int:
        if sys.platform == "win32":
            return 0
        waiting = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
        return waiting[0]
