"""One call's way to a source: which of its upstreams it goes to, and to which next where that did not answer.

It knows what may be repeated: calls that do no more twice than once, and whatever certainly did not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.faults import Unsigned
from servers.execution.backends.mcp.held import Held, Whose
from servers.execution.backends.mcp.pools import Key, Upstream, Upstreams
from servers.execution.backends.mcp.relaying import Relay
from servers.execution.backends.mcp.replicas import Member, Replicas
from servers.execution.backends.mcp.retries import (
    TRIES,
    Fault,
    backoff,
    goes_elsewhere,
    is_down,
    is_passing,
    unsent,
)
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.contract import Source

BEGIN_SECONDS: Final = 5.0
"""How long an upstream may take to begin a session, where there is another one that could."""


class Route:
    """Of one call. ``reached`` is whether the upstream may have got the call, as far as is known by now."""

    def __init__(
        self, upstreams: Upstreams, source: Source, replicas: Replicas, *, member: int | None = None
    ) -> None:
        """``member``: who calls, where each signs in."""
        self.settings: McpSettings = replicas.settings
        self.member: Member = replicas.members[0]
        self.reached = False
        self._upstreams = upstreams
        self._source = source
        self._of_member = member
        self._upstream: Upstream | None = None
        self._replicas = replicas
        self.deadline: asyncio.Timeout | None = None
        self._moves = True
        self._tried: list[Member] = []

    def anew(self) -> Route:
        """The way of another request of the same caller."""
        return Route(self._upstreams, self._source, self._replicas, member=self._of_member)

    @property
    def url(self) -> str:
        """Of the upstream that was asked last."""
        return self.member.settings.url

    @property
    def secrets(self) -> list[str]:
        """What that upstream knows and nobody is to be shown."""
        return self.settings.secrets if self._upstream is None else self._upstream.secrets

    async def begun(self, beginning: Awaitable[Conversation]) -> Conversation:
        """A conversation, in which the call is made next. Where another upstream could be asked, it has its time."""
        self.reached = False
        if self._replicas.others([*self._tried, self.member]):
            conversation = await _in_time(beginning)
        else:
            conversation = await beginning
        self.member.keeps_sessions = bool(conversation.id)
        self.reached = True
        return conversation

    @asynccontextmanager
    async def take(self, key: Key, number: int | None = None) -> AsyncIterator[Upstream]:
        """The upstream to ask next, for the time of asking. Raises ``SourceError`` where none is asked just now.

        ``number``: of one that asked the client something, and should have the answers.
        """
        replicas = self._replicas
        member = None if number is None or self._tried else replicas.at(number)
        if member is None:
            member = await replicas.choose(key if key.lasts and self._moves else None, self._tried)
        self.member, self.reached = member, False
        member.busy += 1
        try:
            async with self._upstreams.use(self._source, member.number, member=self._of_member) as upstream:
                self._upstream = upstream
                yield upstream
        except (OutboundRefused, SourceError) as fault:
            self._failed(member, fault)
            raise
        except Exception:
            # Whatever it said, it answered.
            member.breaker.went_well()
            raise
        else:
            member.breaker.went_well()
        finally:
            member.busy -= 1

    @contextmanager
    def taking(self, name: str, whose: Whose) -> Iterator[tuple[Upstream, Held] | None]:
        """The call that waits in this process by this name for this caller, and where, to go on with it."""
        with self._upstreams.taking(self._source.id, name, whose) as found:
            if found is not None:
                self._upstream, self.reached = found[0], True
                url = found[0].settings.url
                self.member = next(
                    (each for each in self._replicas.members if each.settings.url == url), self.member
                )
            yield found

    @property
    def relay(self) -> Relay | None:
        """The way to such calls in other processes."""
        return self._upstreams.relay(self._source)

    async def again(self, fault: Fault, *, repeatable: bool) -> bool:
        """Whether the call is to be made again, after a wait where that is of use."""
        self._tried.append(self.member)
        if self.settings.command:
            # A command is begun again by whoever runs it, later and later.
            return False
        # An upstream that refuses to work still has the caller's session: only this call goes elsewhere.
        self._moves = isinstance(fault, OutboundRefused)
        if self.reached and not repeatable and not unsent(fault):
            return False
        if len(self._tried) >= TRIES + len(self._replicas.members) - 1:
            return False
        if goes_elsewhere(fault) and self._replicas.others(self._tried):
            return True
        if not is_passing(fault):
            return False
        wait = backoff(self._tried.count(self.member))
        when = None if self.deadline is None else self.deadline.when()
        if when is not None and asyncio.get_running_loop().time() + wait >= when:
            # What went wrong is better told than that the time ran out meanwhile.
            return False
        await asyncio.sleep(wait)
        return True

    def late(self) -> None:
        """The call's time ran out."""
        if self._upstream is not None:
            self._upstream.late()
        if not self.settings.command:
            self._replicas.suspect(self.member)

    def _failed(self, member: Member, fault: Fault) -> None:
        if self.settings.command or isinstance(fault, Unsigned):
            return
        if isinstance(fault, OutboundRefused) and fault.reason == "timeout":
            self._replicas.suspect(member)
        elif is_down(fault):
            member.breaker.went_wrong(_words(member, fault))
            if len(self._replicas.members) > 1:
                # Its callers go elsewhere, so that there may not be enough faults in a row to know it by.
                self._replicas.suspect(member)
        elif isinstance(fault, SourceError):
            member.breaker.went_well()


async def _in_time(beginning: Awaitable[Conversation]) -> Conversation:
    try:
        async with asyncio.timeout(BEGIN_SECONDS) as bound:
            return await beginning
    except TimeoutError:
        if not bound.expired():
            raise
        raise OutboundRefused(f"it began no session within {BEGIN_SECONDS:g} s", "timeout") from None


def _words(member: Member, fault: Fault) -> str:
    if isinstance(fault, SourceError):
        return fault.message
    return f"{member.name} was asked, but {fault}."
