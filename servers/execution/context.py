"""The context of an operation that has nobody to talk back to: the playground, pipelines, tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from core.errors import SourceError
from servers.execution.contract import Ask, AskMethod, LogLevel, Offered, Outcome, Principal, Trace


class Detached:
    """Implements ``servers.execution.contract.Context``: drops what it is told, and can ask nobody."""

    trace: Trace | None = None

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        return

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        return

    async def ask(self, asks: Mapping[str, Ask]) -> Mapping[str, Mapping[str, Any]]:
        raise cannot_ask(next(iter(asks.values()), None))

    def can(self, method: AskMethod) -> bool:
        return False

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        return

    def keep(self, deadline: asyncio.Timeout) -> None:
        return

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        return None

    async def resource_updated(self, uri: str) -> None:
        return

    async def release_stream(self) -> None:
        return


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


def cannot_call() -> SourceError:
    """What an operation is told that calls a tool though its backend does not compose."""
    return SourceError("This kind of data source calls no other tools.", code="cannot_call")


def part_of(ask: Ask) -> str | None:
    """The part of its capability that a client has to declare for this question (``url``, ``tools``), if any."""
    if ask.params.get("mode") == "url":
        return "url"
    return "tools" if "tools" in ask.params else None


NOBODY: Final = Detached(Principal(actor="", tenant="", server="", request_id=""))
