"""Removes what a team's policy does not keep: the tombstone first, then what it names. Knows no Celery.

What goes is the beginning of the log, up to a checkpoint that is old enough and was published. Before anything goes,
the records are walked once more and must lead to that checkpoint; then the tombstone is signed, stored and recorded
in the team's log in one transaction. From then on its records count as removed; whoever finds some of them lying
there still, after a crash, goes on. The database refuses what no tombstone names, and what a legal hold does.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Min, Q
from django.db.models.functions import Now
from django.utils import timezone

from tenants.audit.append import append_entry
from tenants.audit.chain import Head
from tenants.audit.notes import NOTHING_BEFORE, digest_of, key_name, sign
from tenants.audit.records import Entry, now_us, to_datetime, to_microseconds
from tenants.audit.removed import read_removed
from tenants.audit.tombstones import Tombstone
from tenants.audit.walking import walk
from tenants.models import (
    AuditCheckpoint,
    AuditExport,
    AuditHead,
    AuditRecord,
    AuditTombstone,
    CheckpointCursor,
    ExportSchedule,
    LegalHold,
    LogRetention,
    LogStream,
    Tenant,
)
from tenants.models_exports import UNFINISHED
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import DoesNotFollow, believed, looking_alone
from tenants.services.log_keys import KeysDoNotOpen, LogKeys, base_host, open_keys, origin_of

EVERY: Final = timedelta(hours=20)
"""So long after a tombstone the next one is made: about one a day."""

MOST_RECORDS: Final = 200_000
"""So many records one tombstone names at most, unless a single checkpoint covers more."""

BATCH: Final = 5_000
"""So many records one transaction removes."""

TURN_SECONDS: Final = 60.0
"""So long a team's records are removed before other teams have their turn."""

ACTOR: Final = "marina"
_LOCK: Final = 0x7072756E  # one looks at a time, in the whole installation
_DUE: Final = "SELECT tenant_id FROM tenants_logretention ORDER BY tenant_id"
_REFUSED: Final = "42501"

_log = logging.getLogger(__name__)


class Waits(Exception):
    """Why nothing more is removed now, as a sentence; empty where there is nothing to remove."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """Records up to ``seq`` may go, and why no more, as a sentence; empty where the policy alone says so."""

    seq: int
    words: str


def prune_due() -> int:
    """Remove what is due of each team that has a policy. How many records went.

    Several at once do no harm: one works, the others find it at work.
    """
    gone = 0
    with looking_alone(_LOCK) as looker:
        if looker is None:
            return 0
        due = [row[0] for row in looker.execute(_DUE)]
        if not due:
            return 0
        try:
            keys = open_keys()
        except KeysDoNotOpen:
            _log.critical("nothing of a log removed: no key of the log opens with this master key")
            return 0
        slugs = dict(Tenant.objects.filter(pk__in=due).values_list("pk", "slug"))
        for tenant_id in due:
            try:
                gone += prune_tenant(tenant_id, slugs[tenant_id], keys)
            except Exception:  # noqa: BLE001 - it is said, and others are due
                _log.critical("log not pruned: it failed", exc_info=True, extra={"tenant_id": tenant_id})
    return gone


def prune_tenant(tenant_id: int, slug: str, keys: LogKeys) -> int:
    """Remove what is due of one team's log. How many records went."""
    until = monotonic() + TURN_SECONDS
    gone, waits = 0, ""
    try:
        gone += remove_named(tenant_id, until)
        while monotonic() < until:
            make_tombstone(tenant_id, slug, keys)
            gone += remove_named(tenant_id, until)
    except Waits as why:
        waits = str(why)
    with tenant_scope(tenant_id):
        LogRetention.objects.update(waits=waits[:500], looked_at=timezone.now())
    if gone:
        _log.info("records removed by retention", extra={"tenant_id": tenant_id, "records": gone})
    return gone


def remove_named(tenant_id: int, until: float) -> int:
    """Remove what tombstones name and lies there still, until that time (``monotonic``). Raises ``Waits``."""
    gone = 0
    with tenant_scope(tenant_id):
        last = read_removed().seq
        first = AuditRecord.objects.filter(seq__lte=last).aggregate(first=Min("seq"))["first"]
    while first is not None and first <= last and monotonic() < until:
        end = min(last, first + BATCH - 1)
        try:
            with tenant_scope(tenant_id), connection.cursor() as cursor:
                cursor.execute("SELECT marina_remove_records(%s, %s)", [first, end])
                gone += int(cursor.fetchone()[0])
        except DatabaseError as error:
            if getattr(error.__cause__, "sqlstate", None) != _REFUSED:
                raise
            raise Waits(
                f"A tombstone names records {first} to {last}, and a legal hold that was placed after it keeps what "
                "is still there."
            ) from None
        first = end + 1
    return gone


def make_tombstone(tenant_id: int, slug: str, keys: LogKeys) -> Tombstone:
    """Sign, store and record that what is due is removed; it is not yet. Raises ``Waits``."""
    with tenant_scope(tenant_id):
        end = _find_end(keys)
        removed = read_removed()
    walked = walk(tenant_id, start=removed, last=end.seq)
    if walked.broken is not None or walked.head != end:
        problem = "" if walked.broken is None else f" {walked.broken.problem}"
        _log.critical("log not pruned: it does not follow", extra={"tenant_id": tenant_id, "why": problem})
        raise Waits(
            f"Records {removed.seq + 1} to {end.seq} do not lead to the checkpoint that signed them, and are kept as "
            f"evidence.{problem}"
        )
    with tenant_scope(tenant_id):
        # Whoever begins an export, a stream, a schedule or a hold records it, and so waits here, or was here before.
        AuditHead.objects.select_for_update().get(tenant_id=tenant_id)
        days = LogRetention.objects.values_list("days", flat=True).get()
        if read_removed() != removed or days is None or _find_end(keys).seq < end.seq:
            raise Waits
        before = AuditTombstone.objects.order_by("-number").first()
        said_us = 0 if before is None else to_microseconds(before.at)
        tombstone = Tombstone(
            origin=origin_of(slug),
            last=end,
            tenant_id=tenant_id,
            number=1 if before is None else before.number + 1,
            # A clock that was put back makes no tombstone older than the one before it.
            at_us=max(now_us(), said_us + 1),
            previous=NOTHING_BEFORE if before is None else digest_of(bytes(before.note)),
            first=removed.seq + 1,
            before=removed.hash,
            days=days,
        )
        AuditTombstone.objects.create(
            number=tombstone.number,
            first=tombstone.first,
            last=end.seq,
            last_hash=end.hash,
            days=days,
            at=to_datetime(tombstone.at_us),
            note=sign(tombstone.text(), key_name(base_host()), keys.signing),
        )
        append_entry(_entry(tombstone), tenant_id=tenant_id)
    return tombstone


def _entry(tombstone: Tombstone) -> Entry:
    return Entry(
        kind="log.pruned",
        outcome="ok",
        actor=ACTOR,
        arguments={
            "after": {
                "tombstone": tombstone.number,
                "first": tombstone.first,
                "last": tombstone.last.seq,
                "count": tombstone.count,
                "before_hash": tombstone.before.hex(),
                "last_hash": tombstone.last.hash.hex(),
                "days": tombstone.days,
            }
        },
    )


def _find_end(keys: LogKeys) -> Head:
    """The last record that may go now, as its checkpoint signed it. Raises ``Waits``."""
    now = timezone.now()
    row = LogRetention.objects.first()
    newest = AuditTombstone.objects.order_by("-number").first()
    if row is None or row.days is None:
        raise Waits
    removed = 0 if newest is None else newest.last
    # The newest checkpoint's record stays: the next one is made from there.
    last = AuditCheckpoint.objects.order_by("-number").values_list("number", flat=True).first() or 0
    checkpoints = AuditCheckpoint.objects.filter(
        # By the database's clock, as it asks itself; and as signed, which is what verifiers see.
        stored_at__lte=Now() - timedelta(days=row.days),
        at__lte=now - timedelta(days=row.days),
        seq__gt=removed,
        number__lt=last,
    )
    due = checkpoints.order_by("-number").first()
    if due is None:
        raise Waits
    limit = min((*_limits(removed), _Limit(due.seq, "")), key=lambda each: each.seq)
    within = checkpoints.filter(seq__lte=limit.seq)
    chosen = (
        within.filter(seq__lte=removed + MOST_RECORDS).order_by("-number").first()
        or within.order_by("number").first()
    )
    if chosen is None or (
        newest is not None and newest.at > now - EVERY and newest.last - newest.first + 1 < MOST_RECORDS // 2
    ):
        raise Waits(limit.words)
    return _signed(chosen, keys)


def _limits(removed: int) -> list[_Limit]:
    """What keeps records after number ``removed`` beside the policy: what was not published, holds, and what is still
    to be handed over.
    """
    found = []
    if not settings.ENV.checkpoints:
        found.append(
            _Limit(0, "Checkpoints are published nowhere: an operator names a place in MARINA_CHECKPOINTS.")
        )
    numbers = dict(CheckpointCursor.objects.values_list("target", "number"))
    for target in settings.ENV.checkpoints:
        there = AuditCheckpoint.objects.filter(number=numbers.get(target.id, 0))
        seq = there.values_list("seq", flat=True).first() or 0
        found.append(_Limit(seq, f"What is older was not published yet at {target.label}."))
    for hold in LegalHold.objects.filter(lifted_at=None):
        held = AuditRecord.objects.filter(
            Q() if hold.from_at is None else Q(at__gte=hold.from_at),
            Q() if hold.to_at is None else Q(at__lt=hold.to_at),
            seq__gt=removed,
        ).aggregate(first=Min("seq"))["first"]
        if held is not None:
            found.append(_Limit(held - 1, f"A legal hold keeps what is older, from record {held} on."))
    for name, cursor in LogStream.objects.filter(enabled=True).values_list("name", "cursor"):
        found.append(
            _Limit(cursor, f"The stream {name} has not handed over what is older. Pause it, or see to it.")
        )
    for name, covered in ExportSchedule.objects.filter(enabled=True).values_list("name", "covered_seq"):
        found.append(_Limit(covered, f"The scheduled export {name} has not come to what is older yet."))
    if AuditExport.objects.filter(status__in=UNFINISHED).exists():
        found.append(_Limit(0, "An export is being made: what is older is removed when it is done."))
    return found


def _signed(row: AuditCheckpoint, keys: LogKeys) -> Head:
    """What a stored checkpoint says is the hash of its record, if its row is as it was signed. Raises ``Waits``."""
    try:
        statement = believed(row, keys)
    except DoesNotFollow:
        statement = None
    if statement is None or (statement.head.seq, to_datetime(statement.at_us)) != (row.seq, row.at):
        raise Waits(f"Checkpoint {row.number} is not as it was signed, so what it signs is kept as evidence.")
    return statement.head
