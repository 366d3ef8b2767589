"""Counts in Redis how often something was done of late, over all processes. Refuses nothing itself.

Without Redis nothing is counted and everybody may go on, where what is counted has another guard behind it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from core.errors import Unavailable
from tenants.changes import redis_client

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counter:
    """At most so many of a kind, for those whom the names stand for."""

    kind: str
    names: tuple[str, ...]
    most: int

    @property
    def key(self) -> str:
        """Where it stands in Redis, which holds none of the names."""
        return f"marina:{self.kind}:" + hashlib.sha256("\0".join(self.names).encode()).hexdigest()


def count(
    counters: Sequence[Counter], *, seconds: int, beside: Sequence[Counter] = (), only_guard: bool = False
) -> int:
    """Count one more at each counter, which begins anew ``seconds`` after its first. The seconds to wait, or 0.

    A counter with more than its most has to be waited for. Those ``beside`` are not counted: they have to be where one
    more would be too many. Raises ``Unavailable`` while Redis is away where the counter is the ``only_guard``.
    """
    everything = (*counters, *beside)
    try:
        with redis_client().pipeline() as turn:
            for counter in counters:
                turn.set(counter.key, 0, ex=seconds, nx=True)
                turn.incr(counter.key)
            for counter in everything:
                turn.get(counter.key)
                turn.ttl(counter.key)
            answers = turn.execute()[2 * len(counters) :]
    except redis.RedisError:
        _log.warning("not counted: Redis did not take it", extra={"kind": counters[0].kind})
        if only_guard:
            raise Unavailable(
                "How often this is asked is counted in Redis, which does not answer. Try again shortly."
            ) from None
        return 0
    waits = []
    for place, counter in enumerate(everything):
        times, left = int(answers[2 * place] or 0), answers[2 * place + 1]
        if times + (place >= len(counters)) > counter.most:
            waits.append(left)
    return max(1, *waits) if waits else 0


def forget(counter: Counter) -> None:
    """Let a counter begin anew."""
    try:
        redis_client().delete(counter.key)
    except redis.RedisError:
        _log.warning("not forgotten: Redis did not take it", extra={"kind": counter.kind})
