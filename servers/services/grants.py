"""Who a token is, kept in memory for seconds, and the noting of when a key was last used. Decides nothing.

A grant is keyed by the token's SHA-256 and the tenant of the URL; the token itself is not kept. It ends at the
key's own expiry to the microsecond, and otherwise after ``GRANT_SECONDS``, which bounds how long a revoked key
still opens anything on a replica that does not hear the announcement.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from time import monotonic
from typing import Final
from uuid import UUID

from django.db import DatabaseError

from core.errors import Unauthenticated, Unavailable
from core.finishing import heed
from servers.services.reading import look_up
from tenants.access import Caller, key_digest
from tenants.models import ApiKey, OAuthAuthorization, TrustedIssuer
from tenants.outsiders import caller_for_outsider, is_outside, rules_of
from tenants.scoping import tenant_scope
from tenants.tokens import caller_for_credential

GRANT_SECONDS: Final = 5.0
REFUSAL_SECONDS: Final = 1.0
"""How long a refusal is repeated without asking the database: a new key must work at once."""

MAX_GRANTS: Final = 20_000
MAX_REFUSALS: Final = 2_000

USE_NOTED_SECONDS: Final = 60.0
"""A key's last use is written at most this often."""

logger = logging.getLogger(__name__)

_Place = tuple[bytes, str]


class _Grant:
    __slots__ = ("caller", "expires", "until")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.until = monotonic() + GRANT_SECONDS
        self.expires = float("inf") if caller.expires_at is None else caller.expires_at.timestamp()


class GrantCache:
    """Token → ``Caller``, on one event loop. Simultaneous misses of one token make one look-up."""

    def __init__(self) -> None:
        self._grants: OrderedDict[_Place, _Grant] = OrderedDict()
        self._refusals: OrderedDict[_Place, tuple[float, Unauthenticated]] = OrderedDict()
        self._asking: dict[_Place, asyncio.Task[Caller]] = {}

    def peek(self, token: str, tenant_slug: str) -> Caller | None:
        """The caller, when the grant is held and live."""
        return self.held(key_digest(token), tenant_slug)

    def held(self, digest: bytes, tenant_slug: str) -> Caller | None:
        """``peek`` by the token's SHA-256. The hot path: no database, no await."""
        grant = self._grants.get((digest, tenant_slug))
        if grant is None or monotonic() >= grant.until or time.time() >= grant.expires:
            return None
        return grant.caller

    async def get(self, token: str, tenant_slug: str) -> Caller:
        """The caller behind a token at this tenant. Raises ``Unauthenticated``, which says why."""
        place = (key_digest(token), tenant_slug)
        caller = self.held(*place)
        if caller is not None:
            return caller
        refusal = self._refusals.get(place)
        if refusal is not None and monotonic() < refusal[0]:
            raise _again(refusal[1])
        task = self._asking.get(place)
        if task is None:
            task = asyncio.create_task(self._ask(place, token))
            self._asking[place] = task
            task.add_done_callback(lambda done: self._forget_task(place, done))
        try:
            return await asyncio.shield(task)
        except Unauthenticated as refused:
            raise _again(refused) from None

    def drop_tenant(self, tenant_id: int) -> None:
        """Something of the tenant changed, perhaps its keys: they are looked up again."""
        for place in [place for place, grant in self._grants.items() if grant.caller.tenant_id == tenant_id]:
            del self._grants[place]
        self._refusals.clear()
        self._asking.clear()

    def drop_all(self) -> None:
        """Changes may have been missed: every key is looked up again."""
        self._grants.clear()
        self._refusals.clear()
        self._asking.clear()

    async def _ask(self, place: _Place, token: str) -> Caller:
        me = asyncio.current_task()
        try:
            caller = await _find_caller(token, place[1])
        except Unauthenticated as refused:
            if self._asking.get(place) is me:
                self._refusals[place] = (monotonic() + REFUSAL_SECONDS, _again(refused))
                self._refusals.move_to_end(place)
                while len(self._refusals) > MAX_REFUSALS:
                    self._refusals.popitem(last=False)
            raise
        if self._asking.get(place) is me:
            self._grants[place] = _Grant(caller)
            self._grants.move_to_end(place)
            while len(self._grants) > MAX_GRANTS:
                self._grants.popitem(last=False)
        return caller

    def _forget_task(self, place: _Place, task: asyncio.Task[Caller]) -> None:
        if self._asking.get(place) is task:
            del self._asking[place]
        heed(task)


async def _find_caller(token: str, tenant_slug: str) -> Caller:
    if is_outside(token):
        # Asked anew for each grant, so an issuer that is switched off vouches for nobody when the grant ends.
        rules = await look_up(rules_of, tenant_slug)
        caller = await caller_for_outsider(token, rules) if rules else None
        if caller is not None:
            return caller
    return await look_up(caller_for_credential, token, tenant_slug=tenant_slug)


def _again(refused: Unauthenticated) -> Unauthenticated:
    """The same refusal as a new exception: one object raised in two tasks would mix their tracebacks."""
    return type(refused)(refused.message, code=refused.code, data=refused.data)


class KeyUses:
    """Collects when keys were used, and from where; ``flush`` writes it, off the calls' path, once a minute a key."""

    def __init__(self) -> None:
        self._noted: dict[UUID, float] = {}
        self._pending: dict[int, dict[UUID, tuple[datetime, str]]] = {}
        self._writing = asyncio.Lock()

    def note(self, caller: Caller, address: str) -> None:
        """Remember that the credential was used now, from this address."""
        key_id = caller.issuer_id or caller.credential_id
        if key_id is None:
            return
        now = monotonic()
        if now - self._noted.get(key_id, -USE_NOTED_SECONDS) < USE_NOTED_SECONDS:
            return
        self._noted[key_id] = now
        self._pending.setdefault(caller.tenant_id, {})[key_id] = (datetime.now(UTC), address)

    async def flush(self) -> None:
        """Write what was collected. A failure is logged and the times are lost: they are a convenience.

        Returns when all that was noted before is written, also by another flush that was under way.
        """
        async with self._writing:
            pending, self._pending = self._pending, {}
            old = monotonic() - USE_NOTED_SECONDS
            self._noted = {key_id: noted for key_id, noted in self._noted.items() if noted > old}
            if pending:
                try:
                    await look_up(_write_uses, pending)
                except (DatabaseError, Unavailable):
                    logger.warning("the keys' last use was not written", exc_info=True)


def _write_uses(pending: dict[int, dict[UUID, tuple[datetime, str]]]) -> None:
    for tenant_id, keys in pending.items():
        with tenant_scope(tenant_id):
            for key_id, (used_at, address) in keys.items():
                if ApiKey.objects.filter(pk=key_id).update(last_used_at=used_at, last_used_from=address):
                    continue
                if not OAuthAuthorization.objects.filter(pk=key_id).update(last_used_at=used_at):
                    TrustedIssuer.objects.filter(pk=key_id).update(last_used_at=used_at)
