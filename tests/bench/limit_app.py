"""The limit: a bare ASGI application that answers ready-made bytes. What no server in Python can pass here.

It reads the request's body, as any server must, and nothing else. ``BENCH_SIZES`` (JSON, work → bytes) says how
long the answer of each work is: as long as Marina's. ``/health`` says that it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

_Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]

_TYPE = (b"content-type", b"application/json")


def _answer(size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    body = b'{"jsonrpc":"2.0","result":"%s"}' % (b"x" * max(0, size - 31))
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [_TYPE, (b"content-length", str(len(body)).encode())],
    }
    return start, {"type": "http.response.body", "body": body}


_answers = {f"/{work}": _answer(size) for work, size in json.loads(os.environ["BENCH_SIZES"]).items()}
_answers["/health"] = _answer(0)


async def application(scope: Mapping[str, Any], receive: _Receive, send: _Send) -> None:
    """Answer by path; end quietly for what is not HTTP (uvicorn runs it with ``--lifespan off``)."""
    while (await receive()).get("more_body"):
        pass
    start, body = _answers[scope["path"]]
    await send(start)
    await send(body)
