"""HTTP itself spoken wrongly, oddly or slowly: refused or served, never mixed up, and others are unharmed."""

from __future__ import annotations

import contextlib
import json
import socket
from time import monotonic
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.endpoint.body import BODY_SECONDS
from tests.plugins.live_marina import LiveMarina
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.mutations import bounded
from tests.protocol.fuzz.wire import Request, Target, raw_socket, read_answers

PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
LONGEST = 60.0


def head(target: Target, *lines: str, start: str = "POST {path} HTTP/1.1", length: bool = False) -> bytes:
    """A request's head up to its empty line; with ``length`` for ``PING``."""
    wanted = [
        start.format(path=target.path),
        f"Host: 127.0.0.1:{target.port}",
        "Content-Type: application/json",
        f"Authorization: Bearer {target.key}",
        *([f"Content-Length: {len(PING)}"] if length else []),
        *lines,
    ]
    return "\r\n".join(wanted).encode("latin-1") + b"\r\n\r\n"


def until_closed(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def send(target: Target, data: bytes, *, end: bool = True) -> bytes:
    """All that comes back until the server closes; ``end``: after we said that no more will come."""
    with raw_socket(target.port) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return until_closed(connection)


def statuses(raw: bytes) -> list[int]:
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Length: 5\r\nContent-Length: 40\r\n\r\n" + PING,
        b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + PING,
        b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n28\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n28\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n28\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n" + PING,
        b"Content-Length: +40\r\n\r\n" + PING,
        b"Content-Length: 40, 40\r\n\r\n" + PING,
        b"Content-Length: 0x28\r\n\r\n" + PING,
        b"Content-Length: 99999999999999999999\r\n\r\n" + PING,
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + PING + b"\r\n0\r\n\r\n",
        b"Content-Length : 40\r\n\r\n" + PING,
        b"X-Nul: a\x00b\r\nContent-Length: 40\r\n\r\n" + PING,
        b"Mcp-Session-Id: a\x00b\r\nContent-Length: 40\r\n\r\n" + PING,
        b"X-Bare: a\rb\r\nContent-Length: 40\r\n\r\n" + PING,
        b"no colon\r\n\r\n" + PING,
        b": no name\r\n\r\n" + PING,
        b" folded: x\r\n\r\n" + PING,
    ],
    ids=range(21),
)
def test_framing_that_lies_is_refused_and_ends_the_connection(target: Target, data: bytes) -> None:
    answer = send(target, head(target)[:-2] + data)
    assert statuses(answer) in ([400], [413], []), answer
    assert b"Traceback" not in answer
    assert target.key is None or target.key.encode() not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Length: 4000\r\n\r\n" + PING,
        b"Transfer-Encoding: chunked\r\n\r\n28\r\n" + PING[:10],
        b"Transfer-Encoding: chunked\r\n\r\n28\r\n" + PING + b"\r\n",
    ],
)
def test_body_that_ends_too_soon_is_not_acted_upon(target: Target, data: bytes) -> None:
    assert b"result" not in send(target, head(target)[:-2] + data)


def test_body_beyond_its_length_is_no_part_of_it(target: Target) -> None:
    # What follows would be the next request, and is none: the connection ends.
    answer = send(target, head(target, length=True) + PING + b"GARBAGE\r\n\r\n", end=False)
    assert statuses(answer) in ([200], [200, 400])
    assert b'"id":7,"result":{}' in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST /mcp/x HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\r\n" * 1_000 + b"\x00",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /mcp/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /mcp/a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"X" * 70_000,
        b"GET /mcp/" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(10),
)
def test_what_is_no_request_is_refused_and_ends_the_connection(target: Target, data: bytes) -> None:
    answer = send(target, data)
    # 302: the parser takes the request of HTTP/0.9 for one, and the site sends it to its first page.
    assert set(statuses(answer)) <= {302, 400, 403, 404, 405, 431}, answer
    assert b"Traceback" not in answer


@bounded
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"POST ", b"POST /mcp/x HTTP/1.1\r\n", b"GET / H"]),
)
def test_any_bytes_are_refused_or_answered(target: Target, data: bytes, start: bytes) -> None:
    answer = send(target, start + data)
    assert all(status < 500 for status in statuses(answer)), answer


def test_pipelined_requests_are_answered_in_their_order(target: Target) -> None:
    bodies = [json.dumps({"jsonrpc": "2.0", "id": number, "method": "ping"}).encode() for number in range(8)]
    bodies[3] = b"{"
    data = b"".join(head(target, f"Content-Length: {len(body)}") + body for body in bodies)
    with raw_socket(target.port) as connection:
        connection.sendall(data)
        answers = read_answers(connection, len(bodies))
    assert [answer.json["id"] for answer in answers] == [0, 1, 2, None, 4, 5, 6, 7]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == len(bodies)


@pytest.mark.parametrize(
    ("start", "lines"),
    [
        ("POST {path} HTTP/1.0", []),
        ("POST http://127.0.0.1{path} HTTP/1.1", ["Connection: close"]),
        ("POST http://evil.example{path} HTTP/1.1", ["Connection: close"]),
        ("POST {path} HTTP/1.1", ["Connection: close", "Upgrade: h2c"]),
        ("POST {path} HTTP/1.1", ["Connection: close", "TE: trailers", "Trailer: x"]),
        ("POST {path}?a=%00&b=%ff&=;&& HTTP/1.1", ["Connection: close"]),
        ("POST {path}#part HTTP/1.1", ["Connection: close"]),
    ],
)
def test_odd_but_good_requests_are_served(target: Target, start: str, lines: list[str]) -> None:
    answer = send(target, head(target, *lines, start=start, length=True) + PING, end=False)
    assert statuses(answer) == [200], answer
    assert answer.endswith(b'{"jsonrpc":"2.0","id":7,"result":{}}')


def test_client_that_expects_to_continue_is_told_to_and_one_that_is_refused_is_not(target: Target) -> None:
    with raw_socket(target.port) as connection:
        connection.sendall(head(target, "Expect: 100-continue", length=True))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(PING)
        (answer,) = read_answers(connection)
        assert answer.json["result"] == {}
    with raw_socket(target.port) as connection:
        connection.sendall(head(target, "Expect: 100-continue", "Content-Length: 99999999"))
        (answer,) = read_answers(connection)
        assert answer.status == 413


def test_chunks_with_extensions_and_trailers_are_one_body(target: Target) -> None:
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in PING)
    data = head(target, "Transfer-Encoding: chunked", "Connection: close") + chunks
    answer = send(target, data + b"0\r\nMcp-Method: tools/call\r\n\r\n", end=False)
    assert statuses(answer) == [200]
    assert b'"result":{}' in answer


def test_slow_bodies_are_given_up_while_others_are_served(target: Target) -> None:
    began = monotonic()
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(raw_socket(target.port)) for _ in range(200)]
        for number, connection in enumerate(slow):
            if number % 2:
                connection.sendall(head(target, length=True) + PING[:-1])
            else:
                connection.sendall(head(target, "Transfer-Encoding: chunked") + b"28\r\n" + PING[:5])
        with target.connect() as unharmed:
            for _ in range(20):
                assert unharmed.post(target, target.legacy("ping")).status == 200
        for connection in slow:
            (answer,) = read_answers(connection)
            assert (answer.status, answer.error["data"]["code"]) == (408, "body_too_slow")
            check(Request(b"", []), answer, Secrets(target.key))
            assert until_closed(connection) == b""
    assert monotonic() - began > BODY_SECONDS * 0.9


def test_stream_that_nobody_reads_ends_and_costs_little(web: LiveMarina, target: Target) -> None:
    process = psutil.Process(web.pid)
    with raw_socket(target.port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lines = ["Accept: text/event-stream"]
        deaf.sendall(head(target, *lines, start="GET {path}/sse HTTP/1.1"))
        path = deaf.recv(4_096).partition(b"data: ")[2].partition(b"\n")[0].decode()
        while not path:
            path = deaf.recv(4_096).partition(b"data: ")[2].partition(b"\n")[0].decode()
        params: Any = {
            "name": "test_prompt_with_arguments",
            "arguments": {"arg1": "x" * 500_000, "arg2": ""},
        }
        good = target.legacy("prompts/get", params)
        request = Request(good.body, good.headers, path=path)
        before, most = process.memory_info().rss, 0
        deadline = monotonic() + LONGEST
        with target.connect() as connection:
            while (answer := connection.post(target, request)).status == 202:
                most = max(most, process.memory_info().rss)
                assert monotonic() < deadline, "the stream did not end"
    assert answer.error["data"]["code"] == "session_unknown"
    assert most - before < 300 * 1024 * 1024, f"{(most - before) >> 20} MiB"
