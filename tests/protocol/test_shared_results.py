"""Kept results and runs that several calls share, through the official client in both eras and on two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from mcp import Client
from mcp_types import ElicitResult

from core.threads import run_sync
from servers.services.caching import change_caching, clear_cache, get_caching
from servers.services.runtime import Runtime
from servers.services.servers import create_server
from servers.services.sources import create_source, list_sources, update_source
from servers.services.tools import change_tool, list_tools
from tenants.audit.verification import verify_log
from tenants.roles import Role
from tests.factories import Team, make_team
from tests.protocol import tally
from tests.protocol.conftest import ALL_SCOPES, HearAll, OnLoop, Records
from tests.protocol.officialclient import connected
from tests.protocol.tally import TallyBackend
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


@pytest.fixture
def tallies(hear_all: HearAll) -> Team:
    """A team of the test's own with the tally's tools."""
    made = make_team()
    create_source("tally-source", tally.KIND, {}, caller=made.owner)
    hear_all()
    return made


@pytest.fixture
def door(port: int, tallies: Team) -> Endpoint:
    return Endpoint(port, f"/mcp/{tallies.slug}", tallies.key(*ALL_SCOPES))


@pytest.fixture
def held(tally_backend: TallyBackend, on_loop: OnLoop) -> Iterator[TallyBackend]:
    """The backend, with nothing held before and after."""
    while tally_backend.entered.acquire(blocking=False):
        pass
    tally_backend.cancelled.clear()
    yield tally_backend
    on_loop(tally_backend.let_go(0))


def tool_of(team: Team, name: str) -> UUID:
    return next(tool.pk for tool in list_tools(caller=team.owner) if tool.name == name)


def keep(team: Team, hear_all: HearAll, *names: str, seconds: int = 600) -> None:
    for name in names:
        change_caching(tool_of(team, name), seconds=seconds, caller=team.owner)
    hear_all()


def numbers(*results: Any) -> list[int]:
    """Which run each result is of."""
    return [result.structured_content["n"] for result in results]


def number(door: Endpoint, name: str, arguments: dict[str, Any] | None = None) -> int:
    return int(door.call(name, arguments).result["structuredContent"]["n"])


# Kept results


@ERAS
async def test_a_repeated_call_is_answered_from_the_cache_and_recorded(
    door: Endpoint, tallies: Team, mode: str, hear_all: HearAll, records: Records
) -> None:
    await run_sync(keep, tallies, hear_all, "count")
    async with connected(door, mode) as client:
        first = await client.call_tool("count", {"a": 1, "b": [None, 2.5, "é"]})
        again = await client.call_tool("count", {"b": [None, 2.5, "é"], "a": 1})
        other = await client.call_tool("count", {"a": 1.0, "b": [None, 2.5, "é"]})
    assert again.model_dump() == first.model_dump()
    assert numbers(first, again) != numbers(again, other)
    found = await run_sync(records, tallies, kind="tools/call")
    assert [each.get("served_from") for each in found] == [None, "cache", None]
    assert [(each["rows"], each["size"], each["outcome"]) for each in found[:2]] == [
        (first.structured_content["n"], 7, "ok")
    ] * 2
    assert not await run_sync(lambda: hasattr(verify_log(tallies.tenant_id), "problem"))


async def test_a_tool_without_a_cache_runs_each_time(door: Endpoint) -> None:
    assert number(door, "count") != number(door, "count")


async def test_who_may_not_call_gets_no_kept_result(
    port: int, door: Endpoint, tallies: Team, hear_all: HearAll, records: Records
) -> None:
    await run_sync(keep, tallies, hear_all, "count")
    first = await run_sync(number, door, "count")
    narrow = door.with_key(await run_sync(tallies.key, "tools:read", "tools:execute", "tool:look"))
    refused = await run_sync(narrow.call, "count")
    assert refused.status == 403
    assert "structuredContent" not in refused.body.decode()
    assert await run_sync(number, door, "count") == first
    last = (await run_sync(records, tallies, kind="tools/call"))[-2]
    assert (last["outcome"], "served_from" in last) == ("refused", False)


async def test_no_team_gets_what_another_one_left(
    port: int, door: Endpoint, tallies: Team, hear_all: HearAll
) -> None:
    other = await run_sync(make_team)
    await run_sync(lambda: create_source("tally-source", tally.KIND, {}, caller=other.owner))
    for team in (tallies, other):
        await run_sync(keep, team, hear_all, "count")
    theirs = Endpoint(port, f"/mcp/{other.slug}", await run_sync(other.key))
    assert await run_sync(number, door, "count") != await run_sync(number, theirs, "count")


async def test_what_may_depend_on_the_caller_is_kept_for_each_alone(
    door: Endpoint, tallies: Team, hear_all: HearAll
) -> None:
    def make() -> Endpoint:
        keep(tallies, hear_all, "me")
        create_server("second", "Second", caller=tallies.owner)
        return door.with_key(tallies.key(name="another key"))

    other = await run_sync(make)
    first, second = await run_sync(door.call, "me"), await run_sync(other.call, "me")
    told = [answer.result["structuredContent"]["who"] for answer in (first, second)]
    assert told[0] != told[1]
    assert (await run_sync(door.call, "me")).result == first.result
    assert (await run_sync(other.call, "me")).result == second.result


async def test_a_run_that_others_may_share_is_told_of_no_caller(
    door: Endpoint, tallies: Team, hear_all: HearAll, tally_backend: TallyBackend
) -> None:
    await run_sync(keep, tallies, hear_all, "look")
    for name in ("count", "look"):
        assert (await run_sync(door.call, name)).result["structuredContent"]["who"] == ""


@ERAS
async def test_a_result_that_hangs_on_an_answer_of_the_client_is_not_kept(
    door: Endpoint, tallies: Team, mode: str, hear_all: HearAll
) -> None:
    actions = iter(["accept", "decline"])

    async def answer(context: Any, params: Any) -> ElicitResult:
        action: Any = next(actions)
        return ElicitResult(action=action, content={"ok": True} if action == "accept" else None)

    await run_sync(keep, tallies, hear_all, "asking", "either")
    async with connected(door, mode, elicitation_callback=answer) as client:
        told = [(await client.call_tool("asking")).structured_content for _ in range(2)]
        plain = [await client.call_tool("either", {"ask": False}) for _ in range(2)]
    assert [each["who"] for each in told if each] == ["accept", "decline"]
    assert len(set(numbers(*plain))) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"), [("count", {"fail": True}), ("cut", {}), ("odd", {}), ("count", {"kept": False})]
)
async def test_failures_cut_results_and_what_is_asked_for_anew_are_not_kept(
    door: Endpoint, tallies: Team, hear_all: HearAll, tally_backend: TallyBackend, tool: str, arguments: Any
) -> None:
    await run_sync(keep, tallies, hear_all, tool)
    before = tally_backend.runs[tool]
    for _ in range(2):
        await run_sync(door.call, tool, arguments)
    assert tally_backend.runs[tool] == before + 2


async def test_clearing_takes_what_was_kept_from_every_replica(
    door: Endpoint, tallies: Team, hear_all: HearAll, second_port: int, runtime: Runtime, on_loop: OnLoop
) -> None:
    await run_sync(keep, tallies, hear_all, "count")
    second = Endpoint(second_port, door.path, door.key)
    first = await run_sync(number, door, "count")
    await run_sync(on_loop, runtime.shared_runs.store.settle())
    assert await run_sync(number, second, "count") == first, "Redis carries it to the other replica"
    await run_sync(lambda: clear_cache(tool_of(tallies, "count"), caller=tallies.owner))
    await run_sync(hear_all)
    # The other process counts its own runs: its first one is 1.
    await run_sync(wait_for, lambda: number(second, "count") == 1)
    assert await run_sync(number, door, "count") == 1


def _edit_tool(team: Team) -> None:
    change_tool(tool_of(team, "count"), description="Another one.", caller=team.owner)


def _change_source(team: Team) -> None:
    (source,) = list_sources(caller=team.owner)
    update_source(source.pk, settings={"a": 1}, caller=team.owner)


@pytest.mark.parametrize("change", [_edit_tool, _change_source])
async def test_a_new_version_of_tool_or_source_begins_anew(
    door: Endpoint, tallies: Team, hear_all: HearAll, change: Any
) -> None:
    await run_sync(keep, tallies, hear_all, "count")
    first = await run_sync(number, door, "count")
    await run_sync(change, tallies)
    await run_sync(hear_all)
    after = await run_sync(number, door, "count")
    assert after != first
    assert await run_sync(number, door, "count") == after


async def test_hits_are_counted_over_all_calls(
    door: Endpoint, tallies: Team, hear_all: HearAll, runtime: Runtime, on_loop: OnLoop
) -> None:
    await run_sync(keep, tallies, hear_all, "count")
    for _ in range(5):
        await run_sync(number, door, "count")
    await run_sync(on_loop, runtime.counter.flush())
    viewer = await run_sync(tallies.member, Role.VIEWER)
    found = await run_sync(lambda: get_caching(tool_of(tallies, "count"), caller=viewer))
    assert found.counts is not None
    assert (found.counts.hits, found.counts.runs, found.counts.hit_rate) == (4, 1, 0.8)


# Runs that several calls share


async def _calls(client: Client, name: str, count: int) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(client.call_tool(name)) for _ in range(count)]


def _waiting(runtime: Runtime, team: Team) -> int:
    flights = runtime.shared_runs.flights._flying.get(team.tenant_id, {})
    return sum(len(flight.waiting) for flight in flights.values())


@ERAS
async def test_the_same_call_made_at_once_runs_once(
    door: Endpoint,
    tallies: Team,
    mode: str,
    held: TallyBackend,
    runtime: Runtime,
    on_loop: OnLoop,
    records: Records,
) -> None:
    before = held.runs["hold"]
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with connected(door, mode) as client:
        tasks = [
            asyncio.create_task(client.call_tool("hold", progress_callback=hear)),
            *await _calls(client, "hold", 4),
        ]
        await run_sync(wait_for, lambda: _waiting(runtime, tallies) == 5)
        await run_sync(on_loop, held.let_go())
        results = await asyncio.gather(*tasks)
    assert held.runs["hold"] == before + 1
    assert set(numbers(*results)) == {before + 1}
    found = await run_sync(records, tallies, kind="tools/call", outcome="ok")
    assert sorted(each.get("served_from", "") for each in found) == ["", *["same_run"] * 4]


async def test_one_who_goes_away_takes_the_run_from_nobody_and_the_last_ends_it(
    door: Endpoint, tallies: Team, held: TallyBackend, runtime: Runtime, on_loop: OnLoop, records: Records
) -> None:
    before = held.runs["hold"]
    async with connected(door, "2026-07-28") as client:
        first, second, third = await _calls(client, "hold", 3)
        await run_sync(wait_for, lambda: _waiting(runtime, tallies) == 3)
        first.cancel()
        await run_sync(wait_for, lambda: _waiting(runtime, tallies) == 2)
        assert not held.cancelled.is_set()
        await run_sync(on_loop, held.let_go())
        results = await asyncio.gather(second, third)
        assert set(numbers(*results)) == {before + 1}
        last = await _calls(client, "hold", 2)
        await run_sync(wait_for, lambda: _waiting(runtime, tallies) == 2)
        for task in last:
            task.cancel()
        assert await run_sync(held.cancelled.wait, 10)
    await run_sync(wait_for, lambda: len(records(tallies, kind="tools/call")) >= 5)
    outcomes = [each["outcome"] for each in await run_sync(records, tallies, kind="tools/call")]
    assert sorted(outcomes) == ["cancelled", "cancelled", "cancelled", "ok", "ok"]


async def test_a_failure_is_everybodys(
    door: Endpoint, tallies: Team, held: TallyBackend, runtime: Runtime, on_loop: OnLoop
) -> None:
    async with connected(door, "2026-07-28") as client:
        tasks = await _calls(client, "halt", 3)
        await run_sync(wait_for, lambda: _waiting(runtime, tallies) == 3)
        await run_sync(on_loop, held.let_go())
        results = await asyncio.gather(*tasks)
    assert all(result.is_error for result in results)
    assert len({str(result.content[0]) for result in results}) == 1


async def test_other_arguments_and_other_teams_run_for_themselves(
    port: int, door: Endpoint, tallies: Team, held: TallyBackend, on_loop: OnLoop
) -> None:
    other = await run_sync(make_team)
    await run_sync(lambda: create_source("tally-source", tally.KIND, {}, caller=other.owner))
    theirs = Endpoint(port, f"/mcp/{other.slug}", await run_sync(other.key))
    before = held.runs["hold"]
    async with connected(door, "2026-07-28") as mine, connected(theirs, "2026-07-28") as client:
        tasks = [
            asyncio.create_task(mine.call_tool("hold", {"a": 1})),
            asyncio.create_task(mine.call_tool("hold", {"a": True})),
            asyncio.create_task(client.call_tool("hold", {"a": 1})),
        ]
        await run_sync(wait_for, lambda: held.runs["hold"] == before + 3)
        await run_sync(on_loop, held.let_go(3))
        results = await asyncio.gather(*tasks)
    assert len(set(numbers(*results))) == 3


async def test_whoever_calls_after_a_change_does_not_join_a_run_from_before(
    door: Endpoint, tallies: Team, held: TallyBackend, on_loop: OnLoop
) -> None:
    before = held.runs["hold"]
    async with connected(door, "2026-07-28") as client:
        (first,) = await _calls(client, "hold", 1)
        assert await run_sync(held.entered.acquire, timeout=60)
        await client.call_tool("write")
        (second,) = await _calls(client, "hold", 1)
        assert await run_sync(held.entered.acquire, timeout=60)
        await run_sync(on_loop, held.let_go(2))
        assert numbers(await first, await second) == [before + 1, before + 2]


async def test_a_team_can_have_each_call_run(
    door: Endpoint, tallies: Team, held: TallyBackend, hear_all: HearAll, on_loop: OnLoop
) -> None:
    def switch_off() -> None:
        change_caching(tool_of(tallies, "hold"), collapses=False, caller=tallies.owner)
        hear_all()

    await run_sync(switch_off)
    before = held.runs["hold"]
    async with connected(door, "2026-07-28") as client:
        tasks = await _calls(client, "hold", 2)
        await run_sync(wait_for, lambda: held.runs["hold"] == before + 2)
        await run_sync(on_loop, held.let_go(2))
        assert len(set(numbers(*await asyncio.gather(*tasks)))) == 2
