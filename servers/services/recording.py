"""The records of one run of an operation: what is known from the start, its intent, and its ways to end.

Decides nothing. Whatever ends the run is durable in the log before this module returns or raises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final

from core.errors import Forbidden, InvalidInput, MarinaError, Unavailable
from core.shutdown import draining
from servers.execution.contract import InputRequired, Outcome, Trace
from servers.services.glimpses import glimpse_of
from servers.services.live import notify_calls
from servers.services.reasons import DATABASE_UNAVAILABLE, log_unavailable, reason_of
from servers.services.redaction import mask_secrets, mask_text
from servers.services.runtime import Runtime
from tenants.access import Caller
from tenants.audit.originals import PLAIN, Detail
from tenants.audit.records import INTENT, TOOL_CHARACTERS, Entry, Reason

AFTER_HANG_SECONDS: Final = 1.0
"""Who was kept waiting by the database already waits so long for the log, which is in it: five seconds are promised."""


class CallRecord:
    """The record of one run. Arguments are masked here: after a run, nothing but the writing may fail.

    ``subject`` stands in the log's ``tool`` column: a tool's name, a resource's URI, a prompt's name.
    ``served_from``, of a call that does not run itself, ``task`` and ``schedule`` are as of ``Entry``.
    After ``write``, ``outcome``, ``seq`` and ``duration_us`` say what was recorded, and where.
    """

    __slots__ = (
        "_intent",
        "arguments",
        "caller",
        "client",
        "detail",
        "duration_us",
        "hmac",
        "kind",
        "outcome",
        "parent",
        "request_id",
        "runtime",
        "schedule",
        "seq",
        "served_from",
        "server",
        "started",
        "subject",
        "task",
        "trace_id",
        "version",
    )

    def __init__(
        self,
        runtime: Runtime,
        kind: str,
        subject: str,
        arguments: Mapping[str, Any],
        *,
        caller: Caller,
        server: str,
        client: str,
        request_id: str,
        trace: Trace | None = None,
        parent: int | None = None,
    ) -> None:
        self.started = perf_counter_ns()
        self.runtime = runtime
        self.kind = kind
        self.subject = subject
        self.arguments = mask_secrets(arguments)
        self.detail = PLAIN
        self.hmac = ""
        self.caller = caller
        self.server = server
        self.client = client
        self.request_id = request_id
        self.trace_id = "" if trace is None else trace.id
        self.parent = parent
        self.served_from = ""
        self.task = ""
        self.schedule = ""
        self.version: int | None = None
        self.outcome = ""
        self.seq = 0
        self.duration_us = 0
        self._intent: asyncio.Future[int] | None = None

    def keep(self, detail: Detail, arguments: Mapping[str, Any]) -> None:
        """Keep beside the masked arguments what the team's log is to have: once the run was let through, and before
        anything of it is recorded. Of what was refused nothing is kept: anybody could have guesses marked so.
        """
        self.detail = detail
        if detail.marks is not None:
            self.hmac = detail.marks.of(arguments)

    @property
    def intent(self) -> int | None:
        """The number of its intent, where that is in the log already."""
        return None if self._intent is None or not self._intent.done() else self._intent.result()

    async def intend(self) -> None:
        """Record that the run is about to begin, for one that may change something.

        Also before something of a run reaches its client. Raises ``Unavailable`` when that cannot be recorded: then
        nothing may run. Doing it again does nothing.
        """
        if self._intent is not None:
            await asyncio.shield(self._intent)
            return
        try:
            self._intent = self.runtime.writer.hand_in(self.caller.tenant_id, self._entry(INTENT))
            # Who leaves now leaves an intent behind: its outcome has to wait for its number.
            await asyncio.shield(self._intent)
        except Unavailable:
            self._intent = None
            raise log_unavailable() from None

    def resume(self, intent: int) -> None:
        """Go on with an intent that is in the log already: the outcome names it."""
        self._intent = asyncio.get_running_loop().create_future()
        self._intent.set_result(intent)

    async def refuse(self, refusal: MarinaError) -> None:
        """Record that nothing ran, and why."""
        await self.write("refused" if isinstance(refusal, Forbidden) else "invalid", error=refusal)

    async def end_early(self, end: BaseException) -> None:
        """Record what ended a run before its result. Whoever caught it raises it on afterwards."""
        if isinstance(end, InvalidInput):
            await self.write("invalid", error=end)
        elif isinstance(end, MarinaError):
            # A rule of the source's own (a write, a function not on its list) refuses as much as a scope does.
            refused = "rule" in end.data and not isinstance(end, Unavailable)
            await self.write("refused" if refused else "error", error=end)
        elif isinstance(end, InputRequired):
            methods = ", ".join(ask.method for ask in end.asks.values())
            message = f"It asks the client for {methods}, and runs again from its beginning with the answer."
            await self.write("input_required", reason=Reason(code="input_required", message=message))
        elif isinstance(end, asyncio.CancelledError):
            # Nobody hears an answer any more, so a log that cannot be written refuses nothing here.
            with contextlib.suppress(MarinaError):
                await self.write("cancelled", error=_cause_of(end))
        else:
            # A fault of ours: what ran is recorded all the same, then the outer boundary answers and logs it.
            fault = MarinaError("An internal fault ended the call.", code="internal")
            await self.write("error", error=fault)

    async def write(
        self,
        outcome: str,
        *,
        error: MarinaError | None = None,
        produced: Outcome | None = None,
        reason: Reason | None = None,
    ) -> None:
        """Write the outcome and wait until it is durable.

        Raises ``Unavailable`` when it cannot be; after an intent, ``MarinaError`` (``outcome_unrecorded``), since
        repeating the call may do its work twice.
        """
        duration_us = (perf_counter_ns() - self.started) // 1000
        entry = self._entry(outcome)
        entry.duration_us = duration_us
        if error is not None:
            entry.reason = reason_of(error)
        elif reason is not None:
            entry.reason = reason
        if produced is not None:
            entry.rows = produced.rows
            entry.size = produced.size
            entry.truncated = produced.truncated
            if self.detail.preview:
                entry.preview = glimpse_of(produced, self.detail.preview)
        if self.served_from:
            entry.served_from = self.served_from
        hangs = error is not None and error.code == DATABASE_UNAVAILABLE
        if self._intent is not None:
            self.seq = await self._conclude(entry, self._intent, AFTER_HANG_SECONDS if hangs else None)
        elif hangs:
            self.seq = await self._write_within(entry, AFTER_HANG_SECONDS)
        else:
            self.seq = await self.runtime.writer.hand_in(self.caller.tenant_id, entry)
        self.outcome = outcome
        self.duration_us = duration_us
        notify_calls(self.caller.tenant_id)

    async def _write_within(self, entry: Entry, seconds: float | None) -> int:
        """Write, or raise ``Unavailable`` after so long. The record may come to be all the same."""
        try:
            async with asyncio.timeout(seconds):
                return await self.runtime.writer.write(self.caller.tenant_id, entry)
        except TimeoutError:
            raise log_unavailable() from None

    async def _conclude(self, entry: Entry, intent: asyncio.Future[int], seconds: float | None) -> int:
        # Shielded: who is cancelled a second time must not take the intent's own future along.
        entry.intent = intent.result() if intent.done() else await asyncio.shield(intent)
        try:
            return await self._write_within(entry, seconds)
        except Unavailable:
            raise MarinaError(
                "The call ran, but how it ended could not be recorded, so its result is withheld. Check whether it "
                f"took effect before you repeat it: record {entry.intent} of the log says that it was begun.",
                code="outcome_unrecorded",
                data={"intent_seq": entry.intent},
            ) from None

    def _entry(self, outcome: str) -> Entry:
        caller = self.caller
        # What the server does not offer, and every URI, is text that the client made up.
        known = self.version is not None
        return Entry(
            kind=self.kind,
            outcome=outcome,
            actor=caller.actor,
            credential_id=caller.credential_id,
            client=self.client,
            server=self.server,
            tool=self.subject if known else mask_text(self.subject)[:TOOL_CHARACTERS],
            tool_version=self.version,
            arguments=self.arguments,
            request_id=self.request_id,
            trace_id=self.trace_id,
            parent=self.parent,
            task=self.task,
            schedule=self.schedule,
            hmac=self.hmac,
        )


def _cause_of(end: asyncio.CancelledError) -> MarinaError:
    """Why a run was cancelled: what it was cancelled with, where that is a reason of ours."""
    given = end.args[0] if end.args else None
    if isinstance(given, MarinaError):
        return given
    who = "process ended" if draining() else "client went away"
    return MarinaError(f"The {who} before the call ended.", code="cancelled")
