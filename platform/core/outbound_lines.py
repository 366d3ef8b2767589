"""Connections of HTTP/1.1 for upstreams that are called often: one request at a time on each, the last used one first.

``core.outbound_http`` has the rules, of addresses, headers, sizes and words, and is what others use; this is how bytes
get to a server and back, in a quarter of the processor time that the HTTP library's pool takes. ``httptools`` reads the
answers, strictly: one with two lengths, or with a length and chunks, is none (RFC 9112, section 6.3).

What goes wrong is a ``ConnectionError``; before a connection came about, ``httpcore2.ConnectError`` with its cause.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import httpcore2
import httptools

MOST_BARREN_BYTES: Final = 102_400
"""Of an answer in a row that are not of its body: headers, interim answers, the sizes of chunks, trailers."""

KEEP_ALIVE_SECONDS: Final = 30.0
ADDRESS_SECONDS: Final = 3.0
"""How long one of several addresses of a host is tried before the next one is."""

_HELD_BYTES: Final = 262_144
"""Of a body that nobody took yet: more is not read before."""
_SURELY_OPEN_SECONDS: Final = 0.005
"""A connection that was idle for so short a time is not looked at before it is used again."""

Connection = TypeVar("Connection")
Content = bytes | AsyncIterable[bytes] | None
Judge = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host and port to try one after the other, or refuses it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is sent: ``headers`` are all of it, that of its host, too. ``content`` of a
    ``Line`` is in one piece."""

    method: str
    scheme: str
    host: str
    port: int
    target: bytes
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    content: Content = field(repr=False)


async def connect_to_one(
    addresses: Sequence[str], connect: Callable[[str], Awaitable[Connection]]
) -> Connection:
    """Try one address after the other; what is raised is of the last."""
    for address in addresses[:-1]:
        try:
            async with asyncio.timeout(ADDRESS_SECONDS):
                return await connect(address)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout, TimeoutError):
            continue
    return await connect(addresses[-1])


class Lines:
    """The connections of one source, ``most`` in use at a time: who asks for one more waits. Of one event loop."""

    def __init__(self, judge: Judge, tls: ssl.SSLContext, *, most: int) -> None:
        self._judge = judge
        self._tls = tls
        self._most = most
        self._turns = asyncio.Semaphore(most)
        self._idle: list[Line] = []

    async def ask(self, asked: Asked) -> Reply:
        """Send a request, and give the answer once its headers are there. Its ``aclose`` has to be called."""
        await self._turns.acquire()
        line = None
        try:
            line = self._take(asked) or await self._connect(asked)
            line.send(asked)
            await line.read_head()
        except BaseException:
            if line is not None:
                line.abort()
            self._turns.release()
            raise
        return Reply(line, self._give_back)

    async def aclose(self) -> None:
        """Close those that nobody uses. The others are closed by who closes their answers."""
        while self._idle:
            self._idle.pop().abort()
        # The loop closes sockets in its next round.
        await asyncio.sleep(0)

    def _take(self, asked: Asked) -> Line | None:
        origin = (asked.scheme, asked.host, asked.port)
        now = asyncio.get_running_loop().time()
        for place in range(len(self._idle) - 1, -1, -1):
            line = self._idle[place]
            if not line.is_open(now):
                del self._idle[place]
                line.abort()
            elif line.origin == origin:
                del self._idle[place]
                return line
        return None

    def _give_back(self, line: Line) -> None:
        self._turns.release()
        if line.end():
            self._idle.append(line)
            if len(self._idle) > self._most:
                self._idle.pop(0).abort()

    async def _connect(self, asked: Asked) -> Line:
        addresses = await self._judge(asked.host, asked.port)
        return await connect_to_one(addresses, lambda address: self._open(address, asked))

    async def _open(self, address: str, asked: Asked) -> Line:
        loop = asyncio.get_running_loop()
        origin = (asked.scheme, asked.host, asked.port)
        # The name in TLS, and what the certificate is checked against.
        secured: dict[str, Any] = (
            {"ssl": self._tls, "server_hostname": asked.host} if asked.scheme == "https" else {}
        )
        try:
            _, line = await loop.create_connection(lambda: Line(loop, origin), address, asked.port, **secured)
        except OSError as fault:
            raise httpcore2.ConnectError(fault) from fault
        return line


class Reply:
    """An answer whose body is still to come, with as much of ``httpcore2.Response`` as is asked of one."""

    __slots__ = ("_given_back", "_line", "extensions", "headers", "status")

    def __init__(self, line: Line, give_back: Callable[[Line], None]) -> None:
        self._line = line
        self._given_back: Callable[[Line], None] | None = give_back
        self.status = line.status
        self.headers = line.headers
        self.extensions = {"http_version": line.http_version}

    def aiter_stream(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come. Raises ``ConnectionError`` where it breaks off."""
        return self._line.read_body()

    async def aclose(self) -> None:
        """Give the connection back, or close it where something is still to come."""
        if (give_back := self._given_back) is not None:
            self._given_back = None
            give_back(self._line)


class Line(asyncio.Protocol):
    """One connection. ``httptools`` calls its ``on_…`` as it reads."""

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._barren = 0
        self._paused = False
        self._expecting = False
        self._complete = False
        self._interim = False
        self._bodiless = False
        self._until_end = False
        self._over = False
        self._idle_since = 0.0

    @property
    def http_version(self) -> bytes:
        """Of the answer."""
        return b"HTTP/1.0" if self._parser.get_http_version() == "1.0" else b"HTTP/1.1"

    def is_open(self, now: float) -> bool:
        """Whether a request may be sent on it: it was not idle for too long, and the server said nothing since."""
        if (
            self._over
            or self._transport.is_closing()
            or (idle := now - self._idle_since) > KEEP_ALIVE_SECONDS
        ):
            return False
        if idle < _SURELY_OPEN_SECONDS:
            return True
        waiting = select.poll()
        # Of an end the loop may not have heard yet: what is sent then would be in doubt.
        waiting.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not waiting.poll(0)

    def send(self, asked: Asked) -> None:
        """Send a request. What comes from now on is the answer to it."""
        self.status = 0
        self.headers = []
        self._pieces.clear()
        self._held = self._barren = 0
        self._complete = self._interim = self._until_end = False
        self._bodiless = asked.method == "HEAD"
        self._expecting = True
        lines = [b"%b %b HTTP/1.1\r\n" % (asked.method.encode("ascii"), asked.target)]
        lines += [b"%b: %b\r\n" % header for header in asked.headers]
        if not isinstance(asked.content, bytes | None):
            raise TypeError("a body in pieces wants the pool of the HTTP library")
        self._transport.writelines([*lines, b"\r\n", asked.content or b""])

    async def read_head(self) -> None:
        """Wait until ``status`` and ``headers`` are those of the answer."""
        while not self.status:
            await self._wait_for_more()

    async def read_body(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                if self._paused and not self._held:
                    self._paused = False
                    self._transport.resume_reading()
                yield piece
            if self._complete:
                return
            await self._wait_for_more()

    def end(self) -> bool:
        """Nobody wants more of the answer. Whether the connection can serve another request; else it is closed."""
        self._expecting = False
        self._pieces.clear()
        if not self._complete or self._over or self._transport.is_closing():
            self.abort()
            return False
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._idle_since = self._loop.time()
        return True

    def abort(self) -> None:
        """End it at once."""
        self._over = True
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if not self._expecting:
            # Nobody asked for it: what follows could be taken for the answer to the next request.
            self.abort()
            return
        if self._complete:
            self._over = True
            return
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
        if self._barren > MOST_BARREN_BYTES:
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        if exc is None and self._until_end and not self._over:
            self._complete = True
        self._over = True
        self._wake()

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, of which the parser has let through none that could be read in two ways; or a trailer."""
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """An interim answer (RFC 9110, section 15.2) is followed by another one."""
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self.headers = []
            return
        self.status = status
        if self._bodiless:
            # The parser does not know that there is none, and would take the next answer for it.
            self._complete = self._over = True
        self._until_end = not any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            return
        self._barren = 0
        self._pieces.append(body)
        self._held += len(body)
        if self._held > _HELD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_begin(self) -> None:
        """More came than was asked for."""
        if self._complete:
            self._over = True

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        if self._interim:
            self._interim = False
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._over = True

    async def _wait_for_more(self) -> None:
        if self._over:
            raise ConnectionError
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
