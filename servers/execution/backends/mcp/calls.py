"""Passes calls on to an upstream MCP server: in the caller's own session, within a deadline, never twice by mistake.

What may have reached the upstream is sent again only where its tool says that this does no harm. A caller's own token
is not known here, so that it goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from core.errors import NotFound, SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.answers import (
    completion_of,
    prompt_outcome,
    resource_outcome,
    tool_outcome,
)
from servers.execution.backends.mcp.faults import (
    Abandoned,
    Challenged,
    SessionLost,
    late_fault,
    named,
    refused_fault,
    unlike_mcp,
)
from servers.execution.backends.mcp.following import follow, is_task, read_followed, read_task
from servers.execution.backends.mcp.formertasks import as_task, cancel_task, result_of_task, task_of
from servers.execution.backends.mcp.hearing import (
    Hearing,
    capabilities_of,
    capability_names,
    lacking,
    lacks_tasks,
    put,
)
from servers.execution.backends.mcp.held import Held, Place, lost, whose
from servers.execution.backends.mcp.masking import masked
from servers.execution.backends.mcp.overrides import with_given
from servers.execution.backends.mcp.pools import Key, Upstream
from servers.execution.backends.mcp.replies import Reply
from servers.execution.backends.mcp.rounds import (
    MAX_ROUNDS,
    STATE_SECONDS,
    Round,
    read_kept,
    read_round,
    wants_input,
)
from servers.execution.backends.mcp.routes import Route
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.wire import (
    INVALID_PARAMS,
    LACKS_CAPABILITY,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
    Headers,
    NotMcp,
    RpcError,
    mirrored_headers,
)
from servers.execution.clock import Clock
from servers.execution.context import cannot_ask, task_only
from servers.execution.contract import Completion, Context, InputRequired, Operation, Outcome
from servers.execution.unanswered import host_of

TOOL: Final = "tool"
RESOURCE: Final = "resource"
PROMPT: Final = "prompt"
"""The kinds of operations."""

MAX_WORDS: Final = 2_000
"""Characters passed on of what an upstream says of an error."""


def margin_of(seconds: float) -> float:
    """By how much a call ends here before its caller's deadline: time to tell both sides."""
    return min(0.5, seconds / 20)


@dataclass(slots=True)
class Asked:
    """What is asked of an upstream. ``repeatable``: doing it twice does no more than doing it once."""

    method: str
    params: dict[str, Any]
    repeatable: bool = True
    headers: Headers = ()
    task: bool = False
    """Whether it has to be a task, as of 2025-11-25."""
    at: int | None = None
    """The number of the upstream that is asked, where no other one would know what it is about."""


async def run(
    route: Route,
    operation: Operation,
    arguments: Mapping[str, Any],
    *,
    seconds: float,
    most_seconds: float,
    context: Context,
) -> Outcome:
    """Run the operation of a tool, a resource or a prompt. Raises ``SourceError``, ``NotFound``, ``InputRequired``.

    ``seconds``: how long the upstream may take to answer; ``most_seconds``: to end a task that it answers with.
    """
    asked, clock = _asked_for(operation, arguments), Clock(seconds)
    try:
        task = read_followed(context.kept)
        if task is None:
            reply = await _within(route, asked, clock, context)
            if operation.kind == TOOL and is_task(reply.result):
                task = read_task(reply.result, route.member.number)
                await context.go_on(keep=task.keep(), repeatable=True)
        if task is not None:
            send = partial(_send, route, task.at, seconds)
            left = most_seconds - (clock.seconds - clock.left)
            reply = await follow(task, send, context, url=route.url, seconds=left)
        if operation.kind == TOOL:
            return tool_outcome(reply.result, reply.size)
        if operation.kind == RESOURCE:
            return resource_outcome(reply.result, reply.size)
        return prompt_outcome(reply.result, reply.size)
    except RpcError as error:
        return _refused(error, operation, route.url, route.secrets)
    except NotMcp as fault:
        raise unlike_mcp(route.url, fault) from None


async def _send(
    route: Route, number: int, seconds: float, method: str, params: Mapping[str, Any], context: Context
) -> Reply:
    """The reply to a request about a task of the upstream with this number. It may be sent twice."""
    asked = Asked(method, dict(params), at=number)
    return await _within(route.anew(), asked, Clock(seconds), context)


async def complete(
    route: Route,
    operation: Operation,
    argument: str,
    value: str,
    given: Mapping[str, str],
    *,
    seconds: float,
    context: Context,
) -> Completion:
    """Values for an argument. Raises ``SourceError``."""
    definition = operation.definition
    if operation.kind == PROMPT:
        ref = {"type": "ref/prompt", "name": definition["name"]}
    else:
        ref = {"type": "ref/resource", "uri": definition["uri"]}
    params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": value}}
    if given:
        params["context"] = {"arguments": dict(given)}
    asked = Asked("completion/complete", params)
    try:
        return completion_of((await _within(route, asked, Clock(seconds), context, "completions")).result)
    except RpcError:
        # Help while typing: an upstream that cannot give any is no fault.
        return Completion(())
    except NotMcp as fault:
        raise unlike_mcp(route.url, fault) from None


def _asked_for(operation: Operation, arguments: Mapping[str, Any]) -> Asked:
    definition = operation.definition
    if operation.kind == TOOL:
        arguments = with_given(definition, arguments)
        mirrored = definition.get("mirrored")
        return Asked(
            "tools/call",
            {"name": definition["name"], "arguments": arguments},
            repeatable=definition.get("repeatable") is True,
            headers=mirrored_headers(mirrored, arguments) if mirrored else (),
            task=definition.get("task") is True,
        )
    if operation.kind == PROMPT:
        return Asked("prompts/get", {"name": definition["name"], "arguments": arguments})
    return Asked("resources/read", {"uri": arguments["uri"]})


async def _within(route: Route, asked: Asked, clock: Clock, context: Context, needed: str = "") -> Reply:
    """The reply, within the deadline. The time in which the client is asked does not count."""
    try:
        async with asyncio.timeout(clock.seconds) as deadline:
            clock.keep(deadline)
            route.deadline = deadline
            return await _rounds(route, asked, context, clock, needed)
    except OutboundRefused as refused:
        raise refused_fault(refused, route.url, repeatable=asked.repeatable) from None
    except TimeoutError:
        if not deadline.expired():
            raise
        route.late()
        raise late_fault(route.url, clock.seconds) from None


async def _rounds(route: Route, asked: Asked, context: Context, clock: Clock, needed: str) -> Reply:
    """The reply, when the upstream has asked the client all that it wants to know."""
    kept = read_kept(context.kept)
    if isinstance(kept, Place):
        return await _taken_up(route, kept, context, clock)
    question: Round | None = kept
    number = 0 if question is None else question.number
    params = asked.params
    for _ in range(MAX_ROUNDS):
        if question is not None:
            answers: Mapping[str, Mapping[str, Any]] = {}
            if question.questions:
                answers = await put(context, clock, question.asks, keep=question.keep())
            else:
                await asyncio.sleep(STATE_SECONDS)
            asked = replace(asked, params=question.answered(params, answers), at=question.at)
        reply = await _reply(route, asked, context, clock, needed)
        if not wants_input(reply.result):
            return reply
        number += 1
        question = read_round(reply.result, number, at=route.member.number)
    raise unlike_mcp(route.url, f"it asked the client in more than {MAX_ROUNDS} rounds")


async def _taken_up(route: Route, place: Place, context: Context, clock: Clock) -> Reply:
    """The reply to a call that waited for its client, who has answered."""
    with route.taking(place.name, whose(context.principal)) as found:
        if found is not None:
            return await _answered(*found, place, context, clock)
    relay = route.relay
    if relay is None or place.process in ("", relay.name):
        raise lost()
    return await relay.take_up(place, context, clock)


async def _answered(upstream: Upstream, held: Held, place: Place, context: Context, clock: Clock) -> Reply:
    required = held.required
    if required is None:
        raise AssertionError("a call is held that asks nothing")
    try:
        answers: Mapping[str, Mapping[str, Any]] | SourceError = await put(
            context, clock, required.asks, keep=context.kept
        )
    except InputRequired:
        # Not all of it is answered yet.
        upstream.holding.keep(held, place.name)
        raise
    except SourceError as fault:
        answers = fault
    return await go_on(upstream, held, answers, context, clock)


async def go_on(
    upstream: Upstream,
    held: Held,
    answers: Mapping[str, Mapping[str, Any]] | SourceError,
    context: Context,
    clock: Clock,
) -> Reply:
    """The reply to a call that waited, with its client's answers, or with why there are none."""
    if held.hearing is None:
        raise AssertionError("a call is held whose client is nobody")
    held.hearing.context, held.hearing.clock = context, clock
    held.answer(answers)
    try:
        return await _held(upstream, held)
    except SessionLost:
        raise refused_fault(
            OutboundRefused("its session ended", "broken"), upstream.settings.url, repeatable=False
        ) from None


async def _held(upstream: Upstream, held: Held) -> Reply:
    reply = await held.reply()
    if reply is None:
        raise upstream.holding.keep(held)
    return reply


async def _reply(route: Route, asked: Asked, context: Context, clock: Clock, needed: str) -> Reply:
    """The reply of the first upstream that gives one."""
    capabilities = capabilities_of(context)
    key = Key(whose(context.principal), capability_names(capabilities))
    while True:
        try:
            async with route.take(key, asked.at) as upstream:
                ask = partial(_reply_of, upstream, route, key, capabilities, asked, context, clock, needed)
                return await upstream.signed(ask)
        except (OutboundRefused, SourceError) as fault:
            if not await route.again(fault, repeatable=asked.repeatable):
                raise


async def _reply_of(
    upstream: Upstream,
    route: Route,
    key: Key,
    capabilities: Mapping[str, Any],
    asked: Asked,
    context: Context,
    clock: Clock,
    needed: str,
) -> Reply:
    """The reply, in a new session where the upstream lost the old one."""
    for _ in range(3):
        conversation = await route.begun(upstream.converse(key, capabilities))
        try:
            with upstream.speaking(conversation):
                if needed and not conversation.server.has(needed):
                    return Reply({"completion": {"values": []}}, {}, 0)
                return await _ask(upstream, conversation, asked, context, clock)
        except SessionLost:
            # It was not even looked at, so that asking again is asking once.
            upstream.lose(key, conversation)
            upstream.forget_era()
        except RpcError as error:
            if error.code != UNSUPPORTED_VERSION:
                raise
            upstream.lose(key, conversation)
            upstream.forget_era()
    raise SourceError(
        f"{named(upstream.settings.url)} begins sessions and does not know them afterwards. It may "
        "run as several copies that share none: ask whoever runs it.",
        code="source_failed",
        retryable=True,
    )


async def _ask(
    upstream: Upstream, conversation: Conversation, asked: Asked, context: Context, clock: Clock
) -> Reply:
    if context.log_level is not None:
        await conversation.set_log_level(context.log_level)
    if conversation.stream is not None and (
        conversation.capabilities or context.log_level is not None or context.wants_progress
    ):
        try:
            await conversation.stream.open()
        except Challenged:
            if upstream.signs_in:
                raise
    if not conversation.capabilities or conversation.server.modern:
        hearing = Hearing(context, conversation, clock, upstream)
        return await _request(upstream, conversation, asked, hearing)
    held = Held(whose(context.principal))
    # A call that may be done twice needs not to wait: it is made again with the answer.
    held.hearing = Hearing(context, conversation, clock, upstream, None if asked.repeatable else held)
    held.begin(_request(upstream, conversation, asked, held.hearing))
    return await _held(upstream, held)


async def _request(upstream: Upstream, conversation: Conversation, asked: Asked, hearing: Hearing) -> Reply:
    rpc_id = conversation.next_id()
    params = hearing.with_meta(asked.params, rpc_id)
    task, most_bytes = None, upstream.settings.max_bytes
    former = asked.task and not conversation.server.modern
    if former:
        params = as_task(params)
    with upstream.speaking(conversation):
        try:
            reply = await conversation.request(
                asked.method,
                params,
                headers=asked.headers,
                most_bytes=most_bytes,
                hear=hearing,
                rpc_id=rpc_id,
                takes_tasks=hearing.context.takes_tasks,
            )
            if former:
                task = task_of(reply.result)
                reply = await result_of_task(conversation, task, hearing, most_bytes=most_bytes)
        except RpcError:
            if hearing.refusal is not None:
                raise hearing.refusal from None
            raise
        except (OutboundRefused, SessionLost, SourceError) as fault:
            if isinstance(fault, Abandoned):
                upstream.later(conversation.cancel(rpc_id, "It cannot be answered what it asked."))
            raise
        except BaseException:
            # Nobody waits any more: its deadline passed, its caller left, or a question ended it.
            gone = "The caller does not wait any more."
            upstream.later(cancel_task(conversation, task) if task else conversation.cancel(rpc_id, gone))
            raise
    refusal = hearing.refusal
    if refusal is not None and reply.result.get("isError") is True:
        # The upstream failed for want of an answer: why there was none is said better by who was not asked.
        raise refusal
    return reply


def _refused(error: RpcError, operation: Operation, url: str, secrets: list[str]) -> Outcome:
    """What an error of JSON-RPC is to the caller. Of a tool it is a result: its words are content, not ours."""
    if error.code == LACKS_CAPABILITY:
        if lacks_tasks(error.data):
            raise task_only(f"This tool of {host_of(url)}")
        raise cannot_ask(lacking(error.data))
    words = masked(error.message, secrets)[:MAX_WORDS]
    if operation.kind == TOOL:
        text = f"{named(url)} answered with error {error.code}: {words or 'no reason given'}"
        return Outcome(None, text, size=len(text), content=[{"type": "text", "text": text}], failed=True)
    if operation.kind == RESOURCE and error.code in (RESOURCE_NOT_FOUND, INVALID_PARAMS):
        raise NotFound("The MCP server that has this resource does not find it.", code="resource_unknown")
    raise SourceError(
        f"{named(url)} answered with error {error.code}. Check what was asked for, or ask whoever runs it.",
        code="source_failed",
        data={"rpc_code": error.code},
    )
