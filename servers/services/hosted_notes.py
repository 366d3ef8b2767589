"""How the commands fare that Marina runs for data sources, as every process of it tells: kept in Redis. Fails no call.

What a process told some time ago and tells no more is not believed: it may have been killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from core.bus import Bus
from core.finishing import stop
from servers.execution.contract import Hosted, Source
from servers.services.noting import Notes

MOST_LINES: Final = 100
KEPT_SECONDS: Final = 24 * 3_600
TOLD_SECONDS: Final = 20.0
"""How often a process tells again of what it runs."""
BELIEVED_SECONDS: Final = 60.0
MAX_WAITING: Final = 200
"""Beyond what waits to be written by one process, lines are dropped."""

_Key = tuple[int, UUID]


@dataclass(frozen=True, slots=True)
class HostedRun:
    """How a source's command fares in one process of Marina. ``restarts``: its ends in a row."""

    process: str
    state: str
    at: datetime
    since: datetime | None
    restarts: int
    reason: str
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class HostedLine:
    """A line that the command wrote, or Marina of it, without our secrets."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class HostedSource:
    """Of each process of Marina that runs a source's command, and the last lines, newest first.

    ``network``: what the command may reach, the machine's whole network or some ``hosts``; empty where the
    operator allows no such command, and for sources without one.
    """

    runs: Sequence[HostedRun] = ()
    lines: Sequence[HostedLine] = ()
    network: Literal["none", "hosts", "machine", ""] = ""
    hosts: Sequence[str] = ()


class HostedNotes:
    """What one process has to tell, on the loop that the sources' calls run on."""

    def __init__(self, bus: Bus) -> None:
        self._notes = Notes(bus, "How the command fares", most=MAX_WAITING)
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._states: dict[_Key, tuple[tuple[int, int], Hosted]] = {}
        """With the source's version, and the number of whoever runs its command."""
        self._telling: asyncio.Task[None] | None = None
        self._closed = False

    def note(self, source: Source, hosted: Hosted | None, lines: Sequence[str]) -> None:
        """Take down how a command fares, where that is told, and lines that it wrote. Returns at once."""
        if self._closed:
            return
        key = (source.tenant_id, source.id)
        if hosted is not None and not self._is_former(key, whose := (source.version, hosted.number)):
            self._states[key] = whose, hosted
            if hosted.state == "stopped":
                del self._states[key]
            elif self._telling is None or self._telling.done():
                self._telling = asyncio.get_running_loop().create_task(
                    self._tell_again(), name="hosted-notes"
                )
        if hosted is not None or lines:
            self._keep(key, lines)

    def _is_former(self, key: _Key, whose: tuple[int, int]) -> bool:
        """Whether another one runs by now, while this one ends."""
        held = self._states.get(key)
        return held is not None and whose < held[0]

    async def read(self, tenant_id: int, source_id: UUID) -> HostedSource:
        """What is known of one source's command. Raises ``Unavailable`` while Redis is away."""
        states, said = _keys((tenant_id, source_id))

        def ask(pipe: Any) -> None:
            pipe.hgetall(states)
            pipe.lrange(said, 0, MOST_LINES - 1)

        found, lines = await self._notes.read(ask)
        runs = [_run(process.decode(), orjson.loads(told)) for process, told in sorted(found.items())]
        return HostedSource(
            [run for run in runs if run is not None],
            [HostedLine(_when(at), text) for at, text in map(orjson.loads, lines)],
        )

    async def settle(self) -> None:
        """Wait until what was noted is kept, or was dropped."""
        await self._notes.settle()

    async def close(self) -> None:
        """Take back what was told of this process: its commands end with it."""
        self._closed = True
        await stop(self._telling)
        await self.settle()
        if self._states:
            self._notes.soon(self._take_back)
            await self.settle()

    def _take_back(self, pipe: Any) -> None:
        for key in self._states:
            pipe.hdel(_keys(key)[0], self._process)

    async def _tell_again(self) -> None:
        while self._states:
            await asyncio.sleep(TOLD_SECONDS)
            for key in list(self._states):
                self._keep(key, ())

    def _keep(self, key: _Key, lines: Sequence[str]) -> None:
        """Have written down how a command fares by then, and these lines."""
        states, said = _keys(key)

        def put(pipe: Any) -> None:
            now = time()
            _, hosted = self._states.get(key, (None, None))
            if hosted is None:
                pipe.hdel(states, self._process)
            else:
                pipe.hset(states, self._process, _written(now, hosted))
                pipe.expire(states, KEPT_SECONDS)
            if lines:
                pipe.lpush(said, *(orjson.dumps([now, line]) for line in lines))
                pipe.ltrim(said, 0, MOST_LINES - 1)
                pipe.expire(said, KEPT_SECONDS)

        _, hosted = self._states.get(key, (None, None))
        # Processes that were killed took nothing back.
        begins = hosted is not None and hosted.state == "starting"
        self._notes.soon(put, sweep=(states, _is_of_nobody) if begins else None)


def _keys(key: _Key) -> tuple[str, str]:
    tenant_id, source_id = key
    return f"marina:hosted:{tenant_id}:{source_id}", f"marina:hosted-lines:{tenant_id}:{source_id}"


def _written(now: float, hosted: Hosted) -> bytes:
    told = [now, hosted.state, hosted.at, hosted.since, hosted.restarts, hosted.reason, hosted.next_try]
    return orjson.dumps(told)


def _is_over(told: Sequence[Any]) -> bool:
    told_at, state, *_ = told
    return bool(state == "stopped" or told_at < time() - BELIEVED_SECONDS)


def _is_of_nobody(process: bytes, told: bytes) -> bool:
    return _is_over(orjson.loads(told))


def _run(process: str, told: Sequence[Any]) -> HostedRun | None:
    if _is_over(told):
        return None
    _, state, at, since, restarts, reason, next_try = told
    return HostedRun(process, state, _when(at), _when_or_not(since), restarts, reason, _when_or_not(next_try))


def _when(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _when_or_not(at: float | None) -> datetime | None:
    return None if at is None else _when(at)
