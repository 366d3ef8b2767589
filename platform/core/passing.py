"""Passes on what two connections say to each other: as it comes, or one HTTP exchange. Connects to nothing itself.

What one side does not take is not read of the other; both together are read at a pace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import h11

from core.finishing import stop
from core.pace import Pace

IDLE_SECONDS: Final = 600.0
"""After which a connection on which nothing comes or goes is closed."""
MAX_HEAD_BYTES: Final = 16_384
"""Of a request."""
MAX_HEADERS: Final = 100
"""Of a request, and of an answer: what Python's own client takes, too."""
BYTES_A_SECOND: Final = 16_777_216
"""Both ways, of all connections of one pace."""

PIECE: Final = 65_536
_PART: Final = 8_192
"""Read at once of what is looked into; what any reading counts for at least: small ones cost as much."""
_PARTS_AT_ONCE: Final = 128
"""Of a body. So many that are small take a few milliseconds, in which nothing else of the loop has its turn."""
_PART_COUNTS: Final = 1_024
"""What each counts for at least."""
_HEAD_PART: Final = 4_096
_MAX_ANSWER_HEAD_BYTES: Final = 32_768
"""At which no more of one is read: h11 looks at its size where it is not whole alone."""
_CLOSE_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 2.0
_VIA: Final = (b"Via", b"1.1 marina")
_OF_CONNECTION: Final = frozenset(
    {
        b"connection",
        # It is said anew.
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
"""Headers that are not for the other side (RFC 9110, section 7.6.1)."""

_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})

Header = tuple[bytes, bytes]


class Refused(Exception):
    """A request is not passed on, or not answered. The message is the answer's: it says why, and what can be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _too_large() -> Refused:
    return Refused(431, f"A request has at most {MAX_HEADERS} headers, in {MAX_HEAD_BYTES} bytes.")


@dataclass(frozen=True, slots=True)
class Side:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes | None) -> None:
        """Write, and wait while too much is not taken yet. Raises ``OSError`` where it is closed."""
        if data:
            if self.writer.is_closing():
                # Written to all the same, asyncio logs each time, and uvloop raises what nobody expects.
                raise ConnectionResetError
            self.writer.write(data)
            await self.writer.drain()

    def end(self) -> None:
        """Say that nothing more comes."""
        if not self.writer.is_closing():
            self.writer.write_eof()

    async def close(self) -> None:
        """Close it when what was written is taken, in a few seconds; else at once."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                self.writer.close()
                await self.writer.wait_closed()
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


class Asking:
    """One connection by which a request of HTTP/1.1 comes. After its answer it is closed."""

    def __init__(self, near: Side, pace: Pace) -> None:
        """``pace``: of bytes."""
        self._near = near
        self._pace = pace
        self._talk = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._idle: asyncio.Timeout | None = None
        self._asks_head = False

    async def read_head(self) -> h11.Request:
        """The request, whose body is still to come. Raises ``Refused``; ``OSError`` where there is none."""
        # A head that is whole is not measured by h11.
        left = MAX_HEAD_BYTES
        try:
            while (event := self._talk.next_event()) is h11.NEED_DATA:
                if left == 0:
                    raise _too_large()
                data = await self._read(self._near, min(left, _HEAD_PART))
                left -= len(data)
                self._talk.receive_data(data)
        except h11.RemoteProtocolError as fault:
            if fault.error_status_hint == 431:
                raise _too_large() from None
            raise Refused(400, "This is no request of HTTP/1.1.") from None
        if not isinstance(event, h11.Request):
            raise ConnectionResetError
        self._asks_head = event.method == b"HEAD"
        if len(event.headers) > MAX_HEADERS:
            raise _too_large()
        lengths = _LENGTHS & {name for name, _ in event.headers}
        if lengths and event.method == b"CONNECT":
            raise Refused(400, "CONNECT has no body.")
        if lengths == _LENGTHS:
            raise Refused(400, "The request says in two ways how long it is.")
        return event

    async def refuse(self, refused: Refused) -> None:
        """Answer so, where nothing was answered yet."""
        if self._talk.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = f"Marina: {refused}\n".encode()
        head = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Connection", b"close"),
        ]
        await self._say(
            h11.Response(status_code=refused.status, headers=head, reason=_reason(refused.status)),
            # What would be of an answer to another method is not sent to this one (RFC 9110, section 9.3.2).
            h11.Data(data=b"" if self._asks_head else text),
            h11.EndOfMessage(),
        )
        await self._linger()

    async def tunnel(self, far: Side) -> None:
        """Answer that the other side is there, and pass on whatever comes, both ways, until both have ended."""
        early, _ = self._talk.trailing_data
        await self._near.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await far.send(early)
        async with self._bounded():
            await _together(self._copy(self._near, far), self._copy(far, self._near))

    async def pass_on(self, asked: h11.Request, far: Side, *, host: bytes, target: bytes) -> None:
        """Ask the other side, and answer what it answers. Raises ``Refused`` where it does not."""
        headers = [(b"Host", host), *_passed_on(asked.headers), _VIA, (b"Connection", b"close")]
        talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_ANSWER_HEAD_BYTES)
        try:
            await far.send(talk.send(h11.Request(method=asked.method, target=target, headers=headers)))
        except h11.LocalProtocolError:
            raise Refused(400, "This is no request of HTTP/1.1.") from None
        async with self._bounded():
            await _first(self._answer(far, talk), self._ask(far, talk))
        if self._talk.their_state is h11.SEND_BODY:
            # It was answered before it had sent all.
            far.abort()
            await self._linger()

    async def _linger(self) -> None:
        """Take what still comes, or the answer may be lost with it (RFC 9112, section 9.6)."""
        self._near.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._read(self._near):
                    pass

    async def _ask(self, far: Side, talk: h11.Connection) -> None:
        """Pass on the request's body, then look whether its sender is still there: raises ``OSError`` where not."""
        try:
            event: h11.Event | None = None
            while not isinstance(event, h11.EndOfMessage):
                for event in await self._next(self._talk, self._near):
                    if not isinstance(event, h11.Data | h11.EndOfMessage):
                        raise ConnectionResetError
                    data = isinstance(event, h11.Data)
                    await _send(far, talk.send(event if data else h11.EndOfMessage()))
        except h11.ProtocolError:
            raise Refused(400, "The body of the request is not as long as it says, or broken.") from None
        # One who says no more may still be answered: who has gone is noticed by writing.
        await self._near.reader.read(1)

    async def _answer(self, far: Side, talk: h11.Connection) -> None:
        event: h11.Event | None = None
        while not isinstance(event, h11.EndOfMessage):
            try:
                events = await self._next(talk, far)
            except (OSError, h11.RemoteProtocolError):
                events = [h11.ConnectionClosed()]
            for event in events:
                await self._hand_on(event)

    async def _hand_on(self, event: h11.Event) -> None:
        if isinstance(event, h11.InformationalResponse):
            if self._talk.their_http_version != b"1.0":
                await self._say(event)
        elif isinstance(event, h11.Response):
            if len(event.headers) > MAX_HEADERS:
                raise Refused(502, f"The host answers with more than {MAX_HEADERS} headers.")
            headers = [*_passed_on(event.headers), _VIA, (b"Connection", b"close")]
            await self._say(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
        elif isinstance(event, h11.Data):
            await self._say(event)
        elif isinstance(event, h11.EndOfMessage):
            await self._say(h11.EndOfMessage())
        else:
            raise Refused(502, "The host broke off, or what it answers is no HTTP.")

    async def _say(self, *events: h11.Event) -> None:
        await self._near.send(b"".join(self._talk.send(event) or b"" for event in events))

    async def _copy(self, source: Side, target: Side) -> None:
        while data := await self._read(source):
            await target.send(data)
        target.end()

    async def _next(self, talk: h11.Connection, source: Side) -> Sequence[h11.Event]:
        """What one says next; of a body, what came of it in one. Others have their turn each time."""
        body: list[bytes] = []
        told: list[h11.Event] = []
        try:
            while not told and len(body) < _PARTS_AT_ONCE:
                event = talk.next_event()
                if isinstance(event, h11.Data):
                    body.append(event.data)
                elif event is not h11.NEED_DATA:
                    told.append(event if isinstance(event, h11.Event) else h11.ConnectionClosed())
                elif body:
                    break
                else:
                    talk.receive_data(await self._read(source, _PART))
        except h11.RemoteProtocolError:
            # With nothing before it, it is raised again.
            if not body:
                raise
        await self._wait(_PART_COUNTS * len(body) or _PART)
        return [h11.Data(data=b"".join(body)), *told] if body else told

    async def _read(self, source: Side, most: int = PIECE) -> bytes:
        data = await source.reader.read(most)
        await self._wait(max(len(data), _PART))
        if self._idle is not None and not self._idle.expired():
            self._idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
        return data

    async def _wait(self, size: int) -> None:
        """As long as the pace asks for; others have their turn also where that is not at all."""
        await asyncio.sleep(self._pace.count(size))

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Raises ``TimeoutError`` when nothing came for long."""
        async with asyncio.timeout(IDLE_SECONDS) as idle:
            self._idle = idle
            try:
                yield
            finally:
                self._idle = None


def _reason(status: int) -> bytes:
    """In the first line, which is all that many programs show of a tunnel that they did not get."""
    return b"Host not allowed" if status == 403 else b"Bad request" if status < 500 else b"Host not reached"


async def _send(far: Side, data: bytes | None) -> None:
    # It may have answered already, and want no more: the rest is read and dropped.
    with contextlib.suppress(OSError, RuntimeError):
        await far.send(data)


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all; none goes on where one fails."""
    tasks = [asyncio.get_running_loop().create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await stop(*tasks)


async def _first(main: Coroutine[Any, Any, None], beside: Coroutine[Any, Any, None]) -> None:
    """Do both until the first has ended, or one fails."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(main), loop.create_task(beside)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            await tasks[1]
        await tasks[0]
    finally:
        await stop(*tasks)


def _passed_on(headers: Iterable[Header]) -> list[Header]:
    """Those that are not the connection's, nor named as such."""
    given = list(headers)
    named = {
        word.strip().lower() for name, value in given if name == b"connection" for word in value.split(b",")
    }
    # Without these, where a body ends would not be said.
    dropped = _OF_CONNECTION | (named - _LENGTHS)
    return [(name, value) for name, value in given if name not in dropped]
