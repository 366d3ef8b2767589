"""What the proxy of sandboxed programs costs others: turns of the loop, look-ups, connections, lines of the log."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core import egress, pace, passing
from tests.core.test_egress import at, connecting, proxy, server, until
from tests.farside import far_side, reply

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """As there."""
    return "asyncio", {"use_uvloop": request.param}


def tiny_chunks(count: int) -> bytes:
    return b"1\r\nx\r\n" * count + b"0\r\n\r\n"


@asynccontextmanager
async def turns() -> AsyncIterator[list[float]]:
    """How long of this thread's own time others had to wait for their turn, each time."""
    waited: list[float] = []

    async def tick() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.005)
            waited.append(time.thread_time() - began)

    # The collector looks at the objects of all tests before this one, and may take as long as the body.
    gc.collect()
    gc.disable()
    ticking = asyncio.create_task(tick())
    try:
        yield waited
    finally:
        gc.enable()
        ticking.cancel()


async def test_what_is_sent_to_who_has_gone_is_dropped_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = socket.socketpair()
    far = passing.Side(*await asyncio.open_connection(sock=ours))
    theirs.close()
    for _ in range(20):
        await passing._send(far, b"x" * 1_000)
        await asyncio.sleep(0)
    far.abort()
    assert caplog.messages == []


@pytest.mark.parametrize("answered", [False, True], ids=["asked", "answered"])
async def test_a_body_of_tiny_chunks_leaves_others_their_turn(answered: bool) -> None:
    got = bytearray()
    tiny = tiny_chunks(40_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n\r\n" if answered else b"\r\n0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(tiny if answered else b"0\r\n\r\n")
        await writer.drain()

    async with server(talk) as where, proxy(where) as near, turns() as waited:
        asked = [] if answered else ["Transfer-Encoding: chunked"]
        said = await near.get(f"http://{where}/", *asked, method="POST", body=b"" if answered else tiny)
    passed = said if answered else bytes(got)
    assert passed.partition(b"\r\n\r\n")[2].count(b"x") == 40_000
    # It was the whole body before: of all that it takes on this machine, no turn is a large part.
    assert max(waited) < max(0.2, sum(waited) / 4), (max(waited), sum(waited))


async def test_names_that_nobody_waits_for_any_more_keep_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    answers = threading.Event()

    looked_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *words: Any, **more: Any) -> Any:
        if not str(host).endswith(".example.com"):
            # The patch is the whole process's: what another thread of it asks is not this test's.
            return looked_up(host, *words, **more)
        asked.append(host)
        answers.wait(60)
        raise socket.gaierror

    async with proxy("*.example.com") as near:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", getaddrinfo)
            patched.setattr(egress, "CONNECT_SECONDS", 0.3)
            try:
                for number in range(4):
                    said = await near.connect(f"{number}.example.com:443")
                    assert said.startswith(b"HTTP/1.1 504 ")
                    assert b"its name was not looked up in time" in said
            finally:
                answers.set()
            assert asked == ["0.example.com", "1.example.com"]
            await until(lambda: not near.egress._asked)
            # They have their places back.
            patched.setattr(egress, "CONNECT_SECONDS", 20.0)
            assert (await near.connect("5.example.com:443")).startswith(b"HTTP/1.1 502 ")


async def test_it_is_passed_on_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "BYTES_A_SECOND", 500_000)
    monkeypatch.setattr(pace, "SAVED_SECONDS", 0.0)
    with far_side() as far:
        far.serve("/", reply(bytes(500_000)))
        async with proxy(f"localhost:{far.port}") as near:
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert len(await near.get(at(far))) > 500_000
            assert loop.time() - began > 0.9


async def test_new_connections_are_taken_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SAVED_SECONDS", 0.0)
    monkeypatch.setattr(egress, "CONNECTION_BYTES", passing.BYTES_A_SECOND // 4)
    async with proxy("api.example.com") as near:
        loop = asyncio.get_running_loop()
        began = loop.time()
        said = await asyncio.gather(*(near.connect("evil.example:443") for _ in range(5)))
        assert loop.time() - began > 0.9
    assert all(each.startswith(b"HTTP/1.1 403 Host not allowed") for each in said)


async def test_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "MAX_CONNECTIONS", 2)
    there = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal there
        there += 1
        await reader.read()

    async with server(silent) as where, proxy(where) as near:
        asked = connecting(where)
        dialled = [await near.dial() for _ in range(3)]
        for _, writer in dialled:
            writer.write(asked)
        await until(lambda: there == 2)
        assert len(near.egress._serving) == 2
        assert near.notes == ["Marina: 2 connections of ships are open; further ones wait"]
        dialled[0][1].transport.abort()
        # The third one has its turn.
        await until(lambda: there == 3)
        assert len(near.notes) == 1
        for _, writer in dialled:
            writer.transport.abort()
