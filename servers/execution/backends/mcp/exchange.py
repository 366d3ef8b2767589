"""One request to an upstream MCP server, over streamable HTTP: sends it, and reads what comes until its answer.

What the upstream says in between (notifications, questions) is handed to whoever ``hears``. It opens no session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

from core.outbound_http import OutboundRefused, Streamed
from servers.execution.backends.mcp.events import EventReader
from servers.execution.backends.mcp.faults import SessionLost, status_fault, unlike_mcp
from servers.execution.backends.mcp.lines import Lines
from servers.execution.backends.mcp.wire import NotMcp, read_messages, result_of

UNBOUNDED_SECONDS: Final = 7_200.0
"""No exchange takes longer, whatever its deadline: that stands still while a person is asked."""

MAX_REDIRECTS: Final = 3
MAX_RESUMED: Final = 20
"""How often a stream that ended before its answer is taken up again."""
MAX_RETRY_SECONDS: Final = 5.0
DEFAULT_RETRY_SECONDS: Final = 1.0
END_SECONDS: Final = 0.05
MAX_QUESTIONS: Final = 50
"""Of one request."""

Headers = Sequence[tuple[str, str]]


class Hear(Protocol):
    """Whoever takes what an upstream says while it works on a request."""

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """A notification."""
        ...

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """A request of the upstream's: it is answered in here."""
        ...


@dataclass(slots=True)
class Reply:
    """The answer to a request. ``size`` is that of its message, in bytes."""

    result: dict[str, Any]
    headers: Mapping[str, str]
    size: int


@dataclass(slots=True)
class Endpoint:
    """Where an upstream is asked, and by what it is known. ``url`` changes where it leads on within its own origin."""

    url: str
    client: Lines
    signing: Headers = field(repr=False)


class Deaf:
    """Implements ``Hear`` for requests during which nothing is expected."""

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """See ``Hear``."""
        return

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """See ``Hear``. It stays without an answer."""
        return


DEAF: Final = Deaf()


async def exchange(
    endpoint: Endpoint,
    rpc_id: int,
    content: bytes,
    *,
    headers: Headers = (),
    in_session: bool = False,
    resumes: bool = False,
    most_bytes: int,
    hear: Hear = DEAF,
) -> Reply:
    """Send a request and give its answer. It has no deadline of its own.

    Raises ``RpcError``, ``SessionLost``, ``SourceError`` for an answer that is none, and ``OutboundRefused``.
    ``resumes``: a stream that breaks off is taken up again where the upstream numbered its events (2025-11-25
    basic/transports, "Resumability and Redelivery").
    """
    reading = _Reading(rpc_id, endpoint, hear)
    for _ in range(MAX_REDIRECTS + 1):
        async with endpoint.client.stream(
            "POST",
            endpoint.url,
            headers=[
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                *endpoint.signing,
                *headers,
            ],
            content=content,
            seconds=UNBOUNDED_SECONDS,
            most_bytes=most_bytes,
        ) as answer:
            if answer.status in (307, 308) and _follow(endpoint, answer):
                continue
            reply = await reading.take(answer, in_session=in_session)
        break
    else:
        raise status_fault(307, endpoint.url)
    if reply is None and resumes and reading.last_id:
        reply = await _resume(reading, endpoint, headers, most_bytes)
    if reply is None:
        raise OutboundRefused("its stream ended before the answer", "broken")
    return reply


async def post(endpoint: Endpoint, content: bytes, *, headers: Headers = (), seconds: float) -> int:
    """Send a notification or an answer, and give the status. Raises ``OutboundRefused``."""
    answer = await endpoint.client.send(
        "POST",
        endpoint.url,
        headers=[
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            *endpoint.signing,
            *headers,
        ],
        content=content,
        seconds=seconds,
        most_bytes=65_536,
    )
    return answer.status


async def _resume(reading: _Reading, endpoint: Endpoint, headers: Headers, most_bytes: int) -> Reply | None:
    """Take a stream up again behind the last event that came, until the answer is there or nothing more is."""
    for _ in range(MAX_RESUMED):
        await asyncio.sleep(reading.retry_seconds)
        seen = reading.last_id
        async with endpoint.client.stream(
            "GET",
            endpoint.url,
            headers=[
                ("Accept", "text/event-stream"),
                ("Last-Event-ID", seen),
                *endpoint.signing,
                *headers,
            ],
            seconds=UNBOUNDED_SECONDS,
            most_bytes=most_bytes,
        ) as answer:
            if answer.status != 200 or _media_type(answer) != "text/event-stream":
                return None
            reply = await reading.take(answer, in_session=True)
        if reply is not None:
            return reply
    return None


class _Reading:
    """Reads what comes for one request, over as many answers of HTTP as it takes."""

    def __init__(self, rpc_id: int, endpoint: Endpoint, hear: Hear) -> None:
        self._rpc_id = rpc_id
        self._endpoint = endpoint
        self._hear = hear
        self._questions = 0
        self.last_id = ""
        self.retry_seconds = DEFAULT_RETRY_SECONDS

    async def take(self, answer: Streamed, *, in_session: bool) -> Reply | None:
        """The reply, or ``None`` where the stream ended without one."""
        kind = _media_type(answer)
        url = self._endpoint.url
        try:
            if answer.status == 200 and kind == "text/event-stream":
                return await self._read_stream(answer)
            if answer.status == 404 and in_session:
                raise SessionLost
            if kind != "application/json" and answer.status != 200:
                raise status_fault(answer.status, url)
            return self._read_body(await _whole(answer, kind), answer)
        except NotMcp as fault:
            raise unlike_mcp(url, fault) from None

    def _read_body(self, body: bytes, answer: Streamed) -> Reply:
        """The reply in a body of JSON, of which errors have other statuses than 200."""
        try:
            messages = read_messages(body)
        except NotMcp:
            if answer.status != 200:
                raise status_fault(answer.status, self._endpoint.url) from None
            raise
        for message in messages:
            if "method" in message:
                continue
            # An upstream that could not read the request cannot say which one it was.
            if message.get("id") == self._rpc_id or (message.get("id") is None and "error" in message):
                if answer.status != 200 and "error" not in message:
                    raise status_fault(answer.status, self._endpoint.url)
                return Reply(result_of(message), answer.headers, len(body))
        raise NotMcp("its answer is not the one to the request")

    async def _read_stream(self, answer: Streamed) -> Reply | None:
        async with aclosing(self._messages(answer.pieces)) as messages:
            reply = await self._next_reply(messages, answer)
        if reply is not None:
            # Read to its end, the connection serves the next request. The end follows the answer at once, or never.
            with contextlib.suppress(TimeoutError, OutboundRefused):
                async with asyncio.timeout(END_SECONDS):
                    async for _ in answer.pieces:
                        pass
        return reply

    async def _next_reply(
        self,
        messages: AsyncGenerator[tuple[dict[str, Any], int]],
        answer: Streamed,
        spawn: Callable[[Coroutine[Any, Any, None]], object] | None = None,
    ) -> Reply | None:
        async for message, size in messages:
            method = message.get("method")
            if method is None:
                if message.get("id") == self._rpc_id:
                    return Reply(result_of(message), answer.headers, size)
                raise NotMcp("its answer is not the one to the request")
            params = message.get("params")
            params = params if isinstance(params, dict) else {}
            if "id" not in message:
                await self._hear.told(str(method), params)
                continue
            self._questions += 1
            if self._questions > MAX_QUESTIONS:
                raise NotMcp(f"it asked more than {MAX_QUESTIONS} questions within one request")
            question = self._hear.asked(message["id"], str(method), params)
            if spawn is None:
                # From the first question on others may come while it is answered, and the end, too.
                return await self._read_beside(question, messages, answer)
            spawn(question)
        return None

    async def _read_beside(
        self,
        first: Coroutine[Any, Any, None],
        messages: AsyncGenerator[tuple[dict[str, Any], int]],
        answer: Streamed,
    ) -> Reply | None:
        asked: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:

                def spawn(question: Coroutine[Any, Any, None]) -> None:
                    asked.append(group.create_task(question))

                spawn(first)
                try:
                    return await self._next_reply(messages, answer, spawn)
                finally:
                    for task in asked:
                        task.cancel()
        except BaseExceptionGroup as several:
            raise _first(several) from None

    async def _messages(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[tuple[dict[str, Any], int]]:
        reader = EventReader()
        try:
            async for piece in pieces:
                for event in reader.feed(piece):
                    if event.id:
                        self.last_id = event.id if _fits_header(event.id) else ""
                    if event.retry is not None:
                        self.retry_seconds = min(event.retry / 1_000, MAX_RETRY_SECONDS)
                    if not event.data:
                        continue
                    for message in read_messages(event.data):
                        yield message, len(event.data)
        except OutboundRefused as refused:
            if refused.reason != "broken" or not self.last_id:
                raise


def _follow(endpoint: Endpoint, answer: Streamed) -> bool:
    """Whether the upstream led on within its own origin: then that is where it is asked from now on."""
    place = answer.headers.get("location", "")
    target = urljoin(endpoint.url, place)
    old, new = urlsplit(endpoint.url), urlsplit(target)
    if not place or (old.scheme, old.netloc.lower()) != (new.scheme, new.netloc.lower()):
        return False
    endpoint.url = target.partition("#")[0]
    return True


def _media_type(answer: Streamed) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _whole(answer: Streamed, kind: str) -> bytes:
    """The body of an answer of JSON. Raises ``NotMcp`` for any other."""
    if kind != "application/json":
        raise NotMcp("its answer is no JSON")
    return b"".join([piece async for piece in answer.pieces])


def _fits_header(text: str) -> bool:
    return len(text) <= 1_024 and text.isascii() and text.isprintable() and text == text.strip()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    fault = group.exceptions[0]
    return _first(fault) if isinstance(fault, BaseExceptionGroup) else fault
