"""Which of the servers behind a data source are asked just now: what each process found, kept in Redis. Fails no call.

Nothing is decided by it: a process goes by what it found itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from core.bus import Bus
from servers.execution.contract import Source, UpstreamState
from servers.services.noting import Notes

KEPT_SECONDS: Final = 900
"""After a change, or the next try that it named. A process that ended says nothing of it."""
MAX_WAITING: Final = 100
"""Beyond what waits to be written by one process, changes are dropped."""


@dataclass(frozen=True, slots=True)
class KeptState:
    """What one process found of one server. ``state``: ``closed`` (it is asked), ``open`` or ``half_open``.

    ``next_try`` is when the next call looks whether it answers again. ``version`` is that of the source.
    """

    number: int
    url: str
    state: str
    reason: str
    since: datetime
    next_try: datetime | None
    faults: int
    process: str
    version: int

    @property
    def due(self) -> bool:
        """Whether the next call looks whether it answers again."""
        return self.next_try is not None and self.next_try <= datetime.now(UTC)


class UpstreamStates:
    """Keeps them for one process, on the loop that the sources' calls run on."""

    def __init__(self, bus: Bus) -> None:
        self._notes = Notes(bus, "The states of the servers", most=MAX_WAITING)
        self._process = secrets.token_hex(4)

    def note(self, source: Source, state: UpstreamState) -> None:
        """Take a change down. Returns at once."""
        now = datetime.now(UTC)
        next_try = None if state.next_seconds is None else now + timedelta(seconds=state.next_seconds)
        key, place = _key(source.tenant_id, source.id), f"{self._process}.{state.number}"
        kept = [
            state.url,
            state.state,
            state.reason,
            (now - timedelta(seconds=state.seconds)).timestamp(),
            None if next_try is None else next_try.timestamp(),
            state.faults,
            source.version,
        ]

        def put(pipe: Any) -> None:
            pipe.hset(key, place, orjson.dumps(kept))
            pipe.expire(key, 2 * KEPT_SECONDS)

        def is_over(name: bytes, value: bytes) -> bool:
            # Of processes that ended, and of servers of former versions: nobody else takes those back.
            each = _read(name.decode(), orjson.loads(value))
            return each.version < source.version or (each.next_try or each.since) <= _oldest()

        self._notes.soon(put, sweep=(key, is_over))

    async def read(self, tenant_id: int, source_id: UUID, version: int) -> Sequence[KeptState]:
        """What processes found of this version of a source, by server. Raises ``Unavailable`` while Redis is away."""
        [kept] = await self._notes.read(lambda pipe: pipe.hgetall(_key(tenant_id, source_id)))
        found = [_read(name.decode(), orjson.loads(value)) for name, value in kept.items()]
        old = _oldest()
        return sorted(
            (each for each in found if each.version == version and (each.next_try or each.since) > old),
            key=lambda each: (each.number, each.process),
        )

    async def settle(self) -> None:
        """Wait until what was noted is kept, or was dropped."""
        await self._notes.settle()


def _oldest() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)


def _read(name: str, kept: Sequence[Any]) -> KeptState:
    process, _, number = name.partition(".")
    url, state, reason, since, next_try, faults, version = kept
    return KeptState(
        number=int(number),
        url=url,
        state=state,
        reason=reason,
        since=datetime.fromtimestamp(since, UTC),
        next_try=None if next_try is None else datetime.fromtimestamp(next_try, UTC),
        faults=faults,
        process=process,
        version=version,
    )


def _key(tenant_id: int, source_id: UUID) -> str:
    return f"marina:upstreams:{tenant_id}:{source_id}"
