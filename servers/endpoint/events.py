"""The events of a legacy session's streams, kept for minutes in Redis, so that a stream goes on where it broke off.

A stream is a Redis Stream; an event's id names its stream and its place there. Knows no HTTP.
Source: 2025-11-25 basic/transports, "Resumability and Redelivery".
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

EVENT_SECONDS: Final = 300
"""How long events wait for a client that comes back."""

MAX_EVENTS: Final = 2_000
"""Events of one stream; the oldest go first."""

STANDALONE: Final = "s"
"""The stream of a session that belongs to no request: what a GET opens."""

_EVENT_ID: Final = re.compile(r"([A-Za-z0-9]{1,16})_(\d{1,15}-\d{1,10})")
_FIRST: Final = "0-0"


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a stream. ``last``: the answer, after which the stream is over."""

    id: str
    data: bytes
    last: bool


class EventLog:
    """The events of one stream of one session."""

    __slots__ = ("_channel", "_key", "_redis", "stream")

    def __init__(self, redis: Any, session_id: str, stream: str) -> None:
        self._redis = redis
        self._key = f"marina:events:{session_id}:{stream}"
        self._channel = f"marina:session:{session_id}"
        self.stream = stream

    @property
    def first_id(self) -> str:
        """The id of the event before all others: what a client has that has seen none."""
        return f"{self.stream}_{_FIRST}"

    async def add(self, data: bytes, *, last: bool = False, hint: bool) -> str:
        """Keep an event and give its id. ``hint`` tells whoever serves the stream elsewhere that it is there."""
        fields: dict[bytes, bytes] = {b"d": data}
        if last:
            fields[b"l"] = b"1"
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(self._key, fields, maxlen=MAX_EVENTS, approximate=True)
            pipe.expire(self._key, EVENT_SECONDS)
            if hint:
                pipe.publish(self._channel, b"event " + self.stream.encode())
            added = await pipe.execute()
        return f"{self.stream}_{added[0].decode()}"

    async def after(self, event_id: str) -> list[Event]:
        """The events that follow one. Raises ``RedisError``."""
        place = event_id.partition("_")[2]
        entries = await self._redis.xrange(self._key, min=f"({place}", max="+")
        return [
            Event(f"{self.stream}_{place.decode()}", fields[b"d"], b"l" in fields)
            for place, fields in entries
        ]

    async def newest_id(self) -> str:
        """The id of the last event that there is. Raises ``RedisError``."""
        entries = await self._redis.xrevrange(self._key, count=1)
        return f"{self.stream}_{entries[0][0].decode()}" if entries else self.first_id


def stream_of(event_id: str) -> str | None:
    """The stream that an event id names; ``None`` when it is not one of ours."""
    match = _EVENT_ID.fullmatch(event_id)
    return match[1] if match else None


def new_stream() -> str:
    """A name for the stream of one request."""
    return secrets.token_hex(6)


def sse(
    data: bytes, *, event_id: str | None = None, event: str | None = None, retry: int | None = None
) -> bytes:
    """One server-sent event (WHATWG HTML, section 9.2). ``data`` is one line."""
    parts = []
    if event is not None:
        parts.append(b"event: " + event.encode() + b"\n")
    if event_id is not None:
        parts.append(b"id: " + event_id.encode() + b"\n")
    if retry is not None:
        parts.append(b"retry: %d\n" % retry)
    parts.append(b"data: " + data + b"\n\n")
    return b"".join(parts)


PING: Final = b": ping\n\n"
"""A comment, which keeps proxies from closing a quiet stream."""
