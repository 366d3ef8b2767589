"""Gives execution the tokens of sign-ins, and renews them: ahead of their end, and once where a server refuses one.

One process renews a sign-in at a time (a lease on its row), and one task in it. A renewal that has begun is finished,
whoever waited for it: a server may give each refresh token once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final
from uuid import UUID, uuid4

from core.crypto import Sealer
from core.errors import SourceError, Unavailable
from core.outbound import AllowAddress
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import Challenge, joined
from servers.execution.authorizing.faults import NEEDED, UNKNOWN_CLIENT, UNSOUND, needed, needs_scopes
from servers.execution.authorizing.grants import Tokens, refresh
from servers.execution.contract import Source
from servers.execution.signing_in import AccessToken
from servers.execution.unanswered import host_of
from servers.services.reading import look_up
from servers.services.sign_ins.rows import (
    MAX_MISSING,
    Kept,
    Missing,
    claim,
    lose,
    note_missing,
    read_kept,
    release,
    store_renewed,
)

BELIEVED_SECONDS: Final = 5.0
"""How long a token is used before its row is looked at again: so soon a sign-in that was ended ends everywhere."""
FRESH_SECONDS: Final = 30.0
"""A token that is refused so soon after it was given is not the reason: no other one would help."""
WAIT_SECONDS: Final = 20.0
"""How long a call waits for another process that renews."""
RETRY_SECONDS: Final = 15.0
"""How long a token that is still good is used after it could not be renewed, before that is tried again."""
STORE_TRIES: Final = 10
STORE_SECONDS: Final = 2.0
"""Between two tries to store new tokens while the database is away."""
MAX_HELD: Final = 2_000

_Place = tuple[int, UUID, int | None, str]


class StoredSignIns:
    """Implements ``SignIns`` on the team's rows. One object a process, used from one event loop."""

    def __init__(self, sealer: Sealer, *, allow: AllowAddress) -> None:
        self._sealer = sealer
        self._ask = Asker(allow)
        self._held: OrderedDict[_Place, tuple[float, Kept]] = OrderedDict()
        self._renewing: dict[UUID, asyncio.Task[Kept]] = {}
        self._tried: dict[UUID, float] = {}

    async def token(self, source: Source, url: str, member: int | None) -> AccessToken:
        """See ``SignIns``."""
        place = (source.tenant_id, source.id, member, url)
        until, kept = self._held.get(place, (0.0, None))
        now = time.time()
        if kept is None or now >= until or kept.over(now):
            kept = self._hold(place, await self._read(source, url, member))
        if kept.over(now):
            kept = self._hold(place, await self._renewed(source, url, kept))
        elif kept.tokens.refresh and kept.due(now) and now >= self._tried.get(kept.id, 0):
            # It is good for a little longer: nobody waits.
            self._renewal(source, url, kept)
        return _as_token(kept)

    async def another(
        self,
        source: Source,
        url: str,
        member: int | None,
        refused: AccessToken,
        challenge: Challenge,
        *,
        checking: bool = False,
    ) -> AccessToken:
        """See ``SignIns``."""
        place = (source.tenant_id, source.id, member, url)
        self._held.pop(place, None)
        kept = await self._read(source, url, member)
        if _as_token(kept) == refused:
            if challenge.wants_more:
                lacking = joined(challenge.scopes)[:MAX_MISSING]
                fault = needs_scopes(host_of(url), lacking)
                await look_up(note_missing, kept, lacking, fault.message)
                raise fault
            if not kept.tokens.refresh or time.time() < kept.renewed_at + FRESH_SECONDS:
                raise await self._refused(url, kept, challenge, checking=checking)
            kept = await self._renewed(source, url, kept)
        return _as_token(self._hold(place, kept))

    async def _read(self, source: Source, url: str, member: int | None) -> Kept:
        found = await look_up(read_kept, source, url, member, self._sealer)
        if isinstance(found, Missing):
            where = f" The page to sign in: {found.page}" if found.page else ""
            raise needed(found.message + where, page=found.page, reason=found.message)
        return found

    async def _renewed(self, source: Source, url: str, kept: Kept) -> Kept:
        """It with another token. Raises ``SourceError``."""
        if not kept.tokens.refresh:
            raise await self._lost(
                kept,
                f"The sign-in to {host_of(url)} has ended, and {host_of(kept.issuer)} gave nothing to renew it by. "
                "Sign in again.",
            )
        try:
            # Who gives up waiting must not take the renewal along.
            return await asyncio.shield(self._renewal(source, url, kept))
        except SourceError as fault:
            raise SourceError(
                fault.message, code=fault.code, data=dict(fault.data), retryable=fault.retryable
            ) from None

    def _renewal(self, source: Source, url: str, kept: Kept) -> asyncio.Task[Kept]:
        """The task that renews it, begun where there is none."""
        task = self._renewing.get(kept.id)
        if task is None:
            task = asyncio.create_task(self._renew(source, url, kept))
            self._renewing[kept.id] = task
            place = (source.tenant_id, source.id, kept.member, url)
            task.add_done_callback(lambda done: self._settle(place, kept, done))
        return task

    async def _renew(self, source: Source, url: str, kept: Kept) -> Kept:
        lease = uuid4()
        until = time.time() + WAIT_SECONDS
        while not await look_up(claim, kept, lease):
            if time.time() > until:
                raise SourceError(
                    f"The sign-in to {host_of(url)} is being renewed elsewhere, which takes long. Try again.",
                    code="source_timeout",
                    retryable=True,
                )
            await asyncio.sleep(0.2)
            now = await self._read(source, url, kept.member)
            if (now.id, now.number) != (kept.id, kept.number):
                return now
        try:
            tokens = await refresh(self._ask, kept.token_endpoint, kept.client, kept.tokens, kept.resource)
        except SourceError as fault:
            if fault.code == NEEDED:
                unknown = fault.data.get("error") == UNKNOWN_CLIENT
                raise await self._lost(kept, fault.message, unknown_client=unknown) from None
            await look_up(release, kept, lease)
            if fault.code == UNSOUND:
                # A page of maintenance, perhaps: the sign-in was not refused.
                raise SourceError(
                    fault.message, code=fault.code, data=dict(fault.data), retryable=True
                ) from None
            raise
        renewed = await self._stored(kept, lease, tokens)
        return await self._read(source, url, kept.member) if renewed is None else renewed

    async def _stored(self, kept: Kept, lease: UUID, tokens: Tokens) -> Kept | None:
        """Store what was given: the server may not take the token before it any more. Tried while the lease lasts."""
        for _ in range(STORE_TRIES):
            try:
                return await look_up(store_renewed, kept, lease, tokens, self._sealer)
            except Unavailable:
                await asyncio.sleep(STORE_SECONDS)
        return await look_up(store_renewed, kept, lease, tokens, self._sealer)

    async def _refused(self, url: str, kept: Kept, challenge: Challenge, *, checking: bool) -> SourceError:
        """The fault of a token that is refused and has no other in its place. One call says nothing of all others."""
        fresh = (
            "a token that it was just given" if kept.tokens.refresh else "its token, which cannot be renewed"
        )
        if checking:
            return await self._lost(kept, f"The MCP server at {host_of(url)} refuses {fresh}. Sign in again.")
        return SourceError(
            f"The MCP server at {host_of(url)} refuses this call with {fresh} (status {challenge.status}). Ask whoever "
            "runs it what the sign-in may; where it refuses every call, sign in again on the page of the data source.",
            code="source_auth",
            data={"status": challenge.status},
        )

    async def _lost(self, kept: Kept, reason: str, *, unknown_client: bool = False) -> SourceError:
        await look_up(lose, kept, reason, unknown_client=unknown_client)
        return needed(reason)

    def _hold(self, place: _Place, kept: Kept) -> Kept:
        """Believe it for a while, and give it; or what is believed, where that took its place while it was read."""
        until, held = self._held.get(place, (0.0, kept))
        if held.id == kept.id and held.number > kept.number and time.time() < until:
            return held
        self._held[place] = (time.time() + BELIEVED_SECONDS, kept)
        self._held.move_to_end(place)
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        return kept

    def _settle(self, place: _Place, kept: Kept, task: asyncio.Task[Kept]) -> None:
        """A renewal has ended, whoever still waits for it: what came of it is used from now on."""
        del self._renewing[kept.id]
        if task.cancelled():
            return
        if task.exception() is None:
            self._tried.pop(kept.id, None)
            self._hold(place, task.result())
            return
        # Whoever comes next is told why, or goes on with a token that is still good; that is not tried again at once.
        self._held.pop(place, None)
        self._tried[kept.id] = time.time() + RETRY_SECONDS


def _as_token(kept: Kept) -> AccessToken:
    return AccessToken(kept.tokens.access, kept.number, kept.id)
