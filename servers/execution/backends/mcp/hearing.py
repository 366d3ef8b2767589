"""Takes what an upstream MCP server says during a call to the client of that call: progress and log messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard, get_args

from servers.execution.backends.mcp.pools import Upstream
from servers.execution.backends.mcp.session import Conversation
from servers.execution.backends.mcp.wire import METHOD_NOT_FOUND, answer_bytes, error_bytes
from servers.execution.clock import Clock
from servers.execution.contract import Context, LogLevel

LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
MAX_WORDS: Final = 2_000


class Hearing:
    """Implements ``exchange.Hear`` for one request in one conversation."""

    def __init__(
        self, context: Context, conversation: Conversation, upstream: Upstream, clock: Clock
    ) -> None:
        self._context = context
        self._conversation = conversation
        self._upstream = upstream
        self._clock = clock
        self._token: int | None = None

    def with_meta(self, params: Mapping[str, Any], rpc_id: int) -> Mapping[str, Any]:
        """The parameters with what the upstream has to know of the request: its trace."""
        meta: dict[str, Any] = {}
        trace = self._context.trace
        if trace is not None:
            meta.update(trace.carried)
        self._token = rpc_id
        meta["progressToken"] = rpc_id
        return {**params, "_meta": meta}

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """See ``exchange.Hear``. What is not known is dropped, as is what belongs to another request."""
        if method == "notifications/progress":
            await self._progress(params)
        elif method == "notifications/message":
            level = params.get("level")
            if level in LEVELS:
                logger = params.get("logger")
                await self._context.log(
                    level, params.get("data"), logger[:200] if isinstance(logger, str) else ""
                )

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """See ``exchange.Hear``."""
        if method == "ping":
            content = answer_bytes(rpc_id, {})
        else:
            content = error_bytes(rpc_id, METHOD_NOT_FOUND, "Marina cannot ask its client this.")
        await self._conversation.send(content, self._upstream.aside)

    async def _progress(self, params: Mapping[str, Any]) -> None:
        progress, total, message = params.get("progress"), params.get("total"), params.get("message")
        if params.get("progressToken") != self._token or not _is_number(progress):
            return
        await self._context.progress(
            progress,
            total if _is_number(total) else None,
            message[:MAX_WORDS] if isinstance(message, str) else "",
        )


def capabilities_of(context: Context) -> dict[str, Any]:
    """What an upstream is told that the client of this call can be asked."""
    return {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
