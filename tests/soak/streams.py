"""Opens many streams at one process and says what they cost it in memory. For the soak and for the bench."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psutil

from tests.replicas.leanclient import LEGACY, MODERN, LeanClient, make_http


async def open_streams(count: int, url: str, keys: Sequence[str], *resources: str, pid: int) -> float:
    """Open so many streams of changes at one process, of both eras. By how many MB its memory grew.

    ``resources`` are subscribed to besides the lists. All are closed again, in order, before this returns.
    """
    process = psutil.Process(pid)
    versions = (MODERN, LEGACY)
    turns = asyncio.Semaphore(50)

    async def open_one(number: int) -> LeanClient:
        client = LeanClient(http, url, keys[number % len(keys)], versions[number // len(keys) % 2])
        async with turns:
            await client.open()
            await client.listen(*resources)
        return client

    async with make_http(count * 2) as http:
        # What the first of each kind cost is not a stream's.
        first = [await open_one(number) for number in range(2 * len(keys))]
        before = process.memory_info().rss
        clients = await asyncio.gather(*(open_one(number) for number in range(count)))
        grown = process.memory_info().rss - before
        await asyncio.gather(*(client.close() for client in (*first, *clients)))
    return grown / 1e6
