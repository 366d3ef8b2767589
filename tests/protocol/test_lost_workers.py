"""Workers that end in the middle of a task: nothing is lost, and nothing that may have been done is done again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.loop import run_async
from servers.models import Task, Turn
from servers.services.tasks.ending import settle
from servers.services.tasks.line import Claim, TurnLost, claim_next
from servers.services.tasks.payload import Ended
from servers.services.tasks.runs import MAX_RUNS, begin_run, conclude, keep_ended, look_at, mark_begun
from servers.services.tasks.saying import Said
from tenants.audit.verification import verify_log
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.protocol.conftest import Records
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.waiting import wait_for


@pytest.fixture(autouse=True)
def line(port: int) -> Iterator[None]:
    """Nobody waits but a test's own."""
    Turn.objects.all().delete()
    yield
    Turn.objects.all().delete()


def begin(tasker: TaskClient, tool: str, *, doing: bool) -> tuple[str, Claim]:
    """A task whose worker has claimed it, and with ``doing`` has begun to do it."""
    task_id = tasker.begin(tool)["taskId"]
    return task_id, claimed(doing=doing)


def claimed(*, doing: bool) -> Claim:
    claim = claim_next("lost", most_of_team=10)
    assert claim is not None
    run = begin_run(claim)
    assert run is not None
    assert run.intent_seq is not None
    if doing:
        mark_begun(claim, run.intent_seq)
    return claim


def end_worker(claim: Claim) -> None:
    """It gives no sign any more, and somebody looks after it."""
    Turn.objects.filter(task_id=claim.task_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    run_async(settle(claim))


def told(records: Records, lasters: Team) -> list[tuple[str, Any]]:
    found = records(lasters, kind="tools/call")
    assert verify_log(lasters.tenant_id).seq
    return [(each["outcome"], (each["reason"] or {}).get("code")) for each in found]


@pytest.mark.parametrize(("tool", "doing"), [("quick", True), ("quick", False), ("effect", False)])
def test_what_did_nothing_or_only_reads_runs_again(
    tasker: TaskClient,
    workers_later: Workers,
    lasters: Team,
    held: LastingBackend,
    records: Records,
    tool: str,
    doing: bool,
) -> None:
    task_id, claim = begin(tasker, tool, doing=doing)
    end_worker(claim)
    assert tasker.get(task_id)["status"] == "working"
    workers_later.begin()
    if tool == "effect":
        run_async(held.let_go())
    assert tasker.until(task_id)["status"] == "completed"
    assert held.runs[lasters.slug, tool] == 1
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_what_may_have_been_done_is_not_done_again(
    tasker: TaskClient, workers_later: Workers, lasters: Team, held: LastingBackend, records: Records
) -> None:
    task_id, claim = begin(tasker, "effect", doing=True)
    end_worker(claim)
    workers_later.begin()
    ended = tasker.until(task_id)
    assert ended["status"] == "failed"
    assert "may have taken effect" in ended["error"]["message"]
    assert not held.effects[lasters.slug]
    assert told(records, lasters) == [("intent", None), ("error", "outcome_unknown")]


def test_what_was_begun_elsewhere_and_can_be_followed_is_followed(
    tasker: TaskClient, workers_later: Workers, lasters: Team, held: LastingBackend, records: Records
) -> None:
    task_id, claim = begin(tasker, "follow", doing=True)
    assert held.effects[lasters.slug] == 1
    end_worker(claim)
    assert tasker.get(task_id)["status"] == "working"
    workers_later.begin()
    run_async(held.let_go())
    assert tasker.until(task_id)["result"]["structuredContent"]["kept"] == "where it is"
    assert held.effects[lasters.slug] == 1
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_what_a_worker_began_and_can_be_followed_is_followed_by_another_one(
    tasker: TaskClient, workers: Workers, lasters: Team, held: LastingBackend, records: Records
) -> None:
    task_id = tasker.begin("follows")["taskId"]
    assert held.entered.acquire(timeout=60)
    turn = Turn.objects.get(task_id=task_id)
    assert turn.claim is not None
    claim = Claim(lasters.tenant_id, turn.task_id, turn.claim)

    def is_lost() -> bool:
        end_worker(claim)
        # Its worker may have said in between that it lives.
        return not Turn.objects.filter(task_id=task_id, claim=claim.token).exists()

    wait_for(is_lost)
    workers.hint()
    assert held.entered.acquire(timeout=60)
    # The one that was taken for lost holds, too, if it has not learned of it yet.
    run_async(held.let_go())
    assert tasker.until(task_id)["result"]["structuredContent"]["kept"] == "where it is"
    assert held.effects[lasters.slug] == 1
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_what_a_run_came_to_counts_though_its_worker_ended_before_the_log_had_it(
    tasker: TaskClient, lasters: Team, records: Records
) -> None:
    task_id, claim = begin(tasker, "effect", doing=True)
    keep_ended(claim, Ended("ok", "completed", structured={"done": 1}, text="done", size=4), Said())
    end_worker(claim)
    assert tasker.get(task_id)["result"]["structuredContent"] == {"done": 1}
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_an_outcome_that_the_log_has_is_not_written_again(
    tasker: TaskClient, workers_later: Workers, lasters: Team, held: LastingBackend, records: Records
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    workers_later.begin()
    tasker.until(task_id)
    # As if its worker had ended between the log and the row.
    with tenant_scope(lasters.tenant_id):
        row = Task.objects.get(id=task_id)
        Task.objects.update(status="working", begun=True, finished_at=None)
    claim = Claim(lasters.tenant_id, row.id, row.id)
    Turn.objects.create(task_id=row.id, of_tenant=lasters.tenant_id, claim=claim.token, worker="lost")
    end_worker(claim)
    assert tasker.get(task_id)["status"] == "completed"
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_what_ends_its_worker_each_time_is_given_up(
    tasker: TaskClient, lasters: Team, held: LastingBackend, records: Records
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    for _ in range(MAX_RUNS):
        end_worker(claimed(doing=True))
    ended = tasker.get(task_id)
    assert ended["status"] == "failed"
    assert f"begun {MAX_RUNS} times" in ended["error"]["message"]
    assert not Turn.objects.filter(task_id=task_id).exists()
    assert told(records, lasters) == [("intent", None), ("error", "task_parked")]


def test_a_worker_that_was_taken_for_dead_changes_nothing_any_more(
    tasker: TaskClient, workers_later: Workers, lasters: Team, records: Records
) -> None:
    task_id, claim = begin(tasker, "quick", doing=True)
    run = look_at(claim)
    assert run is not None
    end_worker(claim)
    late = Ended("ok", "completed", structured={"run": "late"})
    with pytest.raises(TurnLost):
        keep_ended(claim, late, Said())
    with pytest.raises(TurnLost):
        conclude(run, late)
    with pytest.raises(TurnLost):
        mark_begun(claim, 1)
    workers_later.begin()
    assert tasker.until(task_id)["result"]["structuredContent"]["run"] == 1
    assert told(records, lasters) == [("intent", None), ("ok", None)]


def test_what_was_to_be_cancelled_is_cancelled_though_its_worker_ended(
    tasker: TaskClient, lasters: Team, records: Records
) -> None:
    task_id, claim = begin(tasker, "effect", doing=True)
    tasker.ask("cancel", task_id)
    assert tasker.get(task_id)["status"] == "working"
    end_worker(claim)
    wait_for(lambda: tasker.get(task_id)["status"] == "cancelled")
    assert told(records, lasters) == [("intent", None), ("cancelled", "cancelled")]
