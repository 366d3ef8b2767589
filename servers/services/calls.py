"""The one decision path of a tool's call, for MCP, REST, the dashboard and workers alike. Knows no wire.

scope → (policy, limits: to come) → argument schema → execute → mask → record → answer. Whatever is decided is
recorded, durably, before this module returns or raises; where the log cannot be written, nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final

from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, SourceError, TooLarge, Unavailable
from servers.execution.contract import Outcome
from servers.services.live import notify_calls
from servers.services.reasons import log_unavailable, reason_of
from servers.services.redaction import mask_secrets, mask_text
from servers.services.runtime import Runtime, get_runtime
from servers.services.schemas import check_arguments
from servers.services.surfaces import Surface, SurfaceTool
from servers.services.visibility import require_server, require_tool, tools_left
from tenants.access import Caller
from tenants.audit.records import Entry
from tenants.roles import Action

CALL_SECONDS: Final = 30.0
"""The deadline of one call."""

KIND_CALL: Final = "tools/call"
KIND_LIST: Final = "tools/list"

_NEAREST: Final = 12


@dataclass(slots=True)
class CallResult:
    """What became of a call that was let through to its tool, or whose arguments did not fit.

    ``outcome`` is ``ok``, ``error`` (the tool ran and failed), ``refused`` (by a rule of its source) or ``invalid``
    (the input); with all but the first, ``error`` says why. ``seq`` is the place of its record in the tenant's log.
    """

    tool: str
    tool_version: int
    outcome: str
    structured: Mapping[str, Any] | None
    text: str
    rows: int | None
    size: int
    truncated: bool
    duration_us: int
    seq: int
    error: MarinaError | None = None


async def call_tool(
    *,
    caller: Caller,
    surface: Surface,
    tool_name: str,
    arguments: Mapping[str, Any],
    client: str,
    request_id: str,
    timeout: float = CALL_SECONDS,
) -> CallResult:
    """Call a tool and record it. ``timeout`` in seconds.

    Raises, after recording it: ``Forbidden`` (which rule), ``NotFound`` (no such tool here). Raises
    ``Unavailable`` when the log cannot be written: then nothing has run, or no one may hear what did.
    A failure of the tool itself is a ``CallResult``, because who called needs to see it.
    """
    runtime = get_runtime()
    if not runtime.writer.accepting:
        raise log_unavailable()
    started = perf_counter_ns()
    # Masked before anything runs: after it, nothing but the writing of the record may fail.
    record = _Record(runtime, caller, surface, tool_name, arguments, client, request_id, started)
    try:
        tool = decide(caller, surface, tool_name)
    except (Forbidden, NotFound) as refusal:
        await record.write("refused" if isinstance(refusal, Forbidden) else "invalid", error=refusal)
        raise
    record.version = tool.version
    try:
        outcome = await _execute(tool, arguments, runtime, timeout)
    except InvalidInput as error:
        return await record.failed("invalid", error)
    except Unavailable as error:
        await record.write("error", error=error)
        raise
    except MarinaError as error:
        # A rule of the source's own (a write, a function not on its list) refuses as much as a scope does.
        return await record.failed("refused" if "rule" in error.data else "error", error)
    except asyncio.CancelledError:
        gone = MarinaError("The client went away before the call ended.", code="cancelled")
        # Nobody hears an answer any more, so a log that cannot be written refuses nothing here.
        with contextlib.suppress(Unavailable):
            await record.write("cancelled", error=gone)
        raise
    except Exception:
        # A fault of ours: what ran is recorded all the same, then the outer boundary answers and logs it.
        await record.write("error", error=MarinaError("An internal fault ended the call.", code="internal"))
        raise
    return await record.succeeded(outcome)


def decide(caller: Caller, surface: Surface, tool_name: str) -> SurfaceTool:
    """The tool, when the caller may call it here. Raises ``Forbidden`` or ``NotFound``. Runs nothing.

    Policy rules and limits join here, after scope, when they come.
    """
    caller.require(Action.TOOLS_CALL)
    require_server(caller, surface.slug)
    require_tool(caller, tool_name)
    tool = surface.by_name.get(tool_name)
    if tool is None:
        raise _unknown_tool(caller, surface, tool_name)
    return tool


def names_to_list(caller: Caller, surface: Surface) -> frozenset[str] | None:
    """The names that the caller's list is narrowed to; ``None`` for all of them. Raises ``Forbidden``."""
    caller.require(Action.TOOLS_READ)
    require_server(caller, surface.slug)
    return tools_left(caller)


async def _execute(
    tool: SurfaceTool,
    arguments: Mapping[str, Any],
    runtime: Runtime,
    timeout: float,
) -> Outcome:
    if tool.source is None or tool.validator is None:
        raise SourceError(tool.fault, code="tool_unusable")
    fault = check_arguments(tool.validator, arguments)
    if fault is not None:
        raise fault
    return await runtime.engine.execute(tool.source, tool.operation, arguments, timeout=timeout)


def _unknown_tool(caller: Caller, surface: Surface, tool_name: str) -> NotFound:
    shown = mask_text(tool_name[:128])
    names: list[str] = []
    if caller.may(Action.TOOLS_READ):
        left = tools_left(caller)
        names = [tool.name for tool in surface.tools if left is None or tool.name in left]
    offered = ", ".join(names[:_NEAREST]) + (" …" if len(names) > _NEAREST else "")
    step = f"It offers: {offered}." if names else "List the tools to see what it offers."
    return NotFound(
        f"Unknown tool: {shown}. The server {surface.slug} does not offer it. {step}", code="tool_unknown"
    )


class _Record:
    """The record of one call: what is known from the start, and its ways to end."""

    __slots__ = (
        "arguments",
        "caller",
        "client",
        "request_id",
        "runtime",
        "started",
        "surface",
        "tool_name",
        "version",
    )

    def __init__(
        self,
        runtime: Runtime,
        caller: Caller,
        surface: Surface,
        tool_name: str,
        arguments: Mapping[str, Any],
        client: str,
        request_id: str,
        started: int,
    ) -> None:
        self.runtime = runtime
        self.caller = caller
        self.surface = surface
        self.tool_name = tool_name
        self.arguments = mask_secrets(arguments)
        self.client = client
        self.request_id = request_id
        self.started = started
        self.version: int | None = None

    async def write(
        self, outcome: str, *, error: MarinaError | None = None, produced: Outcome | None = None
    ) -> tuple[int, int]:
        """Write the record and wait until it is durable. Gives its ``seq`` and the duration in µs."""
        caller = self.caller
        duration_us = (perf_counter_ns() - self.started) // 1000
        entry = Entry(
            kind=KIND_CALL,
            outcome=outcome,
            actor=caller.actor,
            credential_id=caller.credential_id,
            client=self.client,
            server=self.surface.slug,
            tool=self.tool_name if self.version is not None else mask_text(self.tool_name[:128]),
            tool_version=self.version,
            arguments=self.arguments,
            reason=None if error is None else reason_of(error),
            rows=None if produced is None else produced.rows,
            size=None if produced is None else produced.size,
            truncated=produced is not None and produced.truncated,
            duration_us=duration_us,
            request_id=self.request_id,
        )
        seq = await self.runtime.writer.write(caller.tenant_id, entry)
        notify_calls(caller.tenant_id)
        return seq, duration_us

    async def succeeded(self, produced: Outcome) -> CallResult:
        seq, duration_us = await self.write("ok", produced=produced)
        return CallResult(
            tool=self.tool_name,
            tool_version=self.version or 0,
            outcome="ok",
            structured=produced.structured,
            text=produced.text,
            rows=produced.rows,
            size=produced.size,
            truncated=produced.truncated,
            duration_us=duration_us,
            seq=seq,
        )

    async def failed(self, outcome: str, error: MarinaError) -> CallResult:
        seq, duration_us = await self.write(outcome, error=error)
        return CallResult(
            tool=self.tool_name,
            tool_version=self.version or 0,
            outcome=outcome,
            structured=None,
            text=error.message,
            rows=None,
            size=0,
            truncated=isinstance(error, TooLarge),
            duration_us=duration_us,
            seq=seq,
            error=error,
        )
