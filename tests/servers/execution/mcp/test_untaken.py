"""Upstreams of before that ask in the middle of a call and refuse the answer: the call ends, and says why."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.errors import SourceError
from tests.farside import FarSide, Send, reply
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.test_asking import OfLegacy
from tests.servers.execution.mcp.test_bad_servers import serve
from tests.servers.execution.mcp.test_own_tokens import Guarded

pytestmark = pytest.mark.anyio


@dataclass
class Curious:
    """Asks for a name in each call, and answers the answer with this status."""

    side: FarSide
    status: int = 202
    method: str = "elicitation/create"
    aside: Mapping[str, Any] = field(default_factory=dict)
    answered: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.url = serve(self.side, {"tools/call": self.ask, "": self.take, **self.aside})

    def ask(self, message: Mapping[str, Any], send: Send) -> None:
        question = {"jsonrpc": "2.0", "id": "q", "method": self.method, "params": {"message": "Which first?"}}
        result = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        send(b"data: " + orjson.dumps(question) + b"\n\n")
        while not self.answered.wait(0.05):
            if self.side.over.is_set():
                return
        send(b"data: " + orjson.dumps(result) + b"\n\n")

    def take(self, message: Mapping[str, Any], send: Send) -> None:
        if self.status == 202:
            self.answered.set()
        send(reply(status=self.status))

    @property
    def told(self) -> list[str]:
        return [str(orjson.loads(asked.body).get("method")) for asked in self.side.asked if asked.body]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_an_answer_that_is_refused_ends_the_call_with_the_reason(
    ask: Ask, side: FarSide, status: int
) -> None:
    curious = Curious(side, status)
    with pytest.raises(SourceError) as caught:
        await ask.call(curious.url, "any", client=OfLegacy(), timeout=30)
    assert (caught.value.code, caught.value.retryable) == ("source_failed", False)
    assert f"did not take the answer to what it asked (status {status})" in caught.value.message
    (member,) = ask.backend.circles.get(ask.source(curious.url)).members
    assert member.breaker.closed
    await ask.backend.upstreams.close()
    assert "notifications/cancelled" in curious.told
    assert curious.told.count("tools/call") == 1


async def test_an_answer_to_a_ping_that_is_refused_ends_nothing(ask: Ask, side: FarSide) -> None:
    curious = Curious(side, 400, "ping")

    def take(message: Mapping[str, Any], send: Send) -> None:
        curious.answered.set()
        send(reply(status=400))

    curious.take = take  # type: ignore[method-assign]
    curious.__post_init__()
    assert not (await ask.call(curious.url, "any", client=OfLegacy(), timeout=30)).failed


class Forgetful(Guarded):
    """Takes no token any more that it gave before it asked, as if an answer came late."""

    def __post_init__(self) -> None:
        self.curious = Curious(self.side)
        super().__post_init__()

    def _answer(self, asked: Any, send: Send) -> None:
        message = orjson.loads(asked.body or b"{}")
        known = asked.headers.get("authorization", "").removeprefix("Bearer ") in self.good
        if known and message.get("method") == "tools/call":
            self.side.over.wait(0.2)
            self.good.clear()
            self.curious.ask(message, send)
        elif known and "method" not in message:
            self.curious.take(message, send)
        else:
            super()._answer(asked, send)


async def test_an_answer_goes_by_another_token_where_the_former_one_is_refused(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, side: FarSide
) -> None:
    monkeypatch.setattr("servers.execution.backends.mcp.signing.FRESH_SECONDS", 0.1)
    guarded = Forgetful(side)
    outcome = await ask.call(guarded.url, "look", settings=guarded.settings, client=OfLegacy(), timeout=30)
    assert not outcome.failed
    assert len(guarded.asked) == 2
