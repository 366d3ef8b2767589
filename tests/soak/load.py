"""Mixed load for the soak: whatever clients do in a day, in any order, without end. Measures nothing.

Each turn is one client's short life: it comes, does one kind of thing, and goes in order or just goes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.replicas.leanclient import LEGACY, MODERN, LeanClient, Message, Refused

BOARD = "mark://board"
_PAUSE_SECONDS = 0.05
"""Between two turns: the soak looks for growth, and leaves the machine to others."""


@dataclass(slots=True)
class Load:
    """So many workers, each at one turn at a time. ``done`` counts turns by kind, ``faults`` what went wrong."""

    http: httpx2.AsyncClient
    url: str
    key: str
    mark: str
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def run(self, workers: int, enough: asyncio.Event) -> None:
        """Go on until ``enough``. Each worker's order of turns is its own, and the same every time."""
        await asyncio.gather(*(self._work(random.Random(number), enough) for number in range(workers)))

    async def _work(self, chance: random.Random, enough: asyncio.Event) -> None:
        turns: list[tuple[Callable[[str], Awaitable[None]], int]] = [
            (self._call, 6),
            (self._list, 3),
            (self._ask, 2),
            (self._stream, 2),
            (self._refused, 2),
            (self._unknown, 1),
        ]
        kinds, weights = [turn for turn, _ in turns], [weight for _, weight in turns]
        while not enough.is_set():
            turn = chance.choices(kinds, weights)[0]
            name = turn.__name__.strip("_")
            try:
                async with asyncio.timeout(60):
                    await turn(chance.choice((MODERN, LEGACY)))
            except (Refused, httpx2.HTTPError, TimeoutError, AssertionError, pytest.fail.Exception) as fault:
                self.faults.append(f"{name}: {type(fault).__name__}: {fault}")
            self.done[name] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    def _client(self, version: str, key: str | None = None) -> LeanClient:
        return LeanClient(self.http, self.url, key or self.key, version, self._answer)

    def _answer(self, method: str, params: Message) -> Message:
        return {"action": "accept", "content": {"reply": self.mark}}

    async def _call(self, version: str) -> None:
        client = self._client(version)
        await client.open()
        for number in range(3):
            rows = await client.call("echo", {"payload": f"{number}"})
            assert rows["structuredContent"]["rows"] == [{"payload": f"{number}"}], rows
        await client.call("work", {"payload": "x" * 1000}, progress=True)
        await client.close()

    async def _list(self, version: str) -> None:
        client = self._client(version)
        await client.open()
        for method in ("tools/list", "resources/list", "prompts/list"):
            await client.request(method)
        await client.request("resources/read", {"uri": BOARD})
        await client.close()

    async def _ask(self, version: str) -> None:
        client = self._client(version)
        await client.open()
        await client.call("ask", {"payload": "y"})
        await client.close()

    async def _stream(self, version: str) -> None:
        client = self._client(version)
        await client.open()
        await client.listen(BOARD)
        await client.call("touch", {})
        # The stream goes first, without a word, as when a laptop is shut; then the session, in order.
        await client.drop_streams()
        await client.close()

    async def _refused(self, version: str) -> None:
        client = self._client(version, key=self.key[:-6] + "zzzzzz")
        with pytest.raises(Refused) as refusal:
            await client.request("tools/list" if client.is_modern else "ping")
        assert refusal.value.status == 401

    async def _unknown(self, version: str) -> None:
        client = self._client(version)
        with pytest.raises(Refused) as refusal:
            await client.call("no_such_tool", {})
        assert refusal.value.status < 500
