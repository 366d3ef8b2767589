"""Receives a request's body, within a size and a time. Reads no JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from core.extensions import Whole
from servers.endpoint.headers import body_too_large
from servers.endpoint.wire import RpcError

BODY_SECONDS: Final = 5.0
"""How long a body may take to arrive, beside what its bytes take, and how long it may stall."""
LEAST_BYTES_A_SECOND: Final = 262_144
"""A body that comes at this pace or faster is not given up: a large one by a usual line, or one that a process of low
priority reads when others leave it time."""

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, max_bytes: int, *, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body, which may be ``seconds`` behind its pace at any moment, and no more however fast it came before.
    Raises ``RpcError`` (413, 408) and ``ClientGone``."""
    parts: list[bytes] = []
    left = max_bytes
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    try:
        async with asyncio.timeout_at(ends) as patience:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part: bytes = message.get("body", b"")
                left -= len(part)
                if left < 0:
                    raise body_too_large(max_bytes)
                parts.append(part)
                ends = min(ends + len(part) / LEAST_BYTES_A_SECOND, loop.time() + seconds)
                patience.reschedule(ends)
                more = message.get("more_body", False)
    except TimeoutError:
        raise RpcError(
            408,
            f"The body did not arrive in time: it may fall {seconds:g} seconds behind"
            f" {LEAST_BYTES_A_SECOND // 1024} KiB a second. Send the request again.",
            data={"code": "body_too_slow"},
            status=408,
            headers=((b"connection", b"close"),),
        ) from None
    return b"".join(parts)


def take_body(whole: Whole | None, max_bytes: int) -> bytes | None:
    """The body where all of it came with the headers: the usual case, which waits for nothing. Raises ``RpcError``.

    ``None``: it is to be read.
    """
    body = None if whole is None else whole.body()
    if body is not None and len(body) > max_bytes:
        raise body_too_large(max_bytes)
    return body
