"""A small application behind Marina's web server: what a test of connections needs an application to do."""

from __future__ import annotations

import asyncio
from typing import Any

from core.shutdown import draining, on_drain

PART = b"x" * 65536
PARTS = 1024
_seen: dict[str, str] = {}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers by path; ends quietly where it is not HTTP."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await _hold(receive, send)
    elif scope["path"] == "/big":
        await _send_much(receive, send)
    elif scope["path"] == "/seen":
        await _answer(send, _seen.get("big", "nothing").encode())
    elif scope["path"] == "/until-drained":
        told = asyncio.Event()
        on_drain(told.set)
        _seen["waiting"] = "yes"
        await told.wait()
        await _answer(send, b"draining" if draining() else b"not draining")
    elif scope["path"] == "/waiting":
        await _answer(send, _seen.get("waiting", "no").encode())
    elif scope["path"] == "/for-ever":
        _seen["waiting"] = "yes"
        await asyncio.Event().wait()
    else:
        await _answer(send, b"served")


async def _hold(receive: Any, send: Any) -> None:
    """A WebSocket that has something left to say once the process ends."""
    told = asyncio.Event()
    on_drain(told.set)
    await receive()
    await send({"type": "websocket.accept"})
    await told.wait()
    # Later than uvicorn would have closed it.
    asked = asyncio.create_task(receive())
    await asyncio.wait([asked], timeout=0.3)
    if not asked.done():
        await send({"type": "websocket.send", "text": "the last answer"})
        await send({"type": "websocket.close", "code": 1001})
    asked.cancel()


async def _send_much(receive: Any, send: Any) -> None:
    _seen["big"] = "sending"
    length = str(len(PART) * PARTS).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    gone = asyncio.create_task(_wait_until_gone(receive))
    for number in range(PARTS):
        await send({"type": "http.response.body", "body": PART, "more_body": number < PARTS - 1})
        if gone.done():
            _seen["big"] = "disconnected"
            return
    gone.cancel()
    _seen["big"] = "sent"


async def _wait_until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
