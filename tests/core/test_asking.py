"""Asking this installation's own address: an answer that never ends is one that nobody gave."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from core import asking
from core.asking import NotReached, ask

pytestmark = pytest.mark.anyio


async def test_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.3)
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        while not over.is_set():
            writer.write(b" ")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.05)
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotReached, match="nothing answered within"):
            await ask("GET", f"http://127.0.0.1:{port}/")
        over.set()


async def test_answer_that_is_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_BYTES", 10)
    monkeypatch.setattr(asking, "SECONDS", 60.0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b" " * 11)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotReached, match="larger than 10 bytes"):
            await ask("GET", f"http://127.0.0.1:{port}/")
