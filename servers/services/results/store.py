"""The results that all processes keep together, in Redis: sealed, bounded for each tenant, and never needed.

Every fault of Redis ends as "not there": a call then runs, and is recorded, as without a cache.
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import blake2b
from time import monotonic
from typing import Any, Final

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.crypto import Sealer, SealError
from core.heedful import heed
from servers.services.results.kept import Kept, decode

VALUE_BYTES: Final = 256 * 1024
"""A larger result stays in the memory of the process that made it."""

TENANT_BYTES: Final = 64 * 1024 * 1024
"""What one tenant's results may take in Redis."""

REDIS_SECONDS: Final = 0.5
"""How long Redis may take to answer; a call waits so long for it."""

AWAY_SECONDS: Final = 5.0
"""How long Redis is not asked again after it did not answer."""

MAX_WRITING: Final = 64
"""Results on their way to Redis at once. Beyond that they stay where they are."""

_STORE: Final = """
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local index, held = KEYS[2], KEYS[2] .. ':bytes'
local function drop(member)
  redis.call('ZREM', index, member)
  redis.call('DECRBY', held, tonumber(string.sub(member, 66)))
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 100)) do drop(member) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
local member = ARGV[2] .. ':' .. string.len(ARGV[1])
if redis.call('ZADD', index, now + tonumber(ARGV[3]), member) == 1 then
  redis.call('INCRBY', held, string.len(ARGV[1]))
end
while tonumber(redis.call('GET', held) or 0) > tonumber(ARGV[4]) do
  local first = redis.call('ZRANGE', index, 0, 0)[1]
  if not first then redis.call('DEL', held) break end
  redis.call('DEL', ARGV[5] .. string.sub(first, 1, 64))
  drop(first)
end
redis.call('EXPIRE', index, 90000)
redis.call('EXPIRE', held, 90000)
return 1
"""
"""KEYS: the result, the tenant's index. ARGV: the sealed result, its key in hex, for how many ms, the tenant's bytes,
and what the names of the tenant's results begin with. A member of the index is key:bytes, its score when it ends."""

logger = logging.getLogger(__name__)


class Store:
    """Results in Redis, used on one event loop."""

    def __init__(self, redis_url: str, sealer: Sealer, *, tenant_bytes: int = TENANT_BYTES) -> None:
        self._redis_url = redis_url
        self._sealer = sealer
        self._tenant_bytes = tenant_bytes
        self._client: Any = None
        self._away_until = 0.0
        self._writing: set[asyncio.Task[None]] = set()

    async def find(self, tenant_id: int, key: bytes) -> tuple[Kept, float] | None:
        """A result that is still good, and for how many seconds."""
        if monotonic() < self._away_until:
            return None
        name = _name(tenant_id, _place(key))
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                pipe = self._open().pipeline(transaction=False)
                sealed, milliseconds = await pipe.get(name).pttl(name).execute()
        except (RedisError, OSError, TimeoutError):
            self._missed()
            return None
        if sealed is None or milliseconds <= 0:
            return None
        try:
            kept = decode(self._sealer.open(sealed, context=name))
        except SealError:
            # Written under another master key, or by somebody who has none.
            logger.warning("a kept result does not open", extra={"tenant_id": tenant_id})
            return None
        return None if kept is None else (kept, milliseconds / 1_000)

    def keep(self, tenant_id: int, key: bytes, kept: Kept, seconds: float) -> None:
        """Keep a result for so long. Returns at once."""
        if monotonic() < self._away_until or len(self._writing) >= MAX_WRITING:
            return
        encoded = kept.encode()
        if len(encoded) > VALUE_BYTES:
            return
        task = asyncio.get_running_loop().create_task(
            self._write(tenant_id, key, encoded, seconds), name="keep-result"
        )
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def settle(self) -> None:
        """Wait until what is on its way is kept, or was dropped."""
        while self._writing:
            await asyncio.wait(list(self._writing))

    async def close(self) -> None:
        """Let go of the connections."""
        await self.settle()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _write(self, tenant_id: int, key: bytes, encoded: bytes, seconds: float) -> None:
        place = _place(key)
        name = _name(tenant_id, place)
        sealed = self._sealer.seal(encoded, context=name)
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._open().eval(
                    _STORE,
                    2,
                    name,
                    f"marina:results:{tenant_id}",
                    sealed,
                    place,
                    str(max(int(seconds * 1_000), 1)),
                    str(self._tenant_bytes),
                    _name(tenant_id, ""),
                )
        except (RedisError, OSError, TimeoutError):
            self._missed()

    def _open(self) -> Any:
        if self._client is None:
            self._client = aioredis.Redis.from_url(
                self._redis_url,
                socket_connect_timeout=REDIS_SECONDS,
                socket_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            heed(self._client.connection_pool, self._redis_url)
        return self._client

    def _missed(self) -> None:
        self._away_until = monotonic() + AWAY_SECONDS
        logger.warning("results are kept by each process alone: Redis does not answer")


def _place(key: bytes) -> str:
    """A key as Redis has it: of one length, and without the arguments."""
    return blake2b(key, digest_size=32).hexdigest()


def _name(tenant_id: int, place: str) -> str:
    return f"marina:result:{tenant_id}:{place}"
