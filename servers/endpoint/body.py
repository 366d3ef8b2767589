"""Receives a request's body, within a size and a time. Reads no JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from core.eager import Started
from servers.endpoint.headers import body_too_large
from servers.endpoint.wire import RpcError

BODY_SECONDS: Final = 5.0
"""How long a whole body may take to arrive."""

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, max_bytes: int, *, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body. Raises ``RpcError`` (413, 408) and ``ClientGone``."""
    first = Started(receive())
    # The usual case: the body came with the headers, and no deadline has to be set up.
    if first.done and not first.result.get("more_body"):
        return _part(first.result, max_bytes)
    try:
        async with asyncio.timeout(seconds):
            message = await first
            parts = [_part(message, max_bytes)]
            left = max_bytes - len(parts[0])
            while message.get("more_body"):
                message = await receive()
                part = _part(message, left, max_bytes)
                left -= len(part)
                parts.append(part)
    except TimeoutError:
        raise RpcError(
            408,
            f"The body did not arrive within {seconds:g} seconds. Send the request again.",
            data={"code": "body_too_slow"},
            status=408,
            headers=((b"connection", b"close"),),
        ) from None
    return b"".join(parts)


def _part(message: Any, left: int, max_bytes: int | None = None) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    if len(part) > left:
        raise body_too_large(left if max_bytes is None else max_bytes)
    return part
