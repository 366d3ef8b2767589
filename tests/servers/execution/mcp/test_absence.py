"""What counts as an upstream that is not there, and what does not: whoever refuses, or fails at its work, is there."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import pytest

from servers.execution.backends.mcp import breaker, connecting, replicas
from servers.execution.backends.mcp.breaker import FAULTS, LAST_WAIT
from tests.farside import FarSide, Send, reply
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.test_bad_servers import Answer, as_json, fails, result, serve
from tests.servers.execution.mcp.test_own_tokens import Guarded

pytestmark = pytest.mark.anyio


def silent(side: FarSide) -> Answer:
    """Says nothing, and keeps whoever asked waiting."""
    return lambda asked, send: send(b"") if side.over.wait(30) else None


async def codes(ask: Ask, url: str, count: int, **more: Any) -> list[str]:
    return [(await fails(ask, url, **more)).code for _ in range(count)]


@pytest.mark.parametrize("method", ["tools/call", "initialize"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"no", status=401), "source_auth"),
        (reply(b"no", status=429), "source_busy"),
        (reply(b"no", status=500), "source_failed"),
        (reply(b"<html>Welcome</html>", kind="text/html"), "source_not_mcp"),
    ],
    ids=["401", "429", "500", "html"],
)
async def test_who_refuses_is_there_and_asked_on(
    ask: Ask, side: FarSide, method: str, answer: bytes, code: str
) -> None:
    url = serve(side, {method: answer})
    assert await codes(ask, url, FAULTS + 2) == [code] * (FAULTS + 2)
    serve(side, {"tools/call": {"content": []}})
    assert not (await ask.call(url, "any")).failed


async def test_who_is_silent_to_what_it_does_not_know_is_a_server_of_before(ask: Ask, side: FarSide) -> None:
    url = serve(side, {"server/discover": silent(side), "ping": {}, "tools/call": {"content": []}})
    health = await ask.engine.check(ask.source(url))
    assert (health.state, health.reason) == ("healthy", "")
    for _ in range(3):
        assert not (await ask.call(url, "any", timeout=30)).failed
    assert sum(b"server/discover" in asked.body for asked in side.asked) == 2


async def test_who_is_slow_to_say_that_it_is_new_is_believed(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ERA_SECONDS", 0.2)
    told = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    unknown = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}

    def discover(asked: Mapping[str, Any], send: Send) -> None:
        side.over.wait(0.5)
        send(result(asked, told))

    def refuse(asked: Mapping[str, Any], send: Send) -> None:
        send(as_json({"jsonrpc": "2.0", "id": asked["id"], "error": unknown}, status=400))

    url = serve(side, {"server/discover": discover, "initialize": refuse, "tools/call": {"content": []}})
    assert not (await ask.call(url, "any")).failed
    assert not (await ask.call(url, "any")).failed
    assert sum(b"initialize" in asked.body for asked in side.asked) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_who_takes_no_work_is_left_alone(
    ask: Ask, side: FarSide, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_WAIT", LAST_WAIT)
    url = serve(side, {"tools/call": reply(b"no", status=status)})
    found = await codes(ask, url, FAULTS + 1)
    assert found == ["source_failed"] * FAULTS + ["source_unavailable"]


async def test_one_that_answers_again_is_asked_whatever_it_answers(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_WAIT", LAST_WAIT)
    url = side.serve("/mcp", reply(b"no", status=503))
    assert (await codes(ask, url, FAULTS + 1))[-1] == "source_unavailable"
    side.serve("/mcp", reply(b"no", status=401))
    (member,) = ask.backend.circles.get(ask.source(url)).members
    member.breaker._clock = lambda: monotonic() + LAST_WAIT
    assert await codes(ask, url, 1) == ["source_auth"]


async def test_one_of_several_that_refuses_costs_no_call_and_is_asked_on(ask: Ask, side: FarSide) -> None:
    good = serve(side, {"tools/call": {"content": []}})
    bad = side.serve("/full", reply(b"no", status=429))
    settings = {"replicas": [bad]}
    for _ in range(2 * FAULTS):
        assert not (await ask.call(good, "any", settings=settings)).failed
    members = ask.backend.circles.get(ask.source(good, replicas=[bad])).members
    assert [each.breaker.closed for each in members] == [True, True]


@pytest.mark.parametrize("answer", [reply(b"no", status=503), b""], ids=["503", "none"])
async def test_a_token_that_cannot_be_had_is_no_fault_of_the_server(
    ask: Ask, side: FarSide, answer: bytes
) -> None:
    guarded = Guarded(side)
    side.serve("/token", answer)
    found = await codes(ask, guarded.url, FAULTS + 1, settings=guarded.settings)
    assert set(found) == {"source_failed"}
    side.serve("/token", guarded.give)
    assert (await ask.call(guarded.url, "look", settings=guarded.settings)).text == "token-1-base"


async def test_a_token_that_takes_long_is_no_silence_of_the_server(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PROBE_SECONDS", 3.0)
    guarded = Guarded(side)

    def slow(*asked: Any) -> None:
        side.over.wait(4)
        guarded.give(*asked)

    side.serve("/token", slow)
    circle = ask.backend.circles.get(ask.source(guarded.url, **guarded.settings))
    (member,) = circle.members
    circle.suspect(member)
    assert member.probing is not None
    await member.probing
    assert member.breaker.closed
    assert guarded.asked
