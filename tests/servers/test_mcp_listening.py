"""Sources that say that their lists changed: checked at once, listened to by one process, and begun again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import pytest

from core.bus import Bus
from core.loop import run_async
from servers.execution.contract import Operation, Source
from servers.models import DataSource
from servers.services import listening
from servers.services.listening import Listeners
from servers.services.quarantine import list_quarantined
from servers.services.runtime import get_runtime
from servers.services.source_checks import check_and_listen
from servers.services.sources import create_source, execution_source, get_source, update_source
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.farside import FarSide, far_side
from tests.marina.harbour import open_harbour
from tests.servers.changing import Changing, tool


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


@pytest.fixture
def upstream() -> Iterator[Changing]:
    with far_side() as side:
        found = Changing(side)
        found.tell_of_changes()
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "FIRST_BACKOFF", 0.2)
    monkeypatch.setattr(listening, "QUIET_SECONDS", 0.5)


def until(so: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        if found := so():
            return found
        sleep(0.05)
    raise AssertionError("it did not come about")


def test_a_change_that_the_server_tells_of_is_in_quarantine_at_once(team: Team, upstream: Changing) -> None:
    source = create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    check_and_listen(team.tenant_id)
    assert upstream.listened.wait(60)
    upstream.tools = [tool("look", "Look, and tell me.")]
    assert list_quarantined(source.pk, caller=team.owner) == []
    upstream.say("notifications/tools/list_changed")
    (held,) = until(lambda: list_quarantined(source.pk, caller=team.owner))
    assert held.name == "look"


def test_a_stream_that_ended_is_begun_again_and_what_changed_meanwhile_is_found(
    team: Team, upstream: Changing
) -> None:
    source = create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    check_and_listen(team.tenant_id)
    assert upstream.listened.wait(60)
    upstream.hang_up()
    until(lambda: not upstream.listened.is_set())
    upstream.tools = [tool("look", "Look, and tell me.")]
    until(lambda: list_quarantined(source.pk, caller=team.owner))
    assert upstream.listened.wait(60)


def test_no_stream_is_listened_to_for_ever(
    team: Team, upstream: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LEASE_SECONDS", 3)
    monkeypatch.setattr(listening, "STREAM_SECONDS", 0.5)
    create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    check_and_listen(team.tenant_id)
    until(lambda: sum(asked.method == "GET" for asked in upstream.side.asked) > 1)


def test_however_much_is_said_checks_are_some_time_apart(team: Team, upstream: Changing) -> None:
    create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    check_and_listen(team.tenant_id)
    assert upstream.listened.wait(60)

    def checks() -> int:
        return sum(b"tools/list" in asked.body for asked in upstream.side.asked)

    before, began = checks(), monotonic()
    for _ in range(300):
        upstream.say("notifications/tools/list_changed")
    until(lambda: checks() > before)
    sleep(1.3)
    found = checks() - before
    assert found <= 2 + (monotonic() - began) / listening.QUIET_SECONDS


def test_a_source_that_says_it_changed_without_end_has_one_check_at_a_time(
    team: Team, upstream: Changing
) -> None:
    row = create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    ends = threading.Event()
    found = Counting(ends)

    async def check() -> int:
        async with listeners_to(found, execution_source(row)):
            await asyncio.to_thread(upstream.listened.wait, 60)
            upstream.say("notifications/tools/list_changed")
            await asyncio.to_thread(until, lambda: found.begun)
            for _ in range(20):
                upstream.say("notifications/tools/list_changed")
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            said = found.begun
            # What is said while one is under way is checked after it.
            ends.set()
            await asyncio.to_thread(until, lambda: found.begun > 1)
            await asyncio.sleep(1)
        return said

    assert run_async(check()) == 1
    assert (found.begun, found.most) == (2, 1)


def test_sources_that_all_say_that_they_changed_are_checked_a_few_at_a_time(team: Team) -> None:
    with contextlib.ExitStack() as stack:
        all_of_them = [Changing(stack.enter_context(far_side())) for _ in range(5)]
        sources = []
        for number, each in enumerate(all_of_them):
            each.tell_of_changes()
            row = create_source(f"far{number}", "mcp", {"url": each.url}, caller=team.owner)
            sources.append(execution_source(row))
        found = Counting()

        async def check() -> None:
            async with listeners_to(found, *sources):
                for each in all_of_them:
                    await asyncio.to_thread(each.listened.wait, 60)
                    each.say("notifications/tools/list_changed")
                await asyncio.to_thread(until, lambda: len(found.of) == 5)

        run_async(check())
        assert (len(found.of), found.most) == (5, listening.CHECKS_AT_ONCE)


def test_one_process_of_several_listens(team: Team, upstream: Changing) -> None:
    row = create_source("far", "mcp", {"url": upstream.url}, caller=team.owner)
    source = execution_source(row)
    runtime = get_runtime()
    url = runtime.bus._url

    async def both() -> int:
        busses = [Bus(url), Bus(url)]
        ours = [Listeners(bus, runtime.engine.find) for bus in busses]
        for each in ours:
            await each.want([source], _nothing)
        await asyncio.to_thread(upstream.listened.wait, 60)
        await asyncio.sleep(1)
        opened = sum(asked.method == "GET" for asked in upstream.side.asked)
        for each in ours:
            await each.close()
        for bus in busses:
            await bus.close()
        return opened

    assert run_async(both()) == 1


def test_a_server_of_2026_07_28_is_subscribed_to(team: Team) -> None:
    with open_harbour() as harbour:
        source = create_source("yard", "mcp", {"url": harbour.url}, caller=team.owner)
        check_and_listen(team.tenant_id)
        until(lambda: harbour.of("subscriptions/listen"))
        wanted = harbour.of("subscriptions/listen")[0].body["params"]["notifications"]
        assert wanted["toolsListChanged"] is True
        checked = get_source(source.pk, caller=team.owner).health_checked_at
        sleep(0.3)
        _call(execution_source(source), "dredge")
        until(lambda: get_source(source.pk, caller=team.owner).health_checked_at != checked)


def test_a_server_that_tells_of_nothing_is_not_asked_each_minute(team: Team) -> None:
    with far_side() as side:
        quiet = Changing(side)
        source = create_source("far", "mcp", {"url": quiet.url}, caller=team.owner)
        check_and_listen(team.tenant_id)
        before = asked_in_the_end(side)
        check_and_listen(team.tenant_id)
        first = asked_in_the_end(side) - before
        with tenant_scope(team.tenant_id):
            assert DataSource.objects.get().health == "healthy"
        assert not any(asked.method == "GET" for asked in side.asked)
        before = len(side.asked)
        check_and_listen(team.tenant_id)
        assert asked_in_the_end(side) - before == first
        # By other settings it may be another server.
        quiet.tell_of_changes()
        update_source(source.pk, settings={"url": quiet.url, "timeout": 7}, caller=team.owner)
        check_and_listen(team.tenant_id)
        assert quiet.listened.wait(60)


def asked_in_the_end(side: FarSide) -> int:
    """How many requests came, once none has come for a while."""
    found = -1
    while found != len(side.asked):
        found = len(side.asked)
        sleep(1)
    return found


class Counting:
    """A check that takes a second, or until ``ends``.

    How many were begun, of which sources, and how many were under way at once.
    """

    def __init__(self, ends: threading.Event | None = None) -> None:
        self.begun = self.most = self._now = 0
        self._ends = ends
        self.of: set[UUID] = set()
        self._lock = threading.Lock()

    def __call__(self, tenant_id: int, source_id: UUID) -> None:
        with self._lock:
            self.begun += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self.of.add(source_id)
        if self._ends is None:
            sleep(1.2)
        else:
            self._ends.wait(60)
        with self._lock:
            self._now -= 1


@contextlib.asynccontextmanager
async def listeners_to(check: Counting, *sources: Source) -> AsyncIterator[None]:
    runtime = get_runtime()
    bus = Bus(runtime.bus._url)
    listeners = Listeners(bus, runtime.engine.find)
    try:
        await listeners.want(sources, check)
        yield
    finally:
        await listeners.close()
        await bus.close()


def _nothing(tenant_id: int, source_id: UUID) -> None:
    """No check is wanted."""


def _call(source: Source, name: str) -> None:
    engine = get_runtime().engine
    run_async(engine.execute(source, Operation("tool", {"name": name}), {}))
