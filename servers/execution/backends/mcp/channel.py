"""Requests and answers that share one line to an upstream MCP server: what comes is handed out by the request's id.

It neither opens nor reads the line: whoever does hands in each message. Bounds what waits for each request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from time import monotonic
from typing import Any, Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.faults import SessionLost, unlike_mcp
from servers.execution.backends.mcp.replies import Listening, Reply, Request
from servers.execution.backends.mcp.wire import (
    LISTS_CHANGED,
    METHOD_NOT_FOUND,
    NotMcp,
    answer_bytes,
    error_bytes,
)

LINGER_SECONDS: Final = 30.0
"""For how long a request that nobody waits for any more may still be worked on: what is said meanwhile may be of it."""
MAX_ANSWERING: Final = 64
"""Questions to nobody that are being answered. Beyond it they stay without an answer."""

_CROWDED: Final = (
    "Several requests are being served, and the question does not say which of them it belongs to."
)
_NOBODY: Final = "No request is being served that the question could belong to."
_REFUSED: Final = -32_600

Send = Callable[[bytes], Awaitable[None]]
"""Puts a message onto the line. Raises ``OutboundRefused``."""


class Channel:
    """Requests on one line. ``shared``: they may be of several callers, who must not hear of each other.

    ``over`` is why nothing comes any more.
    """

    def __init__(self, url: str, send: Send, *, shared: bool) -> None:
        self._url = url
        self._send = send
        self._shared = shared
        self._last = 0
        self._waiting: dict[int, Inbox] = {}
        self._lingering: dict[int, float] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self.changed: Callable[[], None] = _nothing
        """Called when a list of the upstream's changed, whatever request that was said in, or in none."""
        self._overhears: Callable[[Mapping[str, Any], int], None] | None = None
        self._enough = asyncio.Event()
        self.over: OutboundRefused | None = None
        self.heard = 0
        """Messages that came."""

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._waiting)

    async def settle(self) -> None:
        """Wait until no request waits for its answer."""
        while self._waiting:
            self._quiet.clear()
            await self._quiet.wait()

    def next_id(self) -> int:
        """An id that no other request on the line has."""
        self._last += 1
        return self._last

    async def ask(self, request: Request) -> Reply:
        """Send a request and give its answer. Raises as ``Way.ask`` does."""
        if self.over is not None:
            raise SessionLost
        rpc_id = request.rpc_id
        waiting = self._waiting[rpc_id] = Inbox(request.most_bytes)
        try:
            await self._send(request.content)
            async with aclosing(waiting.messages()) as messages:
                reply = await Listening(request).reply_of(messages, {})
        except NotMcp as fault:
            raise unlike_mcp(self._url, fault) from None
        finally:
            del self._waiting[rpc_id]
            if not self._waiting:
                self._quiet.set()
            if not waiting.answered:
                self._let_go()
                self._lingering[rpc_id] = monotonic()
        if reply is None:
            raise AssertionError("messages of a request end with its answer or a fault")
        return reply

    @contextmanager
    def beside(self, request: Request) -> Iterator[Inbox]:
        """What is said here of a request that is answered elsewhere, for as long as it is."""
        inbox = self._waiting[request.rpc_id] = Inbox(request.most_bytes)
        try:
            yield inbox
        finally:
            del self._waiting[request.rpc_id]
            if not self._waiting:
                self._quiet.set()
            inbox.close()

    def take(self, message: Mapping[str, Any], size: int) -> None:
        """Hand out what came. What belongs to no request is dropped; a question to nobody gets a refusal."""
        self.heard += 1
        method = message.get("method")
        if method is None:
            self._take_answer(message, size)
        elif "id" not in message:
            if self._overhears is not None:
                self._overhears(message, size)
            if method in LISTS_CHANGED:
                # The server's, and no request's: whoever waits for one would say so once more.
                self.changed()
            elif (whose := self._told_of(str(method), message.get("params"))) is not None:
                whose.put(message, size)
        elif method == "ping":
            self._answer(answer_bytes(message["id"], {}))
        elif (asked := self._one()) is not None:
            asked.put(message, size)
        elif self._waiting:
            self._answer(error_bytes(message["id"], _REFUSED, _CROWDED))
        else:
            self._answer(error_bytes(message["id"], METHOD_NOT_FOUND, _NOBODY))

    async def overhear(self, heard: Callable[[Mapping[str, Any], int], None], *, most_bytes: int) -> None:
        """Hand on notifications, whatever they belong to, until nothing comes any more or so many bytes came.

        Once, and for one.
        """
        left = most_bytes

        def take(message: Mapping[str, Any], size: int) -> None:
            nonlocal left
            left -= size
            if left < 0:
                self._enough.set()
            else:
                heard(message, size)

        self._overhears = take
        try:
            await self._enough.wait()
        finally:
            self._overhears = None

    def end(self, why: OutboundRefused) -> None:
        """Nothing comes any more: whoever waits is told so."""
        if self.over is None:
            self.over = why
        self._enough.set()
        for waiting in self._waiting.values():
            waiting.fail(why)
        self.hush()

    def hush(self) -> None:
        """Answer nothing more that was asked of nobody."""
        for task in self._answering:
            task.cancel()

    def fail_all(self, why: Exception) -> None:
        """End each request that waits. The line goes on."""
        for waiting in self._waiting.values():
            waiting.fail(why)

    def _take_answer(self, message: Mapping[str, Any], size: int) -> None:
        rpc_id = message.get("id")
        if type(rpc_id) is int and 0 < rpc_id <= self._last:
            self._lingering.pop(rpc_id, None)
            if (waiting := self._waiting.get(rpc_id)) is not None:
                waiting.answered = True
                waiting.put(message, size)
        elif len(self._waiting) == 1:
            # Nobody else can be meant: an upstream that could not read a request cannot say which one it was.
            (rpc_id, waiting), *_ = self._waiting.items()
            if message.get("id") is None and "error" in message:
                waiting.put({**message, "id": rpc_id}, size)
            else:
                waiting.put(message, size)

    def _told_of(self, method: str, params: Any) -> Inbox | None:
        """The request that a notification is about."""
        if method == "notifications/progress":
            token = params.get("progressToken") if isinstance(params, Mapping) else None
            return self._waiting.get(token) if type(token) is int else None
        return self._one()

    def _one(self) -> Inbox | None:
        """The request that what does not say so belongs to: the only one, or the newest of one caller."""
        if not self._shared:
            # The newest: an older one may be waiting for its client's answer, for long or for ever.
            return next(reversed(self._waiting.values()), None)
        self._let_go()
        return next(iter(self._waiting.values())) if len(self._waiting) == 1 and not self._lingering else None

    def _let_go(self) -> None:
        """Forget the requests that nobody has waited for so long that nothing is said of them any more."""
        since = monotonic() - LINGER_SECONDS
        while self._lingering and (first := next(iter(self._lingering.items())))[1] <= since:
            del self._lingering[first[0]]

    def _answer(self, content: bytes) -> None:
        if len(self._answering) >= MAX_ANSWERING:
            return
        task = asyncio.get_running_loop().create_task(self._answered(content))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answered(self, content: bytes) -> None:
        try:
            await self._send(content)
        except (OutboundRefused, SourceError):
            return


class Inbox:
    """What came for one request and is not looked at yet. ``first`` is called once, when anything comes."""

    def __init__(self, most_bytes: int) -> None:
        self.first: Callable[[], object] | None = None
        self._most = most_bytes
        self._taken = 0
        self._came: deque[tuple[Mapping[str, Any], int]] = deque()
        self._news = asyncio.Event()
        self._fault: Exception | None = None
        self._closed = False
        self.answered = False

    def put(self, message: Mapping[str, Any], size: int) -> None:
        """Hand in what came. Beyond the bound it is a fault."""
        if self.first is not None:
            self.first()
            self.first = None
        self._taken += size
        if self._taken > self._most:
            self._came.clear()
            self.fail(OutboundRefused(f"its answer has more than {self._most} bytes", "too_large"))
        elif self._fault is None:
            self._came.append((message, size))
            self._news.set()

    def fail(self, fault: Exception) -> None:
        """Nothing comes any more, for this reason."""
        if self._fault is None:
            self._fault = fault
        self._news.set()

    def close(self) -> None:
        """Nothing comes any more, and that is well."""
        self._closed = True
        self._news.set()

    async def messages(self) -> AsyncGenerator[tuple[Mapping[str, Any], int]]:
        """What came, and what comes. Raises what it failed by."""
        while True:
            while self._came:
                yield self._came.popleft()
            if self._fault is not None:
                raise self._fault
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()


def _nothing() -> None:
    """Where nobody wants to know."""
