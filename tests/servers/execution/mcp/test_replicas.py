"""Several upstreams behind one source: real servers of the official SDK, in processes that are killed and stopped."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from core.errors import SourceError
from servers.execution.backends.mcp import breaker, routes
from servers.execution.backends.mcp import replicas as replicas_module
from servers.execution.backends.mcp.breaker import FIRST_WAIT, LAST_WAIT
from servers.execution.contract import InputRequired, Source, UpstreamState
from tests.servers.execution.mcp.berths import Berth, berths
from tests.servers.execution.mcp.conftest import Ask, Client
from tests.servers.execution.mcp.shipyard import Era, open_shipyard
from tests.servers.execution.mcp.test_asking import OfModern, answer_of

pytestmark = pytest.mark.anyio

READS = {"repeatable": True}


@pytest.fixture
def fleet(era: Era, tmp_path: Path) -> Iterator[list[Berth]]:
    with berths(3, era, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def steady_legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Berth]]:
    """Nobody stops them."""
    with berths(2, "legacy", tmp_path_factory.mktemp("legacy")) as found:
        yield found


@pytest.fixture(scope="module")
def steady_modern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Berth]]:
    """Nobody stops them."""
    with berths(2, "modern", tmp_path_factory.mktemp("modern")) as found:
        yield found


@pytest.fixture
def legacy_pair(tmp_path: Path) -> Iterator[list[Berth]]:
    with berths(2, "legacy", tmp_path) as found:
        yield found


@pytest.fixture
def modern_pair(tmp_path: Path) -> Iterator[list[Berth]]:
    with berths(2, "modern", tmp_path) as found:
        yield found


@pytest.fixture
def told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> list[UpstreamState]:
    """What the backend says of the servers' states."""
    found: list[UpstreamState] = []

    def note(source: Source, state: UpstreamState) -> None:
        found.append(state)

    monkeypatch.setattr(ask.backend.circles, "_note", note)
    return found


async def call(ask: Ask, fleet: list[Berth], tool: str, arguments: Any = None, **more: Any) -> str:
    settings = {"replicas": [each.url for each in fleet[1:]], **more.pop("settings", {})}
    return (await ask.call(fleet[0].url, tool, arguments, settings=settings, **more)).text


async def test_each_is_asked_in_turn(ask: Ask, steady_modern: list[Berth]) -> None:
    said = [await call(ask, steady_modern, "who", **READS) for _ in range(6)]
    assert said == ["copy-0", "copy-1"] * 3


async def test_callers_are_spread_and_each_stays_where_its_session_is(
    ask: Ask, steady_legacy: list[Berth]
) -> None:
    said = [
        [await call(ask, steady_legacy, "count", client=Client(f"key:{caller}")) for _ in range(3)]
        for caller in range(4)
    ]
    homes = [{each.split()[0] for each in one} for one in said]
    assert homes == [{"copy-0"}, {"copy-1"}, {"copy-0"}, {"copy-1"}]


async def test_first_calls_at_once_of_one_caller_begin_one_session(
    ask: Ask, steady_legacy: list[Berth]
) -> None:
    said = await asyncio.gather(*(call(ask, steady_legacy, "count") for _ in range(8)))
    assert len({each.split()[0] for each in said}) == 1
    assert sorted(int(each.split()[1]) for each in said) == list(range(1, 9))


async def test_the_least_busy_is_asked(ask: Ask, steady_modern: list[Berth]) -> None:
    settings = {"balance": "least_busy"}
    slow = asyncio.create_task(
        call(ask, steady_modern, "note", {"word": "slow", "seconds": 100}, settings=settings, timeout=100)
    )
    await until_it_is(lambda: any(each.noted for each in steady_modern))
    said = {await call(ask, steady_modern, "who", settings=settings, **READS) for _ in range(6)}
    assert said == {each.name for each in steady_modern if not each.noted}
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_a_killed_one_costs_no_call_and_what_is_told_of_it(
    ask: Ask, fleet: list[Berth], told: list[UpstreamState]
) -> None:
    callers = [Client(f"key:{number}") for number in range(12)]
    answered: Counter[str] = Counter()
    before: Counter[str] = Counter()
    longest = 0.0
    killed = False

    def enough() -> bool:
        return killed and bool(told) and min((answered - before)[each] for each in ("copy-0", "copy-2")) > 50

    async def go_on(client: Client) -> None:
        nonlocal longest
        while not enough():
            began = monotonic()
            answered[await call(ask, fleet, "who", client=client, **READS)] += 1
            longest = max(longest, monotonic() - began)

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for client in callers:
            group.create_task(go_on(client))
        await until_it_is(lambda: min(answered[each.name] for each in fleet) > 50)
        fleet[1].kill()
        before, killed = answered.copy(), True
    # No call waited for the one that is gone until its time was over.
    assert longest < 15
    assert (told[0].state, told[0].url) == ("open", fleet[1].url)
    # As the fault says that was the last in a row: of a connection that was there, or of one that came no more.
    words = ("could not be connected to", "broke off", "ended before the answer")
    assert any(each in told[0].reason for each in words), told[0].reason


async def test_a_session_moves_only_when_its_upstream_is_gone(ask: Ask, legacy_pair: list[Berth]) -> None:
    first = await call(ask, legacy_pair, "count")
    home = next(each for each in legacy_pair if first.startswith(each.name))
    home.kill()
    # A connection that was used this very moment is not looked at before it is used again.
    await asyncio.sleep(0.1)
    assert (await call(ask, legacy_pair, "count")).split()[0] != home.name
    home.launch()
    home.wait()
    # It came back, and has nothing of what the caller has by now at the other one.
    assert [int((await call(ask, legacy_pair, "count")).split()[1]) for _ in range(3)] == [2, 3, 4]


async def test_what_may_have_arrived_is_made_once_and_what_did_not_is_made_elsewhere(
    ask: Ask, modern_pair: list[Berth]
) -> None:
    first = asyncio.create_task(call(ask, modern_pair, "note", {"word": "begun", "seconds": 20}))
    await until_it_is(lambda: any(each.noted for each in modern_pair))
    busy = next(each for each in modern_pair if each.noted)
    busy.kill()
    with pytest.raises(SourceError) as caught:
        await first
    assert (caught.value.code, caught.value.retryable) == ("source_failed", False)
    for number in range(6):
        await call(ask, modern_pair, "note", {"word": str(number)})
    assert sorted(word for each in modern_pair for word in each.noted) == [*"012345", "begun"]


async def until_it_is(so: Callable[[], object]) -> None:
    for _ in range(1_000):
        if so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


async def test_a_stopped_one_costs_a_time_out_and_is_left_alone_then(
    ask: Ask, tmp_path: Path, told: list[UpstreamState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas_module, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(breaker, "FIRST_WAIT", LAST_WAIT)
    with berths(1, "legacy", tmp_path) as (only,):
        assert await call(ask, [only], "who", **READS) == "copy-0"
        only.send(signal.SIGSTOP)
        with pytest.raises(SourceError) as late:
            await call(ask, [only], "who", timeout=2, **READS)
        assert late.value.code == "source_timeout"
        await until_it_is(lambda: told)
        with pytest.raises(SourceError) as refused:
            await call(ask, [only], "who", **READS)
        assert (refused.value.code, refused.value.retryable) == ("source_unavailable", True)
        assert refused.value.data["retry_after"] >= 1
        assert "did not answer within" in refused.value.message
        # Nobody asked it for that.
        assert [each.state for each in told] == ["open"]
        only.send(signal.SIGCONT)
        monkeypatch.setattr(replicas_module, "PROBE_SECONDS", 30.0)
        (member,) = ask.backend.circles.get(ask.source(only.url, replicas=[])).members
        member.breaker._clock = lambda: monotonic() + LAST_WAIT
        assert await call(ask, [only], "who", **READS) == "copy-0"
        assert [each.state for each in told] == ["open", "half_open", "closed"]


async def test_a_slow_tool_does_not_shut_its_server_out(
    ask: Ask, steady_modern: list[Berth], told: list[UpstreamState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas_module, "PROBE_SECONDS", 60.0)
    only = steady_modern[:1]
    for _ in range(6):
        with pytest.raises(SourceError):
            await call(ask, only, "linger", {"seconds": 9}, timeout=0.5, **READS)
    assert await call(ask, only, "who", **READS) == "copy-0"
    assert told == []


async def test_a_server_that_came_back_is_found_by_the_next_call(ask: Ask, tmp_path: Path) -> None:
    with berths(2, "modern", tmp_path) as pair:
        pair[0].kill()
        pair[1].kill()
        with pytest.raises(SourceError) as caught:
            await call(ask, pair, "note", {"word": "lost"})
        assert caught.value.code in ("source_unreachable", "source_unavailable")
        pair[1].launch()
        pair[1].wait()
        await asyncio.sleep(FIRST_WAIT)
        assert await call(ask, pair, "note", {"word": "found"}) == "copy-1"
        assert pair[1].noted == ["found"]


async def test_answers_go_back_to_the_one_that_asked(ask: Ask, era: Era) -> None:
    with open_shipyard(era) as first, open_shipyard(era) as second:
        settings = {"replicas": [second.url]}
        with pytest.raises(InputRequired) as asked:
            await ask.call(first.url, "name_it", settings=settings, client=OfModern(""))
        # Others had their turn meanwhile, so that the next one is not the one that asked.
        for _ in range(2):
            await ask.call(first.url, "add", {"a": 1, "b": 2}, settings=settings, client=Client(""))
        answers = {key: answer_of(question) for key, question in asked.value.asks.items()}
        client = OfModern("", answers=answers, kept=asked.value.kept)
        named = await ask.call(first.url, "name_it", settings=settings, client=client)
        assert named.text == "named Argo"
        asked_there = [
            len([seen for seen in yard.of("tools/call") if seen.body["params"]["name"] == "name_it"])
            for yard in (first, second)
        ]
        assert asked_there in ([1, 0], [2, 0])


async def test_no_try_goes_beyond_the_calls_deadline(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "backoff", lambda tried: 100.0)
    dead = [Berth("dead", "modern", Path("none")) for _ in range(4)]
    with pytest.raises(SourceError) as caught:
        await call(ask, dead, "who", timeout=30, **READS)
    assert caught.value.code in ("source_unreachable", "source_unavailable")


async def test_a_check_names_who_does_not_answer(ask: Ask, tmp_path: Path) -> None:
    with berths(2, "modern", tmp_path) as pair:
        source = ask.source(pair[0].url, replicas=[pair[1].url])
        assert (await ask.engine.check(source)).state == "healthy"
        pair[1].kill()
        health = await ask.engine.check(source)
        assert health.state == "degraded"
        assert health.reason.startswith(
            f"1 of the 2 servers of this source: 127.0.0.1:{pair[1].port}: The MCP server at 127.0.0.1:{pair[1].port} "
        )
        assert [each.state for each in health.parts] == ["healthy", "unhealthy"]
        pair[0].kill()
        health = await ask.engine.check(source)
        assert (health.state, health.code) == ("unhealthy", "source_unreachable")
