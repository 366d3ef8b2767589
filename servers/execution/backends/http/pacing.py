"""A source's own rate: how many requests it is sent in a minute. A bucket of tokens in memory; waits for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from core.errors import SourceError


class Pace:
    """At most ``per_minute`` at once, and as many again in each minute. One a process."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()

    @property
    def left(self) -> int:
        """How many requests may be sent now."""
        self._refill()
        return int(self._left)

    def take(self) -> None:
        """Count one request. Raises ``SourceError`` (``source_rate_limited``) where it is one too many."""
        self._refill()
        if self._left < 1:
            wait = math.ceil((1 - self._left) * 60 / self._per_minute)
            raise SourceError(
                f"This data source is sent at most {self._per_minute} requests a minute. Try again in {wait} s, or "
                "let an admin raise requests_per_minute.",
                code="source_rate_limited",
                data={"retry_after": wait},
                retryable=True,
            )
        self._left -= 1

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._per_minute, self._left + (now - self._at) * self._per_minute / 60)
        self._at = now
