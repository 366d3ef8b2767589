"""What passes between a running operation and whoever called it: who that is, questions, progress. Plain types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from servers.execution.contract import Offered, Outcome

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
"""RFC 5424 severities, least first."""

AskMethod = Literal["elicitation/create", "sampling/createMessage", "roots/list"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the client: one of MCP's server→client requests, with its ``params``."""

    method: AskMethod
    params: Mapping[str, Any]


class InputRequired(Exception):
    """Ends this run of an operation: it runs again from its beginning when the client has answered ``asks``.

    How 2026-07-28 clients are asked (basic/patterns/mrtr). Operations let it pass through. ``kept`` is what the
    operation finds in ``Context.kept`` then.
    """

    def __init__(self, asks: Mapping[str, Ask], kept: str = "") -> None:
        super().__init__(", ".join(asks))
        self.asks = asks
        self.kept = kept


class GoesOn(Exception):
    """Ends this run of an operation: it runs again from its beginning where there is time, with what was answered.

    Operations let it pass through. ``kept`` is what the operation finds in ``Context.kept`` then. ``repeatable``: with
    that, it may run again after a run of which nobody knows how it ended.
    """

    def __init__(self, kept: str = "", *, repeatable: bool = False) -> None:
        super().__init__("goes on as a task")
        self.kept = kept
        self.repeatable = repeatable


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as operations may know them. ``actor`` is how the log names them, which tells nobody apart.

    ``identity`` does: what is kept for one caller is kept by it and ``server``. It is empty for whoever has no
    credential: for them nothing is kept. ``member`` is the user's id of the person who calls, themselves or by an app;
    ``None``: a key, or nobody that the team knows.
    """

    actor: str
    tenant: str
    server: str
    request_id: str
    identity: str = ""
    member: int | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The distributed trace that a call is part of (W3C Trace Context).

    ``id`` is the trace's, 32 hexadecimal digits. ``carried`` is what goes on to whoever is called next, by name:
    ``traceparent``, and ``tracestate`` and ``baggage`` where the client sent them.
    """

    id: str
    carried: Mapping[str, str]


class Context(Protocol):
    """The way back from a running operation to whoever called it. One object a call."""

    __slots__ = ()

    @property
    def principal(self) -> Principal:
        """Who calls."""
        ...

    @property
    def trace(self) -> Trace | None:
        """The trace that the client put the call into, if it did."""
        ...

    @property
    def wants_progress(self) -> bool:
        """Whether the client asked for progress."""
        ...

    @property
    def log_level(self) -> LogLevel | None:
        """The least severity of log messages that the client asked for; ``None``: it asked for none."""
        ...

    @property
    def kept(self) -> str:
        """What the operation had kept when it asked the client, if this is the run with the answer."""
        ...

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the work is. Dropped where the client asked for no progress."""
        ...

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """Send a log message to the client. Dropped below the level that it asked for."""
        ...

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """Ask the client, by keys that stay the same when the operation runs again, and give its results by key.

        ``keep`` is what that run finds in ``kept``: sealed, and carried by the client. Raises ``SourceError``
        (``client_cannot``, ``client_refused``, ``client_silent``) and ``InputRequired``.
        """
        ...

    def can(self, method: AskMethod, part: str = "") -> bool:
        """Whether the client declared that it answers such questions, and of its capability for them this part."""
        ...

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        """Take what has to be awaited before anything of the operation reaches the client."""
        ...

    def keep(self, deadline: asyncio.Timeout) -> None:
        """Take the operation's deadline: waiting for the client's answer does not count against it."""
        ...

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """Call another tool of the same server as the same caller: decided and recorded as any call is, under this one.

        For operations of a backend that ``composes``. ``key`` says which call of the operation this is, the same when
        the operation runs again: the client's answers to what the tool asks are found by it. Raises ``MarinaError``
        where the call is refused or the tool fails, and ``InputRequired``.
        """
        ...

    def tool(self, name: str) -> Offered | None:
        """Another tool of the same server, where there is one of that name that the caller may call; see ``call``."""
        ...

    @property
    def takes_tasks(self) -> bool:
        """Whether whoever called has the result when it is there, however long that takes."""
        ...

    @property
    def handed_on(self) -> bool:
        """Whether a run that is cancelled here goes on elsewhere: then nothing that it began is to be ended."""
        ...

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        """Say that what comes now takes long. Where there is no time for it, the run ends here and begins anew where
        there is: by ``GoesOn``. For operations whose backend says that they begin at once (``Running``).

        ``keep`` is what that run finds in ``kept``, and any other one that begins anew. ``repeatable``: with that, it
        may begin anew after a run of which nobody knows how it ended.
        """
        ...

    async def resource_updated(self, uri: str) -> None:
        """Tell those who subscribed to the resource, on every replica, that it changed."""
        ...

    async def release_stream(self) -> None:
        """Close the client's stream while the work goes on: it comes back for the result (SEP-1699)."""
        ...
