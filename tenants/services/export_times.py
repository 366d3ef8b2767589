"""When a scheduled export is due. Pure; times are UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from core.crontimes import next_time

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
    return next_time(_cron_of(times), "UTC", after)


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


def _cron_of(times: Times) -> str:
    match times.every:
        case "hourly":
            return f"{times.minute} * * * *"
        case "daily":
            return f"{times.minute} {times.hour} * * *"
        case "weekly":
            # Of cron, 7 is Sunday.
            return f"{times.minute} {times.hour} * * {times.weekday + 1}"
    return f"{times.minute} {times.hour} {times.day} * *"
