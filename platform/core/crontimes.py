"""When a line of cron is due, in a time zone, and what it says in words. Pure: reads no clock.

Around a change of the clocks it is as with Debian's cron: what is due in an hour that is left out is due right after
it, and what is due at a time that comes twice is due the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

_ANY: Final = datetime(2026, 1, 1, tzinfo=UTC)
_FIELDS: Final = (
    "minute (0 to 59)",
    "hour (0 to 23)",
    "day of the month (1 to 31)",
    "month (1 to 12)",
    "day of the week (0 to 7, 0 and 7 are Sunday)",
)
_MINUTE: Final = timedelta(minutes=1)


class BadCron(ValueError):
    """It is no line of cron, or no time zone, or is never due; the message says which, as the end of a sentence."""


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name (IANA). Raises ``BadCron``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadCron("is no time zone that is known here, such as UTC or Europe/Zurich.") from None


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """The names of the time zones that are known here, sorted."""
    return tuple(sorted(available_timezones()))


def check_cron(line: str) -> None:
    """Raise ``BadCron`` unless it has cron's five fields, and is due some time."""
    if fault := _fault_of(line):
        raise BadCron(fault)


def next_times(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The moments later than ``after`` at which it is due, in UTC, one after another. Raises ``BadCron``."""
    check_cron(line)
    return (each.astimezone(UTC) for each in CronSim(line, after.astimezone(zone_of(zone))))


def next_time(line: str, zone: str, after: datetime) -> datetime:
    """The first of ``next_times``."""
    return next(next_times(line, zone, after))


def count_times(line: str, zone: str, since: datetime, until: datetime, most: int) -> int:
    """How often it was due from ``since``, a time at which it was, to before ``until``; ``most`` at most."""
    count = 0
    for each in islice(next_times(line, zone, since - _MINUTE), most):
        if each >= until:
            break
        count += 1
    return count


def last_time(line: str, zone: str, until: datetime) -> datetime:
    """The last moment up to ``until`` at which it was due, in UTC. Raises ``BadCron``."""
    check_cron(line)
    # The one at the very moment counts, so the look back begins a little behind it.
    begin = until.astimezone(zone_of(zone)) + timedelta(microseconds=1)
    found = next(CronSim(line, begin, reverse=True)).astimezone(UTC)
    # Looking back leaves out the second of the hours that come twice, looking ahead does not.
    for each in next_times(line, zone, found):
        if each > until:
            break
        found = each
    return found


def describe_cron(line: str, zone: str) -> str:
    """In words, such as "At 02:30 on Monday (UTC)". Raises ``BadCron``."""
    check_cron(line)
    return f"{CronSim(line, _ANY).explain()} ({zone})"


@lru_cache(maxsize=1_000)
def _fault_of(line: str) -> str:
    """Its fault as the end of a sentence, or nothing."""
    parts = line.split()
    if len(parts) != len(_FIELDS):
        return f"must have five fields: {', '.join(_FIELDS)}. 30 2 * * 1 is every Monday at 02:30."
    for number, (part, field) in enumerate(zip(parts, _FIELDS, strict=True)):
        try:
            CronSim(" ".join(part if each == number else "*" for each in range(len(_FIELDS))), _ANY)
        except CronSimError:
            return f"has a fault in its field {number + 1}, the {field}."
    try:
        next(CronSim(line, _ANY))
    except (CronSimError, StopIteration):
        return "is never due: there is no such day."
    return ""
