"""The upstreams of one source, in one process: which of them is asked, and which is not just now. Sends no call itself.

A caller's session stays where it began, while that upstream is asked. What has no session goes to each in turn, or to
whoever has least to do.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine
from time import monotonic
from typing import Any, Final
from uuid import UUID

from core.errors import MarinaError, SourceError
from core.finishing import stop
from servers.execution.backends.mcp.breaker import Breaker, Seen
from servers.execution.backends.mcp.faults import named
from servers.execution.backends.mcp.pools import Key
from servers.execution.backends.mcp.retries import is_down
from servers.execution.backends.mcp.settings import McpSettings, read_settings
from servers.execution.contract import NoteUpstream, Source, UpstreamState

PROBE_SECONDS: Final = 5.0
JOIN_SECONDS: Final = 0.5
"""How long whoever comes while a probe is under way waits for its end."""
SUSPECT_SECONDS: Final = 5.0
"""How often at most an upstream is looked at because calls of it ran out of time."""
MAX_HOMES: Final = 4_096
"""More than all upstreams of one source keep sessions of."""
IDLE_SECONDS: Final = 900.0
"""For how long it is remembered of a source that nobody uses which of its upstreams are not asked."""

Ping = Callable[[Source, McpSettings, float], Awaitable[None]]
"""Connects, and asks whether somebody is there, who has so many seconds. Raises ``MarinaError``."""


class Member:
    """One upstream. ``busy``: how many calls are under way there. ``number`` is its place in the settings."""

    def __init__(self, number: int, settings: McpSettings, changed: Callable[[Member], None]) -> None:
        self.number = number
        self.settings = settings
        self.busy = 0
        self.keeps_sessions = True
        """Until it is known that it keeps none: then no caller has to come back to it."""
        self.breaker = Breaker(monotonic, changed=lambda: changed(self))
        self.suspected = -SUSPECT_SECONDS
        self.probing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """As it is called in words."""
        return named(self.settings.url)


class Replicas:
    """All upstreams of one version of one source."""

    def __init__(self, source: Source, settings: McpSettings, *, ping: Ping, note: NoteUpstream) -> None:
        self.settings = settings
        self.used = monotonic()
        self._source = source
        self._ping = ping
        self._note = note
        self._turn = -1
        self._homes: OrderedDict[Key, Member] = OrderedDict()
        self.members = [
            Member(number, settings.of(number), self._changed) for number in range(1 + len(settings.replicas))
        ]

    def others(self, tried: Collection[Member]) -> bool:
        """Whether there is an upstream that may be asked and was not tried."""
        return any(each.breaker.closed and each not in tried for each in self.members)

    async def choose(self, home: Key | None, tried: Collection[Member] = ()) -> Member:
        """The upstream to ask. Raises ``SourceError`` (``source_unavailable``) where none is asked just now.

        ``home``: for whom, where that caller may have a session. ``tried`` were asked in vain: they come last.
        """
        self.used = monotonic()
        if len(self.members) == 1 and self.members[0].breaker.closed:
            return self.members[0]
        usable = [each for each in self.members if each.breaker.closed]
        fresh = [each for each in usable if each not in tried]
        for each in self.members:
            if usable and each.breaker.may_probe():
                # Whoever calls has another one: nobody waits for it.
                self._probe(each)
        if not usable:
            usable = fresh = [await self._wait_for_one()]
        return self._settled(home, fresh or usable)

    def at(self, number: int) -> Member | None:
        """The upstream of this number, where it may be asked."""
        found = self.members[number] if 0 <= number < len(self.members) else None
        return found if found is not None and found.breaker.closed else None

    def suspect(self, member: Member) -> None:
        """A call ran out of time there. That may be the tool's own slowness, so it is looked at whether somebody is
        there at all: if not, the next callers do not wait as long."""
        now = monotonic()
        if member.breaker.closed and member.probing is None and member.suspected <= now - SUSPECT_SECONDS:
            member.suspected = now
            self._spawn(member, self._look(member))

    async def close(self) -> None:
        """Stop what is being found out."""
        tasks = [each.probing for each in self.members if each.probing is not None]
        await stop(*tasks)

    def _settled(self, home: Key | None, among: list[Member]) -> Member:
        if home is None or len(self.members) == 1:
            return self._pick(among)
        kept = self._homes.get(home)
        if kept is None or kept not in among or not kept.keeps_sessions:
            kept = self._homes[home] = self._pick(among)
        self._homes.move_to_end(home)
        while len(self._homes) > MAX_HOMES:
            self._homes.popitem(last=False)
        return kept

    def _pick(self, among: list[Member]) -> Member:
        """The next in turn, or who has least to do; of several the next in turn."""
        count = len(self.members)
        in_turn = sorted(among, key=lambda each: (each.number - self._turn - 1) % count)
        if self.settings.balance == "least_busy":
            in_turn.sort(key=lambda each: each.busy)
        self._turn = in_turn[0].number
        return in_turn[0]

    async def _wait_for_one(self) -> Member:
        """An upstream that answers again, as its probe found. Raises ``SourceError``."""
        due = [each for each in self.members if each.breaker.may_probe()]
        for each in due:
            self._probe(each)
        tasks: set[asyncio.Task[Any]] = {each.probing for each in self.members if each.probing is not None}
        until = monotonic() + (PROBE_SECONDS + 1 if due else JOIN_SECONDS)
        while tasks and (left := until - monotonic()) > 0:
            # Others wait for the same probes: who gives up here ends none of them.
            _, tasks = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            found = next((each for each in self.members if each.breaker.closed), None)
            if found is not None:
                return found
        raise self._unavailable()

    def _unavailable(self) -> SourceError:
        now = monotonic()
        first = min(self.members, key=lambda each: each.breaker.seen.next_try or 0.0)
        seen = first.breaker.seen
        left = 0.0 if seen.state == "half_open" else (seen.next_try or now) - now
        seconds = max(1, math.ceil(left))
        who = (
            f"{first.name} is"
            if len(self.members) == 1
            else f"None of the {len(self.members)} MCP servers of this data source is"
        )
        return SourceError(
            f"{who} asked just now, since it did not answer before. The last reason: {seen.reason} The next try is in "
            f"{seconds} s: call again then.",
            code="source_unavailable",
            data={"retry_after": seconds},
            retryable=True,
        )

    def _probe(self, member: Member) -> None:
        number = member.breaker.take_probe()
        if number is not None:
            self._spawn(member, self._find_out(member, number))

    def _spawn(self, member: Member, work: Coroutine[Any, Any, None]) -> None:
        task = member.probing = asyncio.get_running_loop().create_task(work, name="probe-upstream")

        def ended(_: object) -> None:
            if member.probing is task:
                member.probing = None

        task.add_done_callback(ended)

    async def _find_out(self, member: Member, number: int) -> None:
        try:
            member.breaker.end_probe(number, await self._why_not(member))
        finally:
            member.breaker.drop_probe(number)

    async def _look(self, member: Member) -> None:
        if why := await self._why_not(member):
            member.breaker.trip(why)

    async def _why_not(self, member: Member) -> str:
        """Why an upstream does not answer, in a sentence; empty where it does, and where there is no token for it."""
        try:
            await self._ping(self._source, member.settings, PROBE_SECONDS)
        except MarinaError as fault:
            if not isinstance(fault, SourceError) or not is_down(fault):
                return ""
            return fault.message
        return ""

    def _changed(self, member: Member) -> None:
        self._note(self._source, _shown(member, member.breaker.seen))


def _shown(member: Member, seen: Seen) -> UpstreamState:
    now = monotonic()
    return UpstreamState(
        member.number,
        member.settings.url,
        seen.state,
        seen.reason,
        now - seen.since,
        None if seen.next_try is None else seen.next_try - now,
        seen.faults,
    )


class Circles:
    """Of each source that one process uses its upstreams, of its newest version."""

    def __init__(self, *, ping: Ping, note: NoteUpstream) -> None:
        self._ping = ping
        self._note = note
        self._kept: dict[UUID, tuple[int, Replicas]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, source: Source) -> Replicas:
        """Those of this version of the source. One that was changed begins with all of them asked."""
        version, found = self._kept.get(source.id, (0, None))
        if found is None or version != source.version:
            replicas = Replicas(source, read_settings(source.settings), ping=self._ping, note=self._note)
            if found is not None and version > source.version:
                # A call that began before the change: what it learns is of no use to others.
                return replicas
            self._sweep()
            self._drop(source.id)
            self._kept[source.id] = source.version, replicas
            return replicas
        return found

    async def close(self) -> None:
        """Stop everything, and wait for it."""
        for each in list(self._kept):
            self._drop(each)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _sweep(self) -> None:
        old = monotonic() - IDLE_SECONDS
        for id_, (_, replicas) in list(self._kept.items()):
            if replicas.used < old:
                self._drop(id_)

    def _drop(self, id_: UUID) -> None:
        _, dropped = self._kept.pop(id_, (0, None))
        if dropped is not None:
            task = asyncio.get_running_loop().create_task(dropped.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
