"""Who makes an export: a lease, and a fence that grows with each claim. What is exported is fixed by the first claim.

Only the holder of the newest fence finishes the row. Whoever finds that it holds it no more stops, and leaves the row
as it is: another worker has it, or somebody cancelled the export.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Max, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from tenants.audit.chain import EMPTY, Head
from tenants.audit.query import Filters, Period, clean_filters, matching_records
from tenants.audit.removed import read_removed
from tenants.models import AuditExport, AuditHead, Tenant
from tenants.scoping import directory_scope, tenant_scope

LEASE: Final = timedelta(seconds=30)
"""By the database's clock: workers' may differ."""

HINT_GRACE: Final = timedelta(seconds=5)
"""A row this old that is still queued was never hinted, or its hint was lost."""

MAX_TRIES: Final = 5
"""So many workers in a row may end without having made one part of the file durable."""

PULSE_SECONDS: Final = 0.5
"""How often a worker says how far it is, and notices that it is to stop."""


class LeaseLost(Exception):
    """Another worker has claimed the export meanwhile, or somebody cancelled it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make one export, as long as its fence is the row's.

    ``first`` and ``last`` are the records to look at: none where ``first`` is the greater. ``head`` is the end of the
    log when the export was claimed first. Without ``payloads``, what calls were given and gave is left out.
    """

    tenant_id: int
    tenant_slug: str
    export_id: UUID
    fence: int
    format: str
    period: Period
    filters: Filters
    first: int
    last: int
    head: Head
    asked_at: datetime
    payloads: bool = True

    @property
    def whole(self) -> bool:
        """Whether every record from ``first`` to ``last`` is wanted: nothing is filtered.

        Its period then only said where the range begins and ends: times do not grow with the numbers everywhere.
        """
        return self.filters == Filters()


class Pulse:
    """Keeps the lease, and the row's progress, while a worker is at it."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._next = 0.0

    def beat(self, *, looked_at: int | None = None, records: int = 0, size: int = 0) -> None:
        """Say how far the work is, where that was not said just now. Raises ``LeaseLost``."""
        if monotonic() < self._next:
            return
        progress = {} if looked_at is None else {"looked_at": looked_at, "records": records, "size": size}
        with tenant_scope(self._claim.tenant_id):
            renewed = held(self._claim).update(lease_until=Now() + LEASE, **progress)
        if renewed != 1:
            raise LeaseLost
        self._next = monotonic() + PULSE_SECONDS


def claim_export(tenant_id: int, export_id: UUID) -> Claim | None:
    """Take an export that is queued, or whose worker's lease ran out. None when it is not to be had."""
    with tenant_scope(tenant_id):
        claimable = Q(status=AuditExport.Status.QUEUED) | Q(
            status=AuditExport.Status.RUNNING, lease_until__lt=Now()
        )
        claimed = AuditExport.objects.filter(claimable, id=export_id).update(
            status=AuditExport.Status.RUNNING,
            fence=F("fence") + 1,
            tries=F("tries") + 1,
            lease_until=Now() + LEASE,
        )
        if claimed != 1:
            return None
        export = AuditExport.objects.get(id=export_id)
        slug = Tenant.objects.values_list("slug", flat=True).get(pk=tenant_id)
    claim = Claim(
        tenant_id=tenant_id,
        tenant_slug=slug,
        export_id=export_id,
        fence=export.fence,
        format=export.format,
        period=Period(export.from_at, export.to_at),
        filters=clean_filters(export.filters),
        first=export.first_seq or 0,
        last=export.last_seq or 0,
        head=Head(export.head_seq or 0, bytes(export.head_hash or EMPTY.hash)),
        asked_at=export.created_at,
        payloads=export.payloads,
    )
    if export.tries > MAX_TRIES:
        finish(
            claim,
            status=AuditExport.Status.FAILED,
            error=f"{MAX_TRIES} workers in a row ended before they had written a part of it. Start an export of a "
            "shorter range, and tell an operator.",
        )
        return None
    return claim if export.head_seq is not None else _fix(claim)


def find_unclaimed(tenant_id: int) -> list[UUID]:
    """Exports that wait although nobody works on them: never hinted, or left behind by a worker."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        waiting = AuditExport.objects.filter(
            Q(status=AuditExport.Status.QUEUED, created_at__lt=now - HINT_GRACE)
            | Q(status=AuditExport.Status.RUNNING, lease_until__lt=Now())
        )
        return list(waiting.values_list("id", flat=True))


def count_waiting(older_than: timedelta) -> tuple[int, int]:
    """Of all tenants: how many exports nobody has worked on for longer than this, and how many somebody works on.

    By a function of the database that tells these numbers and nothing else.
    """
    with directory_scope(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT waiting, working FROM marina_waiting_exports(%s)", [older_than.total_seconds()]
        )
        waiting, working = cursor.fetchone()
        return int(waiting), int(working)


def finish(claim: Claim, **values: object) -> bool:
    """End the claimed export. False where the claim is not held any more."""
    with tenant_scope(claim.tenant_id):
        return held(claim).update(finished_at=timezone.now(), lease_until=None, **values) == 1


def note_part(claim: Claim) -> None:
    """A part of the file is durable: whoever comes next goes on from there."""
    with tenant_scope(claim.tenant_id):
        held(claim).update(tries=0)


def held(claim: Claim) -> QuerySet[AuditExport]:
    """The claimed row, as long as the claim is the newest and nobody ended it."""
    return AuditExport.objects.filter(
        id=claim.export_id, fence=claim.fence, status=AuditExport.Status.RUNNING
    )


def _fix(claim: Claim) -> Claim | None:
    """Settle, once and for all, what is exported: what comes into the log from now on is not."""
    with tenant_scope(claim.tenant_id):
        row = AuditHead.objects.filter(tenant_id=claim.tenant_id).first()
        head = EMPTY if row is None else Head(row.seq, bytes(row.hash))
        first, last = _bounds(claim, head.seq)
        fixed = held(claim).update(
            head_seq=head.seq, head_hash=head.hash, first_seq=first, last_seq=last, looked_at=0
        )
    return replace(claim, first=first, last=last, head=head) if fixed == 1 else None


def _bounds(claim: Claim, newest: int) -> tuple[int, int]:
    """The first and the last record to look at. Of the whole log these are its ends, whatever is there; it begins after
    what was removed.
    """
    removed = read_removed().seq
    if claim.whole and claim.period == Period():
        return removed + 1, newest
    # Without the text, which no index helps to find.
    indexed = replace(claim.filters, text="")
    ends = (
        matching_records(indexed, claim.period, as_of=newest)
        .filter(seq__gt=removed, seq__lte=newest)
        .aggregate(first=Min("seq"), last=Max("seq"))
    )
    return (1, 0) if ends["first"] is None else (ends["first"], ends["last"])
