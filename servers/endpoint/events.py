"""The events of a legacy session's streams, kept for minutes in Redis, so that a stream goes on where it broke off.

A stream is a Redis Stream; an event's id names its stream and its place there. What is kept is bounded in bytes, and
what is not kept leaves a trace, so that nobody misses it unawares. Knows no HTTP.
Source: 2025-11-25 basic/transports, "Resumability and Redelivery".
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

import orjson

from servers.endpoint.sessions import Session
from servers.endpoint.wire import INTERNAL_ERROR

EVENT_SECONDS: Final = 300
"""How long events wait for a client that comes back."""

MAX_EVENTS: Final = 2_000
"""Events of one stream; the oldest go first."""

STREAM_BYTES: Final = 1024 * 1024
"""Of the events of one stream; the oldest go first."""

EVENT_BYTES: Final = 256 * 1024
"""A larger event goes to the client and is not kept: who comes back for it is told so."""

SESSION_BYTES: Final = 16 * 1024 * 1024
"""Kept for one session within ``EVENT_SECONDS``. What comes on top goes to the client and is not kept."""

TEAM_BYTES: Final = 256 * 1024 * 1024
"""The same for all sessions of a team."""

TRANSPORT_BYTES: Final = 16 * 1024 * 1024
"""What may wait on a stream that is read from here alone. Beyond it an error takes an answer's place. All of a team's
together have ``TEAM_BYTES``."""

PROMPT_BYTES: Final = 64 * 1024
"""While less waits on such a stream, its reader keeps up, and nobody adds up what waits on the others."""

PAGE_EVENTS: Final = 100
"""Events read at once."""

LEASE_SECONDS: Final = 15
"""How long after its last sign of life a process counts as serving a request. It gives three in this time."""

STANDALONE: Final = "s"
"""The stream of a session that belongs to no request: what a GET opens."""

_EVENT_ID: Final = re.compile(r"([A-Za-z0-9]{1,16})_(\d{1,15}-\d{1,10})")
_FIRST: Final = "0-0"

# In one piece: whoever reads sees the answer, or that it is still being worked on, never neither.
_ADD: Final = """
local stream, about, lease = KEYS[1], KEYS[2], KEYS[3]
local data, last, missing = ARGV[1], ARGV[3] == '1', ARGV[4] == '1'
local most, trims, seconds = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7]
local held = tonumber(redis.call('hget', about, 'bytes') or 0)
local counters = trims and #KEYS or 3
if not missing then
  missing = not trims and held + #data > most
  if not trims and not missing and held + #data > tonumber(ARGV[13]) then
    local all = held + #data
    for _, other in ipairs(redis.call('smembers', KEYS[4])) do
      local bytes = redis.call('hget', other, 'bytes')
      if not bytes then redis.call('srem', KEYS[4], other)
      elseif other ~= about then all = all + bytes end
    end
    missing = all > tonumber(ARGV[14])
    redis.call('sadd', KEYS[4], about)
    redis.call('expire', KEYS[4], seconds)
  end
  for at = 4, counters do
    local kept = tonumber(redis.call('get', KEYS[at]) or 0)
    missing = missing or kept + #data > tonumber(ARGV[9 + at])
  end
  if missing then data = ARGV[2] end
end
local fields = {'d', data}
if missing then fields[3], fields[4] = 'm', '1' end
if last then fields[#fields + 1] = 'l'; fields[#fields + 1] = '1' end
local id = redis.call('xadd', stream, '*', unpack(fields))
held = held + #data
for at = 4, counters do
  redis.call('set', KEYS[at], 0, 'EX', seconds, 'NX')
  redis.call('incrby', KEYS[at], #data)
end
while (trims and held > most) or redis.call('xlen', stream) > tonumber(ARGV[8]) do
  local oldest = redis.call('xrange', stream, '-', '+', 'COUNT', 1)[1]
  if oldest[1] == id then break end
  redis.call('xdel', stream, oldest[1])
  redis.call('hset', about, 'lost', oldest[1])
  held = held - #oldest[2][2]
end
redis.call('hset', about, 'bytes', held, 'newest', id)
if last then redis.call('hset', about, 'over', 1); redis.call('del', lease) end
if ARGV[9] ~= '' then
  redis.call('hset', about, 'request', ARGV[9])
  redis.call('set', lease, 1, 'EX', ARGV[10])
end
redis.call('expire', stream, seconds)
redis.call('expire', about, seconds)
if ARGV[12] ~= '' then redis.call('publish', ARGV[11], ARGV[12]) end
return id
"""

_FORGET: Final = """
local freed = 0
for _, event in ipairs(redis.call('xrange', KEYS[1], '-', ARGV[1])) do
  freed = freed + #event[2][2]
  redis.call('xdel', KEYS[1], event[1])
end
if freed > 0 then redis.call('hincrby', KEYS[2], 'bytes', -freed) end
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a stream, or none. ``last``: the answer, after which the stream is over."""

    id: str
    data: bytes
    last: bool
    missing: bool
    """Whether something was said here, or right before, that is not kept; an answer has an error in its place."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a request's stream. Neither ``kept`` nor ``served``: nothing, or nothing any more."""

    kept: bool
    """Whether there are events."""
    served: bool
    """Whether a process still works on the request."""
    newest: str
    """The id of the last event."""
    over: bool
    """Whether that is the answer."""
    request: bytes
    """The JSON of the request's id."""


class EventLog:
    """The events of one stream of one session. ``request``: the JSON of the id of the request that it answers.

    ``transport``: the client gets the stream's events from here and not otherwise, so none gives way to a later one.
    """

    __slots__ = ("_begun", "_keys", "_redis", "_request", "_session", "_transport", "stream")

    def __init__(
        self, redis: Any, session: Session, stream: str, *, request: bytes = b"", transport: bool = False
    ) -> None:
        self._redis = redis
        self._session = session
        self._keys = (
            f"marina:events:{session.id}:{stream}",
            f"marina:stream:{session.id}:{stream}",
            f"marina:serving:{session.id}:{stream}",
        )
        self._request = request
        self._transport = transport
        self._begun = not request
        self.stream = stream

    @property
    def first_id(self) -> str:
        """The id of the event before all others: what a client has that has seen none."""
        return f"{self.stream}_{_FIRST}"

    async def add(
        self, data: bytes, *, last: bool = False, hint: bool, away: bool = False, instead: bytes = b""
    ) -> str:
        """Keep an event and give its id. ``hint`` tells whoever serves the stream elsewhere that it is there.

        ``away``: nobody takes the event now, so that an answer is kept though it is large. ``instead`` is kept where
        there is no room. Raises ``RedisError``.
        """
        most = TRANSPORT_BYTES if self._transport else STREAM_BYTES
        largest = EVENT_BYTES
        if self._transport or (away and last):
            largest, most = TRANSPORT_BYTES, max(most, len(data))
        if last and self._request:
            instead = too_large(self._request)
        missing = len(data) > largest
        begins = not last and not self._begun
        self._begun = self._begun or begins
        keys, budgets = list(self._keys), []
        session = self._session
        # A session's own stream has small events only.
        if self._transport:
            keys += [f"marina:waiting-team:{session.tenant_id}"]
            budgets = [PROMPT_BYTES, TEAM_BYTES]
        elif self.stream != STANDALONE:
            keys += [f"marina:kept:{session.id}", f"marina:kept-team:{session.tenant_id}"]
            budgets = [SESSION_BYTES, TEAM_BYTES]
        added = await self._redis.eval(
            _ADD,
            len(keys),
            *keys,
            instead if missing else data,
            instead,
            int(last),
            int(missing),
            most,
            int(not self._transport),
            EVENT_SECONDS,
            MAX_EVENTS,
            self._request if begins else b"",
            LEASE_SECONDS,
            session.channel,
            b"event " + self.stream.encode() if hint else b"",
            *budgets,
        )
        return f"{self.stream}_{added.decode()}"

    async def hold(self) -> None:
        """Say that this process works on the request. Raises ``RedisError``."""
        _, about, lease = self._keys
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(about, "request", self._request)
            pipe.expire(about, EVENT_SECONDS)
            pipe.set(lease, b"1", ex=LEASE_SECONDS)
            await pipe.execute()
        self._begun = True

    async def state(self) -> State:
        """How it stands with a request's stream. Raises ``RedisError``."""
        _, about, lease = self._keys
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(about, "newest", "over", "request")
            pipe.exists(lease)
            (newest, over, request), served = await pipe.execute()
        return State(
            kept=newest is not None or request is not None,
            served=bool(served),
            newest=f"{self.stream}_{(newest or _FIRST.encode()).decode()}",
            over=over is not None,
            request=request or b"null",
        )

    async def after(self, event_id: str) -> list[Event]:
        """The events that follow one, at most ``PAGE_EVENTS``. Raises ``RedisError``."""
        place = event_id.partition("_")[2]
        events, about, _ = self._keys
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xrange(events, min=f"({place}", max="+", count=PAGE_EVENTS)
            pipe.hget(about, "lost")
            entries, lost = await pipe.execute()
        cut = lost is not None and _order(lost.decode()) > _order(place)
        return [
            Event(
                f"{self.stream}_{found.decode()}",
                fields.get(b"d", b""),
                b"l" in fields,
                (b"m" in fields and not fields.get(b"d")) or (cut and number == 0),
            )
            for number, (found, fields) in enumerate(entries)
        ]

    async def forget(self, event_id: str) -> None:
        """The client has this event and those before it: they need not be kept. Raises ``RedisError``."""
        await self._redis.eval(_FORGET, 2, *self._keys[:2], event_id.partition("_")[2])

    async def newest_id(self) -> str:
        """The id of the last event that there is. Raises ``RedisError``."""
        return (await self.state()).newest


def too_large(request: bytes) -> bytes:
    """What stands for an answer that there was no room for. ``request``: the JSON of the request's id."""
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (request, orjson.dumps(_TOO_LARGE))


_TOO_LARGE: Final = {
    "code": INTERNAL_ERROR,
    "message": "The request was answered, but the answer is too large to be kept for a client that comes back, or "
    "too much is kept for this session already. The log says whether the request took effect. Send it again if it "
    "is safe to repeat, or ask for less.",
    "data": {"code": "answer_not_kept"},
}


def _order(place: str) -> tuple[int, int]:
    milliseconds, _, number = place.partition("-")
    return int(milliseconds), int(number)


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
