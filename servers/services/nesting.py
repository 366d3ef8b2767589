"""A tool that calls other tools of its server, as its caller: the contexts of both. Decides and records nothing.

Each of its calls is one like any other: ``calls`` decides it, by the caller's own rights, and records it under the
record of the call that it is made in. Here are the bounds of that, and what reaches the client from within.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import SourceError
from servers.execution.clock import Clock
from servers.execution.context import Around, cannot_call
from servers.execution.contract import (
    Ask,
    Context,
    InputRequired,
    LogLevel,
    Offered,
    Outcome,
)

if TYPE_CHECKING:
    from servers.services.callresults import CallResult
    from servers.services.recording import CallRecord

MAX_DEPTH: Final = 8
"""Calls within calls within a call."""

MAX_CALLS: Final = 1_000
"""Calls that one call may make, those of its calls included. Each leaves a record."""

_MARGIN_SECONDS: Final = 0.05
"""By so much a call within ends before the one it is made in, so that it is its own deadline that ends it."""

_MOST_WORDS: Final = 2_000


class Perform(Protocol):
    """``calls.call_tool`` for a caller, a server and a request."""

    def __call__(
        self,
        *,
        tool_name: str,
        arguments: Mapping[str, Any],
        timeout: float,
        context: Context,
        within: Composing,
    ) -> Awaitable[CallResult]:
        """Make the call. Raises as ``call_tool`` does."""
        ...


@dataclass(slots=True)
class Whole:
    """What is counted over the outermost call, however deep its calls go."""

    calls: int = 0
    changed: bool = False
    """Whether a tool ran that may have changed something."""


class Composing(Around):
    """The context of a run that may call other tools: its own context, and ``call``.

    ``record`` is the run's; completions have none, and their calls stand by themselves. ``seconds`` are the run's.
    ``find`` gives a tool by name, where the caller may call it here.
    """

    __slots__ = (
        "_deadline",
        "_ends",
        "_find",
        "_perform",
        "_record",
        "_seconds",
        "names",
        "whole",
    )

    def __init__(
        self,
        context: Context,
        record: CallRecord | None,
        *,
        name: str,
        perform: Perform,
        find: Callable[[str], Offered | None],
        seconds: float,
        within: Composing | None = None,
    ) -> None:
        super().__init__(context)
        self._perform = perform
        self._find = find
        self._seconds = seconds
        self._ends = asyncio.get_running_loop().time() + seconds
        self._deadline: asyncio.Timeout | None = None
        self._record = record
        self.names: tuple[str, ...] = (*(within.names if within else ()), name)
        self.whole: Whole = within.whole if within else Whole()

    def keep(self, deadline: asyncio.Timeout) -> None:
        """See ``Context``."""
        self._deadline = deadline
        super().keep(deadline)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``."""
        self._count(tool)
        if self._record is not None:
            # Its calls are recorded under its own record: that comes first.
            await self._record.intend()
        found = self._find(tool)
        inner = Inner(self._context, key, seconds=self._left())
        try:
            result = await self._perform(
                tool_name=tool, arguments=arguments, timeout=inner.seconds, context=inner, within=self
            )
        except InputRequired:
            if self.whole.changed:
                raise _asked_too_late(tool) from None
            raise
        # What was refused, or did not fit, never ran.
        if found is not None and not found.only_reads and result.outcome not in ("refused", "invalid"):
            self.whole.changed = True
        if result.error is None:
            return Outcome(
                result.structured,
                result.text,
                rows=result.rows,
                size=result.size,
                truncated=result.truncated,
                content=result.content,
            )
        if result.error.code == "tool_failed":
            raise SourceError(result.text[:_MOST_WORDS] or result.error.message, code="tool_failed")
        raise result.error

    def tool(self, name: str) -> Offered | None:
        """See ``Context``."""
        return self._find(name)

    @property
    def intent(self) -> int | None:
        """The number of the run's intent in the log, below which its calls are recorded."""
        return None if self._record is None else self._record.intent

    def _count(self, tool: str) -> None:
        way = " → ".join((*self.names, tool))
        if tool in self.names:
            raise SourceError(f"A tool may not call itself, and this one would: {way}.", code="calls_itself")
        if len(self.names) > MAX_DEPTH:
            raise SourceError(
                f"Tools may call tools {MAX_DEPTH} deep, and this goes deeper: {way}.", code="calls_too_deep"
            )
        self.whole.calls += 1
        if self.whole.calls > MAX_CALLS:
            raise SourceError(
                f"One call may make {MAX_CALLS} calls, and this makes more. Let it do its work in fewer steps.",
                code="too_many_calls",
            )

    def _left(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            left = self._ends - now
        else:
            # Without an end it waits for the client: its time stands still.
            when = self._deadline.when()
            left = self._seconds if when is None else when - now
        return max(left - _MARGIN_SECONDS, 0.001)


class Inner(Around):
    """The context of a call that is made in another one: its client is that one's.

    Its questions carry ``key`` before theirs, its progress is the outer call's to tell, and nothing of it reaches the
    client before the log has it.
    """

    __slots__ = ("_clock", "_first", "_key")

    def __init__(self, context: Context, key: str, *, seconds: float) -> None:
        super().__init__(context)
        self._key = key
        self._clock = Clock(seconds)
        self._first: Callable[[], Awaitable[None]] | None = None

    @property
    def seconds(self) -> float:
        """How long the call may take."""
        return self._clock.seconds

    @property
    def wants_progress(self) -> bool:
        """See ``Context``."""
        return False

    @property
    def kept(self) -> str:
        """See ``Context``. What another call of the run kept is not this one's."""
        kept, prefix = super().kept, f"{self._key}/"
        return kept.removeprefix(prefix) if kept.startswith(prefix) else ""

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``. The outer call's progress is all that its client hears."""
        return

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        await self._precede()
        await super().log(level, data, logger)

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """See ``Context``."""
        await self._precede()
        prefix = f"{self._key}/"
        self._clock.stop()
        try:
            answers = await super().ask(
                {f"{prefix}{key}": ask for key, ask in asks.items()}, keep=f"{prefix}{keep}" if keep else ""
            )
        finally:
            self._clock.start()
        return {key.removeprefix(prefix): answer for key, answer in answers.items()}

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        """See ``Context``."""
        self._first = first

    def keep(self, deadline: asyncio.Timeout) -> None:
        """See ``Context``."""
        self._clock.keep(deadline)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``. A tool that composes has a ``Composing`` around this."""
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        """See ``Context``, and ``call``."""
        return None

    async def release_stream(self) -> None:
        """See ``Context``. Whether the stream may go is the outer call's to say."""
        return

    async def _precede(self) -> None:
        if self._first is not None:
            await self._first()


def _asked_too_late(tool: str) -> SourceError:
    return SourceError(
        f"The tool {tool} asks the client something after another tool of this run may have changed something. Clients "
        "of 2026-07-28 answer by having the run begin anew, which would change it twice. Let the tools that ask come "
        "first.",
        code="asked_too_late",
    )
