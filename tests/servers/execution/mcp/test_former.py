"""The former transport HTTP+SSE: found where streamable HTTP is not answered, all that crosses, and at its worst."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio.to_thread
import orjson
import pytest

from config.local.ports import LOOPBACK
from core.errors import InvalidInput, MarinaError, SourceError
from servers.execution.backends.mcp import former
from servers.execution.backends.mcp.faults import Challenged
from tests.farside import Asked, FarSide, Send, reply
from tests.marina.harbour import Harbour, Recorder, serve
from tests.servers.execution.mcp.conftest import Ask, Client
from tests.servers.execution.mcp.shipyard import make_server
from tests.servers.execution.mcp.test_asking import OfLegacy, call_until_done

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The logging capability is deprecated"),
]

SUM = {"a": 1, "b": 2}


@pytest.fixture
async def harbour(ask: Ask) -> AsyncIterator[Harbour]:
    """The SDK's server, by the former transport alone."""
    harbour = Harbour()
    with serve(Recorder(make_server(harbour).sse_app(), harbour), harbour.port):
        yield harbour
        # Streams that the server would have to break off leave parts of it unclosed.
        await ask.engine.close()


def url_of(harbour: Harbour) -> str:
    return f"http://{LOOPBACK}:{harbour.port}/sse"


async def test_it_is_found_and_kept_to(ask: Ask, harbour: Harbour) -> None:
    for identity in ("key:1", "key:1", "key:2"):
        outcome = await ask.call(url_of(harbour), "add", SUM, client=Client(identity))
        assert outcome.structured == {"result": 3}
    # A stream is a session: each caller has one. Only the first looked for the other transport.
    assert [seen.path for seen in harbour.verbs("GET")] == ["/sse", "/sse"]
    assert [seen.path for seen in harbour.verbs("POST")].count("/sse") == 2
    assert len(harbour.of("initialize")) == 2


async def test_a_setting_names_it(ask: Ask, harbour: Harbour) -> None:
    await ask.call(url_of(harbour), "add", SUM, settings={"transport": "sse"})
    assert {seen.path for seen in harbour.verbs("POST")} == {"/messages/"}
    with pytest.raises(SourceError) as refused:
        await ask.call(url_of(harbour), "add", SUM, settings={"transport": "http"})
    assert (refused.value.code, len(harbour.verbs("GET"))) == ("source_missing", 1)
    with pytest.raises(InvalidInput):
        ask.backend.clean_settings({"url": url_of(harbour), "transport": "carrier pigeon"})
    kept = ask.backend.clean_settings({"url": url_of(harbour), "transport": "sse"})
    assert kept["transport"] == "sse"


async def test_what_it_offers_is_listed_and_its_health_is_found_out(ask: Ask, harbour: Harbour) -> None:
    offering = await ask.offering(url_of(harbour))
    assert {"add", "sail", "name_it"} <= {tool.name for tool in offering.tools}
    assert (await ask.engine.check(ask.source(url_of(harbour)))).state == "healthy"


async def test_progress_messages_and_questions_cross(ask: Ask, harbour: Harbour) -> None:
    url = url_of(harbour)
    client = OfLegacy()
    await ask.call(url, "sail", client=client)
    await ask.call(url, "talk", client=client)
    assert client.told == [*((mile, 3, f"mile {mile}") for mile in (1, 2, 3)), ("info", "land in sight")]
    assert (await ask.call(url, "name_it", client=client)).text == "named Argo"
    outcome, rounds = await call_until_done(ask, url, "ask_twice")
    assert (outcome.text, rounds) == ("Ann and Ben", 2)


async def test_many_calls_of_one_caller_share_a_stream(ask: Ask, harbour: Harbour) -> None:
    url = url_of(harbour)
    outcomes = await asyncio.gather(*(ask.call(url, "add", {"a": n, "b": n}) for n in range(40)))
    assert [outcome.structured for outcome in outcomes] == [{"result": 2 * n} for n in range(40)]
    assert len(harbour.verbs("GET")) == 1


async def test_who_stops_waiting_stops_the_call(ask: Ask, harbour: Harbour) -> None:
    call = asyncio.create_task(ask.call(url_of(harbour), "moor"))
    await anyio.to_thread.run_sync(harbour.waiting.wait, 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await anyio.to_thread.run_sync(harbour.cancelled.wait, 60)


async def test_a_stream_that_broke_is_begun_anew(ask: Ask, side: FarSide) -> None:
    old = Old(side)
    assert (await ask.call(old.url, "any")).text == "done"
    old.hang_up()
    async with asyncio.timeout(60):
        # Until it is noticed, the old one may still carry an answer.
        while old.streams < 2:
            assert (await ask.call(old.url, "any", repeatable=True)).text == "done"


class Old:
    """A server of the former transport on a far side. ``said`` is what it says of a tool call in place of an answer."""

    def __init__(self, side: FarSide, *, endpoint: str = "/messages?session=1", said: bytes = b"") -> None:
        self.url = side.serve("/sse", self._stream)
        side.serve("/messages", self._posted)
        self._side = side
        self._endpoint = endpoint
        self._said = said
        self._send: Send = lambda _: None
        self.streams = 0
        self.refusal = ""
        self.broken = threading.Event()

    def hang_up(self) -> None:
        self.broken.set()

    def _stream(self, asked: Asked, send: Send) -> None:
        if asked.method != "GET":
            send(reply(b"no such method", status=405))
            return
        self.streams += 1
        self.broken.clear()
        self._send = send
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        send(f"event: endpoint\r\ndata: {self._endpoint}\r\n\r\n".encode())
        while not self.broken.wait(0.05) and not self._side.over.is_set():
            pass

    def _posted(self, asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body)
        if message["method"] == "tools/call" and self.refusal:
            send(reply(status=403, headers={"WWW-Authenticate": self.refusal}))
            return
        results: Mapping[str, Any] = {
            "initialize": {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {}},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        send(reply(b"Accepted", status=202))
        if message["method"] == "tools/call" and self._said:
            self._send(self._said)
        elif "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
            self._send(b"event: message\ndata: " + orjson.dumps(answer) + b"\n\n")


async def fails(ask: Ask, url: str, **settings: Any) -> MarinaError:
    with pytest.raises(MarinaError) as caught:
        await ask.call(url, "any", timeout=30, settings={"transport": "sse", **settings})
    return caught.value


@pytest.mark.parametrize("endpoint", ["http://127.0.0.2:9/messages", "http://[", "//[::1"])
async def test_an_address_of_another_origin_gets_nothing(ask: Ask, side: FarSide, endpoint: str) -> None:
    old = Old(side, endpoint=endpoint)
    fault = await fails(ask, old.url, token="a-token-of-ours")
    assert (fault.code, "another origin" in fault.message) == ("source_not_mcp", True)
    assert not [asked for asked in side.asked if asked.path == "/messages"]


async def test_what_a_refusal_says_of_signing_in_is_read(ask: Ask, side: FarSide) -> None:
    old = Old(side)
    old.refusal = 'Bearer error="insufficient_scope", scope="ships:write"'
    fault = await fails(ask, old.url)
    assert isinstance(fault, Challenged)
    assert (fault.challenge.wants_more, fault.challenge.scopes) == (True, ("ships:write",))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"data: {\n\n", "source_failed"),
        (b'data: {"jsonrpc":"2.0","id":999,"result":{}}\n\n', "source_not_mcp"),
        (b'data: {"jsonrpc":"2.0","id":null,"error":{"code":-32700}}\n\n', None),
        (b"data: " + b"x" * 40_000, "result_too_large"),
    ],
)
async def test_what_is_no_answer_ends_in_a_clear_error(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch, said: bytes, code: str | None
) -> None:
    monkeypatch.setattr(former, "MAX_EVENT_BYTES", 30_000)
    old = Old(side, said=said)
    if code is None:
        outcome = await ask.call(old.url, "any", settings={"transport": "sse"})
        assert (outcome.failed, "error -32700" in outcome.text) == (True, True)
    else:
        assert (await fails(ask, old.url)).code == code


async def test_an_answer_that_is_too_large_ends_its_call_alone(ask: Ask, side: FarSide) -> None:
    answer = {"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "x" * 5_000}]}}
    old = Old(side, said=b"data: " + orjson.dumps(answer) + b"\n\n")
    assert (await fails(ask, old.url, max_bytes=1_024)).code == "result_too_large"
    assert old.streams == 1


async def test_neither_transport_is_told_as_the_first(ask: Ask, side: FarSide) -> None:
    url = side.serve("/mcp", reply(b"nothing here", status=404))
    with pytest.raises(SourceError) as refused:
        await ask.call(url, "any")
    assert refused.value.code == "source_missing"
    assert [asked.method for asked in side.asked].count("GET") == 1
