"""How a runner finds what waits: by hints, by itself, as others end; and whom it runs it as."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings

from core.bus import Bus
from core.errors import Unauthenticated
from servers.models import Turn
from servers.services.runtime import get_runtime
from servers.services.tasks import hints, standing
from servers.services.tasks.hints import HINTS, next_hint, use_hint
from servers.services.tasks.running import Runner
from servers.services.tasks.standing import StandingCache
from tenants.access import Caller
from tenants.roles import Role
from tenants.services.keys import revoke_key
from tenants.tokens import caller_for_credential
from tests.factories import make_team
from tests.protocol.conftest import OnLoop
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import TaskClient
from tests.protocol.waiting import wait_for


@pytest.fixture
def store() -> Iterator[redis.Redis]:
    """Redis, with no hint in it."""
    client = redis.Redis.from_url(settings.ENV.redis_url)
    client.delete(HINTS)
    yield client
    client.close()


@pytest.fixture
def runner(on_loop: OnLoop) -> Iterator[Runner]:
    """One of two slots, which does not serve yet."""
    made = Runner(get_runtime(), 2)
    yield made
    on_loop(made.stop(0.1))


def test_a_hint_is_taken_by_one(port: int, store: redis.Redis, tasker: TaskClient, on_loop: OnLoop) -> None:
    tasker.begin("quick")
    wait_for(lambda: store.llen(HINTS) == 1)

    async def ask_twice() -> list[bool]:
        bus = get_runtime().bus
        return list(await asyncio.gather(next_hint(bus), next_hint(bus)))

    assert sorted(on_loop(ask_twice())) == [False, True]


def test_hints_that_nobody_takes_are_not_heaped_up(port: int, store: redis.Redis, on_loop: OnLoop) -> None:
    async def push() -> None:
        for _ in range(hints._MOST + 50):
            hints.hint_soon()
        await asyncio.gather(*hints._Installed.sending)

    on_loop(push())
    assert store.llen(HINTS) == hints._MOST


def test_what_nobody_was_told_of_is_found_by_looking(
    runner: Runner, tasker: TaskClient, on_loop: OnLoop
) -> None:
    on_loop(runner.serve())
    before = use_hint(None)
    try:
        task_id = tasker.begin("quick")["taskId"]
        assert tasker.until(task_id)["status"] == "completed"
    finally:
        use_hint(before)


def test_while_redis_is_away_a_runner_looks_all_the_same(on_loop: OnLoop) -> None:
    async def ask_nobody() -> bool:
        bus = Bus("redis://127.0.0.1:9/0")
        try:
            return await next_hint(bus)
        finally:
            await bus.close()

    assert on_loop(ask_nobody()) is False


def test_no_more_run_at_once_than_there_are_slots_and_the_others_follow(
    runner: Runner, tasker: TaskClient, held: LastingBackend, on_loop: OnLoop
) -> None:
    ids = [tasker.begin("hold")["taskId"] for _ in range(5)]
    on_loop(runner.serve())
    for _ in range(2):
        assert held.entered.acquire(timeout=60)
    assert not held.entered.acquire(timeout=0.3)
    assert Turn.objects.filter(task_id__in=ids, claim__isnull=False).count() == 2
    for running in (2, 2, 1):
        on_loop(held.let_go(running))
    for task_id in ids:
        assert tasker.until(task_id)["status"] == "completed"


def test_a_runner_that_ends_takes_no_more_and_what_it_had_ends_as_cancelled(
    runner: Runner, tasker: TaskClient, held: LastingBackend, on_loop: OnLoop
) -> None:
    first = tasker.begin("effect")["taskId"]
    on_loop(runner.serve())
    assert held.entered.acquire(timeout=60)
    on_loop(runner.stop(0.1))
    second = tasker.begin("quick")["taskId"]
    assert tasker.until(first)["status"] == "cancelled"
    on_loop(runner.look())
    assert Turn.objects.get(task_id=second).claim is None


def test_who_had_a_task_begun_is_looked_at_anew_when_something_of_the_team_changed(
    on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = make_team()
    keyed = caller_for_credential(team.key(), tenant_slug=team.slug)
    cache = StandingCache()
    asked: list[Caller] = []
    ask = standing.standing_of

    def counted(caller: Caller) -> Caller:
        asked.append(caller)
        return ask(caller)

    monkeypatch.setattr(standing, "standing_of", counted)
    assert on_loop(cache.get(keyed)).scopes == keyed.scopes
    on_loop(cache.get(keyed))
    assert len(asked) == 1
    member = team.member(Role.EDITOR)
    on_loop(cache.get(member))
    cache.drop(make_team().tenant_id)
    on_loop(cache.get(keyed))
    assert len(asked) == 2
    assert keyed.credential_id is not None
    revoke_key(keyed.credential_id, caller=team.owner)
    cache.drop(team.tenant_id)
    with pytest.raises(Unauthenticated, match="was revoked"):
        on_loop(cache.get(keyed))
    on_loop(cache.get(member))
    assert len(asked) == 4


def test_what_changed_while_it_was_asked_is_not_held(
    on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = make_team().owner
    cache = StandingCache()
    ask = standing.standing_of
    asked: list[Caller] = []

    def overtaken(caller: Caller) -> Caller:
        asked.append(caller)
        found = ask(caller)
        cache.drop(caller.tenant_id)
        return found

    monkeypatch.setattr(standing, "standing_of", overtaken)
    on_loop(cache.get(owner))
    on_loop(cache.get(owner))
    assert len(asked) == 2


def test_it_is_held_for_no_longer_than_it_lasts(on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = make_team().owner
    cache = StandingCache()
    asked: list[Caller] = []
    ask = standing.standing_of

    def counted(caller: Caller) -> Caller:
        asked.append(caller)
        return ask(caller)

    monkeypatch.setattr(standing, "standing_of", counted)
    monkeypatch.setattr(standing, "GRANT_SECONDS", 0.0)
    on_loop(cache.get(owner))
    on_loop(cache.get(owner))
    assert len(asked) == 2
