"""``python -m tests.held.calling PORT PATH A_SECOND``: another team's calls at a steady pace, by ``CALLING_KEY``.

Prints ``ready`` when it begins. Once its standard input ends it prints, as JSON, for each call that was due by then
when that was (seconds of the monotonic clock) and how many milliseconds later it was answered: one that waited behind
another waited, too. Two calls by each connection come before, which do not count: the first of all are slow. A wrong
answer ends it, or none.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from time import monotonic
from typing import Final

CONNECTIONS: Final = 8
ANSWER_SECONDS: Final = 60

_CALL: Final = {"name": "calculate", "arguments": {"expression": "20 + 22"}}
_BODY: Final = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": _CALL}).encode()


async def call_steadily(port: int, path: str, a_second: float, key: str) -> list[tuple[float, float]]:
    """When each call was due, and the milliseconds that it took."""
    loop = asyncio.get_running_loop()
    ends = math.inf
    gap = CONNECTIONS / a_second
    doors = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    request = "\r\n".join(
        [
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2025-11-25",
            f"Authorization: Bearer {key}",
            f"Content-Length: {len(_BODY)}\r\n\r\n",
        ]
    )

    def end() -> None:
        nonlocal ends
        ends = monotonic()
        loop.remove_reader(sys.stdin.fileno())

    async def call(number: int) -> None:
        reader, writer = doors[number]
        writer.write(request.encode() + _BODY)
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            answer = await reader.readexactly(int(length))
        if b'"structuredContent":{"result":42,' not in answer:
            raise SystemExit(f"{head.decode()}{answer.decode()}")

    async def keep_calling(number: int) -> list[tuple[float, float]]:
        taken = []
        due = begun + gap * number / CONNECTIONS
        while due < ends:
            await asyncio.sleep(max(0.0, due - monotonic()))
            await call(number)
            taken.append((due, (monotonic() - due) * 1_000))
            due += gap
        return taken

    for number in [*range(CONNECTIONS), *range(CONNECTIONS)]:
        await call(number)
    loop.add_reader(sys.stdin.fileno(), end)
    print("ready", flush=True)
    begun = monotonic()
    taken = await asyncio.gather(*[keep_calling(number) for number in range(CONNECTIONS)])
    for _, writer in doors:
        writer.close()
    return sorted(each for some in taken for each in some)


if __name__ == "__main__":
    port, path, a_second = sys.argv[1:]
    calls = call_steadily(int(port), path, float(a_second), os.environ["CALLING_KEY"])
    print(json.dumps(asyncio.run(calls)))
