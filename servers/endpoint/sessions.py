"""Sessions of the handshake revisions (to 2025-11-25). They live in Redis, so that any replica serves any request.

A session belongs to one server of one tenant and to the principal that began it; for everyone else it does not
exist. What a replica holds of one is a copy for seconds. No session is needed to be served: a client that sends
none gets everything but the way back to it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from core.bus import Bus
from servers.services.limits import block_of
from servers.services.principals import identity_of
from tenants.access import Caller

SESSION_SECONDS: Final = 3600
"""A session that nobody used for so long has ended."""

MAX_SESSIONS: Final = 1_000
"""Sessions of one principal. Beyond it the one used longest ago ends."""

ANONYMOUS_SECONDS: Final = 600
"""The same of a client without a key."""

MAX_ANONYMOUS: Final = 50
"""Sessions of one address block without a key."""

HELD_SECONDS: Final = 5.0
"""How long a replica believes its copy. Ends and changes are announced; this bounds what is not heard."""

SPREAD_SECONDS: Final = 0.02
"""An end is answered after so long, so that the replicas have heard of it when the client asks again."""

_REFRESH_SECONDS: Final = 60.0
_MAX_HELD: Final = 10_000
_CHANNEL: Final = "marina:sessions"
_STORE: Final = "if redis.call('exists', KEYS[1]) == 1 then redis.call('hset', KEYS[1], unpack(ARGV)) end"
"""An ended session must not come back by halves."""

_REMEMBER: Final = """
if redis.call('exists', KEYS[1]) == 0 then return 0 end
redis.call('hset', KEYS[2], unpack(ARGV, 2))
redis.call('expire', KEYS[2], ARGV[1])
return 1"""
_SUBSCRIBE: Final = """
if redis.call('exists', KEYS[1]) == 0 then return 0 end
if redis.call('scard', KEYS[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('sadd', KEYS[2], ARGV[3])
redis.call('expire', KEYS[2], ARGV[1])
local now = redis.call('TIME')
redis.call('hsetnx', KEYS[3], ARGV[4], now[1] * 1000000 + now[2])
redis.call('expire', KEYS[3], ARGV[1])
redis.call('publish', ARGV[5], ARGV[6])
return 1"""

TOLD: Final = "told"
"""The field beside the digests of the lists: up to when its client was told of updated resources, in microseconds of
Redis's clock."""

_ANONYMOUS: Final = "anonymous "
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{32}")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Session:
    """One client's session. ``version`` is the negotiated revision, empty before ``initialize``.

    ``log_level`` is the least severity that the client wants. A session without an ``id`` lives and dies with its
    connection (a WebSocket's), and its ``uris`` are the resources that it subscribed to.
    """

    id: str
    tenant_id: int
    server: str
    principal: str
    version: str
    client: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = "info"
    checked: float = 0.0
    refreshed: float = 0.0
    uris: set[str] | None = None

    @property
    def seconds(self) -> int:
        """How long it lasts without use."""
        return ANONYMOUS_SECONDS if self.principal.startswith(_ANONYMOUS) else SESSION_SECONDS

    @property
    def primed(self) -> bool:
        """Whether its streams begin with an empty event, as clients expect since 2025-11-25 (SEP-1699)."""
        return self.version >= "2025-11-25"

    @property
    def channel(self) -> str:
        """Where its processes tell each other of it."""
        return f"marina:session:{self.id}"


def principal_of(caller: Caller) -> str:
    """Whose a session, a stream or a sealed state is: the caller's by ``identity_of``, or an address block's."""
    return identity_of(caller) or f"{_ANONYMOUS}{block_of(caller)}"


class Sessions:
    """The sessions that this process uses. One object a process, on its event loop."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._held: OrderedDict[str, Session] = OrderedDict()
        self._dropped = 0
        bus.listen(_CHANNEL, self._drop, self._drop_all)

    async def begin(
        self,
        caller: Caller,
        server: str,
        *,
        version: str,
        client: str,
        capabilities: Mapping[str, Any],
        digests: Mapping[str, str],
    ) -> Session | None:
        """A new session; ``None`` while Redis is away: the client is then served without one.

        ``digests`` are of the lists as they are now: another one later is a change that the client is told of.
        """
        session = Session(
            id=secrets.token_urlsafe(24),
            tenant_id=caller.tenant_id,
            server=server,
            principal=principal_of(caller),
            version=version,
            client=client,
            capabilities=capabilities,
        )
        try:
            async with self._bus.redis.pipeline(transaction=False) as pipe:
                pipe.hset(session_key(session.id), mapping=_content(session))
                pipe.expire(session_key(session.id), session.seconds)
                pipe.zadd(_owned(session), {session.id: time.time()})
                pipe.expire(_owned(session), session.seconds)
                pipe.hset(lists_key(session.id), mapping=dict(digests))
                pipe.expire(lists_key(session.id), session.seconds)
                await pipe.execute()
            session.checked = session.refreshed = monotonic()
            await self._end_oldest(session)
        except (RedisError, OSError):
            logger.warning("a client is served without a session: Redis is away")
            return None
        return session

    async def change(self, session: Session, **changes: Any) -> None:
        """Change a session here and for everyone, unless it has ended meanwhile. Raises ``RedisError``.

        Only these attributes are written: the others of this copy may be older than what is written elsewhere.
        """
        changed = replace(session, **changes)
        if session.id:
            content = _content(changed)
            written = [part for name in changes for part in (name, content[name])]
            await self._bus.redis.eval(_STORE, 1, session_key(session.id), *written)
        for name in changes:
            setattr(session, name, getattr(changed, name))
        if session.id:
            await self._bus.publish(_CHANNEL, session.id)

    def peek(self, session_id: bytes, caller: Caller, server: str) -> Session | None:
        """The session when a fresh copy is held. The hot path: no await."""
        session = self._held.get(session_id.decode("latin-1"))
        if session is None or monotonic() - session.checked > HELD_SECONDS:
            return None
        return session if _belongs(session, caller, server) else None

    async def get(self, session_id: bytes, caller: Caller, server: str) -> Session | None:
        """The session; ``None`` when there is none of this id for this caller at this server.

        Raises ``RedisError`` or ``OSError`` when that cannot be known.
        """
        if _ID.fullmatch(session_id) is None:
            return None
        name = session_id.decode()
        dropped = self._dropped
        raw = await self._bus.redis.hgetall(session_key(name))
        session = _read(name, raw) if raw else None
        if session is None or not _belongs(session, caller, server):
            return None
        now = monotonic()
        before = self._held.get(name)
        session.checked = now
        session.refreshed = before.refreshed if before is not None else now - _REFRESH_SECONDS
        # What was read may be older than a change that was heard meanwhile: then it serves this request alone.
        if dropped == self._dropped:
            self._held[name] = session
            self._held.move_to_end(name)
        while len(self._held) > _MAX_HELD:
            self._held.popitem(last=False)
        if now - session.refreshed >= _REFRESH_SECONDS:
            await self.refresh(session)
        return session

    async def stands(self, session: Session) -> bool:
        """Whether it has not ended. Raises ``RedisError``."""
        return bool(await self._bus.redis.exists(session_key(session.id)))

    async def remember_lists(self, session: Session, digests: Mapping[str, str]) -> None:
        """Keep what its client was last told of, unless it has ended. Raises ``RedisError``."""
        written = [part for pair in digests.items() for part in pair]
        keys = session_key(session.id), lists_key(session.id)
        await self._bus.redis.eval(_REMEMBER, 2, *keys, session.seconds, *written)

    async def subscribe(self, session: Session, uri: str, *, most: int) -> bool:
        """Subscribe to a resource. False: it has ended, or has as many as it may. Raises ``RedisError``."""
        keys = session_key(session.id), subscriptions_key(session.id), lists_key(session.id)
        said = session.channel, b"subscribed " + uri.encode()
        return bool(await self._bus.redis.eval(_SUBSCRIBE, 3, *keys, session.seconds, most, uri, TOLD, *said))

    async def refresh(self, session: Session) -> None:
        """It is in use: put off its end."""
        session.refreshed = monotonic()
        async with self._bus.redis.pipeline(transaction=False) as pipe:
            for key in (
                session_key(session.id),
                lists_key(session.id),
                subscriptions_key(session.id),
                _owned(session),
            ):
                pipe.expire(key, session.seconds)
            pipe.zadd(_owned(session), {session.id: time.time()}, xx=True)
            await pipe.execute()

    async def end(self, session: Session) -> None:
        """End it on every replica: its streams close, and its id is unknown from now on. Raises ``RedisError``."""
        self._held.pop(session.id, None)
        await self._end(session.id, _owned(session))
        await asyncio.sleep(SPREAD_SECONDS)

    async def _end_oldest(self, session: Session) -> None:
        owned = _owned(session)
        most = MAX_ANONYMOUS if session.principal.startswith(_ANONYMOUS) else MAX_SESSIONS
        surplus = await self._bus.redis.zrange(owned, 0, -most - 1)
        for name in surplus:
            await self._end(name.decode(), owned)

    async def _end(self, name: str, owned: str) -> None:
        async with self._bus.redis.pipeline(transaction=False) as pipe:
            pipe.delete(session_key(name), subscriptions_key(name), lists_key(name))
            pipe.zrem(owned, name)
            pipe.publish(_CHANNEL, name)
            pipe.publish(f"marina:session:{name}", b"end")
            await pipe.execute()

    def _drop(self, message: bytes) -> None:
        self._dropped += 1
        self._held.pop(message.decode("latin-1"), None)

    def _drop_all(self) -> None:
        self._dropped += 1
        self._held.clear()


def session_key(session_id: str) -> str:
    """Where a session lies, while it lasts."""
    return f"marina:session:{session_id}"


def subscriptions_key(session_id: str) -> str:
    """The set of resource URIs that a session subscribed to."""
    return f"marina:subscriptions:{session_id}"


def lists_key(session_id: str) -> str:
    """The digests of the lists that a session's client was last told of, and ``TOLD``."""
    return f"marina:lists:{session_id}"


def _content(session: Session) -> dict[str, str | int | bytes]:
    return {
        "tenant": session.tenant_id,
        "server": session.server,
        "principal": session.principal,
        "version": session.version,
        "client": session.client,
        "capabilities": orjson.dumps(session.capabilities),
        "log_level": session.log_level,
    }


def _owned(session: Session) -> str:
    return f"marina:sessions:{session.tenant_id}:{session.principal}"


def _belongs(session: Session, caller: Caller, server: str) -> bool:
    return (
        session.tenant_id == caller.tenant_id
        and session.server == server
        and session.principal == principal_of(caller)
    )


def _read(name: str, raw: Mapping[bytes, bytes]) -> Session | None:
    try:
        return Session(
            id=name,
            tenant_id=int(raw[b"tenant"]),
            server=raw[b"server"].decode(),
            principal=raw[b"principal"].decode(),
            version=raw[b"version"].decode(),
            client=raw[b"client"].decode(),
            capabilities=orjson.loads(raw[b"capabilities"]),
            log_level=raw[b"log_level"].decode(),
        )
    except (KeyError, ValueError):
        logger.warning("a session could not be read and counts as ended", extra={"session": name[:6]})
        return None
