"""The line at the workers: whose turn it is, and that a turn is one worker's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from servers.models import Turn
from servers.services.tasks import line as line_module
from servers.services.tasks.line import (
    _CLAIMING,
    _LOCK,
    LEASE,
    WINDOW,
    Claim,
    TurnLost,
    claim_next,
    count_waiting,
    find_abandoned,
    give_back,
    hold,
    join_line,
    leave_line,
    renew,
    take_over,
)


@pytest.fixture(autouse=True)
def line() -> None:
    """Nobody waits, and the round begins. The line is all teams', so what other tests left would be next."""
    Turn.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('servers_turn_round', 1_000_000_000)")


def wait(team: int, *, priority: int = 0, seconds: float = 0) -> UUID:
    task_id = uuid4()
    join_line(team, task_id, priority=priority)
    if seconds:
        Turn.objects.filter(task_id=task_id).update(since=timezone.now() - timedelta(seconds=seconds))
    return task_id


def claim(most: int = 100) -> Claim | None:
    return claim_next("worker-1", most_of_team=most)


def lose(taken: Claim) -> None:
    Turn.objects.filter(task_id=taken.task_id).update(lease_until=timezone.now() - timedelta(seconds=1))


def claimed(most: int = 100) -> Claim:
    found = claim(most)
    assert found is not None
    return found


def test_a_team_with_a_hundred_waiting_keeps_nobody_waiting() -> None:
    many = [wait(1, seconds=1_000 - n) for n in range(100)]
    one = wait(2)
    first, second = claimed(), claimed()
    assert [first.task_id, second.task_id] == [many[0], one]
    assert [claimed().tenant_id for _ in range(3)] == [1, 1, 1]


def test_turns_go_to_the_team_that_has_the_fewest() -> None:
    for team in (1, 2, 3):
        for _ in range(4):
            wait(team)
    assert sorted(claimed().tenant_id for _ in range(3)) == [1, 2, 3]
    assert sorted(claimed().tenant_id for _ in range(3)) == [1, 2, 3]


@pytest.mark.parametrize("loud", [2, 5])
def test_as_many_teams_with_a_backlog_as_there_are_slots_keep_nobody_waiting(loud: int) -> None:
    for team in range(1, loud + 1):
        for n in range(10):
            wait(team, seconds=1_000 - n)
    running = [claimed() for _ in range(loud)]
    assert {each.tenant_id for each in running} == set(range(1, loud + 1))
    quiet = wait(loud + 1)
    order = []
    while quiet not in order:
        leave_line([running.pop(0).task_id])
        running.append(claimed())
        order.append(running[-1].task_id)
    assert len(order) <= 2


def test_teams_that_have_equally_many_running_take_turns() -> None:
    for team in (1, 2, 3):
        for n in range(4):
            wait(team, seconds=100 * team - n)
    order = []
    for _ in range(6):
        taken = claimed()
        order.append(taken.tenant_id)
        leave_line([taken.task_id])
    assert order == [1, 2, 3, 1, 2, 3]


def test_within_a_team_the_urgent_come_first_and_then_the_oldest() -> None:
    late, early, urgent = wait(1, seconds=1), wait(1, seconds=9), wait(1, priority=5)
    assert [claimed().task_id for _ in range(3)] == [urgent, early, late]
    assert claim() is None


def test_a_team_has_no_more_at_once_than_it_may() -> None:
    for _ in range(3):
        wait(1)
    assert claim(2) is not None
    assert claim(2) is not None
    assert claim(2) is None
    last = wait(2)
    assert claimed(2).task_id == last


def test_of_more_teams_than_one_look_sees_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "WINDOW", 3)
    for team in range(1, 21):
        for _ in range(2):
            wait(team)
    assert sorted(claimed().tenant_id for _ in range(20)) == list(range(1, 21))
    assert sorted(claimed().tenant_id for _ in range(20)) == list(range(1, 21))
    assert claim() is None


def test_teams_that_may_have_no_more_keep_nobody_beyond_them_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "WINDOW", 2)
    for team in range(1, 9):
        for _ in range(2):
            wait(team)
    assert len({claimed(1).tenant_id for _ in range(8)}) == 8
    assert claim(1) is None
    last = wait(9)
    assert claimed(1).task_id == last


def test_one_turn_is_one_workers_however_many_ask_at_once() -> None:
    tasks = {wait(1 + n % 4) for n in range(40)}

    def ask(_: int) -> UUID | None:
        try:
            found = claim()
            return None if found is None else found.task_id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as workers:
        given = list(workers.map(ask, range(50)))
    assert sorted(map(str, filter(None, given))) == sorted(map(str, tasks))
    assert given.count(None) == 10


def test_a_turn_without_a_sign_is_taken_over_once_and_the_former_worker_is_out() -> None:
    wait(1)
    first = claimed()
    assert find_abandoned() == []
    assert take_over(first, "worker-2") is None
    lose(first)
    assert find_abandoned() == [first]
    second = take_over(first, "worker-2")
    assert second is not None
    assert take_over(first, "worker-3") is None
    with transaction.atomic(), pytest.raises(TurnLost):
        hold(first)
    with transaction.atomic():
        assert hold(second).worker == "worker-2"
    assert renew([first, second]) == {second.token: False}


def test_a_turn_that_was_taken_away_and_claimed_anew_is_not_the_former_ones() -> None:
    wait(1)
    first = claimed()
    give_back(first)
    again = claimed()
    assert again.task_id == first.task_id
    with pytest.raises(TurnLost):
        give_back(first)
    give_back(again)


def test_a_sign_keeps_a_turn_and_brings_that_it_is_to_be_cancelled() -> None:
    wait(1)
    taken = claimed()
    lose(taken)
    assert renew([taken]) == {taken.token: False}
    assert find_abandoned() == []
    Turn.objects.filter(task_id=taken.task_id).update(cancelled=True)
    assert renew([taken]) == {taken.token: True}


def test_what_waits_is_counted() -> None:
    wait(1), wait(2)
    assert count_waiting() == 2
    claimed()
    assert count_waiting() == 1


def test_who_stops_in_the_middle_of_a_claim_keeps_nobody_from_claiming() -> None:
    wait(1)
    second = wait(2)
    with closing(psycopg.connect(**connection.get_connection_params())) as paused:
        token = uuid4()
        given = {"lock": _LOCK, "most": 8, "window": WINDOW, "token": token, "worker": "w", "lease": LEASE}
        sent = psycopg.ClientCursor(paused).mogrify(_CLAIMING, given)
        paused.pgconn.send_query(sent.encode())
        # It never reads what came of it.
        deadline = time.monotonic() + 20
        while not Turn.objects.filter(claim=token).exists():
            assert time.monotonic() < deadline
        assert claimed().task_id == second
