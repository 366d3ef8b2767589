"""Records who was turned away at the door: by credential, by form, or for asking too often. Decides nothing.

Anyone on the network can cause a refused credential, and any client a malformed request, so both are bounded:
``MAX_A_WINDOW`` records a window; what is over that is counted, and one record at the window's end says how many
there were. None drowns another: all strangers of a team share a window, and each key that is, or once was, the
team's own has its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from core.errors import InvalidInput, MarinaError, NotFound, RateLimited, Unauthenticated, Unavailable
from servers.services.reasons import log_unavailable, reason_of
from servers.services.redaction import mask_secrets, mask_text
from tenants.access import KEY_PREFIXES, Caller
from tenants.audit.records import Entry, Reason
from tenants.outsiders import is_outside
from tenants.tokens import ACCESS_PREFIX

if TYPE_CHECKING:
    from tenants.audit.writer import AuditWriter

KIND_AUTH: Final = "auth"
KIND_REQUEST: Final = "request"
KIND_RATE: Final = "rate"
WINDOW_SECONDS: Final = 60.0
MAX_A_WINDOW: Final = 60

_SHOWN_PREFIX: Final = re.compile(rf"((?:{'|'.join(KEY_PREFIXES)})[A-Za-z0-9]{{4,12}})_")
_FORMER: Final = {
    "key_revoked": "revoked",
    "key_expired": "expired",
    "token_revoked": "revoked",
    "token_expired": "expired",
}
"""Codes of keys and tokens that were the team's own once, and how the log calls them."""

_OF_KEYS: Final = frozenset({"key_malformed", "key_unknown", "key_missing", "locked_out"})
"""Codes of what may have been meant as a key."""

_TOOL_CHARACTERS: Final = 128

logger = logging.getLogger(__name__)

_Place = tuple[int, str, str]
"""A window's tenant, the kind of its records, and whose it is (an actor; empty: all strangers')."""


class _Window:
    __slots__ = ("recorded", "suppressed", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.recorded = 0
        self.suppressed = 0


class RefusalLog:
    """Writes refusals to tenants' logs, on one event loop."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer
        self._windows: dict[_Place, _Window] = {}
        self._summing: set[asyncio.Task[None]] = set()

    async def refused_credential(
        self,
        tenant_id: int,
        error: Unauthenticated | RateLimited | Unavailable,
        *,
        token: str | None,
        server: str,
        client: str,
        request_id: str,
    ) -> None:
        """Record a credential that opened nothing. Raises ``Unavailable`` when the log cannot be written."""
        actor = name_of_refused(token, error.code)
        # The name of a former key was compared with the key itself; a stranger's is whatever they sent.
        if not self._has_room((tenant_id, KIND_AUTH, actor if error.code in _FORMER else "")):
            return
        entry = Entry(
            kind=KIND_AUTH,
            outcome="refused",
            actor=actor,
            client=client,
            server=server,
            reason=reason_of(error),
            request_id=request_id,
        )
        await self._write(tenant_id, entry)

    async def refused_caller(
        self,
        caller: Caller,
        error: MarinaError,
        *,
        kind: str,
        server: str,
        client: str,
        request_id: str,
        tool: object = "",
        arguments: object = None,
        bounded: bool = False,
    ) -> None:
        """Record that a known caller was refused before a call could be made of it.

        ``tool`` and ``arguments`` are what was asked for, of whatever type it was. ``bounded`` is for what no
        client repeats for good reason. Raises ``Unavailable`` when the log cannot be written.
        """
        # Whoever needs no key can come from as many addresses as they like.
        whose = "" if caller.anonymous else caller.actor
        if bounded and not self._has_room((caller.tenant_id, kind, whose)):
            return
        entry = Entry(
            kind=kind,
            outcome="invalid" if isinstance(error, InvalidInput | NotFound) else "refused",
            actor=caller.actor,
            credential_id=caller.credential_id,
            client=client,
            server=server,
            tool=mask_text(tool[:_TOOL_CHARACTERS]) if isinstance(tool, str) else "",
            arguments=mask_secrets(arguments) if isinstance(arguments, Mapping) else None,
            reason=reason_of(error),
            request_id=request_id,
        )
        await self._write(caller.tenant_id, entry)

    async def close(self) -> None:
        """End every window now, so that no count is lost."""
        for place in list(self._windows):
            self._end_window(place)
        if self._summing:
            await asyncio.gather(*self._summing, return_exceptions=True)

    def _has_room(self, place: _Place) -> bool:
        """Whether one more is recorded by itself; otherwise it is counted."""
        window = self._windows.get(place)
        if window is None:
            timer = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._end_window, place)
            window = self._windows[place] = _Window(timer)
        if window.recorded >= MAX_A_WINDOW:
            window.suppressed += 1
            return False
        window.recorded += 1
        return True

    async def _write(self, tenant_id: int, entry: Entry) -> None:
        if not self._writer.accepting:
            raise log_unavailable()
        await self._writer.write(tenant_id, entry)

    def _end_window(self, place: _Place) -> None:
        window = self._windows.pop(place)
        window.timer.cancel()
        if window.suppressed:
            task = asyncio.get_running_loop().create_task(self._sum_up(place, window.suppressed))
            self._summing.add(task)
            task.add_done_callback(self._summing.discard)

    async def _sum_up(self, place: _Place, suppressed: int) -> None:
        tenant_id, kind, actor = place
        message = (
            f"{suppressed} more of this kind in {WINDOW_SECONDS:.0f} seconds, beyond the "
            f"{MAX_A_WINDOW} that were recorded one by one."
        )
        entry = Entry(
            kind=kind,
            outcome="invalid" if kind == KIND_REQUEST else "refused",
            actor=actor or "unknown",
            reason=Reason(code="refusals_suppressed", rule=f"{kind}:rate", message=message),
        )
        try:
            await self._write(tenant_id, entry)
        except Unavailable:
            logger.warning(
                "a count of refusals was not recorded",
                extra={"tenant_id": tenant_id, "kind": kind, "suppressed": suppressed},
            )


def name_of_refused(token: str | None, code: str) -> str:
    """How the log names who sent a token that opens nothing: by the public part of a key, never more.

    ``code`` is the refusal's: a key that was the team's own is named as what it is.
    """
    if token is None:
        return "anonymous"
    state = _FORMER.get(code, "unknown")
    if token.startswith(ACCESS_PREFIX):
        return f"{state} access token"
    if is_outside(token) and code not in _OF_KEYS:
        return f"{state} outside token"
    shown = _SHOWN_PREFIX.match(token)
    return f"{state} key ({shown[1]})" if shown else f"{state} key"
