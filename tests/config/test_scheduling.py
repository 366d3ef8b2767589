"""Scheduled work goes on though the clock is set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from config.scheduling import SteadyScheduler

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clocked(Celery):  # type: ignore[misc] # Celery has no types
    """An application whose clock a test sets."""

    time = START

    def now(self) -> datetime:
        return self.time


class Noting(SteadyScheduler):
    """Writes down what it would send."""

    def __init__(self, *args: Any, **values: Any) -> None:
        self.sent: list[str] = []
        super().__init__(*args, **values)

    def apply_async(self, entry: Any, *args: Any, **values: Any) -> None:
        self.sent.append(entry.name)


@pytest.fixture
def app() -> Clocked:
    made = Clocked("scheduling", broker="memory://")
    made.conf.beat_schedule = {
        "often": {"task": "often", "schedule": 5.0},
        "seldom": {"task": "seldom", "schedule": 60.0},
    }
    return made


def sent_within(scheduler: Noting, app: Clocked, seconds: int) -> list[str]:
    scheduler.sent.clear()
    for _ in range(seconds):
        app.time += timedelta(seconds=1)
        while scheduler.tick() == 0:
            pass
    return scheduler.sent


def test_what_is_due_every_few_seconds_stays_so_after_ten_minutes_back(app: Clocked, tmp_path: Path) -> None:
    scheduler = Noting(app=app, schedule_filename=str(tmp_path / "schedule"))
    usual = sent_within(scheduler, app, 61)
    assert (usual.count("often"), usual.count("seldom")) == (12, 1)
    app.time -= timedelta(minutes=10)
    assert sent_within(scheduler, app, 61).count("often") >= 11
    app.time += timedelta(minutes=10)
    assert sent_within(scheduler, app, 61).count("often") >= 11


def test_a_scheduler_that_starts_with_last_runs_in_the_future_does_not_wait_for_them(
    app: Clocked, tmp_path: Path
) -> None:
    before = Noting(app=app, schedule_filename=str(tmp_path / "schedule"))
    sent_within(before, app, 30)
    before.close()
    app.time -= timedelta(minutes=10)
    after = Noting(app=app, schedule_filename=str(tmp_path / "schedule"))
    assert sent_within(after, app, 30).count("often") >= 5
