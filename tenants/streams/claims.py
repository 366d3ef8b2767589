"""The rows of streams as a worker sees them: claims one, reads its next batch, settles what became of it.

A worker that claims a stream gets a lease and a fence, a number that grows with each claim: only the holder of the
newest moves the cursor. The cursor moves after a receiver took a batch, so a worker that dies in between leaves a
batch that comes again. Its end is kept (``pending``) before it is sent: what comes again is the very same batch,
under the same name. When a lease or a pause is over, the database's clock says: hosts' clocks differ.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from core.crypto import SealError
from core.sealing import sealer
from tenants.audit.append import append_entry
from tenants.audit.chain import GENESIS
from tenants.audit.query import Filters, Period, clean_filters, matching_records
from tenants.audit.records import Entry, Reason
from tenants.audit.removed import read_removed
from tenants.models import AuditHead, AuditRecord, AuditTombstone, LogStream, StreamDelivery, Tenant
from tenants.scoping import directory_scope, tenant_scope
from tenants.streams.lines import Batch, Line, Outcome, Receiver

LEASE: Final = timedelta(seconds=30)
"""Longer than one attempt takes: it is renewed before each."""

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 512 * 1024
"""Of records' bodies in a batch; one that is larger goes alone."""

WINDOW_RECORDS: Final = 10_000
"""How far one transaction looks for records that the filters let through."""

KEPT_DELIVERIES: Final = 500
"""Of each stream."""

MAX_PAUSE: Final = 300.0
"""Seconds between two tries, unless the receiver asks for more."""

ACTOR: Final = "marina"

_DUE: Final = "SELECT tenant_id, stream_id FROM marina_due_streams(%s)"
_FETCH_RECORDS: Final = 50


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to hand over the records of one stream, as long as its fence is the row's."""

    tenant_id: int
    stream_id: UUID
    fence: int
    receiver: Receiver
    filters: Filters


class LeaseLost(Exception):
    """Another worker has claimed the stream meanwhile, or somebody changed, paused or deleted it."""


def find_due(most: int) -> list[tuple[int, UUID]]:
    """Streams of all tenants that have something to do, those first that had their turn longest ago.

    One look at heads and cursors, by a function of the database that tells these ids and nothing else.
    """
    with directory_scope(), connection.cursor() as cursor:
        cursor.execute(_DUE, [most])
        return [(int(tenant_id), stream_id) for tenant_id, stream_id in cursor.fetchall()]


def claim_stream(tenant_id: int, stream_id: UUID) -> Claim | None:
    """Take a stream that is due. ``None`` where it is not to be had."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    ripe = Q(next_try_at__isnull=True) | Q(next_try_at__lte=Now())
    with tenant_scope(tenant_id):
        claimed = LogStream.objects.filter(free & ripe, id=stream_id, enabled=True).update(
            fence=F("fence") + 1, lease_until=Now() + LEASE, claimed_at=Now()
        )
        if claimed != 1:
            return None
        row = LogStream.objects.get(id=stream_id)
        slug = Tenant.objects.values_list("slug", flat=True).get(pk=tenant_id)
    return Claim(tenant_id, stream_id, row.fence, receiver_of(row, slug), clean_filters(row.filters))


def receiver_of(row: LogStream, tenant_slug: str) -> Receiver:
    """Where a stream goes."""
    opened, sealed = b"{}", False
    if row.sealed:
        try:
            opened = sealer().open(bytes(row.sealed), context=row.seal_context)
        except SealError:
            sealed = True
    origin = urlsplit(settings.ENV.base_url).hostname or "marina"
    return Receiver(row.kind, tenant_slug, origin, row.settings, orjson.loads(opened), sealed=sealed)


def next_batch(claim: Claim) -> Batch | None:
    """What comes next, with the lease renewed; ``None`` where all was handed over. Raises ``LeaseLost``.

    It has no lines where the filters let nothing of it through: the cursor is behind it already.
    """
    with tenant_scope(claim.tenant_id):
        if _held(claim).filter(enabled=True).update(lease_until=Now() + LEASE) != 1:
            raise LeaseLost
        row = LogStream.objects.get(id=claim.stream_id)
        head = AuditHead.objects.values_list("seq", flat=True).get()
        if row.cursor >= head:
            return None
        removed = read_removed().seq
        if row.cursor < removed:
            # It was paused meanwhile, or began before: what retention has removed comes no more, and that is said.
            _skip(claim, row, removed)
            row.cursor, row.pending = removed, None
        first = row.cursor + 1
        if row.pending is None:
            last = min(head, row.cursor + WINDOW_RECORDS)
            lines, last = _first_lines(claim, first, last)
        else:
            last = row.pending
            lines = read_lines(claim.tenant_id, claim.filters, first, last)
        if lines:
            _held(claim).update(pending=last)
        else:
            _held(claim).update(cursor=last, pending=None)
    return Batch(claim.stream_id, first, last, tuple(lines), claim.filters.to_json(), row.failures + 1)


def read_lines(tenant_id: int, filters: Filters, first: int, last: int) -> list[Line]:
    """Records ``first`` to ``last`` that the filters let through, in the scope of their tenant."""
    return [_line(tenant_id, row) for row in _rows(filters, first, last)]


def settle(claim: Claim, batch: Batch, outcome: Outcome, duration_us: int) -> bool:
    """Keep what became of a batch. Whether the stream may go on at once. Raises ``LeaseLost``."""
    with tenant_scope(claim.tenant_id):
        if outcome.taken:
            moved = _held(claim).update(
                cursor=batch.last,
                pending=None,
                taken_at=Now(),
                attempts=F("attempts") + 1,
                failures=0,
                failing_since=None,
                next_try_at=None,
                error="",
            )
        else:
            wait = max(pause_after(batch.attempt), outcome.wait or 0.0)
            moved = _held(claim).update(
                attempts=F("attempts") + 1,
                failures=F("failures") + 1,
                failing_since=Coalesce("failing_since", Now()),
                next_try_at=Now() + timedelta(seconds=wait),
                error=outcome.words[:300],
            )
        if moved != 1:
            raise LeaseLost
        note_delivery(claim.stream_id, claim.filters, batch, outcome, duration_us, StreamDelivery.Cause.TURN)
        if outcome.gone:
            _pause(claim, outcome)
    return outcome.taken


def release(claim: Claim) -> None:
    """Let another worker have the stream."""
    with tenant_scope(claim.tenant_id):
        _held(claim).update(lease_until=None)


def note_delivery(
    stream_id: UUID,
    filters: Filters,
    batch: Batch,
    outcome: Outcome,
    duration_us: int,
    cause: StreamDelivery.Cause,
) -> StreamDelivery:
    """Keep that there was an attempt, whose number the stream's row has; the oldest go. In the tenant's scope."""
    number = LogStream.objects.values_list("attempts", flat=True).get(id=stream_id)
    StreamDelivery.objects.filter(stream_id=stream_id, number__lte=number - KEPT_DELIVERIES).delete()
    return StreamDelivery.objects.create(
        stream_id=stream_id,
        number=number,
        cause=cause,
        first=batch.first,
        last=batch.last,
        filters=filters.to_json(),
        records=len(batch.lines),
        size=outcome.size,
        attempt=batch.attempt,
        taken=outcome.taken,
        status=outcome.status,
        duration_us=duration_us,
        words=outcome.words[:300],
    )


def pause_after(failures: int) -> float:
    """Seconds until the next try: doubled with each, up to five minutes, and up to half of it less, by chance."""
    longest = min(MAX_PAUSE, 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that not all come at once


def _pause(claim: Claim, outcome: Outcome) -> None:
    words = f"The receiver refused for good: {outcome.words}"
    row = LogStream.objects.get(id=claim.stream_id)
    row.enabled, row.paused_because = False, words[:300]
    row.save(update_fields=["enabled", "paused_because"])
    append_entry(
        Entry(
            kind="stream.paused",
            outcome="ok",
            actor=ACTOR,
            arguments={"after": {"id": str(row.id), "name": row.name, "cursor": row.cursor}},
            reason=Reason(code="receiver_gone", message=words),
        ),
        tenant_id=claim.tenant_id,
    )


def _skip(claim: Claim, row: LogStream, removed: int) -> None:
    _held(claim).update(cursor=removed, pending=None)
    append_entry(
        Entry(
            kind="stream.skipped",
            outcome="ok",
            actor=ACTOR,
            arguments={
                "after": {"id": str(row.id), "name": row.name, "first": row.cursor + 1, "last": removed}
            },
            reason=Reason(
                code="records_removed",
                message=f"Retention removed records {row.cursor + 1} to {removed} before the stream came to them.",
            ),
        ),
        tenant_id=claim.tenant_id,
    )


def _first_lines(claim: Claim, first: int, last: int) -> tuple[list[Line], int]:
    """As many lines as make a batch, and its end: that of the stretch, unless the batch was full before."""
    lines: list[Line] = []
    size = 0
    for row in _rows(claim.filters, first, last).iterator(chunk_size=_FETCH_RECORDS):
        line = _line(claim.tenant_id, row)
        size += len(line.body)
        if lines and (len(lines) == MAX_RECORDS or size > MAX_BYTES):
            return lines, lines[-1].seq
        lines.append(line)
    return lines, last


def _rows(filters: Filters, first: int, last: int) -> QuerySet[Any, Any]:
    previous = AuditRecord.objects.filter(seq=OuterRef("seq") - 1).values("hash")
    # Of the first record after those that were removed, the tombstone has it.
    ended = AuditTombstone.objects.filter(last=OuterRef("seq") - 1).values("last_hash")
    rows: Any = matching_records(filters, Period()).filter(seq__gte=first, seq__lte=last).order_by("seq")
    found: QuerySet[Any, Any] = rows.annotate(prev=Coalesce(Subquery(previous), Subquery(ended))).values_list(
        "seq", "at", "body", "hash", "prev"
    )
    return found


def _line(tenant_id: int, row: tuple[Any, ...]) -> Line:
    seq, at, body, own, prev = row
    before = GENESIS if prev is None else bytes(prev)
    return Line(tenant_id, seq, at, before.hex(), bytes(own).hex(), bytes(body))


def _held(claim: Claim) -> QuerySet[LogStream]:
    return LogStream.objects.filter(id=claim.stream_id, fence=claim.fence)
