"""What ``marina-stdio`` says when the host, the server or the command line is wrong. Never the key."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from config.local.ports import LOOPBACK, find_free_port
from marina.stdio import main
from tests.marina.harbour import serve
from tests.marina.host import MODERN, start_bridge

KEY = "mcp_live_not_a_real_key_0123456789"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
TOO_LONG = 16 * 1024 * 1024 + 70_000

ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/401": (401, {}, b""),
    "/403": (403, {"content-type": "text/plain"}, b"no"),
    "/404": (404, {"content-type": "application/json"}, b'{"detail":"Not Found"}'),
    "/429": (429, {"retry-after": "7"}, b""),
    "/503": (503, {"content-type": "text/html"}, b"<h1>down</h1>"),
    "/page": (200, {"content-type": "text/html"}, b"<!doctype html>"),
    "/json": (200, {"content-type": "application/json"}, b'{"hello":"world"}'),
    "/cut": (200, {"content-type": "application/json", "content-length": "90"}, b'{"jsonrpc":'),
    "/empty": (200, {"content-type": "text/event-stream"}, b": nothing follows\n\n"),
    "/garbled": (200, {"content-type": "text/event-stream"}, b"data: {nonsense\n\n"),
    "/away": (307, {"location": "http://192.0.2.1/mcp"}, b""),
    "/moved": (308, {"location": "/good"}, b""),
    "/circle": (307, {"location": "/circle"}, b""),
    "/error": (
        400,
        {"content-type": "application/json"},
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"server\'s own words"}}',
    ),
    "/good": (
        200,
        {"content-type": "application/json"},
        b'{\r\n "jsonrpc": "2.0",\n "id": 1,\n "result": {}\n}',
    ),
    "/batch": (
        200,
        {"content-type": "application/json"},
        b'[{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":9,"result":{}}]',
    ),
}
"""What the server says at each path."""


async def canned(scope: Scope, receive: Receive, send: Send) -> None:
    """A server that answers each path as above."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    status, headers, body = ANSWERS[scope["path"]]
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    port = find_free_port()
    with serve(canned, port):
        yield f"http://{LOOPBACK}:{port}"


async def exchange(url: str, message: Any = PING, *arguments: str, key: str | None = KEY) -> tuple[Any, str]:
    """One message and its answer, and what stderr said."""
    async with start_bridge(url, *arguments, key=key) as host:
        await host.send(message)
        answer = await host.receive()
        status, errors = await host.end()
        assert status == 0
        assert KEY not in errors
        assert KEY not in json.dumps(answer)
        return answer, errors


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/401", 401, "does not know the key"),
        ("/403", 403, "may not do this"),
        ("/404", 404, "Check the names of team and server"),
        ("/429", 429, "Try again in 7 s"),
        ("/503", 503, "the server failed"),
        ("/page", 502, "text/html, not with MCP"),
        ("/json", 502, "not with MCP"),
        ("/cut", 502, "before its answer was complete"),
        ("/empty", 502, "before the result"),
        ("/garbled", 502, "not JSON"),
        ("/away", 502, "redirects to http://192.0.2.1/mcp, which is not followed"),
        ("/circle", 502, "in a circle"),
    ],
)
def test_each_failure_becomes_an_error_that_says_what_to_do(
    base_url: str, path: str, code: int, words: str
) -> None:
    answer, errors = asyncio.run(exchange(base_url + path))
    assert answer["id"] == 1
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]
    assert answer["error"]["data"]["source"] == "marina-stdio"
    assert answer["error"]["message"] in errors


def test_without_a_key_401_says_where_to_put_one(base_url: str) -> None:
    answer, _ = asyncio.run(exchange(base_url + "/401", key=None))
    assert "Set MARINA_API_KEY" in answer["error"]["message"]


def test_the_servers_own_error_is_passed_on_with_the_id_it_left_out(base_url: str) -> None:
    answer, _ = asyncio.run(exchange(base_url + "/error"))
    assert answer == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "server's own words"}}


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_an_answer_of_many_lines_is_written_on_one(base_url: str, path: str) -> None:
    answer, errors = asyncio.run(exchange(base_url + path))
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert errors == ""


def test_a_batch_is_answered_by_a_batch_of_what_was_asked(base_url: str) -> None:
    answer, _ = asyncio.run(exchange(base_url + "/batch", [PING, {**PING, "id": 2}]))
    assert [item["id"] for item in answer] == [2, 1]


def test_a_batch_that_fails_is_answered_for_each_request() -> None:
    async def converse() -> None:
        async with start_bridge("http://127.0.0.1:9/") as host:
            await host.send([PING, {**PING, "id": "b"}])
            assert {(await host.receive())["id"] for _ in range(2)} == {1, "b"}

    asyncio.run(converse())


def test_a_server_that_does_not_run_is_named() -> None:
    answer, _ = asyncio.run(exchange(f"http://{LOOPBACK}:9/mcp/team"))
    assert "Cannot connect to 127.0.0.1:9 (connection refused)" in answer["error"]["message"]
    assert answer["error"]["data"]["retryable"] is True


def test_plain_http_behind_https_is_told_from_a_dead_server(base_url: str) -> None:
    answer, _ = asyncio.run(exchange(base_url.replace("http:", "https:") + "/good"))
    assert "does not speak TLS" in answer["error"]["message"]


def test_a_silent_server_is_given_up_after_the_timeout() -> None:
    async def converse() -> None:
        with socket.create_server((LOOPBACK, 0)) as silence:
            url = f"http://{LOOPBACK}:{silence.getsockname()[1]}/"
            answer, _ = await exchange(url, PING, "--timeout", "0.3")
        assert answer["error"]["code"] == 504
        assert "--timeout" in answer["error"]["message"]

    asyncio.run(converse())


MALFORMED: tuple[tuple[bytes, int, int | None], ...] = (
    (b"{nonsense", -32700, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700, None),
    (b'"\xff"', -32700, None),
    (b"[" * 200_000, -32700, None),
    (b"1" * 5000, -32700, None),
    (b"3", -32600, None),
    (b"[]", -32600, None),
    (b"[1]", -32600, None),
    (b"{}", -32600, None),
    (b'{"jsonrpc":"2.0","id":7,"method":3}', -32600, 7),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
    (b'{"jsonrpc":"2.0","id":7,"method":"pi\\r\\nng"}', -32600, 7),
    (b" " * TOO_LONG + b"{}", -32600, None),
)


def test_a_malformed_line_is_refused_and_the_next_one_served(base_url: str) -> None:
    async def converse() -> None:
        async with start_bridge(base_url + "/good") as host:
            for line, code, request_id in MALFORMED:
                await host.write(line)
                refused = await host.receive()
                assert (refused["error"]["code"], refused["id"]) == (code, request_id), line[:80]
                await host.write(b"")
                await host.send(PING)
                assert (await host.receive())["result"] == {}

    asyncio.run(converse())


def test_half_a_surrogate_pair_in_a_name_reaches_the_server(base_url: str) -> None:
    async def converse() -> None:
        async with start_bridge(base_url + "/good") as host:
            await host.request(1, "prompts/get", {"name": "\ud800"}, version=MODERN)
            assert (await host.receive())["result"] == {}

    asyncio.run(converse())


def test_an_id_in_use_is_refused() -> None:
    async def converse() -> None:
        with socket.create_server((LOOPBACK, 0)) as silence:
            async with start_bridge(f"http://{LOOPBACK}:{silence.getsockname()[1]}/") as host:
                await host.send(PING)
                await host.send(PING)
                assert "in use" in (await host.receive())["error"]["message"]

    asyncio.run(converse())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ftp://example.com/",), "begins with https://"),
        (("http://[bad/",), "malformed"),
        (("https://me:secret@example.com/",), "name or password"),
        (("http://example.com/mcp/team",), "unencrypted"),
        (("http://127.0.0.1/", "--header", "Authorization: Bearer x"), "Others can see arguments"),
        (("http://127.0.0.1/", "--header", "Mcp-Name: x"), "the bridge's own"),
        (("http://127.0.0.1/", "--header", "nonsense"), "Name: value"),
        (("http://127.0.0.1/", "--header", "A: b\r\nC: d"), "Name: value"),
        (("http://127.0.0.1/", "--timeout", "nan"), "--timeout"),
        (("http://127.0.0.1/", "--key-file", "/nowhere/key"), "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_refused(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MARINA_API_KEY", KEY)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert KEY not in errors
    assert errors.count("\n") == 1


def test_a_key_that_is_no_word_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARINA_API_KEY", f"{KEY} {KEY}")
    with pytest.raises(SystemExit):
        main(["http://127.0.0.1/"])
    assert KEY not in capsys.readouterr().err


def test_the_key_is_sent_and_no_other_header_can_stand_for_it(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.extend(scope["headers"])
            await canned({**scope, "path": "/good"}, receive, send)

    port = find_free_port()
    with serve(app, port):
        arguments = ("--key-file", str(key_file), "--header", "X-Team: harbours")
        asyncio.run(exchange(f"http://{LOOPBACK}:{port}/", PING, *arguments, key="another"))
    assert (b"authorization", f"Bearer {KEY}".encode()) in seen
    assert (b"x-team", b"harbours") in seen


def test_the_bridge_starts_without_the_rest_of_marina() -> None:
    heavy = "{'django', 'mcp', 'mcp_types', 'pydantic', 'celery', 'redis', 'orjson'}"
    script = f"import marina.stdio, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
