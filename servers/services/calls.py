"""The one decision path of every operation, for MCP, REST, the dashboard and workers alike. Knows no wire.

scope → server → (policy, limits: to come) → arguments → intent → execute → result → mask → record → answer.
Only what was let through so far, and fits, may have a result that another call left, or is about to have (``results``).
Whatever is decided is recorded, durably, before this module returns or raises; where the log cannot be written,
nothing runs. An operation that may change something is in the log before it runs: its intent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import UUID

from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, SourceError, Unavailable
from servers.execution.context import NOBODY, Detached, task_only
from servers.execution.contract import Completion, Context, GoesOn, Offered, Outcome, Source
from servers.execution.engine import timed_out
from servers.models import Task
from servers.services.callresults import CallResult, failed_result, result_of
from servers.services.decisions import (
    decide,
    decide_completion,
    decide_prompt,
    decide_resource,
    require_result_validator,
    require_usable,
)
from servers.services.nesting import Composing
from servers.services.principals import principal_as
from servers.services.reasons import log_unavailable
from servers.services.recording import CallRecord
from servers.services.results.flights import TooLate
from servers.services.results.plans import Shared
from servers.services.results.runs import CACHE
from servers.services.runtime import Runtime, get_runtime
from servers.services.schemas import check_arguments, check_prompt_arguments, check_result
from servers.services.surfaces import Surface, SurfacePrompt, SurfaceResource, SurfaceTool
from servers.services.tasks.accepting import (
    Beginning,
    HandOver,
    TaskCreated,
    accept,
    wait_for_end,
    waited_for,
)
from servers.services.tasks.plans import Long
from servers.services.tasks.priorities import require_priority
from servers.services.tasks.rows import open_ended
from tenants.access import Caller
from tenants.audit.records import KIND_CALL, KIND_PROMPT, KIND_READ

CALL_SECONDS: Final = 30.0
"""The deadline of one call."""

COMPLETE_SECONDS: Final = 2.0
"""The deadline of a tool that completes an argument: somebody waits for it at each letter."""

KIND_COMPLETE: Final = "completion/complete"


async def call_tool(
    *,
    caller: Caller,
    surface: Surface,
    tool_name: str,
    arguments: Mapping[str, Any],
    client: str,
    request_id: str,
    timeout: float = CALL_SECONDS,
    context: Context = NOBODY,
    within: Composing | None = None,
    hand: HandOver | None = None,
    record: CallRecord | None = None,
) -> CallResult:
    """Call a tool and record it. ``timeout`` in seconds. ``within`` is the run of a tool that makes the call.

    With ``hand`` a call that takes long goes on at a worker: as a task (``TaskCreated``), or waited for here. A worker
    brings the ``record`` of the call that it runs.

    Raises, after recording it: ``Forbidden`` (which rule), ``NotFound`` (no such tool here), and ``InputRequired``
    (a question to the client, with whose answer the call is made again). Raises ``Unavailable`` when the log cannot
    be written: then nothing has run, or no one may hear what did; and ``MarinaError`` (``outcome_unrecorded``) when
    a call that may have changed something ran and only its intent could be recorded.
    A failure of the tool itself is a ``CallResult``, because who called needs to see it.
    """
    runtime = _runtime()
    at_worker = record is not None
    record = record or CallRecord(
        runtime,
        KIND_CALL,
        tool_name,
        arguments,
        caller=caller,
        server=surface.slug,
        client=client,
        request_id=request_id,
        trace=context.trace,
        parent=None if within is None else within.intent,
    )
    try:
        tool = _decided(caller, surface, tool_name, hand)
    except (Forbidden, NotFound) as refusal:
        await record.refuse(refusal)
        raise
    record.keep(surface.detail, arguments)
    if hand is not None and (begun := waited_for(context.kept)) is not None:
        return await _end_of(runtime, caller.tenant_id, begun, context, hand)
    record.version = tool.version
    if tool.deadline is not None and not at_worker:
        # At a worker it is the one that the task was accepted with.
        timeout = min(timeout, tool.deadline)
    context.precede(record.intend)
    task: Task | None = None
    around = context
    try:
        if tool.long is not None and hand is not None:
            outcome, task = await _begin(tool, tool.long, arguments, record, timeout, context, hand)
        else:
            if runtime.engine.composes(tool.kind):
                # Begun in the log whether it calls any or not: what it does may be all in its calls.
                await record.intend()
                around = _composing(
                    context, record, timeout, caller, surface, client, request_id, within=within
                )
            outcome = await _run_tool(tool, arguments, record, timeout, around)
    except BaseException as end:
        await record.end_early(end)
        if isinstance(end, MarinaError) and not isinstance(end, Unavailable):
            return failed_result(record, end)
        raise
    if task is not None and hand is not None:
        # From here on the record is the worker's.
        if hand.takes_task:
            raise TaskCreated(task)
        return await _end_of(runtime, caller.tenant_id, task.id, context, hand)
    if outcome is None:
        raise AssertionError("a call that is no task has an outcome")
    failure: MarinaError | None = None
    if outcome.failed:
        failure = SourceError("The tool ran and reported a failure of its own.", code="tool_failed")
    await record.write("ok" if failure is None else "error", error=failure, produced=outcome)
    return CallResult(
        tool=tool_name,
        tool_version=tool.version,
        outcome=record.outcome,
        structured=outcome.structured,
        text=outcome.text,
        rows=outcome.rows,
        size=outcome.size,
        truncated=outcome.truncated,
        duration_us=record.duration_us,
        seq=record.seq,
        error=failure,
        content=outcome.content,
        served_from=record.served_from,
        meta=outcome.meta,
    )


async def read_resource(
    *,
    caller: Caller,
    surface: Surface,
    uri: str,
    client: str,
    request_id: str,
    timeout: float = CALL_SECONDS,
    context: Context = NOBODY,
) -> Outcome:
    """Read a resource and record it: its contents are the outcome's ``content``. ``timeout`` in seconds.

    Raises, after recording it: ``Forbidden``, ``NotFound`` (``resource_unknown``), ``SourceError``,
    ``InvalidInput`` and ``InputRequired``. Raises ``Unavailable`` when the log cannot be written.
    """
    runtime = _runtime()
    record = CallRecord(
        runtime,
        KIND_READ,
        uri,
        {"uri": uri},
        caller=caller,
        server=surface.slug,
        client=client,
        request_id=request_id,
        trace=context.trace,
    )
    try:
        resource, variables = decide_resource(caller, surface, uri)
    except (Forbidden, NotFound) as refusal:
        await record.refuse(refusal)
        raise
    record.keep(surface.detail, {"uri": uri})
    context.precede(record.intend)
    run = _run(
        resource, {**variables, "uri": uri}, record, surface, timeout, context, code="resource_unusable"
    )
    return await _recorded(record, run)


async def get_prompt(
    *,
    caller: Caller,
    surface: Surface,
    name: str,
    arguments: Mapping[str, Any],
    client: str,
    request_id: str,
    timeout: float = CALL_SECONDS,
    context: Context = NOBODY,
) -> Outcome:
    """Get a prompt and record it: its messages are the outcome's ``content``, its description ``text``.

    ``timeout`` in seconds. Raises as ``read_resource`` does; the ``NotFound`` is ``prompt_unknown``, and
    ``InvalidInput`` names each argument that is missing, unknown or no text.
    """
    runtime = _runtime()
    record = CallRecord(
        runtime,
        KIND_PROMPT,
        name,
        arguments,
        caller=caller,
        server=surface.slug,
        client=client,
        request_id=request_id,
        trace=context.trace,
    )
    try:
        prompt = decide_prompt(caller, surface, name)
        record.keep(surface.detail, arguments)
        _require_no(check_prompt_arguments(prompt.arguments, arguments))
    except (Forbidden, NotFound, InvalidInput) as refusal:
        await record.refuse(refusal)
        raise
    context.precede(record.intend)
    run = _run(prompt, arguments, record, surface, timeout, context, code="prompt_unusable")
    return await _recorded(record, run)


async def complete_argument(
    *,
    caller: Caller,
    surface: Surface,
    prompt: str | None,
    uri: str | None,
    argument: str,
    value: str,
    given: Mapping[str, str],
    client: str,
    request_id: str,
) -> Completion:
    """Values for an argument of ``prompt``, or for a variable of the resource template ``uri``: one of the two.

    Help while typing, so like a list it leaves no record, whatever the source makes of it; a tool that gives the
    values is called and recorded as any. That it was refused is recorded, bounded as in ``refusals``. Raises
    ``Forbidden``, ``NotFound``, ``InvalidInput``, ``SourceError``, and ``Unavailable`` while the log cannot be written.
    """
    runtime = _runtime()
    try:
        offered = decide_completion(caller, surface, prompt=prompt, uri=uri, argument=argument)
    except (Forbidden, NotFound, InvalidInput) as refusal:
        await runtime.refusals.refused_caller(
            caller,
            refusal,
            kind=KIND_COMPLETE,
            server=surface.slug,
            client=client,
            request_id=request_id,
            tool=prompt if uri is None else uri,
            arguments={argument: value},
            bounded=True,
        )
        raise
    if offered.source is None:
        raise SourceError(offered.fault, code="completion_unusable")
    context: Context = Detached(principal_as(caller, surface.slug, request_id))
    if runtime.engine.composes(offered.source.kind):
        context = _composing(context, None, COMPLETE_SECONDS, caller, surface, client, request_id)
    return await runtime.engine.complete(
        offered.source, offered.operation, argument, value, given, context=context
    )


def _runtime() -> Runtime:
    """The process's runtime, when its log can be written."""
    runtime = get_runtime()
    if not runtime.writer.accepting:
        raise log_unavailable()
    return runtime


def _composing(
    context: Context,
    record: CallRecord | None,
    seconds: float,
    caller: Caller,
    surface: Surface,
    client: str,
    request_id: str,
    *,
    within: Composing | None = None,
) -> Composing:
    """The context of a run that may call tools, as its caller. Completions have no record."""
    kind = KIND_COMPLETE if record is None else record.kind
    return Composing(
        context,
        record,
        # A prompt may have the name of a tool.
        name=kind if record is None or kind != KIND_CALL else record.subject,
        perform=partial(call_tool, caller=caller, surface=surface, client=client, request_id=request_id),
        find=partial(_callable, caller, surface),
        seconds=seconds,
        within=within,
    )


def _callable(caller: Caller, surface: Surface, name: str) -> Offered | None:
    try:
        return decide(caller, surface, name).offered
    except (Forbidden, NotFound):
        return None


def _decided(caller: Caller, surface: Surface, tool_name: str, hand: HandOver | None) -> SurfaceTool:
    tool = decide(caller, surface, tool_name)
    if hand is not None and tool.long is not None:
        require_priority(caller, tool.long.priority, hand.priority)
    return tool


async def _begin(
    tool: SurfaceTool,
    long: Long,
    arguments: Mapping[str, Any],
    record: CallRecord,
    timeout: float,
    context: Context,
    hand: HandOver,
) -> tuple[Outcome | None, Task | None]:
    """The outcome of a call that may take long and did not, or the task that it goes on as."""
    _, validator = require_usable(tool)
    _require_no(check_arguments(validator, arguments))
    if long.task_only and not hand.takes_task:
        raise task_only(f"The tool {tool.name}")
    kept = context.kept
    if long.begins_inline:
        try:
            return await _run_tool(tool, arguments, record, timeout, Beginning(context)), None
        except GoesOn as leaving:
            kept = leaving.kept
            if leaving.repeatable:
                long = replace(long, repeatable=True)
    task = await accept(record, long, arguments, hand=hand, kept=kept, context=context)
    return None, task


async def _end_of(
    runtime: Runtime, tenant_id: int, task_id: UUID, context: Context, hand: HandOver
) -> CallResult:
    """Wait for a task on behalf of whoever cannot take it: its result as that of a call. Raises as ``call_tool``."""
    task = await wait_for_end(runtime.bus, tenant_id, task_id, context, patience=hand.patience)
    return result_of(task, open_ended(task))


async def _run_tool(
    tool: SurfaceTool,
    arguments: Mapping[str, Any],
    record: CallRecord,
    timeout: float,
    context: Context,
) -> Outcome:
    source, validator = require_usable(tool)
    _require_no(check_arguments(validator, arguments))
    runtime = record.runtime
    if tool.shared is not None:
        return await _share(tool, tool.shared, source, arguments, record, timeout, context)
    if tool.only_reads:
        outcome = await runtime.engine.execute(
            source, tool.operation, arguments, timeout=timeout, context=context
        )
    else:
        await record.intend()
        try:
            outcome = await runtime.engine.execute(
                source, tool.operation, arguments, timeout=timeout, context=context
            )
        finally:
            runtime.shared_runs.changed(source.tenant_id)
    return _checked(tool, outcome)


async def _share(
    tool: SurfaceTool,
    shared: Shared,
    source: Source,
    arguments: Mapping[str, Any],
    record: CallRecord,
    timeout: float,
    context: Context,
) -> Outcome:
    """A result that other calls may have too. The record says whether this one had it of another."""
    runtime = record.runtime
    key, kept = runtime.shared_runs.recall(
        shared, arguments, caller=record.caller, server=record.server, context=context
    )
    if kept is not None:
        record.served_from = CACHE
        return kept

    async def produce(timeout: float, context: Context) -> Outcome:
        outcome = await runtime.engine.execute(
            source, tool.operation, arguments, timeout=timeout, context=context
        )
        return _checked(tool, outcome)

    try:
        outcome, record.served_from = await runtime.shared_runs.result(
            shared, key, produce, tenant_id=record.caller.tenant_id, timeout=timeout, context=context
        )
    except TooLate:
        raise timed_out(source.name, timeout) from None
    return outcome


def _checked(tool: SurfaceTool, outcome: Outcome) -> Outcome:
    """The outcome, where its structured result fits. Raises ``SourceError``."""
    if tool.output_schema is not None and not outcome.failed:
        _require_no(check_result(require_result_validator(tool), outcome.structured))
    return outcome


def _require_no(fault: MarinaError | None) -> None:
    """Raise what was found, if anything was."""
    if fault is None:
        return
    try:
        raise fault
    finally:
        # What is raised leads to the frames that it went through. A name for it in one of them would close a circle
        # that holds the arguments, megabytes, until the collector comes by.
        del fault


async def _run(
    offered: SurfacePrompt | SurfaceResource,
    arguments: Mapping[str, Any],
    record: CallRecord,
    surface: Surface,
    timeout: float,
    context: Context,
    *,
    code: str,
) -> Outcome:
    if offered.source is None:
        raise SourceError(offered.fault, code=code)
    engine = record.runtime.engine
    if engine.composes(offered.source.kind):
        who = record.caller, surface, record.client, record.request_id
        context = _composing(context, record, timeout, *who)
    outcome = await engine.execute(
        offered.source, offered.operation, arguments, timeout=timeout, context=context
    )
    if outcome.failed:
        raise SourceError("The data source reported a failure of its own.", code="source_failed")
    return outcome


async def _recorded(record: CallRecord, run: Awaitable[Outcome]) -> Outcome:
    try:
        outcome = await run
    except BaseException as end:
        await record.end_early(end)
        raise
    await record.write("ok", produced=outcome)
    return outcome
