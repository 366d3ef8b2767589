"""One client's HTTP connection: what it may hold, and for how long. Parses nothing itself and knows no application.

uvicorn bounds how long a connection idles, and nothing else. Here a head (request line and headers) has a deadline,
a size and a number of fields; few requests are taken ahead of their turn; and a client that does not read its answer
loses it. Deadlines are kept by one sweep over all connections, about once a second, not by a timer a request.

Where there is a heavy process, requests that are large, or make much of little, go on there (``config.heavy``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from config.envparts import Web
from config.handover import hand_over
from config.wholes import WholeCycle
from core.extensions import WHOLE

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_PIPELINED: Final = 16
"""Requests of a connection that wait while one is answered."""

SPARE_CONNECTIONS: Final = 256
"""Connections beyond the limit, each told 503 once its head is there. What is beyond these is closed unheard."""

READ_IN_TIME: Final = 64 * 1024
"""Bytes that a client must take of a waiting answer in each ``write_seconds``."""

HEAVY_BYTES: Final = 262_144
"""Of a message of MCP, from which on it is answered by the heavy process. Reading less holds nobody up."""
HEAVY_REST_BYTES: Final = 16_384
"""Of any other body: what is defined by it (a tool of SQL, a pipeline) is read and checked, too."""
_CALLS: Final = (b"/call", b"/try")
"""What paths of other calls end with. Those are messages, too."""

_READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_HEAVY_PATHS: Final = (b"/data-sources", b"/configuration/")
"""Of REST and the dashboard: what is sent may be an address, and thousands of tools come of it."""

_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
"""A body in chunks that came together with its head is no large one."""

_TELL_SECONDS: Final = 60.0

_TEXTS: Final = {
    408: b"The request's headers did not arrive in time. Send the request again.",
    431: b"The request's headers are too large. Send fewer or shorter ones.",
}


class WebConfig(uvicorn.Config):
    """uvicorn's configuration, and our own limits beside it."""

    def __init__(self, app: Any, web: Web, **options: Any) -> None:
        super().__init__(
            app,
            http=BoundedProtocol,
            limit_concurrency=web.max_connections,
            timeout_keep_alive=web.idle_seconds,
            timeout_graceful_shutdown=web.drain_seconds,
            **options,
        )
        self.web = web


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines and bounds."""

    def __init__(
        self,
        config: WebConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.web = config.web
        # uvicorn asks whether its logger has handlers; under Django's set-up every logger has the root's.
        self.access_log = config.access_log
        self._head_since: float | None = None
        """When the head began that is awaited now; ``None`` while none is."""
        self._idle_since: float | None = None
        """Since when nothing is asked and nothing is answered, after a first answer."""
        self._head_bytes = 0
        """What the reads after its first one brought of it. Below zero during the first."""
        self._read_bytes = 0
        """What the present read brought, of whatever it is."""
        self._stuck_since: float | None = None
        """Since when an answer waits for its client to read."""
        self._stuck_bytes = 0
        self._closing_since: float | None = None
        self._refused_as = 400
        self._between = True
        """Whether nothing has come of the next request."""
        self._head: list[bytes] = []
        """What came of a request, from its first byte on, until its headers are complete. Where it began in the middle
        of a read, nothing: it stays here."""
        self._deaf = False
        """Whether nothing more is taken from the connection: it goes on in another process, or ends here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.web.max_connections + SPARE_CONNECTIONS:
            transport.abort()
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._idle_since is not None:
            # It idled. Whatever this is, a head or a dribble before one, another deadline begins here.
            self._idle_since = None
            self._head_since = self.loop.time()
        self._read_bytes = len(data)
        if self._between:
            self._head = [data]
        elif self._head:
            self._head.append(data)
        super().data_received(data)
        if self._head_since is not None and not self._is_answered():
            self._head_bytes += self._read_bytes
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431)

    def on_message_begin(self) -> None:
        if self._deaf:
            return
        if self._head_since is None:
            self._head_since = self.loop.time()
        # The first read does not count: the end of another request may be in it.
        self._head_bytes = -self._read_bytes
        if not self._between:
            self._head = []
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self._head_since = None
        # Adding up takes time, and nearly every head comes in one small read.
        is_small = self._head_bytes < 0 and self._read_bytes <= MAX_HEAD_BYTES
        if len(self.headers) > MAX_HEADERS or not (is_small or self._size_of_head() <= MAX_HEAD_BYTES):
            self._refused_as = 431
            raise _Refused
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        if self._head:
            head, self._head = self._head, []
            if self.web.heavy_socket and self._is_heavy(head) and self._hand_over(head):
                return
        super().on_headers_complete()
        cycle = self._last()
        if cycle is not None and cycle.scope is self.scope:
            cast("dict[str, Any]", self.scope)["extensions"] = {WHOLE: WholeCycle(cycle)}

    def on_body(self, body: bytes) -> None:
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = True
        if not self._deaf:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """What comes after an answer. As uvicorn has it, but for the deadline on idling, which the sweep keeps."""
        cycle = self._last()
        if cycle is not None:
            # What it holds holds the cycle, and the cycle the scope: let go, or the collector has to find them.
            cast("dict[str, Any]", cycle.scope).pop("extensions", None)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            waiting, app = self.pipeline.pop()
            self._start_asgi_task(waiting, app)
        else:
            self._idle_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be parsed, or was refused while it was. uvicorn calls this for both."""
        self._refuse(self._refused_as, msg)

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        self._stuck_bytes = self.transport.get_write_buffer_size()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def sweep(self, now: float) -> None:
        """End what has taken too long by ``now``, a time of the loop."""
        web = self.web
        if self.transport.is_closing():
            # It closes once all is written, which a client that does not read can put off for ever.
            if self._closing_since is None:
                self._closing_since = now
            elif now - self._closing_since > web.write_seconds:
                self.transport.abort()
            return
        if self._stuck_since is not None and now - self._stuck_since > web.write_seconds:
            left = self.transport.get_write_buffer_size()
            if left > self._stuck_bytes - READ_IN_TIME:
                self.transport.abort()
                return
            self._stuck_since, self._stuck_bytes = now, left
        if self._idle_since is not None and now - self._idle_since > web.idle_seconds:
            self.transport.close()
            return
        if (
            self._head_since is not None
            and now - self._head_since > web.header_seconds
            and not self._is_answering()
        ):
            self._refuse(408)

    def _is_heavy(self, head: list[bytes]) -> bool:
        """Whether the request whose headers are complete goes to the heavy process."""
        if self.parser.get_method() in _READS or self.parser.should_upgrade():
            return False
        path = self.url.partition(b"?")[0]
        if b"%" in path:
            path = unquote_to_bytes(path)
        is_mcp = path.startswith(b"/mcp/")
        most = HEAVY_BYTES if is_mcp or path.endswith(_CALLS) else HEAVY_REST_BYTES
        for name, value in self.headers:
            if name == b"content-length":
                if len(value) > 6 or (value.isdigit() and int(value) >= most):
                    return True
            elif name == b"transfer-encoding" and not head[-1].endswith(_LAST_CHUNK):
                return True
        return not is_mcp and any(part in path for part in _HEAVY_PATHS)

    def _hand_over(self, head: list[bytes]) -> bool:
        """Let the heavy process go on with the connection, unless something is under way on it here."""
        transport = self.transport
        if self._is_answering() or transport.is_closing() or transport.get_write_buffer_size():
            return False
        # Nothing may be read here any more: it would be missing there.
        transport.pause_reading()
        connection = transport.get_extra_info("socket").fileno()
        if not hand_over(connection, head, to=self.web.heavy_socket):
            transport.resume_reading()
            _tell_that_it_is_away(self.web.heavy_socket, self.loop.time())
            return False
        self._deaf = True
        # Closes this process's copy, and sends nothing.
        transport.abort()
        return True

    def _size_of_head(self) -> int:
        # With ": " and the line's end.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _last(self) -> RequestResponseCycle | None:
        """The newest request whose head is complete. uvicorn does not say that there may be none."""
        return self.cycle

    def _is_answering(self) -> bool:
        last = self._last()
        return last is not None and not last.response_complete

    def _is_answered(self) -> bool:
        """Whether what comes still belongs to a request that was answered before all of it had come, or to none."""
        last = self._last()
        return last is not None and last.response_complete and last.scope is self.scope

    def _refuse(self, status: int, text: str = "") -> None:
        """Answer with ``status`` and close, unless an answer is under way: then close after it."""
        self._head_since = None
        if self._is_answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self._is_answered():
            self.transport.close()
            return
        body = _TEXTS.get(status) or text.encode("ascii")
        self.transport.write(
            b"".join(
                (
                    STATUS_LINE[status],
                    *(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers),
                    b"content-type: text/plain; charset=utf-8\r\n",
                    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
                    body,
                )
            )
        )
        self.transport.close()


class TakenOver(BoundedProtocol):
    """A connection that another process gave us, of which this much was read.

    It ends with its first answer, so that what the client asks next is answered by a process that is at leisure. A body
    that was answered before all of it had come is read to its end first: closed before, the client would get a reset
    in the middle of sending, and not the answer.
    """

    def __init__(
        self,
        config: WebConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        read: bytes,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._first = read
        self._ends = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Before anything that comes now.
        first, self._first = self._first, b""
        self.data_received(first)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle = self._last()
        if cycle is not None and not self._deaf:
            cycle.keep_alive = False
            cycle.transport = cast("asyncio.Transport", _Lingering(self.transport, self._end))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._deaf = True
        if self._ends:
            self.transport.close()

    def _end(self) -> None:
        """The answer is written. End now, or with the request."""
        self._ends = True
        if self._deaf:
            self.transport.close()

    def _is_heavy(self, head: list[bytes]) -> bool:
        # It is there already.
        return False


class _Lingering:
    """A transport that asks before it is closed."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Refused(Exception):
    """Ends the parsing of a request; the parser hands it to ``send_400_response``."""


class _Told:
    at = -_TELL_SECONDS


def _tell_that_it_is_away(path: str, now: float) -> None:
    """Say so, once a minute at most."""
    if now - _Told.at >= _TELL_SECONDS:
        _Told.at = now
        logger.warning(
            "nobody takes large requests at %s, or as many wait as may: they are answered here", path
        )


def sweep_connections(connections: set[Any], now: float) -> None:
    """Sweep those that are HTTP; a WebSocket has pings of its own."""
    for connection in list(connections):
        if isinstance(connection, BoundedProtocol):
            connection.sweep(now)
