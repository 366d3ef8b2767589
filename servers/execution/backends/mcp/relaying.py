"""Calls that wait for their clients in another process than the one their answers come to: the two talk about them.

The one with the answers asks the one that holds the call what was asked, puts that to its client, and hands the answers
over; it is told of progress, messages and the end. Whoever leaves meanwhile ends the call, as a client does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from core.errors import SourceError
from core.finishing import stop
from core.outbound_http import OutboundRefused
from core.talks import Busy, HungUp, Talk, Talks
from servers.execution.backends.mcp.faults import late_fault, refused_fault, unlike_mcp
from servers.execution.backends.mcp.hearing import put
from servers.execution.backends.mcp.held import Held, Place, Whose, lost, whose
from servers.execution.backends.mcp.masking import masked
from servers.execution.backends.mcp.replies import Reply
from servers.execution.backends.mcp.rounds import pack_asks, read_asks
from servers.execution.backends.mcp.wire import NotMcp, RpcError
from servers.execution.clock import Clock
from servers.execution.context import Detached
from servers.execution.contract import Ask, Context, InputRequired, LogLevel, Principal

if TYPE_CHECKING:
    from servers.execution.backends.mcp.pools import Upstream

SUBJECT: Final = "mcp.held"

Message = Mapping[str, Any]
Answers = Mapping[str, Mapping[str, Any]]


class Relay:
    """Reaches the calls of one source that other processes hold. ``name`` is by what they find this one."""

    def __init__(self, talks: Talks, source_id: UUID) -> None:
        self.name = talks.name
        self._talks = talks
        self._source_id = source_id

    async def take_up(self, place: Place, context: Context, clock: Clock) -> Reply:
        """Go on with a call with its client's answers, and give its reply.

        Raises ``SourceError``, ``RpcError``, ``InputRequired``, and ``OutboundRefused`` where nobody knows any more
        what became of it.
        """
        asked = {"name": place.name, "whose": whose(context.principal), "source": str(self._source_id)}
        answered = False
        try:
            async with self._talks.begin(place.process, SUBJECT, asked) as talk:
                first = await talk.hear()
                if "lost" in first:
                    raise lost()
                told: dict[str, Any] = {"progress": context.wants_progress, "level": context.log_level}
                try:
                    told["answers"] = await put(context, clock, read_asks(first["asks"]), keep=context.kept)
                except SourceError as fault:
                    told["fault"] = _pack_fault(fault)
                answered = True
                await talk.say({**told, "seconds": clock.left})
                return await _hear_out(talk, context)
        except Busy:
            raise SourceError(
                "The process of Marina that has the call that waited for this answer has too much to do just now. The "
                "call waits on: send the answer again.",
                code="source_busy",
                retryable=True,
            ) from None
        except HungUp:
            if answered:
                raise OutboundRefused("its session ended", "broken") from None
            raise lost() from None


async def _hear_out(talk: Talk, context: Context) -> Reply:
    """The end of the call; until then, what its client is told."""
    while True:
        message = await talk.hear()
        match message:
            case {"progress": [progress, total, words]}:
                await context.progress(progress, total, words)
            case {"log": [level, data, logger]}:
                await context.log(level, data, logger)
            case {"result": result, "size": size}:
                return Reply(result, {}, size)
            case {"asks": asks, "kept": kept}:
                raise InputRequired(read_asks(asks), kept)
            case {"error": [code, words, data]}:
                raise RpcError(code, words, data)
            case {"fault": fault}:
                raise _read_fault(fault)


Taking = Callable[[UUID, str, Whose], AbstractContextManager["tuple[Upstream, Held] | None"]]
"""The call of a source that waits here by this name for this caller, taken; the upstream is kept open inside."""
Finish = Callable[["Upstream", Held, Answers | SourceError, Context, Clock], Awaitable[Reply]]
"""Goes on with a call that was taken."""


async def answer_others(talk: Talk, taking: Taking, finish: Finish) -> None:
    """Have a talk that ``Relay.take_up`` of another process began."""
    asked = await talk.hear()
    server, identity = asked["whose"]
    with taking(UUID(asked["source"]), asked["name"], (server, identity)) as found:
        if found is None:
            await talk.say({"lost": True})
            # Until the other one hangs up: it has to hear that first.
            await talk.hear()
            return
        upstream, held = found
        if held.required is None:
            raise AssertionError("a call is held that asks nothing")
        try:
            await talk.say({"asks": pack_asks(held.required.asks)})
            told = await talk.hear()
        except HungUp:
            # Not all of it is answered yet, or whoever wanted to answer is gone.
            upstream.holding.keep(held, asked["name"])
            return
        context = _Afar(talk, told, (server, identity))
        work = asyncio.ensure_future(_finished(upstream, held, told, context, finish))
        leaving = asyncio.ensure_future(talk.hear())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await talk.say(work.result())
                await leaving
        finally:
            await stop(work, leaving)


async def _finished(
    upstream: Upstream, held: Held, told: Message, context: Context, finish: Finish
) -> Message:
    url = upstream.settings.url
    answers = _read_fault(told["fault"]) if "fault" in told else told["answers"]
    clock = Clock(told["seconds"])
    try:
        async with asyncio.timeout(clock.seconds) as deadline:
            clock.keep(deadline)
            reply = await finish(upstream, held, answers, context, clock)
    except InputRequired as required:
        return {"asks": pack_asks(required.asks), "kept": required.kept}
    except RpcError as error:
        # The other process knows its own token, and not the one of this call.
        return {"error": [error.code, masked(error.message, upstream.secrets), error.data]}
    except NotMcp as unlike:
        return {"fault": _pack_fault(unlike_mcp(url, unlike))}
    except OutboundRefused as refused:
        return {"fault": _pack_fault(refused_fault(refused, url, repeatable=False))}
    except TimeoutError:
        return {"fault": _pack_fault(late_fault(url, clock.seconds))}
    except SourceError as fault:
        return {"fault": _pack_fault(fault)}
    return {"result": reply.result, "size": reply.size}


class _Afar(Detached):
    """The client of another process: is told of what happens there, and asked anew with its next request."""

    def __init__(self, talk: Talk, told: Message, whose: Whose) -> None:
        server, identity = whose
        super().__init__(Principal("", "", server, "", identity))
        self.wants_progress = told["progress"] is True
        self.log_level = told["level"]
        self._talk = talk

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``."""
        await self._say({"progress": [progress, total, message]})

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        await self._say({"log": [level, data, logger]})

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Answers:
        """See ``Context``."""
        raise InputRequired(asks, keep)

    async def _say(self, message: Message) -> None:
        # Whoever left is noticed elsewhere.
        with contextlib.suppress(HungUp):
            await self._talk.say(message)


def _pack_fault(fault: SourceError) -> dict[str, Any]:
    return {"message": fault.message, "code": fault.code, "data": fault.data, "retryable": fault.retryable}


def _read_fault(fault: Message) -> SourceError:
    return SourceError(fault["message"], code=fault["code"], data=fault["data"], retryable=fault["retryable"])
