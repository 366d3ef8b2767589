"""What upstreams of before 2026-07-28 say of a call on the stream of its session, and not on the call's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import orjson
import pytest

from core.errors import SourceError
from servers.execution.backends.mcp import exchange, sessionstream
from servers.execution.backends.mcp.session import Conversation
from servers.execution.contract import Ask as Question
from servers.execution.contract import InputRequired, LogLevel
from tests.farside import Asked, FarSide, Send, reply
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask, Client
from tests.servers.execution.mcp.test_asking import OfLegacy, call_until_done

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The (sampling|roots|logging) capability is deprecated"),
]


class Rooted(OfLegacy):
    """Has folders, too."""

    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        if any(each.method == "roots/list" for each in asks.values()):
            return {key: {"roots": [{"uri": "file:///ships"}]} for key in asks}
        return await super().ask(asks, keep=keep)


class Incurious(Client):
    """Can be asked nothing, and wants to hear nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.wants_progress = False
        self.log_level = None


async def test_a_client_is_asked_what_comes_aside(ask: Ask, legacy_yard: Harbour) -> None:
    client = OfLegacy()
    assert (await ask.call(legacy_yard.url, "name_aside", client=client)).text == "Ann and Ben"
    assert [each.method for each in client.asked] == ["elicitation/create"] * 2
    assert (await ask.call(legacy_yard.url, "compose_aside", client=client)).text == "yo ho"
    assert (await ask.call(legacy_yard.url, "survey", client=Rooted())).text == "file:///ships"


async def test_a_call_that_asks_a_modern_client_aside_is_made_once(ask: Ask, legacy_yard: Harbour) -> None:
    outcome, rounds = await call_until_done(ask, legacy_yard.url, "name_aside")
    assert (outcome.text, rounds) == ("Ann and Ben", 2)
    assert len(legacy_yard.of("tools/call")) == 1


async def test_a_call_that_does_no_harm_twice_is_made_again(ask: Ask, legacy_yard: Harbour) -> None:
    outcome, rounds = await call_until_done(ask, legacy_yard.url, "name_aside", repeatable=True)
    assert (outcome.text, rounds) == ("Ann and Ben", 2)
    assert len(legacy_yard.of("tools/call")) == 3


async def test_log_messages_aside_are_passed_on(ask: Ask, legacy_yard: Harbour) -> None:
    class Hearing(Client):
        async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
            await super().log(level, data, logger)
            legacy_yard.heard.set()

    client = Hearing()
    await ask.call(legacy_yard.url, "shout", client=client)
    assert client.told == [("info", "land in sight")]


async def test_a_session_has_one_stream_which_ends_with_it(ask: Ask, legacy_yard: Harbour) -> None:
    for _ in range(3):
        await ask.call(legacy_yard.url, "name_aside", client=OfLegacy())
    assert len(legacy_yard.verbs("GET")) == 1
    await ask.backend.upstreams.close()
    assert len(legacy_yard.verbs("DELETE")) == 1
    assert not [task for task in asyncio.all_tasks() if "SessionStream" in repr(task.get_coro())]


async def test_whoever_wants_to_hear_nothing_costs_no_stream(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", {"a": 1, "b": 2}, client=Incurious())
    assert legacy_yard.verbs("GET") == []


async def test_a_session_that_the_upstream_lost_gets_another_stream(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "name_aside", client=OfLegacy())
    legacy_yard.forget_sessions()
    assert (await ask.call(legacy_yard.url, "name_aside", client=OfLegacy())).text == "Ann and Ben"
    of_sessions = {seen.headers["mcp-session-id"] for seen in legacy_yard.verbs("GET")}
    assert len(of_sessions) == 2


class Aside:
    """An upstream whose stream and whose calls a test writes. ``streams`` counts the streams that were opened."""

    def __init__(self, side: FarSide, stream: Callable[[Aside, Send], None]) -> None:
        self.side = side
        self.streams = 0
        self.answered = threading.Event()
        self.called = threading.Event()
        self.answers: list[Any] = []
        self._stream = stream
        self.url = side.serve("/mcp", self._answer)

    def begin(self, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: here\n\n")

    def ask(self, send: Send, rpc_id: Any = "q") -> None:
        params = {"message": "Which first?", "requestedSchema": {"type": "object", "properties": {}}}
        say(send, {"id": rpc_id, "method": "elicitation/create", "params": params})

    def stay(self) -> None:
        self.side.over.wait(60)

    def _answer(self, asked: Asked, send: Send) -> None:
        if asked.method == "GET":
            self.streams += 1
            self._stream(self, send)
            return
        message = orjson.loads(asked.body or b"{}")
        if "method" not in message:
            self.answers.append(message)
            self.answered.set()
            send(reply(status=202))
        elif "id" not in message:
            send(reply(status=202))
        elif message["method"] == "initialize":
            greeting = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "aside", "version": "1"},
            }
            body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": greeting})
            send(reply(body, kind="application/json", headers={"Mcp-Session-Id": "s1"}))
        elif message["method"] == "tools/call":
            self.called.set()
            if message["params"]["name"] == "ask":
                self.answered.wait(30)
            result = {"content": [{"type": "text", "text": "done"}]}
            body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
            send(reply(body, kind="application/json"))
        else:
            error = {"code": -32601, "message": "Method not found"}
            body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error})
            send(reply(body, kind="application/json"))


def say(send: Send, message: Mapping[str, Any]) -> None:
    """A message as an event of a stream."""
    send(b"data: " + orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n\n")


async def test_an_upstream_without_such_a_stream_is_asked_for_one_once(ask: Ask, side: FarSide) -> None:
    upstream = Aside(side, lambda upstream, send: send(reply(status=405)))
    for _ in range(3):
        assert (await ask.call(upstream.url, "plain", client=OfLegacy())).text == "done"
    assert upstream.streams == 1


async def test_a_stream_that_says_nothing_holds_up_one_call_alone(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Aside(side, lambda upstream, send: upstream.stay())
    monkeypatch.setattr(sessionstream, "OPEN_SECONDS", 0.05)
    await ask.call(upstream.url, "plain", client=OfLegacy())
    monkeypatch.setattr(sessionstream, "OPEN_SECONDS", 3_600)
    await ask.call(upstream.url, "plain", client=OfLegacy())
    assert upstream.streams == 1


async def test_a_stream_that_ends_while_a_call_is_made_is_opened_again(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessionstream, "AGAIN_SECONDS", 0.05)

    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        if upstream.streams > 1:
            upstream.ask(send)
            upstream.stay()

    upstream = Aside(side, stream)
    assert (await ask.call(upstream.url, "ask", client=OfLegacy())).text == "done"
    assert upstream.answers[0]["result"]["content"] == {"name": "Ann"}
    assert upstream.streams == 2


async def test_a_question_while_nothing_is_called_is_refused(ask: Ask, side: FarSide) -> None:
    over = threading.Event()

    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        over.wait(30)
        upstream.ask(send)
        upstream.answered.wait(30)
        upstream.answered.clear()
        say(send, {"id": "p", "method": "ping"})
        upstream.answered.wait(30)
        both.set()
        upstream.stay()

    both = threading.Event()
    upstream, client = Aside(side, stream), OfLegacy()
    assert (await ask.call(upstream.url, "plain", client=client)).text == "done"
    over.set()
    assert await anyio.to_thread.run_sync(both.wait, 30)
    refused, answered = upstream.answers
    assert (refused["id"], refused["error"]["code"]) == ("q", -32_601)
    assert (answered["id"], answered["result"]) == ("p", {})
    assert client.asked == []


async def test_an_answer_aside_is_not_taken_for_the_calls(ask: Ask, side: FarSide) -> None:
    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        for rpc_id in range(20):
            say(send, {"id": rpc_id, "result": {"content": [{"type": "text", "text": "forged"}]}})
        upstream.ask(send)
        upstream.stay()

    upstream = Aside(side, stream)
    assert (await ask.call(upstream.url, "ask", client=OfLegacy())).text == "done"


async def test_what_floods_the_stream_ends_the_call_with_the_reason(ask: Ask, side: FarSide) -> None:
    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        while not side.over.is_set():
            say(send, {"method": "notifications/message", "params": {"level": "info", "data": "x" * 4_000}})

    upstream = Aside(side, stream)
    with pytest.raises(SourceError) as caught:
        await ask.call(upstream.url, "ask", client=OfLegacy(), settings={"max_bytes": 100_000})
    assert "more than 100000 bytes" in caught.value.message
    upstream.answered.set()


async def test_a_question_aside_that_ends_the_run_leaves_the_upstream_no_call(
    ask: Ask, side: FarSide
) -> None:
    """A call that does no harm twice is not held for a client of 2026-07-28: it is cancelled and made again."""

    class Later(OfLegacy):
        async def ask(
            self, asks: Mapping[str, Question], *, keep: str = ""
        ) -> Mapping[str, Mapping[str, Any]]:
            raise InputRequired(asks, keep)

    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        upstream.ask(send)
        upstream.stay()

    upstream = Aside(side, stream)
    with pytest.raises(InputRequired):
        await ask.call(upstream.url, "ask", client=Later(), repeatable=True)
    upstream.answered.set()
    await ask.backend.upstreams.close()
    told = [orjson.loads(asked.body).get("method") for asked in side.asked if asked.body]
    assert "notifications/cancelled" in told


@pytest.mark.parametrize("status", [403, 409, 500, 503])
async def test_a_stream_that_is_refused_once_is_opened_at_a_later_call(
    ask: Ask, side: FarSide, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(upstream: Aside, send: Send) -> None:
        if upstream.streams == 1:
            send(reply(b"no", status=status))
            return
        upstream.begin(send)
        upstream.called.wait(30)
        upstream.ask(send)
        upstream.stay()

    upstream = Aside(side, stream)
    monkeypatch.setattr(sessionstream, "RETRY_SECONDS", 3_600)
    assert (await ask.call(upstream.url, "plain", client=OfLegacy())).text == "done"
    assert (await ask.call(upstream.url, "plain", client=OfLegacy())).text == "done"
    assert upstream.streams == 1
    (session,) = sessions_of(ask, upstream.url)
    assert session.stream is not None
    session.stream._next_try = 0.0
    upstream.called.clear()
    assert (await ask.call(upstream.url, "ask", client=OfLegacy())).text == "done"
    assert upstream.streams == 2


async def test_a_stream_that_wants_another_sign_in_ends_no_call(ask: Ask, side: FarSide) -> None:
    """Where it is asked by a fixed token, or none, nobody could renew it."""
    upstream = Aside(side, lambda upstream, send: send(reply(b"no", status=401)))
    assert (await ask.call(upstream.url, "plain", client=OfLegacy())).text == "done"


async def test_the_newest_call_is_asked(ask: Ask, side: FarSide) -> None:
    """An older one may have been left by its client, and wait."""
    begun = threading.Event()

    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        begun.wait(30)
        upstream.ask(send)
        upstream.stay()

    upstream = Aside(side, stream)
    older, newer = OfLegacy(), OfLegacy()
    first = asyncio.create_task(ask.call(upstream.url, "ask", client=older))
    assert await anyio.to_thread.run_sync(upstream.called.wait, 30)
    upstream.called.clear()
    second = asyncio.create_task(ask.call(upstream.url, "ask", client=newer))
    assert await anyio.to_thread.run_sync(upstream.called.wait, 30)
    begun.set()
    assert {outcome.text for outcome in await asyncio.gather(first, second)} == {"done"}
    assert (len(older.asked), len(newer.asked)) == (0, 1)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "method": ["notifications/tools/list_changed"]},
        {"id": 1, "method": None},
        {"method": {"a": 1}},
        {"id": {"a": 1}, "method": "ping"},
    ],
)
async def test_what_is_no_message_does_no_harm(ask: Ask, side: FarSide, message: Mapping[str, Any]) -> None:
    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        say(send, message)
        upstream.ask(send)
        upstream.stay()

    upstream, client = Aside(side, stream), OfLegacy()
    assert (await ask.call(upstream.url, "ask", client=client)).text == "done"


async def test_an_event_without_end_is_not_kept(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_HEARD_BYTES", 100_000)
    sent = threading.Event()

    def stream(upstream: Aside, send: Send) -> None:
        upstream.begin(send)
        upstream.called.wait(30)
        try:
            for _ in range(10_000):
                send(b"data: " + b"x" * 10_000 + b"\n")
        except OSError:
            # It was hung up on.
            sent.set()

    upstream = Aside(side, stream)
    calling = asyncio.create_task(ask.call(upstream.url, "ask", client=OfLegacy()))
    assert await anyio.to_thread.run_sync(sent.wait, 60)
    upstream.answered.set()
    assert (await calling).text == "done"


def sessions_of(ask: Ask, url: str) -> list[Conversation]:
    """The sessions with an upstream that are kept."""
    kept = ask.backend.upstreams._kept.values()
    return [
        session
        for upstream in kept
        if upstream.settings.url == url
        for session in upstream._sessions.values()
    ]
