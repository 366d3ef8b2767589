"""Contexts of operations: one that has nobody to talk back to (the playground, tests), and one around another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args

from core.errors import SourceError
from servers.execution.contract import Ask, AskMethod, Context, LogLevel, Offered, Outcome, Principal, Trace

CAPABILITY: Final[dict[AskMethod, str]] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a client declares that answers such questions."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
"""MCP's name of tasks (SEP-2663)."""

LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
"""What messages can be, from the least grave on."""


class Detached:
    """Implements ``servers.execution.contract.Context``: drops what it is told, and can ask nobody."""

    trace: Trace | None = None
    wants_progress: bool = False
    log_level: LogLevel | None = None
    kept: str = ""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        return

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        return

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        raise cannot_ask(next(iter(asks.values()), None))

    def can(self, method: AskMethod, part: str = "") -> bool:
        return False

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        return

    def keep(self, deadline: asyncio.Timeout) -> None:
        return

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        return None

    @property
    def takes_tasks(self) -> bool:
        return True

    @property
    def handed_on(self) -> bool:
        return False

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        return

    async def resource_updated(self, uri: str) -> None:
        return

    async def release_stream(self) -> None:
        return


class Around(Context):
    """Implements ``Context`` around another one, to which all goes that a class below does not take itself.

    Whether tools can be called is each class's own to say.
    """

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def principal(self) -> Principal:
        """See ``Context``."""
        return self._context.principal

    @property
    def trace(self) -> Trace | None:
        """See ``Context``."""
        return self._context.trace

    @property
    def wants_progress(self) -> bool:
        """See ``Context``."""
        return self._context.wants_progress

    @property
    def log_level(self) -> LogLevel | None:
        """See ``Context``."""
        return self._context.log_level

    @property
    def kept(self) -> str:
        """See ``Context``."""
        return self._context.kept

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``."""
        await self._context.progress(progress, total, message)

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        await self._context.log(level, data, logger)

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """See ``Context``."""
        return await self._context.ask(asks, keep=keep)

    def can(self, method: AskMethod, part: str = "") -> bool:
        """See ``Context``."""
        return self._context.can(method, part)

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        """See ``Context``."""
        self._context.precede(first)

    def keep(self, deadline: asyncio.Timeout) -> None:
        """See ``Context``."""
        self._context.keep(deadline)

    @property
    def takes_tasks(self) -> bool:
        """See ``Context``."""
        return self._context.takes_tasks

    @property
    def handed_on(self) -> bool:
        """See ``Context``."""
        return self._context.handed_on

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        """See ``Context``."""
        await self._context.go_on(keep=keep, repeatable=repeatable)

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``."""
        await self._context.resource_updated(uri)

    async def release_stream(self) -> None:
        """See ``Context``."""
        await self._context.release_stream()


def cannot_ask(ask: Ask | None) -> SourceError:
    """What an operation is told whose client did not declare that it answers such questions."""
    method = "anything" if ask is None else ask.method
    part = None if ask is None else part_of(ask)
    return SourceError(
        f"The tool needs to ask for {method}, and this client does not offer that. "
        "Call it from a client that does.",
        code="client_cannot",
        data={"method": method} if part is None else {"method": method, "part": part},
    )


def task_only(what: str) -> SourceError:
    """What a client is told that takes no task of a tool that gives nothing else."""
    return SourceError(
        f"{what} takes long and gives its result to clients of MCP's tasks only ({TASKS_EXTENSION}). Call it from a "
        "client that declares them.",
        code="client_cannot",
        data={"method": "tasks", "extension": TASKS_EXTENSION},
    )


def cannot_call() -> SourceError:
    """What an operation is told that calls a tool though its backend does not compose."""
    return SourceError("This kind of data source calls no other tools.", code="cannot_call")


def part_of(ask: Ask) -> str | None:
    """The part of its capability that a client has to declare for this question (``url``, ``tools``), if any."""
    if ask.params.get("mode") == "url":
        return "url"
    return "tools" if "tools" in ask.params else None


def covers(declared: Mapping[str, Any], ask: Ask) -> bool:
    """Whether what the client declared takes this very question (2025-11-25 client/elicitation, client/sampling)."""
    part = part_of(ask)
    if ask.method == "elicitation/create" and part is None:
        # Who names no mode has forms.
        return "url" not in declared or "form" in declared
    return part is None or isinstance(declared.get(part), Mapping)


def fits(ask: Ask, answer: Mapping[str, Any]) -> bool:
    """Whether an answer has the form of the question's result: one that has not is asked for again."""
    if ask.method == "elicitation/create":
        # A tuple below: a client may send what cannot be looked up in a set.
        action = answer.get("action")
        return action in ("accept", "decline", "cancel") and isinstance(
            answer.get("content", {}), dict | None
        )
    if ask.method == "roots/list":
        return isinstance(answer.get("roots"), list)
    return isinstance(answer.get("content"), dict | list)


NOBODY: Final = Detached(Principal(actor="", tenant="", server="", request_id=""))
