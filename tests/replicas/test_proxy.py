"""The proxy that the tests on replicas rely on: it keeps to its turns, holds nothing back, and tells what it lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from config.local.ports import LOOPBACK, find_free_port
from tests.replicas.proxy import Proxy

pytestmark = pytest.mark.anyio

GET = b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n"
EVENT = b"6\r\nevent\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Far:
    """A replica that answers with its name, or holds a stream open on /stream, or breaks off on /break."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.left = asyncio.Event()
        self.go_on = asyncio.Event()
        self.heads: list[bytes] = []

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if b"/stream" in head:
            writer.write(STREAM + EVENT)
            leaving = asyncio.create_task(reader.read())
            going = asyncio.create_task(self.go_on.wait())
            await asyncio.wait({leaving, going}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                self.left.set()
            else:
                writer.write(b"0\r\n\r\n")
            leaving.cancel()
            going.cancel()
        elif b"/break" in head:
            if b"/break-late" in head:
                writer.write(STREAM + EVENT)
                await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.name) + self.name)
        writer.close()


@asynccontextmanager
async def proxied(*names: bytes, missing: int = 0) -> AsyncIterator[tuple[int, list[Far]]]:
    """A proxy before replicas of these names, and before as many that take no connection. Its port."""
    fars = [Far(name) for name in names]
    servers = [await asyncio.start_server(far.meet, LOOPBACK, 0) for far in fars]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    port = find_free_port()
    front = await Proxy([*(find_free_port() for _ in range(missing)), *ports]).serve(port)
    try:
        yield port, fars
    finally:
        for server in (front, *servers):
            server.close()


def passages(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(1)


async def test_requests_of_one_connection_go_to_one_replica_after_the_other() -> None:
    async with proxied(b"a", b"b", b"c") as (port, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert [await ask(reader, writer) for _ in range(6)] == [b"a", b"b", b"c", b"a", b"b", b"c"]
        writer.close()


async def test_a_replica_that_takes_no_connection_is_passed_over() -> None:
    async with proxied(b"a", b"b", missing=1) as (port, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert [await ask(reader, writer) for _ in range(4)] == [b"a", b"b", b"a", b"b"]
        writer.close()


async def test_a_stream_is_passed_on_while_it_is_open() -> None:
    async with proxied(b"a") as (port, (far,)):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(GET.replace(b"/x", b"/stream"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(EVENT)) == EVENT
        far.go_on.set()
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


async def test_a_client_that_goes_away_is_gone_for_its_replica_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with proxied(b"a") as (port, (far,)):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(GET.replace(b"/x", b"/stream"))
        await reader.readuntil(EVENT)
        writer.close()
        await asyncio.wait_for(far.left.wait(), 20)
    assert [passage["ending"] for passage in passages(capsys)] == ["left"]


async def test_a_replica_that_breaks_off_before_its_answer_is_a_502_and_a_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with proxied(b"a") as (port, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(GET.replace(b"/x", b"/break"))
        assert (await reader.read()).startswith(b"HTTP/1.1 502 ")
        writer.close()
    assert [(passage["ending"], passage["status"]) for passage in passages(capsys)] == [("lost", None)]


async def test_a_replica_that_breaks_off_in_its_answer_breaks_the_clients_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with proxied(b"a") as (port, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(GET.replace(b"/x", b"/break-late"))
        await reader.readuntil(EVENT)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(5)
        writer.close()
    assert [(passage["ending"], passage["status"]) for passage in passages(capsys)] == [("lost", 200)]


async def test_a_header_is_passed_on_as_it_came() -> None:
    async with proxied(b"a") as (port, (far,)):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(
            b"GET /x HTTP/1.1\r\nHost: elsewhere:1\r\nMcp-Name:  padded  \r\nmcp-NAME: twice\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert b"Host: elsewhere:1\r\nMcp-Name:  padded  \r\nmcp-NAME: twice\r\n" in far.heads[0]
