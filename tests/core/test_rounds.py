"""Scheduled work that is not cheap is done once for as many hints as lie in the queue, and by one worker at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery
from django.conf import settings
from django.db import connection

from config.celery import app as marina
from core.rounds import InRounds

SECONDS = 60.0
NAME = "tests.round"

CHEAP = {
    # One statement where nothing is to be done, or a lock and a due time of its own.
    "servers.tasks.run_schedules",
    "servers.tasks.sweep_tasks",
    "tenants.tasks.make_checkpoints",
    "tenants.tasks.publish_checkpoints",
    "tenants.tasks.pump_streams",
}

pytestmark = pytest.mark.usefixtures("database")


class Work:
    """A task of the schedule; counts its rounds."""

    def __init__(self) -> None:
        self.rounds = 0
        self.fault: Exception | None = None
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        app = Celery("rounds", broker="memory://", set_as_current=False)
        app.conf.beat_schedule = {"work": {"task": NAME, "schedule": SECONDS}}
        self.task = app.task(self._run, name=NAME, base=InRounds, shared=False)

    def _run(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.rounds += 1
        self.begun.set()
        assert self.go.wait(30)

    def hint(self) -> None:
        """What a worker does with one."""
        self.task.apply(throw=True)


@pytest.fixture
def work() -> Work:
    # The application may not delete one.
    execute("UPDATE core_round SET begun_at = '-infinity', ended_at = NULL WHERE name = %s")
    return Work()


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [NAME])


def move(begun: float, ended: float) -> None:
    """Let the last round have begun and ended so many seconds ago."""
    execute(
        f"UPDATE core_round SET begun_at = now() - make_interval(secs => {begun}), "
        f"ended_at = now() - make_interval(secs => {ended}) WHERE name = %s"
    )


def test_of_the_hints_of_an_outage_one_does_the_work(work: Work) -> None:
    for _ in range(15):
        work.hint()
    assert work.rounds == 1
    move(SECONDS, SECONDS - 1)
    for _ in range(15):
        work.hint()
    assert work.rounds == 2


def test_hints_of_a_round_that_outlasts_its_period_come_to_nothing_after_it(work: Work) -> None:
    work.hint()
    move(10 * SECONDS, 0)
    work.hint()
    assert work.rounds == 1
    move(10 * SECONDS, SECONDS / 2)
    work.hint()
    assert work.rounds == 2


def test_two_workers_do_not_do_it_at_a_time(work: Work) -> None:
    work.go.clear()
    with ThreadPoolExecutor(1) as other:
        first = other.submit(work.hint)
        assert work.begun.wait(30)
        # It takes long, and its begin lies far behind.
        move(10 * SECONDS, 9 * SECONDS)
        work.hint()
        assert work.rounds == 1
        work.go.set()
        first.result(30)
    move(10 * SECONDS, 9 * SECONDS)
    work.hint()
    assert work.rounds == 2


def test_a_round_that_failed_is_over_and_the_next_is_in_its_time(work: Work) -> None:
    work.fault = RuntimeError("as a test has it")
    with pytest.raises(RuntimeError):
        work.hint()
    work.fault = None
    work.hint()
    assert work.rounds == 0
    move(SECONDS, SECONDS)
    work.hint()
    assert work.rounds == 1


def test_a_database_whose_clock_was_ahead_silences_nothing(work: Work) -> None:
    work.hint()
    move(-600, -600)
    work.hint()
    assert work.rounds == 2


def test_what_is_called_directly_is_done(work: Work) -> None:
    work.task()
    work.task()
    assert work.rounds == 2


def test_whatever_the_schedule_has_is_done_in_rounds_or_known_to_be_cheap() -> None:
    marina.loader.import_default_modules()
    tasks = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    in_rounds = {name for name in tasks if isinstance(marina.tasks[name], InRounds)}
    assert tasks - in_rounds == CHEAP
    assert all(marina.tasks[name].expires for name in tasks)
    assert all(marina.tasks[name]._seconds() > 0 for name in in_rounds)
