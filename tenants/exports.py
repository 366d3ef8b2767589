"""Makes the file of an export: claims the row, streams the log, finishes the row. Knows no Celery.

The file is JSON Lines, oldest record first, one object a line:

    {"seq":7,"at":"2026-11-20T09:30:00.123456Z","at_us":1795339800123456,"tenant":3,
     "prev":"<hex>","hash":"<hex>","record":{…}}

``record`` comes last and is the stored body, byte for byte (``jq .record.tool`` reads it): from after
``"record":`` to before the line's closing brace are the bytes that were hashed. With ``tenant``, ``seq``,
``at_us`` and ``prev`` each line can be checked by itself without us (``tenants.audit.chain`` says how), and a
range without filters also as a chain: each ``prev`` is the ``hash`` of the line before. With filters the lines
between are left out, so what was left out cannot be checked from the file alone.

A worker that claims the row gets a lease and a fence, a number that grows with each claim. It writes a file of
its own, and only the holder of the newest fence finishes the row; a worker that died is followed by another,
which starts over.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from tenants.audit.chain import GENESIS
from tenants.audit.query import Filters, Period, clean_filters, matching_records
from tenants.audit.records import to_microseconds
from tenants.models import AuditExport, AuditHead, AuditRecord
from tenants.scoping import tenant_scope

LEASE: Final = timedelta(seconds=60)
HINT_GRACE: Final = timedelta(seconds=5)
"""A row this old that is still queued was never hinted, or its hint was lost."""

MAX_CLAIMS: Final = 5
WINDOW_RECORDS: Final = 10_000
"""How much of the log one transaction looks at."""

FETCH_RECORDS: Final = 200
"""Rows in memory at a time: a body may have 64 KiB."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make one export, as long as its fence is the row's."""

    tenant_id: int
    export_id: UUID
    fence: int
    period: Period
    filters: Filters
    last_seq: int


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file: its path below the state folder, and what is in it."""

    path: str
    records: int
    size: int
    sha256: str


class LeaseLost(Exception):
    """Another worker has claimed the export meanwhile."""


def make_export(tenant_id: int, export_id: UUID) -> bool:
    """Claim and make one export. False when there was nothing to claim, or another worker took it over.

    Safe to call at any time and any number of times; an id of another tenant is an unknown one.
    """
    claim = claim_export(tenant_id, export_id)
    if claim is None:
        return False
    try:
        written = write_file(claim)
    except LeaseLost:
        return False
    except OSError as error:
        _log.error("export not written", extra={"export_id": str(export_id), "errno": error.errno})
        return _finish(
            claim,
            status=AuditExport.Status.FAILED,
            error="The file could not be written on the server: an operator should check the space and the "
            "rights of Marina's state folder. Then start the export again.",
        )
    finished = _finish(
        claim,
        status=AuditExport.Status.DONE,
        records=written.records,
        size=written.size,
        sha256=written.sha256,
        path=written.path,
    )
    if not finished:
        (_home() / written.path).unlink(missing_ok=True)
    return finished


def claim_export(tenant_id: int, export_id: UUID) -> Claim | None:
    """Take an export that is queued, or whose worker's lease ran out. None when it is not to be had."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        claimable = Q(status=AuditExport.Status.QUEUED) | Q(
            status=AuditExport.Status.RUNNING, lease_until__lt=now
        )
        claimed = AuditExport.objects.filter(claimable, id=export_id).update(
            status=AuditExport.Status.RUNNING, fence=F("fence") + 1, lease_until=now + LEASE
        )
        if claimed != 1:
            return None
        export = AuditExport.objects.get(id=export_id)
        head = AuditHead.objects.filter(tenant_id=tenant_id).first()
    claim = Claim(
        tenant_id=tenant_id,
        export_id=export_id,
        fence=export.fence,
        period=Period(export.from_at, export.to_at),
        filters=clean_filters(export.filters),
        last_seq=head.seq if head is not None else 0,
    )
    if export.fence > MAX_CLAIMS:
        _finish(
            claim,
            status=AuditExport.Status.FAILED,
            error=f"The export was tried {MAX_CLAIMS} times and its worker ended each time. Start one of a shorter "
            "range, and tell an operator.",
        )
        return None
    return claim


def find_unclaimed(tenant_id: int) -> list[UUID]:
    """Exports that wait although nobody works on them: never hinted, or left behind by a worker."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        waiting = AuditExport.objects.filter(
            Q(status=AuditExport.Status.QUEUED, created_at__lt=now - HINT_GRACE)
            | Q(status=AuditExport.Status.RUNNING, lease_until__lt=now)
        )
        return list(waiting.values_list("id", flat=True))


def write_file(claim: Claim) -> Written:
    """Write the claimed export's file, durably and under its final name. Raises ``LeaseLost`` and ``OSError``."""
    folder = Path("exports", str(claim.tenant_id))
    (_home() / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    # The fence in the name keeps a worker that lost its lease from touching its successor's file.
    name = f"{claim.export_id}.{claim.fence}.jsonl"
    final = _home() / folder / name
    part = final.with_name(f"{name}.part")
    digest = hashlib.sha256()
    records = size = 0
    try:
        with open(part, "wb", opener=_private) as file:
            for window in _windows(claim):
                # A transaction a window: no snapshot stays open, and the lease is kept, all along the export.
                with tenant_scope(claim.tenant_id):
                    _renew(claim)
                    for line in _lines(claim, window):
                        file.write(line)
                        digest.update(line)
                        size += len(line)
                        records += 1
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
        _sync_folder(final.parent)
    finally:
        part.unlink(missing_ok=True)
    return Written(str(folder / name), records, size, digest.hexdigest())


def _windows(claim: Claim) -> Iterator[range]:
    """Stretches of sequence numbers, small enough each for one transaction, that hold all that is wanted."""
    indexed = replace(claim.filters, text="")
    with tenant_scope(claim.tenant_id):
        ends = (
            matching_records(indexed, claim.period)
            .filter(seq__lte=claim.last_seq)
            .aggregate(first=Min("seq"), last=Max("seq"))
        )
    if ends["first"] is not None:
        for start in range(ends["first"], ends["last"] + 1, WINDOW_RECORDS):
            yield range(start, min(start + WINDOW_RECORDS, ends["last"] + 1))


def _lines(claim: Claim, window: range) -> Iterator[bytes]:
    previous = AuditRecord.objects.filter(seq=OuterRef("seq") - 1).values("hash")
    rows = (
        matching_records(claim.filters, claim.period)
        .filter(seq__gte=window.start, seq__lt=window.stop)
        .order_by("seq")
        .annotate(prev=Subquery(previous))
        .values_list("seq", "at", "body", "hash", "prev")
    )
    for seq, at, body, own, prev in rows.iterator(chunk_size=FETCH_RECORDS):
        yield b'{"seq":%d,"at":"%s","at_us":%d,"tenant":%d,"prev":"%s","hash":"%s","record":%s}\n' % (
            seq,
            at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode(),
            to_microseconds(at),
            claim.tenant_id,
            (GENESIS if prev is None else bytes(prev)).hex().encode(),
            bytes(own).hex().encode(),
            bytes(body),
        )


def _renew(claim: Claim) -> None:
    if _held(claim).update(lease_until=timezone.now() + LEASE) != 1:
        raise LeaseLost


def _finish(claim: Claim, **values: object) -> bool:
    with tenant_scope(claim.tenant_id):
        return _held(claim).update(finished_at=timezone.now(), lease_until=None, **values) == 1


def _held(claim: Claim) -> QuerySet[AuditExport]:
    return AuditExport.objects.filter(
        id=claim.export_id, fence=claim.fence, status=AuditExport.Status.RUNNING
    )


def _home() -> Path:
    home: Path = settings.ENV.home
    return home


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
