"""Which resources of a data source somebody wants to hear of: kept in Redis for minutes, by whom and by URI.

Whoever wants says so again and again; who listens to the source reads it. Knows no transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, Final
from uuid import UUID

CHANNEL: Final = "marina:wanted"
"""Where it is told that of a source others are wanted: its id."""

WANTED_SECONDS: Final = 360
"""For how long something is wanted that nobody said again: a little longer than a session's stream can be come back to
(``updates.KEPT_SECONDS``)."""

MAX_WANTED: Final = 1_000
"""Resources of one source that are listened to."""

MAX_KEPT: Final = 5_000
"""The same, each as often as somebody else wants it. What comes then is not listened to until others let go."""

MAX_URI: Final = 2_048
"""Characters."""

_WANT: Final = """
local now = redis.call('TIME')[1]
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
local room = ARGV[2] - redis.call('zcard', KEYS[1])
local new = false
for i = 6, #ARGV do
  local each = ARGV[5] .. ' ' .. ARGV[i]
  local known = redis.call('zscore', KEYS[1], each)
  if known or room > 0 then
    redis.call('zadd', KEYS[1], now + ARGV[1], each)
    if not known then room = room - 1; new = true end
  end
end
redis.call('expire', KEYS[1], ARGV[1])
if new then redis.call('publish', ARGV[3], ARGV[4]) end
"""
_LET_GO: Final = """
local gone = 0
for i = 4, #ARGV do gone = gone + redis.call('zrem', KEYS[1], ARGV[3] .. ' ' .. ARGV[i]) end
if gone > 0 then redis.call('publish', ARGV[1], ARGV[2]) end
"""
_READ: Final = """
redis.call('zremrangebyscore', KEYS[1], '-inf', redis.call('TIME')[1])
return redis.call('zrange', KEYS[1], 0, -1)
"""


async def want(redis: Any, source_id: UUID, who: str, uris: Iterable[str]) -> None:
    """Somebody (``who``, without spaces) wants to hear of these for ``WANTED_SECONDS``. Raises ``RedisError``."""
    told = [uri for uri in uris if len(uri) <= MAX_URI]
    if told:
        said = WANTED_SECONDS, MAX_KEPT, CHANNEL, str(source_id), who
        await redis.eval(_WANT, 1, wanted_key(source_id), *said, *told)


async def let_go(redis: Any, source_id: UUID, who: str, uris: Iterable[str]) -> None:
    """They want to hear of these no more. Raises ``RedisError``."""
    await redis.eval(_LET_GO, 1, wanted_key(source_id), CHANNEL, str(source_id), who, *uris)


async def read_wanted(redis: Any, source_id: UUID, listened: frozenset[str]) -> frozenset[str]:
    """What of a source is wanted, at most ``MAX_WANTED``: first what is ``listened`` to. Raises ``RedisError``."""
    kept = await redis.eval(_READ, 1, wanted_key(source_id))
    wanted = {each.partition(b" ")[2].decode() for each in kept}
    return bounded(wanted, listened)


def bounded(wanted: Set[str], before: Set[str]) -> frozenset[str]:
    """At most ``MAX_WANTED`` of these: first those that were among them ``before``."""
    if len(wanted) <= MAX_WANTED:
        return frozenset(wanted)
    still = wanted & before
    return frozenset([*sorted(still), *sorted(wanted - still)][:MAX_WANTED])


def wanted_key(source_id: UUID) -> str:
    """Where it is kept for a source."""
    return f"marina:wanted:{source_id}"
