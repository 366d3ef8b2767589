"""Lean connections, on either event loop: what is theirs alone. ``test_outbound_http`` has what holds of all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from core.outbound import AddressRule, parse_networks
from core.outbound_http import Answer, OutboundClient, OutboundRefused
from tests.farside import Asked, FarSide, Send, far_side, reply

pytestmark = pytest.mark.anyio
LOOPBACK = AddressRule(parse_networks(["127.0.0.0/8"])).allows
MOST = 1_000_000


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def server() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow=LOOPBACK, lean=True)
    yield client
    await client.close()


async def ask(client: OutboundClient, url: str, method: str = "GET", **more: Any) -> Answer:
    return await client.send(method, url, **{"seconds": 60, "most_bytes": MOST, **more})


async def refusal(client: OutboundClient, url: str, **more: Any) -> str:
    with pytest.raises(OutboundRefused) as caught:
        await ask(client, url, **more)
    return caught.value.reason


async def test_one_connection_serves_one_request_after_the_other(
    server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", reply(b"x"))
    for _ in range(5):
        assert (await ask(client, url, "POST", content=b"{}")).body == b"x"
    assert server.connections == 1


async def test_the_one_used_last_is_used_first(server: FarSide, client: OutboundClient) -> None:
    url = server.serve("/a", reply(b"x"))
    await asyncio.gather(*(ask(client, url) for _ in range(6)))
    peers = set()
    for _ in range(4):
        await ask(client, url)
        peers.add(server.asked[-1].peer)
    assert len(peers) == 1


async def test_interim_answers_are_passed_over(server: FarSide, client: OutboundClient) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    url = server.serve("/a", early + reply(b"x", headers={"X-One": "1"}))
    answer = await ask(client, url)
    assert (answer.status, answer.body, answer.headers["x-one"]) == (200, b"x", "1")
    assert "x-early" not in answer.headers
    await ask(client, url)
    assert server.connections == 1


async def test_a_switch_of_protocols_is_no_answer(server: FarSide, client: OutboundClient) -> None:
    said = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    assert await refusal(client, server.serve("/a", said)) == "broken"


@pytest.mark.parametrize(
    "more",
    [reply(b"forged"), b"HTTP/1.1 200 OK\r\n\r\n", b"\x00 no HTTP \xff"],
    ids=["answer", "unfinished", "noise"],
)
async def test_what_follows_an_answer_is_taken_for_no_other(
    more: bytes, server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", reply(b"x") + more)
    after = server.serve("/b", reply(b"y"))
    for _ in range(3):
        assert (await ask(client, url)).body == b"x"
        assert (await ask(client, after)).body == b"y"


async def test_what_comes_while_nobody_asked_is_taken_for_no_answer(
    server: FarSide, client: OutboundClient
) -> None:
    came, left = threading.Event(), threading.Event()

    def route(asked: Asked, send: Send) -> None:
        send(reply(b"x"))
        try:
            while not server.over.wait(0.05):
                send(reply(b"forged"))
                came.set()
        finally:
            left.set()

    url = server.serve("/a", route)
    assert (await ask(client, url)).body == b"x"
    assert await asyncio.to_thread(came.wait, 60)
    await asyncio.sleep(0.2)
    assert (await ask(client, server.serve("/b", reply(b"y")))).body == b"y"
    assert server.connections == 2
    assert await asyncio.to_thread(left.wait, 60)


@pytest.mark.parametrize("heard", [True, False])
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    heard: bool, server: FarSide, client: OutboundClient
) -> None:
    def route(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        raise ConnectionError

    url = server.serve("/a", route)
    for number in range(1, 4):
        assert (await ask(client, url)).body == b"x"
        if heard:
            while server.ended < number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
        else:
            # The loop is held up, and does not hear of the end before the next request.
            while server.ended < number:
                time.sleep(0.01)  # noqa: ASYNC251
            time.sleep(0.05)  # noqa: ASYNC251
        assert server.connections == number


async def test_what_says_to_close_is_closed(server: FarSide, client: OutboundClient) -> None:
    url = server.serve("/a", reply(b"x", headers={"Connection": "close"}))
    old = server.serve("/b", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\ny")
    for _ in range(2):
        assert (await ask(client, url)).body == b"x"
        assert (await ask(client, old)).body == b"y"
    assert server.connections == 4


async def test_a_body_without_a_length_ends_with_its_connection(
    server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 300_000)
    assert (await ask(client, url)).body == b"x" * 300_000


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: +1\r\n",
        b"Transfer-Encoding: chunked, gzip\r\nContent-Length: 1\r\n",
        b"X Y: 1\r\nContent-Length: 1\r\n",
    ],
)
async def test_an_answer_that_can_be_read_in_two_ways_is_none(
    head: bytes, server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", b"HTTP/1.1 200 OK\r\n" + head + b"\r\n1\r\nx\r\n0\r\n\r\n")
    assert await refusal(client, url) == "broken"


def _headers_without_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(10_000):
        send(b"X-A: " + b"b" * 1_000 + b"\r\n")


def _one_header_without_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nX-A: ")
    for _ in range(10_000):
        send(b"b" * 1_000)


def _trailers_without_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    for _ in range(10_000):
        send(b"X-A: " + b"b" * 1_000 + b"\r\n")


def _extension_without_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=")
    for _ in range(10_000):
        send(b"b" * 1_000)


def _interim_without_end(send: Send) -> None:
    for _ in range(10_000):
        send(b"HTTP/1.1 103 Early Hints\r\nX-A: " + b"b" * 1_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    "endless",
    [
        _headers_without_end,
        _one_header_without_end,
        _trailers_without_end,
        _extension_without_end,
        _interim_without_end,
    ],
)
async def test_what_is_no_body_is_bounded(endless: Any, server: FarSide, client: OutboundClient) -> None:
    sent = 0

    def route(asked: Asked, send: Send) -> None:
        def counting(piece: bytes) -> None:
            nonlocal sent
            send(piece)
            sent += len(piece)

        endless(counting)

    url = server.serve("/a", route)
    assert await refusal(client, url) == "broken"
    # The rest waits in buffers of the system.
    assert sent < 8_000_000


async def test_what_nobody_reads_is_not_taken_from_the_network(
    server: FarSide, client: OutboundClient
) -> None:
    sent = 0

    def route(asked: Asked, send: Send) -> None:
        nonlocal sent
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n")
        for _ in range(600):
            send(b"x" * 100_000)
            sent += 100_000

    url = server.serve("/a", route)
    async with client.stream("GET", url, seconds=60, most_bytes=10**9) as answer:
        await asyncio.sleep(0.5)
        before = sent
        assert before < 30_000_000
        taken = sum([len(piece) async for piece in answer.pieces])
    assert taken == 60_000_000
    assert (await ask(client, server.serve("/b", reply(b"y")))).body == b"y"
    assert server.connections == 1


async def test_a_head_has_no_body(server: FarSide, client: OutboundClient) -> None:
    url = server.serve("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    answer = await ask(client, url, "HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5")
    assert (await ask(client, server.serve("/b", reply(b"y")))).body == b"y"


async def test_a_body_in_pieces_is_not_sent(server: FarSide, client: OutboundClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(TypeError):
        await ask(client, server.serve("/a", reply(b"x")), "POST", content=pieces())
    assert (await ask(client, server.serve("/a", reply(b"x")))).body == b"x"


async def test_who_gives_up_costs_only_their_own_connection(server: FarSide, client: OutboundClient) -> None:
    def hang(asked: Asked, send: Send) -> None:
        server.over.wait(30)

    url, sound = server.serve("/a", hang), server.serve("/b", reply(b"x"))
    assert (await ask(client, sound)).body == b"x"
    waiting = asyncio.create_task(ask(client, url))
    await asyncio.sleep(0.1)
    assert (await ask(client, sound)).body == b"x"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await ask(client, sound)).body == b"x"
    assert server.connections == 2


async def test_idle_connections_are_no_more_than_may_be_in_use(server: FarSide) -> None:
    client = OutboundClient(allow=LOOPBACK, lean=True, max_connections=2)
    with far_side() as other:
        urls = [side.serve("/a", reply(b"x")) for side in (server, other)]
        for _ in range(3):
            await asyncio.gather(*(ask(client, url) for url in urls * 3))
        assert server.connections + other.connections <= 12
    await client.close()
