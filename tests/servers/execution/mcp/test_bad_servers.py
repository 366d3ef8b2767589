"""Upstreams as no server should be: each ends in a clear error, in time, and nothing is done twice."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from core.errors import InvalidInput, MarinaError, SourceError
from servers.execution.backends.mcp import McpBackend
from servers.execution.backends.mcp.calls import MAX_WORDS
from servers.execution.contract import Operation
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.mcp.conftest import Ask

pytestmark = pytest.mark.anyio

Answer = Callable[[Mapping[str, Any], Send], None]


def as_json(value: Any, **more: Any) -> bytes:
    return reply(orjson.dumps(value), kind="application/json", **more)


def result(asked: Mapping[str, Any], members: Mapping[str, Any]) -> bytes:
    return as_json({"jsonrpc": "2.0", "id": asked.get("id"), "result": members})


def serve(side: FarSide, answers: Mapping[str, Answer | Mapping[str, Any] | bytes]) -> str:
    """An upstream of 2025-11-25 that answers these methods so, and the handshake as it should."""
    given: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        },
        **answers,
    }

    def route(asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body or b"{}")
        answer = given.get(message.get("method", ""))
        if "id" not in message:
            send(reply(status=202))
        elif answer is None:
            error = {"code": -32601, "message": "Method not found"}
            send(as_json({"jsonrpc": "2.0", "id": message["id"], "error": error}))
        elif isinstance(answer, bytes):
            send(answer)
        elif isinstance(answer, Mapping):
            send(result(message, answer))
        else:
            answer(message, send)

    return side.serve("/mcp", route)


REFUSAL = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Unauthorized"}}


def begun_as(session: str) -> Answer:
    """A handshake that begins a session of this id."""
    begun = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "odd", "version": "1"},
    }

    def answer(message: Mapping[str, Any], send: Send) -> None:
        said = {"jsonrpc": "2.0", "id": message["id"], "result": begun}
        send(as_json(said, headers={"Mcp-Session-Id": session}))

    return answer


def calls_of(side: FarSide) -> int:
    return sum(b'"tools/call"' in asked.body for asked in side.asked)


async def fails(ask: Ask, url: str, **more: Any) -> MarinaError:
    with pytest.raises(MarinaError) as caught:
        await ask.call(url, "any", timeout=more.pop("timeout", 30), **more)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (reply(b"<html>Welcome</html>", kind="text/html"), "source_not_mcp", "is no JSON"),
        (as_json([1, 2]), "source_not_mcp", "no JSON-RPC message"),
        (reply(b"{", kind="application/json"), "source_not_mcp", "not JSON"),
        (reply(b"", kind="application/json"), "source_not_mcp", "not JSON"),
        (
            as_json({"jsonrpc": "2.0", "id": 999, "result": {}}),
            "source_not_mcp",
            "not the one to the request",
        ),
        (
            as_json({"jsonrpc": "2.0", "id": "1", "result": {}}),
            "source_not_mcp",
            "not the one to the request",
        ),
        (reply(b"no", status=401), "source_auth", "refuses how Marina signs in"),
        (reply(b"no", status=403), "source_auth", "refuses how Marina signs in"),
        (as_json(REFUSAL, status=401), "source_auth", "refuses how Marina signs in"),
        (
            as_json(REFUSAL, status=403, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'}),
            "source_auth",
            "refuses how Marina signs in",
        ),
        (reply(b"no", status=429), "source_busy", "too often"),
        (reply(b"no", status=500), "source_failed", "status 500"),
        (reply(b"HTTP?"[:0], status=202), "source_failed", "status 202"),
        (b"garbage\r\n\r\n", "source_failed", "not HTTP"),
        (reply(b"data: {\n\n", kind="text/event-stream"), "source_not_mcp", "not JSON"),
        (reply(b": nothing\n\n", kind="text/event-stream"), "source_failed", "ended before the answer"),
    ],
)
async def test_an_answer_that_is_none_is_told_as_such(
    ask: Ask, side: FarSide, answer: bytes, code: str, words: str
) -> None:
    url = serve(side, {"tools/call": answer})
    error = await fails(ask, url)
    assert (error.code, isinstance(error, SourceError)) == (code, True)
    assert words in error.message
    assert calls_of(side) == 1


@pytest.mark.parametrize("result_", [{"content": "text"}, {"content": [{"type": "image"}]}, {"content": [7]}])
async def test_content_that_is_none_is_refused(ask: Ask, side: FarSide, result_: dict[str, Any]) -> None:
    error = await fails(ask, serve(side, {"tools/call": result_}))
    assert error.code == "source_not_mcp"


async def test_content_of_an_unknown_type_is_told_in_words(ask: Ask, side: FarSide) -> None:
    outcome = await ask.call(serve(side, {"tools/call": {"content": [{"type": "hologram"}]}}), "any")
    assert outcome.content is not None
    assert "hologram" in outcome.content[0]["text"]


async def test_a_call_that_may_have_arrived_is_not_made_again(ask: Ask, side: FarSide) -> None:
    error = await fails(ask, serve(side, {"tools/call": lambda asked, send: None}))
    assert (error.code, error.retryable) == ("source_failed", False)
    assert "may have begun the work" in error.message
    assert calls_of(side) == 1


async def test_a_call_that_does_no_harm_twice_is_made_three_times_at_most(ask: Ask, side: FarSide) -> None:
    answers = iter([b"", b"", b""])

    def answer(asked: Mapping[str, Any], send: Send) -> None:
        if next(answers, None) is None:
            send(result(asked, {"content": []}))

    error = await fails(ask, serve(side, {"tools/call": answer}), repeatable=True)
    assert (error.code, error.retryable) == ("source_failed", True)
    assert calls_of(side) == 3
    outcome = await ask.call(serve(side, {"tools/call": answer}), "any", repeatable=True)
    assert not outcome.failed


@pytest.mark.parametrize("method", ["tools/call", "initialize", "server/discover"])
async def test_an_upstream_that_hangs_is_given_up_in_time(ask: Ask, side: FarSide, method: str) -> None:
    def hang(asked: Mapping[str, Any], send: Send) -> None:
        side.over.wait(30)

    error = await fails(ask, serve(side, {method: hang}), timeout=1)
    assert error.code == "source_timeout"


async def test_an_answer_of_ten_megabytes_is_left(ask: Ask, side: FarSide) -> None:
    content = [{"type": "text", "text": "x" * 10_000_000}]
    error = await fails(ask, serve(side, {"tools/call": {"content": content}}))
    assert error.code == "result_too_large"


async def test_a_stream_of_ten_megabytes_is_left(ask: Ask, side: FarSide) -> None:
    def flood(asked: Mapping[str, Any], send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        note = orjson.dumps(
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 10_000}}
        )
        for _ in range(1_000):
            send(b"data: " + note + b"\n\n")

    error = await fails(ask, serve(side, {"tools/call": flood}))
    assert error.code == "result_too_large"


async def test_questions_without_end_are_left(ask: Ask, side: FarSide) -> None:
    def ask_on(asked: Mapping[str, Any], send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(100):
            send(b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": number, "method": "ping"}) + b"\n\n")

    error = await fails(ask, serve(side, {"tools/call": ask_on}))
    assert "more than 50 questions" in error.message


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/mcp",
        "//evil.example.com/",
        "file:///etc/passwd",
        "http://[",
    ],
)
async def test_a_redirect_elsewhere_is_not_followed(ask: Ask, side: FarSide, place: str) -> None:
    url = side.serve("/mcp", reply(status=307, headers={"Location": place}))
    error = await fails(ask, url)
    assert error.code == "source_redirect"


async def test_redirects_without_end_are_left(ask: Ask, side: FarSide) -> None:
    url = side.serve("/mcp", reply(status=307, headers={"Location": "/mcp"}))
    error = await fails(ask, url)
    assert error.code == "source_redirect"
    assert len(side.asked) <= 8


async def test_a_private_address_is_not_connected_to(side: FarSide) -> None:
    backend = McpBackend()
    with pytest.raises(InvalidInput) as caught:
        await backend.fetch_documents({"url": side.origin + "/mcp"})
    assert caught.value.code == "source_denied"
    assert side.connections == 0


async def test_nobody_there_is_told(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = await fails(ask, f"http://127.0.0.1:{port}/mcp")
    assert error.code == "source_unreachable"


@pytest.mark.parametrize("version", ["2031-01-01", None, 7])
async def test_a_revision_that_is_not_known_is_told(ask: Ask, side: FarSide, version: Any) -> None:
    error = await fails(ask, serve(side, {"initialize": {"protocolVersion": version, "capabilities": {}}}))
    assert error.code == "source_version"


async def test_a_modern_server_of_unknown_revisions_is_told(ask: Ask, side: FarSide) -> None:
    def refuse(asked: Mapping[str, Any], send: Send) -> None:
        error = {"code": -32022, "message": "no", "data": {"supported": ["2031-01-01"]}}
        send(as_json({"jsonrpc": "2.0", "id": asked["id"], "error": error}, status=400))

    error = await fails(ask, serve(side, {"server/discover": refuse}))
    assert error.code == "source_version"


async def test_a_session_that_is_never_known_is_given_up(ask: Ask, side: FarSide) -> None:
    greeting: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "serverInfo": {"name": "odd", "version": "1"},
    }

    def begin(asked: Mapping[str, Any], send: Send) -> None:
        message = {"jsonrpc": "2.0", "id": asked["id"], "result": greeting}
        send(as_json(message, headers={"Mcp-Session-Id": "gone"}))

    error = await fails(ask, serve(side, {"initialize": begin, "tools/call": reply(status=404)}))
    assert "does not know them afterwards" in error.message
    assert calls_of(side) == 3


async def test_an_error_of_the_protocol_is_told_in_the_upstreams_words_without_our_secret(
    ask: Ask, side: FarSide
) -> None:
    def refuse(asked: Mapping[str, Any], send: Send) -> None:
        error = {"code": -32603, "message": "bad token s3cret-token here"}
        send(as_json({"jsonrpc": "2.0", "id": asked["id"], "error": error}))

    url = serve(side, {"tools/call": refuse, "resources/read": refuse})
    settings = {"token": "s3cret-token"}
    outcome = await ask.call(url, "any", settings=settings)
    assert outcome.failed
    assert "bad token [masked] here" in outcome.text
    with pytest.raises(SourceError) as caught:
        await ask.run(url, Operation("resource", {"uri": "a:b"}), {"uri": "a:b"}, settings=settings)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("x" * (MAX_WORDS - 6) + "s3cret-token", {"token": "s3cret-token"}),
        ("bad key s3cret-token", {"auth": "headers", "headers": {"A": "s3cret", "B": "s3cret-token"}}),
    ],
    ids=["where the words are cut", "of which another is the beginning"],
)
async def test_no_part_of_a_secret_is_told(
    ask: Ask, side: FarSide, said: str, settings: Mapping[str, Any]
) -> None:
    def refuse(asked: Mapping[str, Any], send: Send) -> None:
        send(as_json({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32603, "message": said}}))

    outcome = await ask.call(serve(side, {"tools/call": refuse}), "any", settings=settings)
    assert outcome.failed
    assert "s3cret" not in outcome.text
    assert "token" not in outcome.text
    assert len(outcome.text) < MAX_WORDS + 100


async def test_lists_without_end_are_left(ask: Ask, side: FarSide) -> None:
    endless: list[tuple[dict[str, Any], str]] = [
        ({"tools": [], "nextCursor": "again"}, "source_not_mcp"),
        ({"tools": [{"name": f"t{each}"} for each in range(2_001)]}, "result_too_large"),
        ({"tools": "none"}, "source_not_mcp"),
    ]
    for answer, code in endless:
        with pytest.raises(InvalidInput) as caught:
            await ask.offering(serve(side, {"tools/list": answer}))
        assert caught.value.code == code
        assert caught.value.errors[0]["path"] == "url"


async def test_a_server_that_refuses_the_token_is_told_at_the_token(ask: Ask, side: FarSide) -> None:
    url = side.serve("/mcp", reply(status=401))
    with pytest.raises(InvalidInput) as caught:
        await ask.offering(url, auth="bearer", token="wrong-token")
    assert caught.value.errors[0]["path"] == "token"


async def test_a_stream_that_cannot_be_taken_up_again_is_no_request_that_did_not_arrive(
    ask: Ask, side: FarSide
) -> None:
    def end(asked: Mapping[str, Any], send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        send(b"id: 1\nretry: 1\ndata:\n\n")
        # Nobody listens here from now on.
        side._socket.shutdown(socket.SHUT_RDWR)

    error = await fails(ask, serve(side, {"tools/call": end}))
    assert (error.code, getattr(error, "retryable", None)) == ("source_failed", False)
    assert "may have begun" in error.message
    assert calls_of(side) == 1


async def test_a_session_that_is_forgotten_at_once_is_a_reason_in_a_check(ask: Ask, side: FarSide) -> None:
    url = serve(side, {"initialize": begun_as("s-1"), "ping": reply(status=404)})
    health = await ask.engine.check(ask.source(url))
    assert (health.state, health.code) == ("unhealthy", "source_not_mcp")
    assert "does not know the session" in health.reason


async def test_a_check_that_fails_as_none_should_is_told_and_logged(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(source: Any) -> None:
        raise KeyError("odd")

    monkeypatch.setattr(ask.backend, "check", fail)
    health = await ask.engine.check(ask.source(serve(side, {})))
    assert (health.state, health.code) == ("unhealthy", "internal")
    assert "odd" not in health.reason
    assert "could not" in health.reason
    assert "the check of a data source failed" in caplog.text
