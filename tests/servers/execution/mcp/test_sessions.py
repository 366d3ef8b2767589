"""Sessions with upstreams: whose they are, how many, how they end, and what happens when one is lost."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

import anyio.to_thread
import pytest

from core.errors import SourceError
from servers.execution.backends.mcp import pools, ways
from servers.execution.backends.mcp.pools import MAX_SESSIONS, SESSION_IDLE_SECONDS
from servers.execution.contract import InputRequired, Operation
from tests.farside import Asked, FarSide, Send, reply
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask, Client
from tests.servers.execution.mcp.shipyard import open_shipyard
from tests.servers.execution.mcp.test_asking import OfModern, answer_of
from tests.servers.execution.mcp.test_bad_servers import begun_as, serve
from tests.servers.execution.mcp.test_replicas import until_it_is

pytestmark = pytest.mark.anyio

SUM = {"a": 1, "b": 2}


def sessions_of(yard: Harbour) -> set[str]:
    return {
        seen.headers["mcp-session-id"] for seen in yard.of("tools/call") if "mcp-session-id" in seen.headers
    }


async def test_calls_of_one_caller_share_a_session_and_callers_share_none(
    ask: Ask, legacy_yard: Harbour
) -> None:
    for identity in ("key:1", "key:2", "key:1", "key:1"):
        await ask.call(legacy_yard.url, "add", SUM, client=Client(identity))
    assert len(legacy_yard.of("initialize")) == 2
    assert len(sessions_of(legacy_yard)) == 2


async def test_a_caller_has_another_session_on_another_server(ask: Ask, legacy_yard: Harbour) -> None:
    for server in ("default", "other", "default"):
        await ask.call(legacy_yard.url, "add", SUM, client=Client(server=server))
    assert len(sessions_of(legacy_yard)) == 2


async def test_each_call_of_a_stranger_has_a_session_that_ends_with_it(
    ask: Ask, legacy_yard: Harbour
) -> None:
    await asyncio.gather(*(ask.call(legacy_yard.url, "add", SUM, client=Client("")) for _ in range(3)))
    with pytest.raises(InputRequired):
        await ask.call(legacy_yard.url, "name_it", client=OfModern(""))
    async with ask.backend.upstreams.use(ask.source(legacy_yard.url)) as upstream:
        assert (upstream.sessions, len(upstream.holding)) == (0, 1)
    await ask.engine.close()
    assert len(sessions_of(legacy_yard)) == len(legacy_yard.of("tools/call")) == 4
    assert len(legacy_yard.verbs("DELETE")) == 4


async def test_a_strangers_answer_finds_the_call_that_waits_for_it(ask: Ask, legacy_yard: Harbour) -> None:
    with pytest.raises(InputRequired) as asked:
        await ask.call(legacy_yard.url, "name_it", client=OfModern(""))
    answers = {key: answer_of(question) for key, question in asked.value.asks.items()}
    client = OfModern("", answers=answers, kept=asked.value.kept)
    assert (await ask.call(legacy_yard.url, "name_it", client=client)).text == "named Argo"
    assert len(legacy_yard.of("tools/call")) == 1


async def test_what_a_stranger_stops_waiting_for_is_stopped_before_its_session_ends(
    ask: Ask, legacy_yard: Harbour
) -> None:
    call = asyncio.create_task(ask.call(legacy_yard.url, "moor", client=Client("")))
    await anyio.to_thread.run_sync(legacy_yard.waiting.wait, 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await anyio.to_thread.run_sync(legacy_yard.cancelled.wait, 60)
    await ask.engine.close()
    assert [seen.method or seen.verb for seen in legacy_yard.seen][-2:] == [
        "notifications/cancelled",
        "DELETE",
    ]


async def test_strangers_who_come_at_once_ask_once_of_which_era_an_upstream_is(
    ask: Ask, modern_yard: Harbour
) -> None:
    await asyncio.gather(*(ask.call(modern_yard.url, "add", SUM, client=Client("")) for _ in range(10)))
    assert [seen.method for seen in modern_yard.seen] == ["server/discover", *["tools/call"] * 10]


async def test_a_stranger_waits_for_a_place_and_whoever_has_a_credential_does_not(
    ask: Ask, legacy_yard: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "MAX_STRANGERS", 1)
    first = asyncio.create_task(ask.call(legacy_yard.url, "moor", client=Client("")))
    await anyio.to_thread.run_sync(legacy_yard.waiting.wait, 60)
    second = asyncio.create_task(ask.call(legacy_yard.url, "add", SUM, client=Client("")))
    for _ in range(3):
        await ask.call(legacy_yard.url, "add", SUM)
    assert (len(legacy_yard.of("initialize")), second.done()) == (2, False)
    first.cancel()
    assert (await second).structured == {"result": 3}
    assert len(legacy_yard.of("initialize")) == 3


async def test_a_call_that_waits_for_its_client_takes_no_strangers_place(
    ask: Ask, legacy_yard: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "MAX_STRANGERS", 1)
    for _ in range(2):
        with pytest.raises(InputRequired):
            await ask.call(legacy_yard.url, "name_it", client=OfModern(""))
    assert (await ask.call(legacy_yard.url, "add", SUM, client=Client(""))).structured == {"result": 3}


async def test_a_session_that_could_not_begin_takes_no_place(
    ask: Ask, side: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "MAX_STRANGERS", 1)
    url = side.serve("/mcp", reply(status=500))
    for _ in range(3):
        with pytest.raises(SourceError) as caught:
            await ask.call(url, "add", SUM, client=Client(""))
        assert caught.value.code != "source_timeout"


async def test_strangers_share_what_an_upstream_without_sessions_was_asked_once(ask: Ask) -> None:
    with open_shipyard("legacy", stateless=True) as yard:
        for _ in range(3):
            await ask.call(yard.url, "add", SUM, client=Client(""))
        assert len(yard.of("initialize")) == 1


async def test_arguments_are_completed_in_the_session_of_who_types_them(
    ask: Ask, legacy_yard: Harbour
) -> None:
    source = ask.source(legacy_yard.url)
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.engine.complete(
        source, Operation("prompt", {"name": "greet"}), "name", "A", {}, context=Client()
    )
    assert len(legacy_yard.of("initialize")) == 1


async def test_calls_that_begin_at_once_begin_one_session(ask: Ask, legacy_yard: Harbour) -> None:
    outcomes = await asyncio.gather(*(ask.call(legacy_yard.url, "add", SUM) for _ in range(10)))
    assert all(outcome.structured == {"result": 3} for outcome in outcomes)
    assert len(legacy_yard.of("initialize")) == 1
    assert len({seen.body["id"] for seen in legacy_yard.of("tools/call")}) == 10


async def test_a_lost_session_is_begun_anew_and_the_call_is_made_once(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    legacy_yard.forget_sessions()
    outcome = await ask.call(legacy_yard.url, "add", SUM)
    assert outcome.structured == {"result": 3}
    assert len(legacy_yard.of("initialize")) == 2


async def test_sessions_are_ended_when_the_engine_closes(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.engine.close()
    assert len(legacy_yard.verbs("DELETE")) == 1


async def test_sessions_that_are_not_used_are_ended(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.backend.upstreams.close_idle(now=monotonic() + SESSION_IDLE_SECONDS + 1)
    assert len(ask.backend.upstreams) == 0
    await ask.engine.close()
    assert len(legacy_yard.verbs("DELETE")) == 1


async def test_one_that_hangs_at_its_end_keeps_no_other_open(
    ask: Ask, side: FarSide, legacy_yard: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "ASIDE_SECONDS", 100.0)
    left = threading.Event()
    url = serve(side, {"initialize": begun_as("one"), "tools/call": {"content": []}})
    answer = side.routes["/mcp"]

    def hang(asked: Asked, send: Send) -> None:
        if asked.method == "DELETE":
            side.over.wait(100)
            left.set()
        answer(asked, send)

    side.routes["/mcp"] = hang
    await ask.call(url, "any")
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.backend.upstreams.close_idle(now=monotonic() + SESSION_IDLE_SECONDS + 1)
    await until_it_is(lambda: legacy_yard.verbs("DELETE"))
    assert not left.is_set()


async def test_the_oldest_session_makes_room_for_a_new_one(ask: Ask, legacy_yard: Harbour) -> None:
    for number in range(MAX_SESSIONS + 2):
        await ask.call(legacy_yard.url, "add", SUM, client=Client(f"key:{number}"))
    await ask.engine.close()
    assert len(legacy_yard.of("initialize")) == MAX_SESSIONS + 2
    assert len(legacy_yard.verbs("DELETE")) == MAX_SESSIONS + 2


async def test_a_modern_server_has_no_session(ask: Ask, modern_yard: Harbour) -> None:
    for identity in ("key:1", "key:2"):
        await ask.call(modern_yard.url, "add", SUM, client=Client(identity))
    await ask.engine.close()
    assert [seen.method for seen in modern_yard.seen] == ["server/discover", "tools/call", "tools/call"]
