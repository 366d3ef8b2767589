"""Where the steps of connecting clients are kept: in Redis, each tenant's own, the newest of a day.

They are hints for people who look for a fault. Nothing is decided by them, so they may be lost with Redis, cost no
row and no log, and end by themselves. What strangers cause and what members and their clients do is kept apart: however
much strangers ask, they push out strangers' steps alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import redis

from core.errors import Unavailable
from tenants.changes import redis_client
from tenants.oauth_steps import Kind, Step, decode, encode

KEPT: Final = 500
"""The newest steps of one tenant that are kept, of strangers and of others each."""

KEPT_SECONDS: Final = 24 * 3600

FOLLOWED_SECONDS: Final = 180
"""How long after a tenant's challenge a program's questions at no tenant's address are taken for its search."""

_KEEP: Final = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[3], ARGV[1], ARGV[4])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
  if tonumber(ARGV[4]) > 1 then redis.call('HINCRBY', KEYS[3], ARGV[1], ARGV[4] - 1) end
  local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[6], 'LIMIT', 0, 100)
  local over = redis.call('ZCARD', KEYS[1]) - ARGV[5] - #old
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', KEYS[1], #old, #old + over - 1)) do old[#old + 1] = id end
  end
  for _, id in ipairs(old) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[6]) end
return 1
"""
"""KEYS: the steps' order, their bodies, how often each came again. ARGV: id, time, body, how often, how many are kept
and for how many seconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Noted:
    """A step, how often it came, and whose it is; ``None``: asked at an address that is no tenant's."""

    tenant_id: int | None
    step: Step
    times: int = 1


def keep_steps(noted: Iterable[Noted]) -> list[int]:
    """Keep steps; the tenants that have new ones. Redis that is away loses them."""
    try:
        return _keep(redis_client(), list(noted))
    except redis.RedisError:
        _log.info("steps of connecting clients were not kept: Redis did not take them")
        return []


def read_steps(tenant_id: int, *, now: float) -> list[Step]:
    """What is kept of a tenant, in no order. Raises ``Unavailable``."""
    pipe = redis_client().pipeline(transaction=False)
    for known in (True, False):
        _, bodies, again = _keys(tenant_id, known=known)
        pipe.hgetall(bodies)
        pipe.hgetall(again)
    try:
        found: list[dict[bytes, bytes]] = pipe.execute()
    except redis.RedisError:
        raise Unavailable(
            "The steps of connecting clients are kept in Redis, which does not answer. Try again shortly."
        ) from None
    steps = []
    for bodies_of, again_of in ((found[0], found[1]), (found[2], found[3])):
        for key, body in bodies_of.items():
            try:
                step = decode(body, step_id=key.decode(), again=int(again_of.get(key, b"0")))
            except (ValueError, KeyError, TypeError):
                # Of another version of Marina: it is gone in a day.
                continue
            if step.at > now - KEPT_SECONDS:
                steps.append(step)
    return steps


def _keep(client: redis.Redis, noted: Sequence[Noted]) -> list[int]:
    places = _follow(client, noted)
    pipe = client.pipeline(transaction=False)
    tenants = []
    for each, tenant_id in places:
        step = each.step
        args: list[Any] = [step.id, step.at, encode(step), each.times, KEPT, KEPT_SECONDS]
        _script()(keys=list(_keys(tenant_id, known=step.known)), args=args, client=pipe)
        tenants.append(tenant_id)
        if step.kind in {Kind.CHALLENGE, Kind.RESOURCE_METADATA} and step.status != 404:
            pipe.set(_trail(step), tenant_id, ex=FOLLOWED_SECONDS)
    if tenants:
        pipe.execute()
    return list(dict.fromkeys(tenants))


def _follow(client: redis.Redis, noted: Sequence[Noted]) -> list[tuple[Noted, int]]:
    """Whose timeline each belongs to: what was asked at no tenant's address, to who challenged that program last."""
    strays = [each for each in noted if each.tenant_id is None]
    # A challenge and the question after it may come in one batch.
    last = {
        _trail(each.step): each.tenant_id
        for each in noted
        if each.tenant_id is not None and each.step.kind is Kind.CHALLENGE
    }
    found: dict[str, int | None] = {}
    if strays:
        trails = list(dict.fromkeys(_trail(each.step) for each in strays))
        values = client.mget(trails)
        for trail, value in zip(trails, values, strict=True):
            found[trail] = last.get(trail) or (int(value) if value and value.isdigit() else None)
    placed = []
    for each in noted:
        tenant_id = each.tenant_id if each.tenant_id is not None else found.get(_trail(each.step))
        if tenant_id is not None:
            placed.append((each, tenant_id))
    return placed


def _trail(step: Step) -> str:
    digest = hashlib.sha256("\x1f".join(step.source).encode("utf-8", "replace")).hexdigest()
    return f"marina:oauth-steps:trail:{digest[:32]}"


def _keys(tenant_id: int, *, known: bool) -> tuple[str, str, str]:
    place = f"marina:oauth-steps:{tenant_id}:{'known' if known else 'strangers'}"
    return f"{place}:order", f"{place}:bodies", f"{place}:again"


@cache
def _script() -> Any:
    return redis_client().register_script(_KEEP)
