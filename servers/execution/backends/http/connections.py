"""What is kept of an HTTP source while it is used: its client, pace, cache, token and counts. One process, one loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

from core.finishing import stop
from core.outbound import AllowAddress
from core.outbound_http import OutboundClient
from servers.execution.backends.http.caching import Cache
from servers.execution.backends.http.pacing import Pace
from servers.execution.backends.http.settings import HttpSettings, read_settings
from servers.execution.backends.http.signing import Signer
from servers.execution.contract import Source

IDLE_SECONDS: Final = 60.0
FORGET_SECONDS: Final = 3_600.0
"""How long the counts and the cache of a source that nobody uses are kept."""


@dataclass(slots=True)
class Stats:
    """What was asked of a source by this process, since it was first used or its settings were changed."""

    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0
    seconds: float = 0.0


class Api:
    """One version of one source, ready to be asked."""

    def __init__(self, source: Source, *, allow: AllowAddress) -> None:
        self.settings: HttpSettings = read_settings(source.settings)
        self.client = OutboundClient(allow=allow, max_connections=self.settings.pool_max)
        self.signer = Signer(self.settings, self.client)
        self.pace = Pace(self.settings.requests_per_minute)
        self.cache = Cache()
        self.stats = Stats()
        self.used_at = monotonic()
        self.in_use = 0
        self.connected = False


class Apis:
    """All sources of this kind that one process uses, by source and version."""

    def __init__(self, *, allow: AllowAddress, idle_seconds: float = IDLE_SECONDS) -> None:
        self._allow = allow
        self._idle_seconds = idle_seconds
        self._apis: dict[tuple[UUID, int], Api] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._apis)

    def get(self, source: Source) -> Api:
        """The API of this version of the source; what was kept of its earlier versions is dropped."""
        key = (source.id, source.version)
        api = self._apis.get(key)
        if api is None:
            api = Api(source, allow=self._allow)
            for id_, version in list(self._apis):
                if id_ == source.id and version < source.version:
                    # Requests under way end on the connections that they have.
                    self._close_later(self._apis.pop((id_, version)))
            self._apis[key] = api
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        api.used_at = monotonic()
        return api

    async def close_idle(self, *, now: float | None = None) -> None:
        """Close the connections of sources that were not used of late, and forget those not used for long."""
        now = monotonic() if now is None else now
        for key, api in list(self._apis.items()):
            if api.in_use:
                continue
            if api.connected and api.used_at <= now - self._idle_seconds:
                api.connected = False
                await api.client.close()
            if api.used_at <= now - FORGET_SECONDS:
                self._apis.pop(key, None)

    async def close(self) -> None:
        """Close everything and wait for it."""
        await stop(self._sweeper)
        self._sweeper = None
        apis = list(self._apis.values())
        self._apis.clear()
        for api in apis:
            await api.client.close()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_later(self, api: Api) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(api.client.retire())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _sweep(self) -> None:
        while self._apis:
            await asyncio.sleep(self._idle_seconds / 2)
            await self.close_idle()


def describe_stats(api: Api) -> dict[str, Any]:
    """The counts for reading."""
    stats, cache = api.stats, api.cache
    answered = sum(stats.statuses.values())
    return {
        "since": stats.since.isoformat(timespec="seconds"),
        "requests": stats.requests,
        "answers": dict(sorted(stats.statuses.items())),
        "failures": dict(sorted(stats.failures.items())),
        "average_ms": round(stats.seconds * 1_000 / answered, 3) if answered else None,
        "received_bytes": stats.received_bytes,
        "cache": {"hits": cache.hits, "misses": cache.misses, "entries": len(cache), "bytes": cache.size},
        "requests_left": api.pace.left,
        "requests_per_minute": api.settings.requests_per_minute,
    }
