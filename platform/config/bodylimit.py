"""Bounds request bodies before Django, which would write any length to disk and wait for ever. Pure ASGI."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from core.errors import MarinaError, TooLarge, TooSlow
from core.problem import problem_document

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


BODY_SECONDS: Final = 30.0
"""How long a whole body may take to arrive."""


class BodyLimit:
    """An ASGI application that answers 413 for a body of more than ``limit`` bytes, declared or sent, and 408 for
    one that takes more than ``seconds``."""

    def __init__(self, app: App, limit: int, *, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > self.limit:
            await refuse(send, self._too_large(), uuid.uuid4().hex)
            return
        received = 0
        complete = answered = False
        ends = asyncio.get_running_loop().time() + self.seconds

        async def counted() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise _Refused(self._too_slow()) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.limit:
                    raise _Refused(self._too_large())
            complete = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _Refused as refusal:
            if not answered:
                await refuse(send, refusal.error, uuid.uuid4().hex)

    def _too_large(self) -> MarinaError:
        return TooLarge(f"The request body is larger than {self.limit} bytes. Send less at once.")

    def _too_slow(self) -> MarinaError:
        return TooSlow(f"The body did not arrive within {self.seconds:g} seconds. Send the request again.")


async def refuse(send: Send, error: MarinaError, request_id: str) -> None:
    """Answer with a problem document, and take nothing more of this connection."""
    body = orjson.dumps(problem_document(error, request_id=request_id))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"x-request-id", request_id.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Refused(Exception):
    """The body went over a limit while it arrived."""

    def __init__(self, error: MarinaError) -> None:
        super().__init__(error.message)
        self.error = error
