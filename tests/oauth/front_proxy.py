"""A reverse proxy before a running Marina that spoils one thing, on loopback, for the self-test to find."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn

from config.local.ports import LOOPBACK

Send = Callable[[dict[str, Any]], Awaitable[None]]

_OWN = {b"host", b"content-length", b"connection", b"accept-encoding", b"transfer-encoding"}


class FrontProxy:
    """Passes requests on to ``upstream``; ``spoil`` says what it does wrong, empty: nothing."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.spoil = ""

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if self.spoil == "well-known" and path.startswith("/.well-known"):
            await _answer(send, 404, [(b"content-type", b"text/html")], b"<h1>Not Found</h1>")
            return
        if self.spoil == "https":
            host = dict(scope["headers"])[b"host"]
            await _answer(send, 301, [(b"location", b"https://" + host + path.encode())], b"")
            return
        if self.spoil == "options" and scope["method"] == "OPTIONS":
            await _answer(send, 403, [], b"")
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name not in _OWN and not (self.spoil == "authorization" and name == b"authorization")
        ]
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            given = await client.request(
                scope["method"],
                f"{self.upstream}{path}?{scope['query_string'].decode()}".rstrip("?"),
                headers=headers,
                content=body,
            )
        dropped = _OWN | ({b"www-authenticate"} if self.spoil == "challenge" else set())
        back = [(name.lower(), value) for name, value in given.headers.raw if name.lower() not in dropped]
        await _answer(send, given.status_code, back, given.content)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(proxy: FrontProxy, port: int) -> Iterator[None]:
    """The proxy at this port of loopback, for the block."""
    up = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            up.set()

    server = Server(uvicorn.Config(proxy, host=LOOPBACK, port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name=f"proxy-{os.getpid()}")
    thread.start()
    try:
        assert up.wait(30), "the proxy did not start"
        yield
    finally:
        server.should_exit = True
        thread.join(30)
