"""One request to an upstream MCP server, over streamable HTTP: sends it, and gives its answer. It opens no session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from core.outbound_http import Answer, OutboundClient, OutboundRefused, Streamed
from servers.execution.backends.mcp.events import EventReader
from servers.execution.backends.mcp.faults import SessionLost, status_fault, unlike_mcp
from servers.execution.backends.mcp.replies import Listening, Reply, Request
from servers.execution.backends.mcp.wire import Headers, NotMcp, read_messages, result_of

UNBOUNDED_SECONDS: Final = 7_200.0
"""No connection of an exchange is held longer, whatever the deadline: that stands still while a person is asked."""

MAX_REDIRECTS: Final = 3
MAX_RESUMED: Final = 20
"""How often a stream that ended before its answer is taken up again."""
MAX_RETRY_SECONDS: Final = 5.0
DEFAULT_RETRY_SECONDS: Final = 1.0
END_SECONDS: Final = 0.05
MAX_HEARD_BYTES: Final = 4_194_304
"""Of one event that belongs to no request."""
_NO_STREAM: Final = frozenset({404, 405, 406, 501})
"""What servers answer to a request for such a stream that have none."""
MAX_BATCH: Final = 1_000
"""Messages in one event, or one body: they are handled in a row."""

Heard = Callable[[Mapping[str, Any], int], None]
"""Takes a message that belongs to no request, and its size in bytes."""

Opened = Callable[[], object]


@dataclass(slots=True)
class Endpoint:
    """Where an upstream is asked, and by what it is known. ``url`` changes where it leads on within its own origin."""

    url: str
    client: OutboundClient
    signing: Headers = field(repr=False)


async def exchange(endpoint: Endpoint, request: Request) -> Reply:
    """Send a request and give its answer. It has no deadline of its own.

    Raises ``RpcError``, ``SessionLost``, ``SourceError`` for an answer that is none, and ``OutboundRefused``.
    """
    reading = _Reading(endpoint, request)
    for _ in range(MAX_REDIRECTS + 1):
        async with endpoint.client.stream(
            "POST",
            endpoint.url,
            headers=[
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                *endpoint.signing,
                *request.headers,
            ],
            content=request.content,
            seconds=None,
            most_bytes=request.most_bytes,
        ) as answer:
            if answer.status in (307, 308) and _follow(endpoint, answer):
                continue
            reply = await reading.take(answer, in_session=request.in_session)
        break
    else:
        raise status_fault(307, endpoint.url)
    if reply is None and request.resumes and reading.last_id:
        try:
            reply = await _resume(endpoint, request, reading)
        except OutboundRefused as refused:
            if not refused.unsent:
                raise
            # Nothing of this one arrived; the request itself did.
            raise OutboundRefused("its stream ended before the answer", "broken") from None
    if reply is None:
        raise OutboundRefused("its stream ended before the answer", "broken")
    return reply


async def post(endpoint: Endpoint, content: bytes, *, headers: Headers = (), seconds: float) -> Answer:
    """Send a notification or an answer, and give what is said to it. Raises ``OutboundRefused``."""
    return await endpoint.client.send(
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


async def overhear(
    endpoint: Endpoint, heard: Heard, opened: Opened, *, headers: Headers, most_bytes: int
) -> bool:
    """Hand on what comes on the stream that GET opens, until it ends. ``False``: there is none.

    Raises ``SourceError`` where it is refused, ``OutboundRefused``, ``NotMcp``.
    """
    async with endpoint.client.stream(
        "GET",
        endpoint.url,
        headers=[("Accept", "text/event-stream"), *endpoint.signing, *headers],
        seconds=UNBOUNDED_SECONDS,
        most_bytes=most_bytes,
    ) as answer:
        if answer.status in _NO_STREAM or (
            answer.status == 200 and media_type(answer) != "text/event-stream"
        ):
            # It need not have such a stream.
            return False
        if answer.status != 200:
            raise status_fault(answer.status, endpoint.url, challenge_of(answer))
        opened()
        reader = EventReader()
        pending = 0
        async for piece in answer.pieces:
            pending += len(piece)
            if pending > MAX_HEARD_BYTES:
                raise OutboundRefused(f"it sent an event of more than {MAX_HEARD_BYTES} bytes", "too_large")
            async with aclosing(reader.feed(piece)) as events:
                async for event in events:
                    pending = 0
                    for message in read_messages(event.data, most=MAX_BATCH) if event.data else ():
                        heard(message, len(event.data))
    return True


async def _resume(endpoint: Endpoint, request: Request, reading: _Reading) -> Reply | None:
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
                *request.headers,
            ],
            seconds=UNBOUNDED_SECONDS,
            most_bytes=request.most_bytes,
        ) as answer:
            if answer.status != 200 or media_type(answer) != "text/event-stream":
                return None
            reply = await reading.take(answer, in_session=True)
        if reply is not None:
            return reply
    return None


class _Reading:
    """Reads what comes for one request, over as many answers of HTTP as it takes."""

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self._rpc_id = request.rpc_id
        self._endpoint = endpoint
        self._listening = Listening(request)
        self.last_id = ""
        self.retry_seconds = DEFAULT_RETRY_SECONDS

    async def take(self, answer: Streamed, *, in_session: bool) -> Reply | None:
        """The reply, or ``None`` where the stream ended without one."""
        kind = media_type(answer)
        url = self._endpoint.url
        try:
            if answer.status == 200 and kind == "text/event-stream":
                return await self._read_stream(answer)
            if answer.status == 404 and in_session:
                raise SessionLost
            challenge = challenge_of(answer)
            # Servers refuse who has not signed in with a body of JSON-RPC, too: how one signs in is in the header.
            refused = answer.status == 401 or (answer.status == 403 and challenge)
            if refused or (kind != "application/json" and answer.status != 200):
                raise status_fault(answer.status, url, challenge)
            return self._read_body(await _whole(answer, kind), answer)
        except NotMcp as fault:
            raise unlike_mcp(url, fault) from None

    def _read_body(self, body: bytes, answer: Streamed) -> Reply:
        """The reply in a body of JSON, of which errors have other statuses than 200."""
        try:
            messages = read_messages(body, most=MAX_BATCH)
        except NotMcp:
            if answer.status != 200:
                raise status_fault(answer.status, self._endpoint.url, challenge_of(answer)) from None
            raise
        for message in messages:
            if "method" in message:
                continue
            # An upstream that could not read the request cannot say which one it was.
            if message.get("id") == self._rpc_id or (message.get("id") is None and "error" in message):
                if answer.status != 200 and "error" not in message:
                    raise status_fault(answer.status, self._endpoint.url, challenge_of(answer))
                return Reply(result_of(message), answer.headers, len(body))
        raise NotMcp("its answer is not the one to the request")

    async def _read_stream(self, answer: Streamed) -> Reply | None:
        async with aclosing(self._messages(answer.pieces)) as messages:
            reply = await self._listening.reply_of(messages, answer.headers)
        if reply is not None:
            # Read to its end, the connection serves the next request. The end follows the answer at once, or never.
            with contextlib.suppress(TimeoutError, OutboundRefused):
                async with asyncio.timeout(END_SECONDS):
                    async for _ in answer.pieces:
                        pass
        return reply

    async def _messages(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[tuple[dict[str, Any], int]]:
        reader = EventReader()
        try:
            async for piece in pieces:
                async with aclosing(reader.feed(piece)) as events:
                    async for event in events:
                        if event.id:
                            self.last_id = event.id if _fits_header(event.id) else ""
                        if event.retry is not None:
                            self.retry_seconds = min(event.retry / 1_000, MAX_RETRY_SECONDS)
                        for message in read_messages(event.data, most=MAX_BATCH) if event.data else ():
                            yield message, len(event.data)
        except OutboundRefused as refused:
            if refused.reason != "broken" or not self.last_id:
                raise


def led_within(url: str, place: str) -> str:
    """The address that an upstream leads to; empty where that is of another origin: credentials go there, too."""
    try:
        target = urljoin(url, place)
        old, new = urlsplit(url), urlsplit(target)
    except ValueError:
        # It is no address.
        return ""
    same = (old.scheme, old.netloc.lower()) == (new.scheme, new.netloc.lower())
    return target if same else ""


def _follow(endpoint: Endpoint, answer: Streamed) -> bool:
    """Whether the upstream led on within its own origin: then that is where it is asked from now on."""
    place = answer.headers.get("location", "")
    target = led_within(endpoint.url, place) if place else ""
    if target:
        endpoint.url = target.partition("#")[0]
    return bool(target)


def challenge_of(answer: Streamed | Answer) -> str:
    """How an answer says that one signs in."""
    return answer.headers.get("www-authenticate", "")


def media_type(answer: Streamed) -> str:
    """What an answer's body is, without parameters."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _whole(answer: Streamed, kind: str) -> bytes:
    """The body of an answer of JSON. Raises ``NotMcp`` for any other."""
    if kind != "application/json":
        raise NotMcp("its answer is no JSON")
    return b"".join([piece async for piece in answer.pieces])


def _fits_header(text: str) -> bool:
    return len(text) <= 1_024 and text.isascii() and text.isprintable() and text == text.strip()
