"""Follows a task of an upstream's (SEP-2663) until it ends: asks how it is, takes its questions to the client.

The upstream has the work. What is needed to go on with it is kept, so that it can be followed from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from core.errors import SourceError
from core.finishing import finish
from servers.execution.backends.mcp.faults import named, unlike_mcp
from servers.execution.backends.mcp.hearing import put
from servers.execution.backends.mcp.replies import Reply
from servers.execution.backends.mcp.rounds import read_questions
from servers.execution.backends.mcp.wire import TASK_CANCEL, TASK_GET, TASK_UPDATE, NotMcp, RpcError
from servers.execution.clock import Clock
from servers.execution.context import Around, cannot_call
from servers.execution.contract import Context, InputRequired, Offered, Outcome

LEAST_SECONDS: Final = 0.2
USUAL_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
"""How often an upstream is asked how a task is: as often as it says, within these bounds."""
AWAY_SECONDS: Final = 60.0
"""How long it may be out of reach meanwhile."""
CANCEL_SECONDS: Final = 5.0
MAX_ID: Final = 1_024
MAX_WORDS: Final = 2_000

Send = Callable[[str, Mapping[str, Any], Context], Awaitable[Reply]]
"""Sends one request about a task. Raises ``SourceError`` and ``RpcError``."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A task of an upstream's.

    ``at`` is the number of the one that has it, ``every`` how often to ask it, in seconds.
    """

    id: str
    at: int
    every: float

    def keep(self) -> str:
        """It as a text."""
        return orjson.dumps({"task": self.id, "at": self.at, "every": self.every}).decode()


def is_task(result: Mapping[str, Any]) -> bool:
    """Whether a result is a task, whose result comes later."""
    return result.get("resultType") == "task"


def read_task(task: Mapping[str, Any], at: int, interval: str = "pollIntervalMs") -> Followed:
    """A task that a request was answered with; ``interval`` is the name of how often to ask. Raises ``NotMcp``."""
    name = task.get("taskId")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
        raise NotMcp("the task that it answers with has no id, or a very long one")
    return Followed(name, at, every_of(task, interval))


def read_followed(kept: str) -> Followed | None:
    """The task that was kept; ``None`` where something else was, or nothing."""
    value = orjson.loads(kept) if kept else {}
    return Followed(value["task"], value["at"], value["every"]) if "task" in value else None


class Words:
    """Tells the client what a task says of itself, as progress: each time that it says something else."""

    __slots__ = ("_last", "_told")

    def __init__(self) -> None:
        self._told, self._last = 0, ""

    async def pass_on(self, state: Mapping[str, Any], context: Context) -> None:
        """Those of this state of it, if they are new."""
        message = state.get("statusMessage")
        if isinstance(message, str) and message[:MAX_WORDS] != self._last:
            self._told, self._last = self._told + 1, message[:MAX_WORDS]
            await context.progress(self._told, None, self._last)


class Silent(Around):
    """The context of requests about a task: they are no part of a round of questions, and nothing is told in them."""

    __slots__ = ()

    @property
    def kept(self) -> str:
        """See ``Context``."""
        return ""

    @property
    def wants_progress(self) -> bool:
        """See ``Context``."""
        return False

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``."""
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        """See ``Context``."""
        return None


async def follow(task: Followed, send: Send, context: Context, *, url: str, seconds: float) -> Reply:
    """The reply that the task ends with, within the deadline. The time in which the client is asked does not count.

    Whoever gives up ends the task, unless it is followed from elsewhere then. Raises ``SourceError``, ``NotMcp`` and
    ``InputRequired``.
    """
    clock = Clock(seconds)
    silent = Silent(context)
    leaves = False
    try:
        async with asyncio.timeout(seconds) as deadline:
            clock.keep(deadline)
            end = await _until_ended(task, send, context, silent, clock, url)
            leaves = True
    except InputRequired:
        leaves = True
        raise
    except asyncio.CancelledError:
        leaves = context.handed_on
        raise
    except TimeoutError:
        if not deadline.expired():
            raise
        raise SourceError(
            f"The task that {named(url)} made of the call did not end within {seconds:g} s, and was cancelled. Where "
            "it takes longer, give the tool a longer deadline.",
            code="source_timeout",
            data={"seconds": seconds},
        ) from None
    finally:
        if not leaves:
            await _cancel(task, send, silent)
    if isinstance(end, SourceError):
        raise end
    return end


async def _until_ended(
    task: Followed, send: Send, context: Context, silent: Context, clock: Clock, url: str
) -> Reply | SourceError:
    """What it ended with, or why there is nothing. Raises where it has not ended."""
    words, every = Words(), task.every
    answered: set[str] = set()
    answers: Mapping[str, Mapping[str, Any]] = {}
    away: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        try:
            if answers:
                reply = await send(TASK_UPDATE, {"taskId": task.id, "inputResponses": answers}, silent)
            else:
                reply = await send(TASK_GET, {"taskId": task.id}, silent)
        except SourceError as fault:
            # The work goes on there, whether it can be reached just now or not.
            away = loop.time() if away is None else away
            if not fault.retryable or loop.time() - away > AWAY_SECONDS:
                raise
            await asyncio.sleep(every)
            continue
        except RpcError as error:
            if answers:
                raise
            return _gone(url, error)
        away = None
        if answers:
            answered.update(answers)
            answers = {}
            continue
        state = reply.result
        match state.get("status"):
            case "completed" | "failed" | "cancelled":
                return _end(reply, url)
            case "input_required":
                asks = {
                    key: ask
                    for key, ask in read_questions(state.get("inputRequests")).items()
                    if key not in answered
                }
                if asks:
                    answers = await put(context, clock, asks, keep=task.keep())
                    continue
            case "working":
                await words.pass_on(state, context)
            case _:
                raise NotMcp("the state of its task is none that there is")
        every = every_of(state, "pollIntervalMs", every)
        await asyncio.sleep(every)


async def _cancel(task: Followed, send: Send, silent: Context) -> None:
    """Tell the upstream that nobody waits for it any more. It may see that by itself."""

    async def tell() -> None:
        with contextlib.suppress(SourceError, RpcError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await send(TASK_CANCEL, {"taskId": task.id}, silent)

    await finish(tell())


def _end(reply: Reply, url: str) -> Reply | SourceError:
    """What a task that has ended came to."""
    state = reply.result
    match state["status"]:
        case "completed":
            return Reply(_inlined(state, "result"), reply.headers, reply.size)
        case "failed":
            return _failed(url, _inlined(state, "error"))
        case _:
            return SourceError(
                f"{named(url)} cancelled the task that it had made of the call. Call the tool again.",
                code="source_cancelled",
            )


def _inlined(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = state.get(name)
    if not isinstance(found, dict):
        raise NotMcp(f"its task has ended, and there is no {name} in it")
    return found


def _failed(url: str, error: Mapping[str, Any]) -> SourceError:
    code = error.get("code")
    return SourceError(
        f"{named(url)} ended the task that it had made of the call with error {code if type(code) is int else '?'}. "
        "Check what was asked for, or ask whoever runs it.",
        code="task_failed",
        data={"rpc_code": code} if type(code) is int else {},
    )


def _gone(url: str, error: RpcError) -> SourceError:
    return unlike_mcp(
        url, f"of the task that it had made of the call it knows nothing more (error {error.code})"
    )


def every_of(state: Mapping[str, Any], name: str, before: float = USUAL_SECONDS) -> float:
    """How often to ask for a task, in seconds, of what its server says in milliseconds under this name."""
    given = state.get(name)
    if not isinstance(given, int | float) or isinstance(given, bool):
        return before
    return min(max(given / 1_000, LEAST_SECONDS), MOST_SECONDS)
