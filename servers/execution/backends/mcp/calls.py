"""Passes calls on to an upstream MCP server: in the caller's own session, within a deadline, never twice by mistake.

What may have reached the upstream is sent again only where its tool says that this does no harm. A caller's own token
is not known here, so that it goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from core.errors import NotFound, SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.answers import (
    completion_of,
    prompt_outcome,
    resource_outcome,
    tool_outcome,
)
from servers.execution.backends.mcp.exchange import Headers, Reply
from servers.execution.backends.mcp.faults import (
    SessionLost,
    late_fault,
    refused_fault,
    unlike_mcp,
)
from servers.execution.backends.mcp.hearing import (
    Hearing,
    capabilities_of,
    capability_names,
    lacking,
    put,
)
from servers.execution.backends.mcp.held import Held, whose
from servers.execution.backends.mcp.pools import Key, Upstream
from servers.execution.backends.mcp.rounds import (
    MAX_ROUNDS,
    STATE_SECONDS,
    Round,
    read_kept,
    read_round,
    wants_input,
)
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.wire import (
    INVALID_PARAMS,
    LACKS_CAPABILITY,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
    NotMcp,
    RpcError,
    mirrored_headers,
)
from servers.execution.clock import Clock
from servers.execution.context import cannot_ask
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


async def run(
    upstream: Upstream,
    operation: Operation,
    arguments: Mapping[str, Any],
    *,
    seconds: float,
    context: Context,
) -> Outcome:
    """Run the operation of a tool, a resource or a prompt. Raises ``SourceError``, ``NotFound``, ``InputRequired``."""
    asked = _asked_for(operation, arguments)
    url = upstream.settings.url
    try:
        reply = await _within(upstream, asked, seconds, context)
        if operation.kind == TOOL:
            return tool_outcome(reply.result, reply.size)
        if operation.kind == RESOURCE:
            return resource_outcome(reply.result, reply.size)
        return prompt_outcome(reply.result, reply.size)
    except RpcError as error:
        return _refused(error, operation, url, upstream.settings.secrets)
    except NotMcp as fault:
        raise unlike_mcp(url, fault) from None


async def complete(
    upstream: Upstream,
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
        return completion_of((await _within(upstream, asked, seconds, context, "completions")).result)
    except RpcError:
        # Help while typing: an upstream that cannot give any is no fault.
        return Completion(())
    except NotMcp as fault:
        raise unlike_mcp(upstream.settings.url, fault) from None


def _asked_for(operation: Operation, arguments: Mapping[str, Any]) -> Asked:
    definition = operation.definition
    if operation.kind == TOOL:
        mirrored = definition.get("mirrored")
        return Asked(
            "tools/call",
            {"name": definition["name"], "arguments": arguments},
            repeatable=definition.get("repeatable") is True,
            headers=mirrored_headers(mirrored, arguments) if mirrored else (),
        )
    if operation.kind == PROMPT:
        return Asked("prompts/get", {"name": definition["name"], "arguments": arguments})
    return Asked("resources/read", {"uri": arguments["uri"]})


async def _within(
    upstream: Upstream, asked: Asked, seconds: float, context: Context, needed: str = ""
) -> Reply:
    """The reply, within the deadline. The time in which the client is asked does not count."""
    clock = Clock(seconds)
    try:
        async with asyncio.timeout(seconds) as deadline:
            clock.keep(deadline)
            return await _rounds(upstream, asked, context, clock, needed)
    except OutboundRefused as refused:
        raise refused_fault(refused, upstream.settings.url, repeatable=asked.repeatable) from None
    except TimeoutError:
        if not deadline.expired():
            raise
        raise late_fault(upstream.settings.url, seconds) from None


async def _rounds(upstream: Upstream, asked: Asked, context: Context, clock: Clock, needed: str) -> Reply:
    """The reply, when the upstream has asked the client all that it wants to know."""
    kept = read_kept(context.kept)
    if isinstance(kept, str):
        return await _taken_up(upstream, kept, context, clock)
    url = upstream.settings.url
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
            asked = replace(asked, params=question.answered(params, answers))
        reply = await _reply(upstream, asked, context, clock, needed)
        if not wants_input(reply.result):
            return reply
        number += 1
        question = read_round(reply.result, number)
    raise unlike_mcp(url, f"it asked the client in more than {MAX_ROUNDS} rounds")


async def _taken_up(upstream: Upstream, name: str, context: Context, clock: Clock) -> Reply:
    """The reply to a call that waited for its client, who has answered."""
    held = upstream.holding.take(name, whose(context.principal))
    required, hearing = held.required, held.hearing
    if required is None or hearing is None:
        raise AssertionError("a call is held that asks nothing")
    hearing.context, hearing.clock = context, clock
    try:
        answers: Mapping[str, Mapping[str, Any]] | SourceError = await put(
            context, clock, required.asks, keep=context.kept
        )
    except InputRequired:
        # Not all of it is answered yet.
        upstream.holding.keep(held, name)
        raise
    except SourceError as fault:
        answers = fault
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


async def _reply(upstream: Upstream, asked: Asked, context: Context, clock: Clock, needed: str) -> Reply:
    """The reply, in a new session where the upstream lost the old one."""
    capabilities = capabilities_of(context)
    key = Key(whose(context.principal), capability_names(capabilities))
    repeated = False
    for _ in range(3):
        conversation = await upstream.converse(key, capabilities)
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
        except OutboundRefused as refused:
            if repeated or refused.reason != "broken" or not asked.repeatable:
                raise
            repeated = True
    raise SourceError(
        f"The MCP server at {host_of(upstream.settings.url)} begins sessions and does not know them afterwards. It may "
        "run as several copies that share none: ask whoever runs it.",
        code="source_failed",
        retryable=True,
    )


async def _ask(
    upstream: Upstream, conversation: Conversation, asked: Asked, context: Context, clock: Clock
) -> Reply:
    if context.log_level is not None:
        await conversation.set_log_level(context.log_level)
    if not conversation.capabilities or conversation.server.modern:
        hearing = Hearing(context, conversation, upstream, clock)
        return await _request(upstream, conversation, asked, hearing)
    held = Held(whose(context.principal))
    # A call that may be done twice needs not to wait: it is made again with the answer.
    held.hearing = Hearing(context, conversation, upstream, clock, None if asked.repeatable else held)
    held.begin(_request(upstream, conversation, asked, held.hearing))
    return await _held(upstream, held)


async def _request(upstream: Upstream, conversation: Conversation, asked: Asked, hearing: Hearing) -> Reply:
    rpc_id = conversation.next_id()
    params = hearing.with_meta(asked.params, rpc_id)
    with upstream.speaking(conversation):
        try:
            reply = await conversation.request(
                asked.method,
                params,
                headers=asked.headers,
                most_bytes=upstream.settings.max_bytes,
                hear=hearing,
                rpc_id=rpc_id,
            )
        except RpcError:
            if hearing.refusal is not None:
                raise hearing.refusal from None
            raise
        except (OutboundRefused, SessionLost, SourceError):
            raise
        except BaseException:
            # Nobody waits any more: its deadline passed, its caller left, or a question ended it.
            upstream.later(conversation.cancel(rpc_id, "The caller does not wait any more.", upstream.aside))
            raise
    refusal = hearing.refusal
    if refusal is not None and reply.result.get("isError") is True:
        # The upstream failed for want of an answer: why there was none is said better by who was not asked.
        raise refusal
    return reply


def _refused(error: RpcError, operation: Operation, url: str, secrets: list[str]) -> Outcome:
    """What an error of JSON-RPC is to the caller. Of a tool it is a result: its words are content, not ours."""
    if error.code == LACKS_CAPABILITY:
        raise cannot_ask(lacking(error.data))
    words = error.message
    for secret in secrets:
        words = words.replace(secret, "[masked]")
    # Cut afterwards: what is left of a secret that was cut would not be found.
    words = words[:MAX_WORDS]
    if operation.kind == TOOL:
        text = (
            f"The MCP server at {host_of(url)} answered with error {error.code}: {words or 'no reason given'}"
        )
        return Outcome(None, text, size=len(text), content=[{"type": "text", "text": text}], failed=True)
    if operation.kind == RESOURCE and error.code in (RESOURCE_NOT_FOUND, INVALID_PARAMS):
        raise NotFound("The MCP server that has this resource does not find it.", code="resource_unknown")
    raise SourceError(
        f"The MCP server at {host_of(url)} answered with error {error.code}. Check what was asked for, or ask whoever "
        "runs it.",
        code="source_failed",
        data={"rpc_code": error.code},
    )
