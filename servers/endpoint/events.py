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

LEASE_SECONDS: Final = 15
"""How long after its last sign of life a process counts as serving a request. It gives three in this time."""

STANDALONE: Final = "s"
"""The stream of a session that belongs to no request: what a GET opens."""

_EVENT_ID: Final = re.compile(r"([A-Za-z0-9]{1,16})_(\d{1,15}-\d{1,10})")
_FIRST: Final = "0-0"


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a stream, or none. ``last``: the answer, after which the stream is over."""

    id: str
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a request's stream. Neither ``kept`` nor ``served``: nothing, or nothing any more."""

    kept: bool
    """Whether there are events."""
    served: bool
    """Whether a process still works on the request."""
    newest: str
    """The id of the last event, and whether it is the answer."""
    over: bool
    request: bytes
    """The JSON of the request's id."""


class EventLog:
    """The events of one stream of one session. ``request``: the JSON of the id of the request that it answers."""

    __slots__ = ("_begun", "_channel", "_key", "_lease", "_redis", "_request", "stream")

    def __init__(self, redis: Any, session_id: str, stream: str, *, request: bytes = b"") -> None:
        self._redis = redis
        self._key = f"marina:events:{session_id}:{stream}"
        self._lease = f"marina:serving:{session_id}:{stream}"
        self._channel = f"marina:session:{session_id}"
        self._request = request
        self._begun = not request
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
            if not last:
                self._begin(pipe)
            elif self._request:
                pipe.delete(self._lease)
            pipe.xadd(self._key, fields, maxlen=MAX_EVENTS, approximate=True)
            pipe.expire(self._key, EVENT_SECONDS)
            if hint:
                pipe.publish(self._channel, b"event " + self.stream.encode())
            added = await pipe.execute()
        return f"{self.stream}_{added[-3 if hint else -2].decode()}"

    async def hold(self) -> None:
        """Say that this process works on the request. Raises ``RedisError``."""
        async with self._redis.pipeline(transaction=False) as pipe:
            self._begin(pipe)
            pipe.set(self._lease, b"1", ex=LEASE_SECONDS)
            await pipe.execute()

    async def state(self) -> State:
        """How it stands with a request's stream. Raises ``RedisError``."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xrange(self._key, count=1)
            pipe.xrevrange(self._key, count=1)
            pipe.exists(self._lease)
            first, newest, served = await pipe.execute()
        place, fields = newest[0] if newest else (_FIRST.encode(), {})
        return State(
            kept=bool(newest),
            served=bool(served),
            newest=f"{self.stream}_{place.decode()}",
            over=b"l" in fields,
            request=first[0][1].get(b"r", b"null") if first else b"null",
        )

    def _begin(self, pipe: Any) -> None:
        """Begin with an event that is not sent: it says which request is answered here, and by now it is."""
        if not self._begun:
            self._begun = True
            pipe.xadd(self._key, {b"r": self._request})
            pipe.expire(self._key, EVENT_SECONDS)
            pipe.set(self._lease, b"1", ex=LEASE_SECONDS)

    async def after(self, event_id: str) -> list[Event]:
        """The events that follow one. Raises ``RedisError``."""
        place = event_id.partition("_")[2]
        entries = await self._redis.xrange(self._key, min=f"({place}", max="+")
        return [
            Event(f"{self.stream}_{place.decode()}", fields.get(b"d", b""), b"l" in fields)
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
