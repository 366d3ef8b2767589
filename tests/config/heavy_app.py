"""A small application behind Marina's web server that says which process answers, and what reached it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

MUCH = 16_000_000
"""Bytes of an answer that no buffers between two programs take."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the process, the client's port and the body's length and digest."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"application/json")]
    if scope["path"] == "/mcp/refused":
        refusal = {"pid": os.getpid(), "refused": True}
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(refusal).encode()})
        return
    if scope["path"] == "/mcp/done":
        await asyncio.to_thread(Path(os.environ["HEAVY_DONE"]).write_text, "done")
    size, digest = 0, hashlib.sha256()
    while True:
        message = await receive()
        body = message.get("body", b"")
        size += len(body)
        digest.update(body)
        if not message.get("more_body", False):
            break
    said = {
        "pid": os.getpid(),
        "nice": os.nice(0),
        "peer": scope["client"][1],
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "size": size,
        "sha256": digest.hexdigest(),
    }
    if scope["path"].startswith("/mcp/left"):
        # Who leaves is noticed by whoever has the connection.
        await receive()
        await asyncio.to_thread(Path(os.environ["HEAVY_LEFT"]).write_text, str(os.getpid()))
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/mcp/much":
        await send({"type": "http.response.body", "body": b"~" * MUCH})
        return
    if scope["path"].startswith("/mcp/slow"):
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
