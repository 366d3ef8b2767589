"""Takes what an upstream MCP server says during a call to the client of that call: progress, log messages, questions.

A client is asked only what it declared that it answers, in its own era's way. Decides nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import orjson

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.faults import Unsigned, Untaken
from servers.execution.backends.mcp.held import Held, whose
from servers.execution.backends.mcp.rounds import METHODS
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.wire import (
    LISTS_CHANGED,
    META_LOG_LEVEL,
    METHOD_NOT_FOUND,
    TASKS,
    answer_bytes,
    error_bytes,
)
from servers.execution.clock import Clock
from servers.execution.context import LEVELS
from servers.execution.contract import Ask, AskMethod, Context, InputRequired

if TYPE_CHECKING:
    from servers.execution.backends.mcp.pools import Upstream

MAX_WORDS: Final = 2_000
_REFUSED: Final = -1
"""2025-11-25 client/sampling: the code of what a person declined."""

_CAPABILITIES: Final[tuple[tuple[str, AskMethod, tuple[str, ...]], ...]] = (
    ("elicitation", "elicitation/create", ("form", "url")),
    ("sampling", "sampling/createMessage", ("tools", "context")),
    ("roots", "roots/list", ()),
)


ALL_CAPABILITIES: Final[Mapping[str, Any]] = {
    name: {part: {} for part in parts if part != "context"} for name, _, parts in _CAPABILITIES
}
"""With them an upstream lists also what only some clients can use."""


class Hearing:
    """Implements ``replies.Hear`` for one request in one conversation. ``context`` is that of whoever waits for it.

    ``held`` is what the call waits in for a client of 2026-07-28. ``refusal`` is why the client was not asked.
    """

    def __init__(
        self,
        context: Context,
        conversation: Conversation,
        clock: Clock,
        upstream: Upstream,
        held: Held | None = None,
    ) -> None:
        self.context = context
        self.clock = clock
        self.refusal: SourceError | None = None
        self._conversation = conversation
        self._upstream = upstream
        self._open = 0
        self._held = held
        self._token: int | None = None
        self._asked: dict[str, int] = {}

    def with_meta(self, params: Mapping[str, Any], rpc_id: int) -> Mapping[str, Any]:
        """The parameters with what the upstream has to know: the trace, and what the client wants to hear."""
        context = self.context
        meta: dict[str, Any] = {}
        trace = context.trace
        if trace is not None:
            meta.update(trace.carried)
        if context.wants_progress:
            self._token = rpc_id
            meta["progressToken"] = rpc_id
        if self._conversation.server.modern and context.log_level is not None:
            meta[META_LOG_LEVEL] = context.log_level
        return {**params, "_meta": meta} if meta else params

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """See ``replies.Hear``. What is not known is dropped, as is what belongs to another request."""
        if method == "notifications/progress":
            await self._progress(params)
        elif method == "notifications/message":
            level = params.get("level")
            if level in LEVELS:
                logger = params.get("logger")
                named = logger[:200] if isinstance(logger, str) else ""
                await self.context.log(level, params.get("data"), named)
        elif method in LISTS_CHANGED:
            self._upstream.changed()

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """See ``replies.Hear``."""
        known = METHODS.get(method)
        if method == "ping":
            content = answer_bytes(rpc_id, {})
        elif known is None:
            content = error_bytes(rpc_id, METHOD_NOT_FOUND, "There is no such request to a client.")
        else:
            with self._waiting():
                content = await self._answer(rpc_id, Ask(known, params))
        try:
            # Whoever answered may have taken longer than the token was good for.
            await self._upstream.signed(partial(self._conversation.send, content))
        except Unsigned:
            raise
        except OutboundRefused:
            # The request in whose middle it asked did arrive: only of that nothing is to be done twice.
            raise OutboundRefused("it did not take the answer to what it asked", "broken") from None
        except SourceError as fault:
            if known is not None:
                raise Untaken(self._conversation.way.url, fault) from None

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """For the time in which anything is asked: the call counts as one that waits, however much it asks at once."""
        holding, who = self._upstream.holding, whose(self.context.principal)
        if not self._open:
            holding.enter(who)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                holding.leave(who)

    async def _answer(self, rpc_id: Any, ask: Ask) -> bytes:
        key = self._key_of(ask)
        try:
            answers = await put(self.context, self.clock, {key: ask})
        except InputRequired as required:
            if self._held is None:
                raise
            try:
                answers = await self._held.ask(required)
            except SourceError as fault:
                return self._refuse(rpc_id, fault)
        except SourceError as fault:
            return self._refuse(rpc_id, fault)
        return answer_bytes(rpc_id, answers[key])

    def _refuse(self, rpc_id: Any, fault: SourceError) -> bytes:
        self.refusal = fault
        code = METHOD_NOT_FOUND if fault.code == "client_cannot" else _REFUSED
        return error_bytes(rpc_id, code, fault.message)

    def _key_of(self, ask: Ask) -> str:
        """A key of the question that it has again in another run: of what it asks, and which of those it is."""
        said = orjson.dumps([ask.method, ask.params], option=orjson.OPT_SORT_KEYS, default=str)
        digest = hashlib.blake2b(said, digest_size=8).hexdigest()
        self._asked[digest] = number = self._asked.get(digest, 0) + 1
        return f"{number}.{digest}"

    async def _progress(self, params: Mapping[str, Any]) -> None:
        progress, total, message = params.get("progress"), params.get("total"), params.get("message")
        if params.get("progressToken") != self._token or not _is_number(progress):
            return
        await self.context.progress(
            progress,
            total if _is_number(total) else None,
            message[:MAX_WORDS] if isinstance(message, str) else "",
        )


async def put(
    context: Context, clock: Clock, asks: Mapping[str, Ask], *, keep: str = ""
) -> Mapping[str, Mapping[str, Any]]:
    """Ask the client while the clock stands still. Raises as ``Context.ask`` does."""
    clock.stop()
    try:
        return await context.ask(asks, keep=keep)
    finally:
        clock.start()


def capabilities_of(context: Context) -> dict[str, Any]:
    """What an upstream is told that the client of this call can be asked: what that declared, and no more."""
    found: dict[str, Any] = {}
    for name, method, parts in _CAPABILITIES:
        if context.can(method):
            found[name] = {part: {} for part in parts if context.can(method, part)}
    return found


def capability_names(capabilities: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities and their parts, by which sessions are told apart."""
    return frozenset(
        [*capabilities, *(f"{name}.{part}" for name, parts in capabilities.items() for part in parts)]
    )


def lacks_tasks(data: Any) -> bool:
    """Whether an upstream would have answered with a task, had the client declared that it takes one."""
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    extensions = needed.get("extensions") if isinstance(needed, dict) else None
    return isinstance(extensions, dict) and TASKS in extensions


def lacking(data: Any) -> Ask | None:
    """The kind of question that an upstream would have asked, had the client declared that it answers it."""
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    for name, method, _ in _CAPABILITIES:
        if isinstance(needed, dict) and name in needed:
            return Ask(method, {})
    return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
