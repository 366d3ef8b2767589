"""When a line of cron is due: in time zones, around changes of the clocks, and what is no such line."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.crontimes import (
    BadCron,
    check_cron,
    count_times,
    describe_cron,
    last_time,
    next_time,
    next_times,
    zone_of,
    zones,
)

ZURICH = "Europe/Zurich"
LINES = (
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0 9-17 * * 1-5",
    "15 3 1 * *",
    "0 0 * * MON#2",
    "0 2 29 2 *",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_it_is_due_by_the_clocks_of_its_zone() -> None:
    now = at("2026-11-22T04:25:30")
    assert next_time("30 2 * * 1", ZURICH, now) == at("2026-11-23T01:30")
    assert next_time("30 2 * * 1", "UTC", now) == at("2026-11-23T02:30")
    assert last_time("30 2 * * 1", ZURICH, now) == at("2026-11-16T01:30")
    assert next_time("30 2 * * 1", ZURICH, at("2026-07-01T00:00")) == at("2026-07-06T00:30")


def test_what_an_hour_that_is_left_out_had_is_due_right_after_it_once() -> None:
    found = list(islice(next_times("30 2 * * *", ZURICH, at("2026-03-28T12:00")), 2))
    assert found == [at("2026-03-29T01:00"), at("2026-03-30T00:30")]
    assert last_time("30 2 * * *", ZURICH, at("2026-03-29T01:40")) == at("2026-03-29T01:00")


def test_a_time_that_comes_twice_is_due_the_first_time_alone() -> None:
    found = list(islice(next_times("30 2 * * *", ZURICH, at("2026-10-24T12:00")), 2))
    assert found == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]
    assert last_time("30 2 * * *", ZURICH, at("2026-10-25T01:45")) == at("2026-10-25T00:30")


@pytest.mark.parametrize("line", ["*/20 * * * *", "0 * * * *"])
def test_the_last_time_within_the_hour_that_comes_twice_is_of_that_hour(line: str) -> None:
    due = list(islice(next_times(line, ZURICH, at("2026-10-24T23:30")), 9))
    for before, each in pairwise(due):
        assert last_time(line, ZURICH, each) == each
        assert last_time(line, ZURICH, each - timedelta(seconds=1)) == before


def test_the_very_moment_counts_for_the_last_time_and_not_for_the_next() -> None:
    moment = at("2026-11-22T04:25")
    assert last_time("*/5 * * * *", "UTC", moment) == moment
    assert next_time("*/5 * * * *", "UTC", moment) == moment + timedelta(minutes=5)


@given(
    st.sampled_from(LINES),
    st.sampled_from(["UTC", ZURICH, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_last_time_before_the_next_one_is_the_last_one(line: str, zone: str, now: datetime) -> None:
    following = next_time(line, zone, now)
    assert following > now
    assert last_time(line, zone, following) == following
    before = last_time(line, zone, now)
    assert before <= now
    assert next_time(line, zone, before) == following


def test_missed_times_are_counted_up_to_a_bound() -> None:
    since, until = at("2026-11-22T04:00"), at("2026-11-22T05:00")
    assert count_times("*/5 * * * *", "UTC", since, until, 100) == 12
    assert count_times("*/5 * * * *", "UTC", since, since, 100) == 0
    assert count_times("* * * * *", "UTC", since, until, 20) == 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "five fields"),
        ("@daily", "five fields"),
        ("0 * * * * *", "five fields"),
        ("61 * * * *", "field 1, the minute"),
        ("0 24 * * *", "field 2, the hour"),
        ("0 0 32 * *", "field 3, the day of the month"),
        ("0 0 * 13 *", "field 4, the month"),
        ("0 0 * * 8", "field 5, the day of the week"),
        ("0 0 30 2 *", "never due"),
        ("*/0 * * * *", "field 1"),
    ],
)
def test_what_is_no_line_of_cron_is_told_by_its_field(line: str, words: str) -> None:
    with pytest.raises(BadCron, match=words):
        check_cron(line)


@pytest.mark.parametrize("name", ["", "Nowhere", "../../etc/passwd", "/etc/passwd", "UTC\0", "Europe"])
def test_what_is_no_time_zone_is_told(name: str) -> None:
    with pytest.raises(BadCron, match="no time zone"):
        zone_of(name)


def test_each_zone_that_is_offered_is_known() -> None:
    assert {"UTC", ZURICH} <= set(zones())
    for name in zones()[::20]:
        zone_of(name)


def test_zones_are_known_where_the_system_knows_none() -> None:
    script = f"from core.crontimes import zone_of, zones; zone_of({ZURICH!r}); assert len(zones()) > 400"
    environ = {**os.environ, "PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True)


def test_it_is_said_in_words() -> None:
    assert describe_cron("30 2 * * 1", ZURICH) == "At 02:30 on Monday (Europe/Zurich)"
