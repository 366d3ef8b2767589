"""Records who was turned away at the door: refused credentials, and refused lists. Decides nothing.

Anyone on the network can cause a refused credential, so they are bounded: ``MAX_A_WINDOW`` records a tenant
and window; what is over that is counted, and one record at the window's end says how many there were.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from core.errors import InvalidInput, MarinaError, Unauthenticated, Unavailable
from servers.services.reasons import log_unavailable, reason_of
from tenants.access import KEY_PREFIX, Caller
from tenants.audit.records import Entry, Reason

if TYPE_CHECKING:
    from tenants.audit.writer import AuditWriter

KIND_AUTH: Final = "auth"
WINDOW_SECONDS: Final = 60.0
MAX_A_WINDOW: Final = 60

_SHOWN_PREFIX: Final = re.compile(re.escape(KEY_PREFIX) + r"([A-Za-z0-9]{4,12})_")

logger = logging.getLogger(__name__)


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
        self._windows: dict[int, _Window] = {}
        self._summing: set[asyncio.Task[None]] = set()

    async def refused_credential(
        self,
        tenant_id: int,
        error: Unauthenticated,
        *,
        token: str | None,
        server: str,
        client: str,
        request_id: str,
    ) -> None:
        """Record a credential that opened nothing. Raises ``Unavailable`` when the log cannot be written."""
        window = self._windows.get(tenant_id)
        if window is None:
            timer = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._end_window, tenant_id)
            window = self._windows[tenant_id] = _Window(timer)
        if window.recorded >= MAX_A_WINDOW:
            window.suppressed += 1
            return
        window.recorded += 1
        entry = Entry(
            kind=KIND_AUTH,
            outcome="refused",
            actor=name_of_refused(token, error.code),
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
    ) -> None:
        """Record that a known caller was refused before a call could be made of it."""
        entry = Entry(
            kind=kind,
            outcome="invalid" if isinstance(error, InvalidInput) else "refused",
            actor=caller.actor,
            credential_id=caller.credential_id,
            client=client,
            server=server,
            reason=reason_of(error),
            request_id=request_id,
        )
        await self._write(caller.tenant_id, entry)

    async def close(self) -> None:
        """End every window now, so that no count is lost."""
        for tenant_id in list(self._windows):
            self._end_window(tenant_id)
        if self._summing:
            await asyncio.gather(*self._summing, return_exceptions=True)

    async def _write(self, tenant_id: int, entry: Entry) -> None:
        if not self._writer.accepting:
            raise log_unavailable()
        await self._writer.write(tenant_id, entry)

    def _end_window(self, tenant_id: int) -> None:
        window = self._windows.pop(tenant_id)
        window.timer.cancel()
        if window.suppressed:
            task = asyncio.get_running_loop().create_task(self._sum_up(tenant_id, window.suppressed))
            self._summing.add(task)
            task.add_done_callback(self._summing.discard)

    async def _sum_up(self, tenant_id: int, suppressed: int) -> None:
        message = (
            f"{suppressed} more refused credentials in {WINDOW_SECONDS:.0f} seconds, beyond the "
            f"{MAX_A_WINDOW} that were recorded one by one."
        )
        entry = Entry(
            kind=KIND_AUTH,
            outcome="refused",
            actor="unknown",
            reason=Reason(code="refusals_suppressed", rule="auth:rate", message=message),
        )
        try:
            await self._write(tenant_id, entry)
        except Unavailable:
            logger.warning(
                "a count of refused credentials was not recorded",
                extra={"tenant_id": tenant_id, "suppressed": suppressed},
            )


def name_of_refused(token: str | None, code: str) -> str:
    """How the log names who sent a token that opens nothing: by the public part of a key, never more.

    ``code`` is the refusal's: a key that was the team's own is named as what it is.
    """
    if token is None:
        return "anonymous"
    state = {"key_revoked": "revoked", "key_expired": "expired"}.get(code, "unknown")
    shown = _SHOWN_PREFIX.match(token)
    return f"{state} key ({KEY_PREFIX}{shown[1]})" if shown else f"{state} key"
