"""Bounds how long REST and pages wait for a database that hangs. Pure ASGI; calls over MCP have their own bounds."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from config.bodylimit import App, Message, Receive, Scope, Send, refuse
from core.errors import Unavailable
from core.finishing import heed
from core.requestid import REQUEST_ID
from servers.services.reasons import DATABASE_UNAVAILABLE

SECONDS: Final = 4.5
"""With what a look at the clock adds it stays below the promised 5."""

LOOK_SECONDS: Final = 0.25

_HEADER: Final = b"x-request-id"
_ASK_OF_THE_DATABASE: Final = ("/health", "/ready")
"""They tell how the database is, in their own time."""


class Patience:
    """An ASGI application that answers 503 for a request that the database holds up.

    ``is_away`` tells whether the database is. What was asked goes on without its client: a thread that waits for a
    database cannot be stopped.
    """

    def __init__(self, app: App, is_away: Callable[[], bool]) -> None:
        self.app = app
        self._is_away = is_away
        self._left: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(_ASK_OF_THE_DATABASE):
            await self.app(scope, receive, send)
            return
        answered = given_up = False

        async def noted(message: Message) -> None:
            nonlocal answered
            if not given_up:
                answered = True
                await send(message)

        scope, request_id = _with_id(scope)
        task = asyncio.create_task(self._run(scope, receive, noted))
        try:
            await asyncio.wait({task}, timeout=SECONDS)
            while not (task.done() or answered):
                if self._is_away():
                    given_up = True
                    self._left.add(task)
                    task.add_done_callback(self._forget)
                    await refuse(send, _given_up(), request_id)
                    return
                await asyncio.wait({task}, timeout=LOOK_SECONDS)
            await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._left.discard(task)
        # Its fault is logged where it was raised.
        heed(task)


def _with_id(scope: Scope) -> tuple[Scope, str]:
    """The request with an id that its answer and its records agree on, and the id."""
    given = next((value for name, value in scope["headers"] if name == _HEADER), b"").decode("latin-1")
    if REQUEST_ID.fullmatch(given):
        return scope, given
    request_id = uuid.uuid4().hex
    headers = [pair for pair in scope["headers"] if pair[0] != _HEADER]
    return {**scope, "headers": [*headers, (_HEADER, request_id.encode())]}, request_id


def _given_up() -> Unavailable:
    return Unavailable(
        "The database does not answer, so this was given up. What it was to change may be changed all the same: look "
        "before you send it again.",
        code=DATABASE_UNAVAILABLE,
    )
