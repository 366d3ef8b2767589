"""Whatever comes over a WebSocket, to the URL of an HTTP+SSE stream, or asks for a stream: answered, and served on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection, connect

from tests.protocol.fuzz.judge import Secrets, check, check_message
from tests.protocol.fuzz.mutations import bodies, bounded, header_values, messages, values
from tests.protocol.fuzz.wire import SECONDS, Answer, Connection, Request, Target

LAST = "the-last-of-them"
LAST_PING = json.dumps({"jsonrpc": "2.0", "id": LAST, "method": "ping"}).encode()


class EventStream:
    """The stream that a GET opened, event by event."""

    def __init__(self, target: Target, path: str, headers: list[tuple[str, bytes]]) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", target.port, timeout=SECONDS)
        self._http.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            self._http.putheader(name, value)
        self._http.endheaders()
        self.response = self._http.getresponse()

    def close(self) -> None:
        self.response.close()
        self._http.close()

    def event(self) -> dict[str, str]:
        """The next event or comment."""
        lines = []
        while line := self.response.readline().decode().rstrip("\n"):
            lines.append(line)
        assert lines, "the stream ended"
        parts = [line.partition(": ") for line in lines]
        return {name: value for name, _, value in parts}

    def message(self) -> Any:
        """The next event that is a message."""
        while True:
            event = self.event()
            if event.get("data", "").startswith(("{", "[")):
                return json.loads(event["data"])


def asking(target: Target, **headers: str) -> list[tuple[str, bytes]]:
    basic = [(name, value) for name, value in target.basic() if name not in {"Accept", "Content-Type"}]
    return [*basic, ("Accept", b"text/event-stream"), *((n, v.encode()) for n, v in headers.items())]


@pytest.fixture(scope="module")
def begun(target: Target) -> Target:
    """With a session."""
    return target.begun()


@pytest.fixture
def duplex(target: Target) -> Iterator[tuple[EventStream, str]]:
    """A stream of HTTP+SSE and the URL for its messages."""
    stream = EventStream(target, f"{target.path}/sse", asking(target))
    event = stream.event()
    assert event["event"] == "endpoint"
    yield stream, event["data"]
    stream.close()


@bounded
@given(data=st.data())
def test_messages_of_an_sse_stream(
    target: Target, duplex: tuple[EventStream, str], data: st.DataObject
) -> None:
    stream, path = duplex
    message = data.draw(
        messages(modern=data.draw(st.booleans())) | st.lists(messages(modern=False), max_size=3)
    )
    with Connection(target.port) as connection:
        for body in (data.draw(bodies(message)), LAST_PING):
            answer = connection.post(target, Request(body, target.basic(), path=path))
            assert (answer.status, answer.body) == (202, b"Accepted")
    read_until_last(stream.message, Secrets(target.key))


@bounded
@given(data=st.data(), query=st.binary(max_size=12))
def test_url_of_an_sse_streams_messages(target: Target, data: st.DataObject, query: bytes) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in query)
    name = data.draw(st.sampled_from(["session_id=", "session_id=a&session_id=", "sessionId=", "", "=;&"]))
    request = Request(b"{}", target.basic(), path=f"{target.path}/messages?{name}{escaped}")
    with Connection(target.port) as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    assert answer.status == 404


@bounded
@given(last=header_values, session=header_values | st.just(None), own=st.booleans())
def test_streams_that_are_asked_for(
    target: Target, begun: Target, last: bytes, session: bytes | None, own: bool
) -> None:
    headers = [*asking(target), ("Last-Event-ID", last), ("MCP-Protocol-Version", b"2025-11-25")]
    named = (begun.session or "").encode() if own else session
    if named is not None:
        headers.append(("Mcp-Session-Id", named))
    stream = EventStream(target, target.path, headers)
    try:
        if stream.response.status == 200:
            assert stream.response.headers.get_content_type() == "text/event-stream"
            return
        answer = Answer(stream.response.status, stream.response.headers, stream.response.read())
    finally:
        stream.close()
    check(Request(b"", headers), answer, Secrets(target.key))
    assert answer.status in {400, 404, 405}


@pytest.fixture
def socket(target: Target) -> Iterator[ClientConnection]:
    with connect_to(target) as connection:
        yield connection


def connect_to(target: Target, **headers: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{target.port}{target.path}/ws"
    sent = {"Authorization": f"Bearer {target.key}", **headers}
    return connect(url, additional_headers=sent, proxy=None, open_timeout=SECONDS, max_size=None)


def read_until_last(receive: Any, secrets: Secrets) -> list[Any]:
    """What comes before the answer to the last ping; each of it well formed."""
    before: list[Any] = []
    while True:
        found = receive()
        each = found if isinstance(found, list) else [found]
        for message in each:
            check_message(message, secrets, closing=False)
        if found == {"jsonrpc": "2.0", "id": LAST, "result": {}}:
            return before
        before.extend(each)


@bounded
@given(data=st.data())
def test_frames_of_a_websocket(target: Target, socket: ClientConnection, data: st.DataObject) -> None:
    message = data.draw(messages(modern=data.draw(st.booleans())) | values | st.lists(values, max_size=3))
    body = data.draw(bodies(message)).decode("utf-8", "replace")
    socket.send(body)
    socket.send(LAST_PING.decode())
    read_until_last(lambda: json.loads(socket.recv(timeout=SECONDS)), Secrets(target.key))


@pytest.mark.parametrize("own", [True, False], ids=["own session", "no such session"])
def test_session_header_of_a_handshake_means_nothing(target: Target, own: bool) -> None:
    session = (target.begun().session if own else None) or "x" * 32
    with connect_to(target, **{"Mcp-Session-Id": session}) as connection:
        for frame in (f"[{LAST_PING.decode()}]", LAST_PING.decode()):
            connection.send(frame)
            answer = json.loads(connection.recv(timeout=SECONDS))
            assert (answer[0] if isinstance(answer, list) else answer)["id"] == LAST


def test_batches_end_with_the_revision_that_has_them(target: Target) -> None:
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "f", "version": "1"},
        },
    }
    with connect_to(target) as connection:
        for frame in (json.dumps(begin), f"[{LAST_PING.decode()}]"):
            connection.send(frame)
        connection.recv(timeout=SECONDS)
        answer = json.loads(connection.recv(timeout=SECONDS))
    assert answer["error"]["data"]["code"] == "batch_not_allowed"


def test_batches_end_on_an_sse_stream_too(target: Target, duplex: tuple[EventStream, str]) -> None:
    stream, path = duplex
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "f", "version": "1"},
    }
    with Connection(target.port) as connection:
        connection.post(target, replace(target.legacy("initialize", params), path=path))
        assert stream.message()["result"]["protocolVersion"] == "2025-11-25"
        connection.post(target, Request(b"[" + LAST_PING + b"]", target.basic(), path=path))
        assert stream.message()["error"]["data"]["code"] == "batch_not_allowed"
