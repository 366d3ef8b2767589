"""Bytes to a host that a team named, over TLS, by the rule of outbound addresses: for what speaks no HTTP.

One call is one connection: resolved once and judged, connected to what was judged, written to, closed.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from functools import cache
from typing import Final, TypeVar

from core.lookups import OF_SOURCES, Lookups
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused, Reason, judged_addresses
from core.outbound_lines import ADDRESS_SECONDS

T = TypeVar("T")

_PIECE: Final = 65_536


async def hand_over(
    data: bytes,
    *,
    host: str,
    port: int,
    server_name: str,
    authorities: str,
    allow: AllowAddress,
    seconds: float,
    answered: bool = True,
    lookups: Lookups = OF_SOURCES,
) -> None:
    """Send ``data`` and know that it was read. Raises ``OutboundRefused``: then it was read wholly, partly or not.

    ``authorities`` in PEM are believed in place of the system's; empty: those. The certificate has to be for
    ``server_name``. TCP says of no byte that a program read it, so this closes the connection and waits: TLS carries
    records in order, so who answers our ``close_notify`` with theirs (RFC 8446, section 6.1) has read all before it.
    One that closed by itself before is noticed and refused, unless its word crossed ours on the way.

    Without ``answered`` an orderly end of the connection after our ``close_notify`` is enough, for those who never
    send theirs. No reset, for that is what TCP makes of a close over bytes that nobody read; and with all of ours
    acknowledged, for a close that crossed them acknowledges less.
    """
    try:
        async with asyncio.timeout(seconds):
            addresses = await judged_addresses(host, port, allow=allow, lookups=lookups)
            connection = await _connect(addresses, port)
            with connection:
                wire = _Wire(connection, _context(authorities), server_name)
                await wire.shake_hands()
                for start in range(0, len(data), _PIECE):
                    await wire.write(data[start : start + _PIECE])
                await wire.part(answered=answered)
    except TimeoutError:
        raise OutboundRefused(f"it did not take everything within {seconds:g} seconds", "timeout") from None


def check_authorities(pem: str) -> None:
    """Raise ``ValueError`` unless the text is certificates in PEM."""
    try:
        found = ssl.create_default_context(cadata=pem).get_ca_certs()
    except (ssl.SSLError, ValueError):
        found = []
    if not found:
        raise ValueError("it holds no certificate of an authority in PEM")


def _context(authorities: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authorities) if authorities else _of_system()


@cache
def _of_system() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _connect(addresses: list[str], port: int) -> socket.socket:
    for address in addresses:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(ADDRESS_SECONDS):
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except OSError:  # a TimeoutError, too
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise OutboundRefused("it could not be connected to", "unreachable")


class _Wire:
    """TLS by hand over one socket: asyncio's own does not tell how a connection ended."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._ended = False
        """The far side has ended the connection in order."""

    async def shake_hands(self) -> None:
        try:
            await self._step(self._tls.do_handshake)
        except ssl.SSLCertVerificationError:
            raise OutboundRefused(
                "it could not be connected to securely: its certificate is not one for its name that is trusted",
                "certificate",
            ) from None
        except OSError:
            raise OutboundRefused("it could not be connected to securely", "unreachable") from None

    async def write(self, piece: bytes) -> None:
        try:
            await self._step(lambda: self._tls.write(piece))
        except OSError:
            raise _broken() from None

    async def part(self, *, answered: bool) -> None:
        """Close, and wait until the far side has closed in answer: in TLS, or else with the connection alone."""
        try:
            self._require_open()
            try:
                await self._step(self._tls.unwrap)
            except ssl.SSLError:
                if not self._ended or self._unacknowledged():
                    raise
                if answered:
                    raise _broken("unanswered") from None
            self._connection.shutdown(socket.SHUT_WR)
            while await self._loop.sock_recv(self._connection, _PIECE):
                pass
        except OSError:
            raise _broken() from None

    def _require_open(self) -> None:
        """Raise ``OutboundRefused`` where the far side has closed already, with or without having read."""
        try:
            while piece := self._connection.recv(_PIECE):
                self._incoming.write(piece)
            raise _broken()
        except BlockingIOError:
            pass
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return
        raise _broken()  # it says something, where there is nothing to say, or ends

    def _unacknowledged(self) -> int:
        """How many bytes of ours the far side's system has not acknowledged. Raises ``OSError`` after a reset."""
        if fault := self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(fault, "the connection was reset")
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(self._connection, termios.TIOCOUTQ, b"\0" * 4))
        except OSError:
            return 0  # a system that does not tell of sockets
        return int(count)

    async def _step(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                piece = await self._loop.sock_recv(self._connection, _PIECE)
                if piece:
                    self._incoming.write(piece)
                else:
                    self._ended = True
                    self._incoming.write_eof()
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if piece := self._outgoing.read():
            await self._loop.sock_sendall(self._connection, piece)


def _broken(reason: Reason = "broken") -> OutboundRefused:
    return OutboundRefused(
        "it did not answer the end of the connection with its own (close_notify), so nobody knows what it took",
        reason,
    )
