"""When a scheduled export is due. Pure; times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Times(Protocol):
    """The fields of a schedule that say when."""

    every: str
    hour: int
    minute: int
    weekday: int
    day: int


def next_due(times: Times, after: datetime) -> datetime:
    """The first moment later than ``after`` at which it is due."""
    now = after.astimezone(UTC)
    due = now.replace(minute=times.minute, second=0, microsecond=0)
    if times.every == "hourly":
        return due if due > now else due + timedelta(hours=1)
    due = due.replace(hour=times.hour)
    if times.every == "daily":
        return due if due > now else due + timedelta(days=1)
    if times.every == "weekly":
        due += timedelta(days=(times.weekday - due.weekday()) % 7)
        return due if due > now else due + timedelta(days=7)
    due = due.replace(day=times.day)
    if due > now:
        return due
    return due.replace(year=due.year + due.month // 12, month=due.month % 12 + 1)


def describe_times(times: Times) -> str:
    """When, in words."""
    at = f"{times.hour:02d}:{times.minute:02d} UTC"
    match times.every:
        case "hourly":
            return f"every hour, {times.minute} minutes past"
        case "daily":
            return f"every day at {at}"
        case "weekly":
            return f"every {DAYS[times.weekday]} at {at}"
    return f"on day {times.day} of every month at {at}"
