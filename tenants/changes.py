"""Tells every process that something of a tenant changed, so that they drop what they hold of it.

A message is a hint: who misses it is wrong for the bounded life of its cache only. So an unreachable Redis
is logged and never fails the change itself.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Final

import redis
from django.conf import settings
from django.db import transaction
from redis.backoff import NoBackoff
from redis.retry import Retry

CHANNEL: Final = "marina:changed"
"""Redis pub/sub channel. A message is the tenant's id in decimal digits."""

_TIMEOUT_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


@cache
def redis_client() -> redis.Redis:
    """The process's Redis client (thread-safe: it takes connections from its own pool)."""
    return redis.Redis.from_url(
        settings.ENV.redis_url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        # Once, for a connection that ended while it lay in the pool. By itself the client would try for long.
        retry=Retry(NoBackoff(), 1),
    )


def announce_change(tenant_id: int) -> None:
    """Publish, once the transaction in progress has committed, that this tenant changed."""
    transaction.on_commit(lambda: _publish(tenant_id))


def _publish(tenant_id: int) -> None:
    try:
        redis_client().publish(CHANNEL, str(tenant_id))
    except redis.RedisError:
        _log.warning("change not announced: Redis did not take it", extra={"tenant_id": tenant_id})
