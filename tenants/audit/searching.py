"""Searches a tenant's log from the newest record back, stretch by stretch, for as long as it may take.

An index leads to most of what is asked for, and then the whole log is one stretch. A text, or a combination that
nothing has, is found by looking: whoever waits gets what was found in time, and the number from which to go on.
Needs a tenant in scope, and decides nothing about who may look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from tenants.audit.query import Period
from tenants.models import AuditCheckpoint, AuditRecord
from tenants.scoping import TenantQuerySet

FIRST_STRETCH: Final = 5_000
"""So many numbers are looked through at first, and at least."""

STRETCH_SECONDS: Final = 0.02
"""So long one stretch is to take: the next is longer or shorter by what this one took."""

MOST_GROWTH: Final = 4
WRONG_CLOCKS: Final = timedelta(hours=1)
"""Checkpoints tell which numbers a time range can have. A record's time is its process's clock, which may be off
by this.
"""

_QUERY_CANCELED: Final = "57014"


class TooSlow(Exception):
    """One stretch alone took too long: the database is busy with something else."""


@dataclass(frozen=True, slots=True)
class Found:
    """Records, newest first. ``reached``: from this number on all was looked at; what is older was not, for want of
    time. ``None``: there is no older one to look at, or the page is full."""

    rows: list[AuditRecord]
    reached: int | None


def search(
    records: TenantQuerySet[AuditRecord],
    period: Period,
    *,
    before: int | None,
    after: int | None,
    most: int,
    seconds: float,
    longest: float,
    at_once: bool,
) -> Found:
    """The newest ``most`` of ``records`` whose numbers are greater than ``after`` and less than ``before``.

    ``at_once``: there may be an index for it, so that all of the log is tried first, for half of the time. Stops
    when ``seconds`` are over. Raises ``TooSlow`` where a single stretch would take longer than ``longest``: the
    transaction has failed then.
    """
    begun = monotonic()
    with _bounded(longest):
        first, position = _bounds(period)
        first = max(first, 1 if after is None else after + 1)
        position = position if before is None else min(position, before)
        if at_once:
            whole = records.filter(seq__gte=first, seq__lt=position).order_by("-seq")[:most]
            found = _read_within(whole, seconds / 2, longest)
            if found is not None:
                return Found(found, None)
        width = FIRST_STRETCH
        rows: list[AuditRecord] = []
        while position > first and len(rows) < most:
            begin = max(first, position - width)
            stretch_begun = monotonic()
            within = records.filter(seq__gte=begin, seq__lt=position).order_by("-seq")
            rows += within[: most - len(rows)]
            position = begin
            now = monotonic()
            if now - begun >= seconds:
                break
            factor = STRETCH_SECONDS / max(now - stretch_begun, STRETCH_SECONDS / MOST_GROWTH)
            width = max(FIRST_STRETCH, int(width * factor))
    if len(rows) >= most or position <= first:
        return Found(rows, None)
    return Found(rows, position)


def _read_within(
    records: TenantQuerySet[AuditRecord], seconds: float, longest: float
) -> list[AuditRecord] | None:
    """The records, or ``None`` where they were not there in so many ``seconds``."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            _limit(cursor, seconds)
            found = list(records)
            _limit(cursor, longest)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
            raise
        return None
    return found


def _limit(cursor: CursorWrapper, seconds: float) -> None:
    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """No statement inside takes longer than this. Raises ``TooSlow`` where one would have."""
    with connection.cursor() as cursor:
        _limit(cursor, seconds)
        try:
            yield
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
                raise
            raise TooSlow from None
        _limit(cursor, 0)


def _bounds(period: Period) -> tuple[int, int]:
    """The first number that records of a period can have, and the one after the last."""
    numbers = AuditRecord.objects.values_list("seq", flat=True)
    end = (numbers.order_by("-seq").first() or 0) + 1
    first = numbers.order_by("seq").first() or 1
    if period.end is not None:
        later = AuditCheckpoint.objects.filter(at__gte=period.end + WRONG_CLOCKS).order_by("at")
        end = min(end, (later.values_list("seq", flat=True).first() or end) + 1)
    if period.start is not None:
        earlier = AuditCheckpoint.objects.filter(at__lte=period.start - WRONG_CLOCKS).order_by("-at")
        first = max(first, (earlier.values_list("seq", flat=True).first() or 0) + 1)
    return first, end
