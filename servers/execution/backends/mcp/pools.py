"""What is kept of upstream MCP servers while they are used: connections, and sessions by whom they are for.

A session is one caller's: what an upstream keeps in it reaches no one else. They are bounded in number and age, and
ended when they are not used. Whoever has no credential gets one for each call. One process, one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from core.finishing import finish, stop
from core.outbound import AllowAddress
from core.talks import Talks
from servers.execution.addresses import allow_public
from servers.execution.backends.mcp.connecting import Connector, HttpConnector
from servers.execution.backends.mcp.faults import Challenged
from servers.execution.backends.mcp.held import Held, Holding, Whose
from servers.execution.backends.mcp.hosted import HostedConnector
from servers.execution.backends.mcp.hosting import Hosting
from servers.execution.backends.mcp.relaying import Relay
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.settings import McpSettings, read_settings
from servers.execution.backends.mcp.signing import Signer, Signers, TellingSigner
from servers.execution.contract import Source
from servers.execution.notes import NoteChanged
from servers.execution.signing_in import AccessToken, NoSignIns

IDLE_SECONDS: Final = 60.0
"""How long the connections of a source that nobody uses are kept."""
SESSION_IDLE_SECONDS: Final = 300.0
SESSION_SECONDS: Final = 3_600.0
"""How old a session may grow."""
MAX_SESSIONS: Final = 64
"""Of one source in one process. Beyond it, the one that was not used for longest is ended."""
MAX_STRANGERS: Final = 32
"""Sessions for one call, of one source in one process: the next one waits. Half of the connections, so that whoever has
a credential finds one. Calls that wait for their clients' answers are not among them: those are counted as such."""


T = TypeVar("T")


class Key(NamedTuple):
    """Whom a session is for, and what its client can be asked."""

    whose: Whose
    capabilities: frozenset[str]

    @property
    def lasts(self) -> bool:
        """Whether a later call can be told to be the same caller's."""
        return bool(self.whose[1])


class Slot(NamedTuple):
    """One upstream of one version of a source, and the member whose sign-in it is used by, where each signs in."""

    id: UUID
    version: int
    number: int
    member: int | None


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What of the world upstreams may be: addresses, and commands. ``talks``: the way to other processes.

    ``signers``: by which tokens they are asked.
    """

    allow: AllowAddress
    hosting: Hosting = field(default_factory=Hosting)
    talks: Talks | None = None
    signers: Signers = field(default_factory=lambda: Signers(NoSignIns(), allow=allow_public))
    team: int = 0
    """Whose it is, where no source is stored."""
    note_changed: NoteChanged | None = None

    def connector(
        self, settings: McpSettings, source: Source | None, *, aside: bool, changed: Callable[[], None]
    ) -> Connector:
        """What begins conversations with this one."""
        if settings.command:
            return HostedConnector(
                settings, self.hosting, source, team=self.team, aside=aside, changed=changed
            )
        return HttpConnector(settings, allow=self.allow, changed=changed)

    def changed(self, settings: McpSettings, source: Source | None, *, aside: bool) -> Callable[[], None]:
        """What is to be called when this one says that a list of it changed."""
        if self.note_changed is None or source is None or aside or settings.each_member:
            # No check is made with a member's sign-in.
            return _nothing
        return partial(self.note_changed, source)

    @property
    def process(self) -> str:
        """By what other processes find this one; empty where there is no way to them."""
        return "" if self.talks is None else self.talks.name


class Upstream:
    """One version of one source, ready to be asked."""

    def __init__(
        self,
        settings: McpSettings,
        *,
        reach: Reach,
        source: Source | None = None,
        signer: Signer | None = None,
        aside: bool = False,
    ) -> None:
        """``source``: which one it is, where it is stored; ``aside``: it is only looked at."""
        self.settings = settings
        self._signer = None if signer is None else TellingSigner(signer)
        self._token = AccessToken("")
        self.changed = reach.changed(settings, source, aside=aside)
        """Called when a caller's conversation is told that a list changed."""
        self._connector = reach.connector(settings, source, aside=aside, changed=self.changed)
        self.used_at = monotonic()
        self.in_use = 0
        self._sessions: dict[Key, Conversation] = {}
        self._beginning: dict[Key, asyncio.Lock] = {}
        self._places = asyncio.Semaphore(MAX_STRANGERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.holding = Holding(reach.process)

    @property
    def idle(self) -> bool:
        """Whether nothing is asked of it just now, and no call waits in it."""
        return not self.in_use and not len(self.holding)

    @property
    def secrets(self) -> list[str]:
        """What it may know of ours and must not be shown to anybody. Longest first."""
        own = [self._token.value] if self._token.value else []
        return sorted([*own, *self.settings.secrets], key=len, reverse=True)

    @property
    def signs_in(self) -> bool:
        """Whether it is asked by tokens that another one takes the place of where they are refused."""
        return self._signer is not None

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def idle_seconds(self) -> float:
        """How long it is kept while nobody uses it."""
        return self._connector.idle_seconds

    @property
    def lines(self) -> Sequence[str]:
        """The last lines that it wrote beside its messages, where it is a command."""
        return self._connector.lines

    async def signed(self, work: Callable[[], Awaitable[T]], *, checking: bool = False) -> T:
        """What the work gives, by the token of now; again by another one where the upstream refused it.

        It refuses before it does anything, so nothing is done twice. ``checking``: the work is the handshake and
        ping of a check. Who refuses those refuses the sign-in. Raises ``SourceError``.
        """
        if self._signer is None:
            return await work()
        token = await self._signer.token()
        for _ in range(2):
            self._sign(token)
            try:
                return await work()
            except Challenged as fault:
                if fault.challenge.status != 401 and not fault.challenge.wants_more:
                    raise
                token = await self._signer.another(token, fault.challenge, checking=checking)
        self._sign(token)
        return await work()

    async def converse(self, key: Key, capabilities: Mapping[str, Any]) -> Conversation:
        """The conversation for whoever asks, begun where there is none. Raises ``SourceError``, ``OutboundRefused``."""
        if self._connector.shared:
            return await self._connector.connect(capabilities)
        if (found := self._find(key)) is not None:
            return found
        if not key.lasts:
            return await self._for_once(key, capabilities)
        lock = self._beginning.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                found = self._find(key)
                if found is None:
                    if (old := self._sessions.get(key)) is not None:
                        self.lose(key, old, end=True)
                    found = await self._connector.connect(capabilities)
                    self._keep(key, found)
                return found
        finally:
            if not lock.locked():
                self._beginning.pop(key, None)

    def lose(self, key: Key, lost: Conversation, *, end: bool = False) -> None:
        """Forget a conversation, and tell the upstream where it does not know yet."""
        if self._sessions.get(key) is lost:
            del self._sessions[key]
        if not end:
            lost.id = ""
            if lost.stream is not None:
                self.later(lost.stream.close())
        elif lost.in_use:
            # Others are being answered in it: who is the last ends it.
            lost.over = True
        else:
            self.later(lost.end())

    @contextmanager
    def speaking(self, conversation: Conversation) -> Iterator[None]:
        """For the time of a request in it, a session is not ended."""
        conversation.in_use += 1
        try:
            yield
        finally:
            conversation.in_use -= 1
            if conversation.placed:
                conversation.placed = False
                self._places.release()
            conversation.used = monotonic()
            if conversation.over and not conversation.in_use:
                self.later(conversation.end())

    async def connect(self, capabilities: Mapping[str, Any]) -> Conversation:
        """A conversation that is kept for nobody: who asks for it ends it. Raises as ``converse`` does."""
        return await self._connector.connect(capabilities)

    def forget_era(self) -> None:
        """Ask anew of which era the upstream is."""
        self._connector.forget()

    def late(self) -> None:
        """A call's time ran out."""
        self._connector.late()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Have done what nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep(self, now: float) -> None:
        """End the sessions that were not used of late, or are old."""
        for key, each in list(self._sessions.items()):
            if not each.in_use and (
                each.used <= now - SESSION_IDLE_SECONDS or each.began <= now - SESSION_SECONDS
            ):
                self.lose(key, each, end=True)

    async def close(self) -> None:
        """End every session, and close every connection, also where whoever wants that is cancelled meanwhile."""
        await finish(self._close())

    async def _close(self) -> None:
        await self.holding.close()
        for key, each in list(self._sessions.items()):
            self.lose(key, each, end=True)
        while self._tasks:  # What ends may leave more to be told.
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)
        await self._connector.close()

    def _sign(self, token: AccessToken) -> None:
        if token.of != self._token.of:
            # What it keeps in them is perhaps another account's.
            for key, each in list(self._sessions.items()):
                self.lose(key, each, end=True)
            if len(self.holding):
                self.later(self.holding.close())
        self._token = token
        self._connector.sign([("Authorization", f"Bearer {token.value}"), *self.settings.signing])

    async def _for_once(self, key: Key, capabilities: Mapping[str, Any]) -> Conversation:
        """A conversation for one call: ended after it, unless there is nothing that an upstream could keep in it."""
        await self._places.acquire()
        placed = False
        try:
            # Whoever waited may find what others have begun meanwhile, and need no place.
            conversation = self._find(key) or await self._connector.connect(capabilities)
            placed = bool(conversation.id)
        finally:
            if not placed:
                self._places.release()
        if placed:
            conversation.over = conversation.placed = True
        elif self._sessions.get(key) is not conversation:
            self._keep(key, conversation)
        return conversation

    def _find(self, key: Key) -> Conversation | None:
        now = monotonic()
        found = self._sessions.get(key)
        if found is None or found.began <= now - SESSION_SECONDS:
            return None
        found.used = now
        return found

    def _keep(self, key: Key, conversation: Conversation) -> None:
        while len(self._sessions) >= MAX_SESSIONS:
            # Sessions in use go last: their requests would have to begin anew.
            oldest = min(self._sessions.items(), key=lambda each: (each[1].in_use > 0, each[1].used))
            self.lose(*oldest, end=True)
        self._sessions[key] = conversation


class Upstreams:
    """All that one process uses of this kind, each in its slot."""

    def __init__(self, *, reach: Reach, idle_seconds: float = IDLE_SECONDS) -> None:
        self._reach = reach
        self._idle_seconds = idle_seconds
        self._kept: dict[Slot, Upstream] = {}
        self._replaced: list[tuple[UUID, Upstream]] = []
        """Of former versions of sources, by source: in use yet, or calls wait in them."""
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def use(
        self, source: Source, number: int = 0, *, member: int | None = None
    ) -> AsyncIterator[Upstream]:
        """This version of the source; what was kept of its earlier versions ends when it is not used any more.

        ``member`` is who asks, where each signs in: what is one's is used for nobody else.
        """
        upstream = self._get(source, number, member)
        upstream.in_use += 1
        try:
            yield upstream
        finally:
            upstream.in_use -= 1
            upstream.used_at = monotonic()
            if upstream.idle and self.find(source, number, member=member) is not upstream:
                self._let_go(upstream)

    def find(self, source: Source, number: int, *, member: int | None = None) -> Upstream | None:
        """What is kept of one of the source's upstreams, where anything is."""
        return self._kept.get(_slot(source, number, member))

    @contextmanager
    def taking(self, source_id: UUID, name: str, whose: Whose) -> Iterator[tuple[Upstream, Held] | None]:
        """A call of the source that waits by this name for this caller, taken. Inside, its upstream is kept open."""
        for id_, upstream in [*((slot.id, each) for slot, each in self._kept.items()), *self._replaced]:
            if id_ == source_id and (held := upstream.holding.take(name, whose)) is not None:
                break
        else:
            yield None
            return
        upstream.in_use += 1
        try:
            yield upstream, held
        finally:
            upstream.in_use -= 1
            upstream.used_at = monotonic()

    async def close_idle(self, *, now: float | None = None) -> None:
        """End what was not used of late, each beside the others: one that hangs keeps no other open."""
        now = monotonic() if now is None else now
        for key, upstream in list(self._kept.items()):
            upstream.sweep(now)
            if (
                upstream.idle
                and not upstream.sessions
                and upstream.used_at <= now - max(self._idle_seconds, upstream.idle_seconds)
            ):
                del self._kept[key]
                self._close_later(upstream)
        for _, upstream in list(self._replaced):
            upstream.sweep(now)
            if upstream.idle:
                self._let_go(upstream)

    async def close(self) -> None:
        """Close everything and wait for it."""
        await stop(self._sweeper)
        self._sweeper = None
        kept = [*self._kept.values(), *(each for _, each in self._replaced)]
        self._kept.clear()
        self._replaced.clear()
        await asyncio.gather(*(each.close() for each in kept), *self._closing, return_exceptions=True)

    def _get(self, source: Source, number: int, member: int | None) -> Upstream:
        key = _slot(source, number, member)
        upstream = self._kept.get(key)
        if upstream is None:
            settings = read_settings(source.settings).of(number)
            signer = self._reach.signers.of(source, settings, member)
            upstream = Upstream(settings, reach=self._reach, source=source, signer=signer)
            for slot in list(self._kept):
                if slot.id == source.id and slot.version < source.version:
                    old = self._kept.pop(slot)
                    if old.idle:
                        self._close_later(old)
                    else:
                        self._replaced.append((slot.id, old))
            self._kept[key] = upstream
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        return upstream

    def relay(self, source: Source) -> Relay | None:
        """The way to calls of the source that other processes hold."""
        talks = self._reach.talks
        return None if talks is None else Relay(talks, source.id)

    def _let_go(self, upstream: Upstream) -> None:
        self._replaced = [each for each in self._replaced if each[1] is not upstream]
        self._close_later(upstream)

    def _close_later(self, upstream: Upstream) -> None:
        task = asyncio.get_running_loop().create_task(upstream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _sweep(self) -> None:
        while self._kept or self._replaced:
            await asyncio.sleep(self._idle_seconds / 2)
            await self.close_idle()


def _slot(source: Source, number: int, member: int | None) -> Slot:
    alone = source.settings.get("sign_in") == "member"
    return Slot(source.id, source.version, number, member if alone else None)
