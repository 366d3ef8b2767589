"""Requests go to judged addresses only, and whatever a server does, it ends in time, in bounds and in words."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import outbound_http
from core.outbound import AddressRule, parse_networks
from core.outbound_http import Answer, OutboundClient, OutboundRefused, trusted
from tests.core.http2_server import http2_server
from tests.farside import Asked, FarSide, Send, far_side, reply

LOOPBACK = AddressRule(parse_networks(["127.0.0.0/8", "::1"])).allows
MOST = 100_000


def squeeze(body: bytes) -> bytes:
    """The same bytes at any time: they name tests, which have to be the same in all processes."""
    return gzip.compress(body, mtime=0)


@pytest.fixture
def server() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarSide]:
    with far_side(tmp_path) as side:
        monkeypatch.setenv("SSL_CERT_FILE", str(side.authority))
        trusted.cache_clear()
        yield side
    trusted.cache_clear()


@pytest.fixture(params=[False, True], ids=["pool", "lines"])
def lean(request: pytest.FixtureRequest) -> bool:
    """Either way to get bytes to a server and back: the same holds of both."""
    return bool(request.param)


@pytest.fixture
async def client(lean: bool) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow=LOOPBACK, lean=lean)
    yield client
    await client.close()


async def send(client: OutboundClient, url: str, method: str = "GET", **more: Any) -> Answer:
    return await client.send(method, url, **{"seconds": 60, "most_bytes": MOST, **more})


async def refusal(client: OutboundClient, url: str, method: str = "GET", **more: Any) -> OutboundRefused:
    with pytest.raises(OutboundRefused, match=r"^its? ") as caught:
        await send(client, url, method, **more)
    return caught.value


@pytest.mark.anyio
async def test_request_arrives_as_given_and_the_answer_comes_back_whole(
    server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", reply(b"hello", status=201, headers={"X-One": "1", "Set-Cookie": "a=b"}))
    answer = await send(client, f"{url}?q=%2F", "POST", headers={"X-Two": "é"}, content=b"body")
    assert (answer.status, answer.body, answer.headers["x-one"]) == (201, b"hello", "1")
    assert answer.http_version == "HTTP/1.1"
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.body, asked.headers["x-two"]) == (
        "POST",
        "/a?q=%2F",
        b"body",
        "é",
    )
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"
    await send(client, url)
    assert "cookie" not in server.asked[1].headers
    assert server.connections == 1


@pytest.mark.anyio
async def test_redirect_is_an_answer_and_is_not_followed(server: FarSide, client: OutboundClient) -> None:
    url = server.serve("/a", reply(status=302, headers={"Location": server.origin + "/b"}))
    answer = await send(client, url, headers={"Authorization": "Bearer secret"})
    assert (answer.status, answer.headers["location"]) == (302, server.origin + "/b")
    assert [asked.path for asked in server.asked] == ["/a"]


@pytest.mark.anyio
async def test_no_proxy_of_the_environment_is_asked(
    server: FarSide, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await send(client, server.serve("/a", reply(b"here")))).body == b"here"


@pytest.mark.anyio
async def test_name_is_resolved_and_judged_for_each_connection(
    server: FarSide, lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/a", reply(b"kept"))
    addresses, asked = ["127.0.0.1"], []

    def getaddrinfo(host: Any, port: Any, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = OutboundClient(allow=LOOPBACK, lean=lean)
    url = f"http://rebound.invalid:{server.port}/a"
    assert (await send(client, url)).body == b"kept"
    addresses[:] = ["169.254.169.254"]
    # The connection that was judged lives on; the next one is judged anew.
    assert (await send(client, url)).body == b"kept"
    assert asked == ["rebound.invalid"]
    await client.close()
    assert (await refusal(client, url)).reason == "denied"
    addresses[:] = ["127.0.0.1", "10.0.0.1"]
    assert (await refusal(client, url)).reason == "denied"
    await client.close()


@pytest.mark.anyio
async def test_next_address_is_tried_where_one_does_not_answer(
    server: FarSide, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/a", reply(b"second"))

    def getaddrinfo(host: Any, port: Any, **_: Any) -> Any:
        return [(2, 1, 6, "", ("127.0.0.2", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert (await send(client, f"http://two.invalid:{server.port}/a")).body == b"second"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "address"),
        ("ftp://127.0.0.1/", "address"),
        ("//127.0.0.1/", "address"),
        ("http:///a", "address"),
        ("http://127.0.0.1:99999/", "address"),
        ("http://127.0.0.1:+80/", "address"),
        ("http://127.0.0.1:-80/", "address"),
        ("http://127.0.0.1:\u0668\u0660/", "address"),
        ("http://u:p@127.0.0.1/", "address"),
        ("http://127.0.0.1\\@evil.example/", "address"),
        ("http://127.0.0.1/a b", "address"),
        ("http://127.0.0.1/a\r\nX: y", "address"),
        ("http://127.0.0.1/a\x00", "address"),
        ("http://127.0.0.1/ü", "address"),
        ("http://127.0.0.1/a#b", "address"),
        ("http://127.0.0.1/a\\b", "address"),
        ("http://127.0.0.1/a/../b", "address"),
        ("http://127.0.0.1/a/%2E%2e/b", "address"),
        ("http://127.0.0.1/a/..", "address"),
        ("http://127.0.0.1/a/.%2e?x", "address"),
        ("http://a\ud800b/", "address"),
        ("http://" + "a" * 70_000, "address"),
        ("http://[::1%25eth0]/", "address"),
        ("http://10.0.0.1/", "denied"),
        ("http://169.254.169.254/latest/meta-data", "denied"),
        ("http://[::ffff:10.0.0.1]/", "denied"),
        ("http://2130706434.invalid./", "unresolved"),
    ],
)
async def test_address_that_is_none_or_not_allowed_is_refused_unsent(
    url: str, reason: str, client: OutboundClient
) -> None:
    refused = await refusal(client, url)
    assert (refused.reason, refused.unsent) == (reason, True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-C: d"},
        {"X-A": "b\x00"},
        {"X-A": " b"},
        {"X-A": "☃"},
        {"X A": "b"},
        {"X-A:": "b"},
        {"": "b"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Host": "elsewhere.example"},
        {"Proxy-Authorization": "Basic eDp5"},
    ],
)
async def test_header_that_may_not_be_is_refused_without_its_value(
    headers: dict[str, str], server: FarSide, client: OutboundClient
) -> None:
    refused = await refusal(client, server.origin + "/a", headers=headers)
    assert refused.reason == "address"
    assert not server.asked


def _hang(server: FarSide) -> Any:
    def route(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        server.over.wait(30)

    return route


def _drip(server: FarSide) -> Any:
    def route(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.over.wait(0.005):
            send(b"1\r\nx\r\n")

    return route


def _drip_headers(server: FarSide) -> Any:
    def route(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\n")
        while not server.over.wait(0.005):
            send(b"X-A: b\r\n")

    return route


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [_hang, _drip, _drip_headers])
async def test_server_that_never_ends_is_left_at_the_deadline(
    fault: Any, server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", fault(server))
    refused = await refusal(client, url, seconds=0.3)
    assert (refused.reason, refused.unsent) == ("timeout", False)
    assert "0.3 seconds" in str(refused)


def _endless(asked: Asked, send: Send) -> None:
    """A gigabyte, or as much of it as is taken."""
    send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(16_384):
        send(b"x" * 65_536)


@pytest.mark.anyio
async def test_endless_answer_is_left_at_the_cap(server: FarSide, client: OutboundClient) -> None:
    assert (await refusal(client, server.serve("/a", _endless))).reason == "too_large"
    declared = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\nx"
    assert (await refusal(client, server.serve("/b", declared))).reason == "too_large"
    assert (await send(client, server.serve("/c", reply(b"x" * MOST)))).body == b"x" * MOST
    assert (await refusal(client, server.serve("/d", reply(b"x" * (MOST + 1))))).reason == "too_large"


def _bomb(encoding: str) -> bytes:
    packed = squeeze(b"\x00" * 50_000_000) if encoding == "gzip" else zlib.compress(b"\x00" * 50_000_000)
    return reply(packed, headers={"Content-Encoding": encoding})


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bomb_is_left_at_the_cap(encoding: str, server: FarSide, client: OutboundClient) -> None:
    refused = await refusal(client, server.serve("/a", _bomb(encoding)))
    assert refused.reason == "too_large"


@pytest.mark.anyio
async def test_members_without_end_that_say_nothing_are_left_too(
    server: FarSide, client: OutboundClient
) -> None:
    empty = squeeze(b"") * 10_000
    refused = await refusal(client, server.serve("/a", reply(empty, headers={"Content-Encoding": "gzip"})))
    assert refused.reason == "too_large"


@pytest.mark.anyio
async def test_compressed_answers_are_decoded(server: FarSide, client: OutboundClient) -> None:
    said = b"tide " * 10_000
    raw = zlib.compressobj(wbits=-15)
    for encoding, packed in (
        ("gzip", squeeze(said)),
        ("gzip", squeeze(said[:7]) + squeeze(said[7:])),
        ("deflate", zlib.compress(said)),
        ("deflate", raw.compress(said) + raw.flush()),
        ("identity", said),
    ):
        url = server.serve("/a", reply(packed, headers={"Content-Encoding": encoding}))
        assert (await send(client, url)).body == said
    empty = server.serve("/e", reply(b"", headers={"Content-Encoding": "gzip"}))
    assert (await send(client, empty)).body == b""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", squeeze(b"cut" * 1_000)[:-9]),
        ("deflate", zlib.compress(b"x") + b"more"),
        ("br", b"\x0b\x02\x80tide\x03"),
        ("gzip, gzip", squeeze(squeeze(b"x"))),
    ],
)
async def test_answer_that_is_not_encoded_as_it_says_is_refused(
    encoding: str, body: bytes, server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", reply(body, headers={"Content-Encoding": encoding}))
    assert (await refusal(client, url)).reason == "encoding"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nsecret",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nsecret",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsecret",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsecret",
        b"HTTP/1.1 secret\r\n\r\n",
        b"SSH-2.0-secret\r\n",
        b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nsecret",
    ],
)
async def test_answer_that_is_no_http_or_lies_is_refused_without_quoting_it(
    said: bytes, server: FarSide, client: OutboundClient
) -> None:
    refused = await refusal(client, server.serve("/a", said), seconds=60)
    assert refused.reason == "broken"
    assert "secret" not in str(refused)
    assert refused.__cause__ is None


@pytest.mark.anyio
async def test_reset_connection_is_told_and_the_next_request_gets_another(
    server: FarSide, client: OutboundClient
) -> None:
    def reset(asked: Asked, send: Send) -> None:
        raise OSError

    url = server.serve("/a", reset)
    assert (await refusal(client, url)).reason == "broken"
    server.serve("/a", reply(b"again"))
    assert (await send(client, url)).body == b"again"


@pytest.mark.anyio
async def test_nobody_listening_is_unreachable(client: OutboundClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert (await refusal(client, f"http://127.0.0.1:{port}/")).reason == "unreachable"


@pytest.mark.anyio
async def test_connections_are_few_and_the_rest_wait_their_turn(server: FarSide, lean: bool) -> None:
    most, at_once, lock = [0], [0], threading.Lock()

    def route(asked: Asked, send: Send) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        server.over.wait(0.02)
        with lock:
            at_once[0] -= 1
        send(reply(b"x"))

    url = server.serve("/a", route)
    client = OutboundClient(allow=LOOPBACK, lean=lean, max_connections=3)
    await asyncio.gather(*(send(client, url) for _ in range(12)))
    await client.close()
    assert most[0] <= 3
    assert server.connections <= 3


@pytest.mark.anyio
async def test_body_is_streamed_both_ways(server: FarSide) -> None:
    client = OutboundClient(allow=LOOPBACK)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    url = server.serve("/a", reply(b"three"))
    async with client.stream(
        "PUT", url, headers={"Content-Length": "7"}, content=pieces(), seconds=20, most_bytes=MOST
    ) as answer:
        assert [piece async for piece in answer.pieces] == [b"three"]
    assert server.asked[0].body == b"one two"
    await client.close()


@pytest.mark.anyio
async def test_who_stops_reading_costs_the_next_request_nothing(
    server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", _endless)
    async with client.stream("GET", url, seconds=20, most_bytes=10**9) as answer:
        async for _ in answer.pieces:
            break
    assert (await send(client, server.serve("/b", reply(b"x")))).body == b"x"


@pytest.mark.anyio
async def test_caller_that_is_cancelled_leaves_the_client_usable(
    server: FarSide, client: OutboundClient
) -> None:
    seen = threading.Semaphore(0)

    def hang(asked: Asked, send: Send) -> None:
        seen.release()
        server.over.wait(30)

    url = server.serve("/a", hang)
    waiting = [asyncio.create_task(send(client, url)) for _ in range(25)]
    for _ in range(20):
        assert await asyncio.to_thread(seen.acquire, timeout=20)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await send(client, server.serve("/b", reply(b"x")))).body == b"x"


@pytest.mark.anyio
async def test_timeout_inside_of_what_the_caller_does_is_the_callers(
    server: FarSide, client: OutboundClient
) -> None:
    url = server.serve("/a", reply(b"x"))
    with pytest.raises(TimeoutError):
        async with client.stream("GET", url, seconds=20, most_bytes=MOST):
            raise TimeoutError


@pytest.mark.anyio
async def test_tls_name_is_the_hosts_and_its_certificate_is_checked(
    secure: FarSide, lean: bool, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = secure.serve("/a", reply(b"sealed"))
    assert (await send(client, url)).body == b"sealed"
    other = f"https://127.0.0.1:{secure.port}/a"
    assert (await refusal(client, other)).reason == "certificate"
    monkeypatch.delenv("SSL_CERT_FILE")
    trusted.cache_clear()
    stranger = OutboundClient(allow=LOOPBACK, lean=lean)
    assert (await refusal(stranger, url)).reason == "certificate"
    await stranger.close()


@pytest.mark.anyio
async def test_http2_is_spoken_where_it_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http2_server(tmp_path) as two:
        monkeypatch.setenv("SSL_CERT_FILE", str(two.authority))
        trusted.cache_clear()
        spoken = OutboundClient(allow=LOOPBACK)
        answers = await asyncio.gather(*(send(spoken, f"{two.origin}/echo?{n}") for n in range(8)))
        assert {answer.http_version for answer in answers} == {"HTTP/2"}
        assert sorted(answer.body for answer in answers) == [f"GET /echo?{n} ".encode() for n in range(8)]
        answer = await send(spoken, f"{two.origin}/echo", "POST", content=b"body")
        assert answer.body == b"POST /echo body"
        # More than the connection's window, all of it left unread.
        for _ in range(3):
            refused = await refusal(spoken, f"{two.origin}/endless", most_bytes=1_000)
            assert refused.reason == "too_large"
        assert (await send(spoken, f"{two.origin}/echo")).body == b"GET /echo "
        assert (await refusal(spoken, f"{two.origin}/reset")).reason == "broken"
        assert (await refusal(spoken, f"{two.origin}/away")).reason == "broken"
        assert (await refusal(spoken, f"{two.origin}/silent", seconds=0.2)).reason == "timeout"
        assert (await send(spoken, f"{two.origin}/echo")).body == b"GET /echo "
        await spoken.close()
        plain = OutboundClient(allow=LOOPBACK, http2=False)
        assert (await refusal(plain, f"{two.origin}/echo")).reason in {"broken", "unreachable"}
        await plain.close()
    trusted.cache_clear()


def test_reasons_that_leave_nothing_sent_are_reasons() -> None:
    assert set(outbound_http.Reason.__args__) >= outbound_http.UNSENT  # type: ignore[attr-defined]
