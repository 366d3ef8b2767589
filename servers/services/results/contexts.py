"""The contexts of runs whose results others may have: what such a run is told, and what its callers hear of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from core.errors import MarinaError
from servers.execution.context import NOBODY, Around, Detached
from servers.execution.contract import Ask, Context, LogLevel, Offered, Outcome

PATIENCE_SECONDS: Final = 0.5
"""How long the work waits for its callers to take a message. Who reads slowly keeps no other caller waiting."""


class Noted(Around):
    """The context of one caller's run by theirs, which notes what makes its result no other's.

    It knows its caller and what their client can do: the result is kept for the same ones alone. What the client was
    asked, what another tool gave, and a change that is announced are of this run only.
    """

    __slots__ = ("once",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.once = False
        """Whether the result must not be given to another call."""

    @property
    def kept(self) -> str:
        """See ``Context``."""
        kept = super().kept
        self.once = self.once or bool(kept)
        return kept

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """See ``Context``."""
        self.once = True
        return await super().ask(asks, keep=keep)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``."""
        self.once = True
        return await self._context.call(tool, arguments, key=key)

    def tool(self, name: str) -> Offered | None:
        """See ``Context``."""
        self.once = True
        return self._context.tool(name)

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``."""
        self.once = True
        await super().resource_updated(uri)

    async def release_stream(self) -> None:
        """See ``Context``."""
        self.once = True
        await super().release_stream()


class Company(Detached):
    """Implements ``Context`` for a run that several calls may have the result of: it knows none of their callers.

    All of them, at the moment, hear how far it is and what it logs.
    """

    def __init__(self) -> None:
        super().__init__(NOBODY.principal)
        self._telling: dict[Context, asyncio.Task[None] | None] = {}

    def join(self, context: Context) -> None:
        """Tell this caller too, from now on."""
        self._telling[context] = None

    def leave(self, context: Context) -> None:
        """Tell this caller no more."""
        self._telling.pop(context, None)

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``."""
        await self._tell(lambda context: context.progress(progress, total, message))

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        await self._tell(lambda context: context.log(level, data, logger))

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``. Whoever subscribed is told once, by any of the callers."""
        for context in list(self._telling)[:1]:
            await context.resource_updated(uri)

    async def _tell(self, say: Callable[[Context], Awaitable[None]]) -> None:
        begun = []
        for context, former in list(self._telling.items()):
            if former is not None and not former.done():
                # It has not taken the message before: it hears the next one.
                continue
            task = asyncio.ensure_future(_said(say(context)))
            self._telling[context] = task
            begun.append(task)
        if begun:
            await asyncio.wait(begun, timeout=PATIENCE_SECONDS)


async def _said(saying: Awaitable[None]) -> None:
    # Of one caller's stream, or its record: that call hears of it by itself.
    with contextlib.suppress(MarinaError):
        await saying
