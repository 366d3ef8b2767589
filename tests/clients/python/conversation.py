"""What the scripts here share: a job (JSON) comes on standard input, what the client saw goes out on standard output.

The key never stands in the arguments, which other users of the machine can read.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Sight = dict[str, Any]

_SECONDS = 60


def run(converse: Callable[[Job], Awaitable[Sight]]) -> None:
    """Have the conversation of the job, and tell what was seen of it."""
    print(json.dumps(asyncio.run(converse(json.load(sys.stdin)))))


def texts(content: list[Any]) -> list[str]:
    """The texts of blocks of content."""
    return [block.text for block in content if block.type == "text"]


async def cancel_once_begun(call: Awaitable[Any], marker: str) -> str:
    """Start a call, cancel it when its tool has made its file; then wait until the tool has noticed."""
    file = Path(marker)
    calling = asyncio.ensure_future(call)
    await asyncio.to_thread(_wait_for, lambda: file.exists() or calling.done())
    if calling.done():
        return f"ended early: {calling.result()!r}"
    calling.cancel()
    await asyncio.wait([calling])
    await asyncio.to_thread(_wait_for, lambda: file.read_text() == "cancelled")
    return "cancelled" if calling.cancelled() else f"ended: {calling.exception()!r}"


def _wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
