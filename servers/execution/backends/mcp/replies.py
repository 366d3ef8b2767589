"""One request to an upstream MCP server, and the messages that come for it until its answer, whichever way they come.

What the upstream says in between (notifications, questions) is handed to whoever ``hears``. Opens nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from servers.execution.backends.mcp.wire import Headers, NotMcp, result_of

MAX_QUESTIONS: Final = 50
"""Of one request."""

Messages = AsyncIterator[tuple[Mapping[str, Any], int]]
"""Each with its size in bytes."""


class Hear(Protocol):
    """Whoever takes what an upstream says while it works on a request."""

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """A notification."""
        ...

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """A request of the upstream's: it is answered in here."""
        ...


@dataclass(slots=True)
class Reply:
    """The answer to a request. ``size`` is that of its message, in bytes."""

    result: dict[str, Any]
    headers: Mapping[str, str]
    size: int


class Deaf:
    """Implements ``Hear`` for requests during which nothing is expected."""

    async def told(self, method: str, params: Mapping[str, Any]) -> None:
        """See ``Hear``."""
        return

    async def asked(self, rpc_id: Any, method: str, params: Mapping[str, Any]) -> None:
        """See ``Hear``. It stays without an answer."""
        return


DEAF: Final = Deaf()


@dataclass(slots=True, kw_only=True)
class Request:
    """A request, as it is sent. ``most_bytes``: of all that comes for it. ``hear`` hears what comes before the answer.

    ``in_session``: it is one of a session, which the upstream may have lost. ``resumes``: a stream that breaks off is
    taken up again where the upstream numbered its events (2025-11-25 basic/transports, "Resumability and Redelivery").
    """

    rpc_id: int
    content: bytes = field(repr=False)
    most_bytes: int
    headers: Headers = field(default=(), repr=False)
    in_session: bool = False
    resumes: bool = False
    hear: Hear = DEAF


class Listening:
    """Takes what comes for one request. It may come in several parts."""

    def __init__(self, request: Request) -> None:
        self._rpc_id = request.rpc_id
        self._hear = request.hear
        self._questions = 0

    async def reply_of(
        self,
        messages: Messages,
        headers: Mapping[str, str],
        spawn: Callable[[Coroutine[Any, Any, None]], object] | None = None,
    ) -> Reply | None:
        """The reply, or ``None`` where there are no more messages. Raises ``RpcError`` and ``NotMcp``."""
        async for message, size in messages:
            method = message.get("method")
            if method is None:
                if message.get("id") == self._rpc_id:
                    return Reply(result_of(message), headers, size)
                raise NotMcp("its answer is not the one to the request")
            params = message.get("params")
            params = params if isinstance(params, dict) else {}
            if "id" not in message:
                await self._hear.told(str(method), params)
                continue
            self._questions += 1
            if self._questions > MAX_QUESTIONS:
                raise NotMcp(f"it asked more than {MAX_QUESTIONS} questions within one request")
            question = self._hear.asked(message["id"], str(method), params)
            if spawn is None:
                # From the first question on others may come while it is answered, and the end, too.
                return await self._read_beside(question, messages, headers)
            spawn(question)
        return None

    async def _read_beside(
        self,
        first: Coroutine[Any, Any, None],
        messages: Messages,
        headers: Mapping[str, str],
    ) -> Reply | None:
        asked: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:

                def spawn(question: Coroutine[Any, Any, None]) -> None:
                    asked.append(group.create_task(question))

                spawn(first)
                try:
                    return await self.reply_of(messages, headers, spawn)
                finally:
                    for task in asked:
                        task.cancel()
        except BaseExceptionGroup as several:
            raise first_of(several) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first fault of a group of tasks, as if there were no group."""
    fault = group.exceptions[0]
    return first_of(fault) if isinstance(fault, BaseExceptionGroup) else fault
