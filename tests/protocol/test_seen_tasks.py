"""Tasks that many clients ask for at once: some looks at the database, and each client gets its own task."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.conf import settings

from core.errors import Unavailable
from core.loop import run_async
from servers.models import Task
from servers.services import reading
from servers.services.reasons import database_unavailable
from servers.services.runtime import get_runtime
from servers.services.tasks import seen
from servers.services.tasks.rows import find_tasks
from tests.factories import Team, make_team
from tests.protocol.tasks import TaskClient, Workers


def ask(team: Team, ids: list[UUID]) -> list[Task | BaseException | None]:
    async def all_at_once() -> Any:
        tasks = get_runtime().tasks
        tasks.forget_all()
        finding = [tasks.find(team.tenant_id, each) for each in ids]
        return await asyncio.gather(*finding, return_exceptions=True)

    found: list[Task | BaseException | None] = run_async(all_at_once())
    return found


def test_what_many_ask_for_at_once_is_looked_up_together(
    tasker: TaskClient, workers_later: Workers, lasters: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def counted(tenant_id: int, task_ids: Collection[UUID]) -> dict[UUID, Task]:
        looks.append(len(task_ids))
        return find_tasks(tenant_id, task_ids)

    monkeypatch.setattr(seen, "find_tasks", counted)
    ids = [UUID(tasker.begin("quick")["taskId"]) for _ in range(5)]
    unknown = uuid4()
    asked = [*ids, unknown] * 50
    found = ask(lasters, asked)
    assert [None if each is None else each.id for each in found if not isinstance(each, BaseException)] == [
        None if each == unknown else each for each in asked
    ]
    assert (len(looks), sum(looks)) == (1, 6)


def test_another_teams_task_is_found_by_nobody_else(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    task_id = UUID(tasker.begin("quick")["taskId"])
    assert ask(make_team(), [task_id]) == [None]
    [found] = ask(lasters, [task_id])
    assert isinstance(found, Task)


def test_who_asks_while_the_database_is_away_is_told_and_the_next_one_is_answered(
    tasker: TaskClient, workers_later: Workers, lasters: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = UUID(tasker.begin("quick")["taskId"])

    def away(*_: object) -> None:
        raise database_unavailable()

    with monkeypatch.context() as patched:
        patched.setattr(seen, "find_tasks", away)
        assert all(isinstance(each, Unavailable) for each in ask(lasters, [task_id] * 3))
    [found] = ask(lasters, [task_id])
    assert isinstance(found, Task)


def test_who_asks_while_a_look_hangs_is_told_as_soon_as_who_looks(
    tasker: TaskClient, workers_later: Workers, lasters: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = UUID(tasker.begin("quick")["taskId"])
    monkeypatch.setattr(reading, "LOOK_UP_SECONDS", 2.0)

    async def ask_twice() -> Any:
        tasks = get_runtime().tasks
        tasks.forget_all()
        first = asyncio.ensure_future(tasks.find(lasters.tenant_id, task_id))
        for _ in range(10):
            await asyncio.sleep(0)
        assert lasters.tenant_id in tasks._under_way
        # For the next look, which begins when this one has ended.
        second = asyncio.ensure_future(tasks.find(lasters.tenant_id, task_id))
        said = await asyncio.gather(first, second, return_exceptions=True)
        # The second look, which goes on, is not waited for.
        assert lasters.tenant_id in tasks._under_way
        return said

    with psycopg.connect(settings.ENV.database_url) as holder:
        holder.execute("LOCK TABLE servers_task IN ACCESS EXCLUSIVE MODE")
        said = run_async(ask_twice())
    assert all(isinstance(each, Unavailable) for each in said), said
    [found] = ask(lasters, [task_id])
    assert isinstance(found, Task)


def test_an_ended_one_comes_with_its_result(tasker: TaskClient, workers: Workers, lasters: Team) -> None:
    task_id = tasker.begin("quick")["taskId"]
    tasker.until(task_id)
    [found] = ask(lasters, [UUID(task_id)])
    assert isinstance(found, Task)
    assert found.sealed_result is not None
