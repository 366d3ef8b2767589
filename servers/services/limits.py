"""How often something may happen at a place, over all processes, and how often those without a key may ask.

Knows no wire and no table.

The generic cell rate algorithm (ITU-T I.371): one time a place, up to which its requests are paid for. Redis keeps
it, so that replicas count together; while Redis is away, each process counts by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.clientaddress import address_block
from core.errors import RateLimited
from core.heedful import heed
from servers.services.refusals import KIND_RATE
from tenants.access import Caller

if TYPE_CHECKING:
    from servers.services.runtime import Runtime

BURST_SHARE: Final = 6
"""A burst may take a sixth of what a whole period allows, beyond the even pace."""

LEAST_BURST: Final = 10
"""But a client that connects sends a few requests at once, however low the rate is."""

REDIS_SECONDS: Final = 0.5
"""How long Redis may take to count."""

AWAY_SECONDS: Final = 5.0
"""How long Redis is not asked again after it did not answer."""

MAX_PLACES: Final = 10_000
"""Places that a process counts by itself while Redis is away. The one asked for longest ago makes room."""

_TAKE: Final = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local paid = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = paid - tonumber(ARGV[2]) - now
if wait > 0 then return wait end
if ARGV[1] == '0' then return 0 end
paid = paid + tonumber(ARGV[1])
local most = now + tonumber(ARGV[2])
if paid > most then paid = paid + tonumber(ARGV[3]) end
redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + 1)
return 0
"""
"""KEYS: the place. ARGV: what a request costs (0: it is only asked), what may be owed before it, and what more the one
costs that leaves no room for another; all in microseconds, as is the answer: how long to wait. 0: the request was let
through and counted."""

logger = logging.getLogger(__name__)


class Pace:
    """A rate: ``requests`` in ``seconds``, evenly spread, and a burst beside it: a share of them, or ``burst``.

    Whoever uses all of it up waits ``penalty`` seconds longer.
    """

    def __init__(self, requests: int, seconds: int, *, burst: int | None = None, penalty: int = 0) -> None:
        self.requests = requests
        self.seconds = seconds
        self.cost = max(seconds * 1_000_000 // requests, 1)
        self.burst = burst or max(math.ceil(requests / BURST_SHARE), min(requests, LEAST_BURST))
        self.owed = self.cost * (self.burst - 1)
        self.penalty = penalty * 1_000_000


class Limiter:
    """Counts requests by place, on one event loop."""

    def __init__(self, redis_url: str, pace: Pace) -> None:
        self.pace = pace
        self._redis_url = redis_url
        self._client: aioredis.Redis | None = None
        self._away_until = 0.0
        self._paid: OrderedDict[str, float] = OrderedDict()

    async def take(self, place: str, *, lightness: int = 1) -> float:
        """Count a request, or such a part of one. The seconds to wait before the next try; 0: it is let through."""
        return await self._ask(place, max(self.pace.cost // lightness, 1))

    async def peek(self, place: str) -> float:
        """The seconds that a request would have to wait. It is not counted."""
        return await self._ask(place, 0)

    async def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, place: str, cost: int) -> float:
        if monotonic() >= self._away_until:
            try:
                return await self._ask_redis(place, cost)
            except (RedisError, OSError, TimeoutError):
                self._away_until = monotonic() + AWAY_SECONDS
                logger.warning("requests are counted by each process alone: Redis does not count them")
        return self._ask_here(place, cost)

    async def _ask_redis(self, place: str, cost: int) -> float:
        if self._client is None:
            self._client = aioredis.Redis.from_url(
                self._redis_url,
                socket_connect_timeout=REDIS_SECONDS,
                socket_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            heed(self._client.connection_pool, self._redis_url)
        async with asyncio.timeout(REDIS_SECONDS):
            key = "marina:rate:" + hashlib.sha256(place.encode()).hexdigest()[:32]
            pace = self.pace
            wait = await self._client.eval(_TAKE, 1, key, str(cost), str(pace.owed), str(pace.penalty))
        return int(wait) / 1e6

    def _ask_here(self, place: str, cost: int) -> float:
        now = monotonic()
        paid = max(self._paid.get(place, 0.0), now)
        most = now + self.pace.owed / 1e6
        if paid > most:
            return paid - most
        if cost == 0:
            return 0.0
        paid += cost / 1e6
        self._paid[place] = paid + (self.pace.penalty / 1e6 if paid > most else 0.0)
        self._paid.move_to_end(place)
        while len(self._paid) > MAX_PLACES:
            self._paid.popitem(last=False)
        return 0.0


def in_seconds(seconds: int) -> str:
    """When to try again, in words."""
    return f"in {seconds} second{'' if seconds == 1 else 's'}"


_ANONYMOUS: Final = "anonymous ("


def block_of(caller: Caller) -> str | None:
    """The address block of a caller without a key; ``None`` for everybody else."""
    if not caller.anonymous:
        return None
    return address_block(caller.actor.removeprefix(_ANONYMOUS).removesuffix(")"))


def anonymous_caller(
    tenant_id: int, tenant_slug: str, server: str, address: str, scopes: frozenset[str]
) -> Caller:
    """Anyone at ``address``, on this server alone. The log names them by the address: nothing else is known."""
    return Caller(
        tenant_id=tenant_id,
        tenant_slug=tenant_slug,
        actor=f"{_ANONYMOUS}{address})",
        scopes=scopes | {f"server:{server}"},
    )


async def admit_anonymous(
    runtime: Runtime, server: str, address: str, *, caller: Caller, client: str, request_id: str
) -> None:
    """Let a request without a key through, or raise ``RateLimited``, recorded (bounded), with the time to wait."""
    limiter = runtime.limiter
    wait = await limiter.take(f"{caller.tenant_id}/{server}/{address_block(address)}")
    if wait <= 0:
        return
    pace = limiter.pace
    seconds = math.ceil(wait)
    refusal = RateLimited(
        f"Without a key, {pace.requests} requests in {pace.seconds} seconds are allowed from one address, "
        f"evenly spread. Try again {in_seconds(seconds)}, or ask the team for a key.",
        retry_after=seconds,
        rule="rate:address",
    )
    await runtime.refusals.refused_caller(
        caller,
        refusal,
        kind=KIND_RATE,
        server=server,
        client=client,
        request_id=request_id,
        bounded=True,
    )
    raise refusal
