"""Checkpoints of tenants' logs: made when they are due, listed, and given to who proves something with them.

A checkpoint never signs what does not follow: the last one must be ours and as it was signed, and the records since
must lead from it to the newest. Where nothing came since, nothing is stored but the newest *still*, which says so.
Knows no Celery and publishes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from tenants.access import Caller
from tenants.audit.chain import EMPTY, Head
from tenants.audit.notes import (
    NOTHING_BEFORE,
    NotANote,
    Statement,
    digest_of,
    key_name,
    read_statement,
    sign,
    signer_of,
)
from tenants.audit.records import now_us, to_datetime, to_microseconds
from tenants.audit.walking import newest_seq, read_head, walk
from tenants.models import AuditCheckpoint, AuditRecord, CheckpointState, Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import refuse
from tenants.services.log_keys import KeysDoNotOpen, LogKeys, base_host, open_keys, origin_of, public_keys

__all__ = ["covering", "public_keys"]

EVERY_SECONDS: Final = 60
"""So often there is a statement about each log, also where nothing came."""

LOOK_SECONDS: Final = 5
"""So often it is looked which logs are due."""

EVERY_RECORDS: Final = 1_000
"""As soon as so many records came, there is one before that."""

MOST_RECORDS: Final = 200_000
"""Of so many records one checkpoint takes care: a log that has none yet gets several, and holds up no other team's."""

MOST_NOTES: Final = 10_000
"""So many notes a manifest holds at most."""

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
_LOCK: Final = 0x6D61726B  # one looks at a time, in the whole installation

_DUE: Final = """
SELECT h.tenant_id FROM tenants_audithead h
LEFT JOIN tenants_checkpointstate s ON s.tenant_id = h.tenant_id
WHERE s.tenant_id IS NULL OR s.looked_at < %s OR s.looked_at > %s
    OR (s.fault = '' AND h.seq - s.seq >= %s)
ORDER BY h.tenant_id"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as people and programs read it. ``records`` is the number of the newest record that it covers."""

    number: int
    records: int
    at: datetime
    hash: str
    note: str


@dataclass(frozen=True, slots=True)
class CheckpointPage:
    """Checkpoints, newest first. Where there are older ones, ``next_before`` is the number to ask for next."""

    checkpoints: list[Checkpoint]
    next_before: int | None


class DoesNotFollow(Exception):
    """Why no checkpoint is made, as a sentence: the log does not follow from the last one."""


@contextmanager
def looking_alone(lock: int) -> Iterator[psycopg.Connection[tuple[Any, ...]] | None]:
    """A connection that may look over all tenants, and nobody else has it meanwhile. ``None``: somebody has.

    Of the log's writer: it reads what is needed of every tenant in one statement, and sees nothing else of them.
    """
    dsn = settings.ENV.writer_database_url
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="marina") as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [lock]).fetchone()
        yield connection if row is not None and row[0] else None


def make_due_checkpoints() -> int:
    """Make a checkpoint for each tenant that is due, one after another. How many there were to make.

    Several at once do no harm: one works, the others find it at work.
    """
    with looking_alone(_LOCK) as connection:
        if connection is None:
            return 0
        # Who would be late at the next look is due at this one.
        longest = timezone.now() - timedelta(seconds=EVERY_SECONDS - LOOK_SECONDS)
        # A look that lies ahead was at a time when the clock was wrong.
        ahead = timezone.now() + timedelta(seconds=LOOK_SECONDS)
        due = [row[0] for row in connection.execute(_DUE, [longest, ahead, EVERY_RECORDS])]
        if due:
            try:
                keys = open_keys()
            except KeysDoNotOpen:
                _log.critical("no checkpoint made: no key of the log opens with this master key")
                return 0
            slugs = dict(Tenant.objects.filter(pk__in=due).values_list("pk", "slug"))
            for tenant_id in due:
                try:
                    make_checkpoint(tenant_id, slugs[tenant_id], keys)
                except Exception:  # noqa: BLE001 - it is said, and others are due
                    # Whatever is in one team's rows, the others have their checkpoints.
                    _log.critical(
                        "no checkpoint made: it failed", exc_info=True, extra={"tenant_id": tenant_id}
                    )
    return len(due)


def make_checkpoint(tenant_id: int, slug: str, keys: LogKeys) -> Statement | None:
    """Sign how far a tenant's log is now: a checkpoint, or a still where nothing came since the last.

    ``None`` where another process was quicker, and where the log does not follow: then its state says why.
    """
    try:
        statement = _next_statement(tenant_id, slug, keys)
    except DoesNotFollow as fault:
        _keep_fault(tenant_id, str(fault))
        return None
    text = statement.text()
    note = sign(text, key_name(base_host()), keys.signing)
    at = to_datetime(statement.at_us)
    kept: dict[str, Any] = {"looked_at": timezone.now(), "said_at": at, "fault": "", "fault_at": None}
    if statement.kind == "still":
        kept["still"] = note
    else:
        kept |= {"number": statement.number, "seq": statement.head.seq, "still": b""}
    try:
        with tenant_scope(tenant_id):
            if statement.kind == "checkpoint":
                AuditCheckpoint.objects.create(
                    tenant_id=tenant_id, number=statement.number, seq=statement.head.seq, at=at, note=note
                )
            elif _newest(tenant_id) != statement.number:
                return None
            CheckpointState.objects.update_or_create(tenant_id=tenant_id, defaults=kept)
    except IntegrityError:
        # Its number is taken: another process was quicker, and no two checkpoints have one number.
        return None
    return statement


def believed(row: AuditCheckpoint, keys: LogKeys) -> Statement:
    """What a stored checkpoint says, if it is one of ours as it was signed. Raises ``DoesNotFollow``."""
    note = bytes(row.note)
    try:
        statement = read_statement(note)
    except NotANote:
        raise DoesNotFollow(f"Checkpoint {row.number} was changed: it is none any more.") from None
    if signer_of(note, keys.public) is None:
        raise DoesNotFollow(
            f"Checkpoint {row.number} was changed, or signed by somebody else: no key of this installation signed it."
        )
    if (statement.kind, statement.tenant_id, statement.number) != ("checkpoint", row.tenant_id, row.number):
        raise DoesNotFollow(f"Checkpoint {row.number} is another one's note.")
    return statement


def covering(first_seq: int, last_seq: int) -> list[str]:
    """The notes, oldest first, from the last checkpoint before ``first_seq`` to the last that counts no more records
    than ``last_seq``: none there is about what an export of these does not hold.

    Of the tenant in scope; none where there is none so far. Where they are more than ``MOST_NOTES``, every second or
    third and so on of them, counted back from the newest, which is always there.
    """
    rows = AuditCheckpoint.objects
    before = rows.filter(seq__lt=first_seq).order_by("-number").values_list("number", flat=True).first()
    newest = rows.filter(seq__lte=last_seq).order_by("-number").values_list("number", flat=True).first()
    if newest is None:
        return []
    first = before or 1
    step = -(-(newest - first + 1) // MOST_NOTES)
    wanted = rows.filter(number__gte=first, number__lte=newest).alias(skipped=(newest - F("number")) % step)
    notes = wanted.filter(skipped=0).order_by("number").values_list("note", flat=True)
    return [bytes(note).decode() for note in notes]


def list_checkpoints(
    *, caller: Caller, before: int | None = None, limit: int = DEFAULT_LIMIT
) -> CheckpointPage:
    """The newest checkpoints of the team's log older than number ``before``. Raises ``InvalidInput``."""
    caller.require(Action.AUDIT_READ)
    if not 1 <= limit <= MAX_LIMIT:
        refuse("limit", f"must be from 1 to {MAX_LIMIT}.")
    if before is not None and before < 1:
        refuse("before", "must be the number of a checkpoint, from 1 on.")
    with tenant_scope(caller.tenant_id):
        rows = AuditCheckpoint.objects.order_by("-number")
        if before is not None:
            rows = rows.filter(number__lt=before)
        found = list(rows[: limit + 1])
    page = [_readable(row) for row in found[:limit]]
    return CheckpointPage(page, page[-1].number if len(found) > limit else None)


def _readable(row: AuditCheckpoint) -> Checkpoint:
    note = bytes(row.note)
    try:
        newest = read_statement(note).head.hash.hex()
    except NotANote:
        newest = ""
    return Checkpoint(row.number, row.seq, row.at, newest, note.decode("utf-8", "replace"))


def _next_statement(tenant_id: int, slug: str, keys: LogKeys) -> Statement:
    """What there is to sign now. Raises ``DoesNotFollow``."""
    with tenant_scope(tenant_id):
        row = AuditCheckpoint.objects.order_by("-number").first()
        stored = CheckpointState.objects.first()
    last = None if row is None else believed(row, keys)
    note = b"" if row is None else bytes(row.note)
    head = read_head(tenant_id)
    start = EMPTY if last is None else last.head
    reached = _follow(tenant_id, last, start, head)
    said_us = 0 if last is None else last.at_us
    if stored is not None and stored.said_at is not None:
        said_us = max(said_us, to_microseconds(stored.said_at))
    # A clock that was put back makes no statement older than the one before it.
    at_us = max(now_us(), said_us + 1)
    origin = origin_of(slug)
    if last is not None and reached == last.head:
        return Statement(origin, reached, tenant_id, "still", last.number, at_us, digest_of(note))
    number, previous = (1, NOTHING_BEFORE) if last is None else (last.number + 1, digest_of(note))
    return Statement(origin, reached, tenant_id, "checkpoint", number, at_us, previous)


def _follow(tenant_id: int, last: Statement | None, start: Head, head: Head) -> Head:
    """Where the records after ``start`` lead, at most as far as the head. Raises ``DoesNotFollow``."""
    named = "" if last is None else f"checkpoint {last.number}"
    if head.seq < start.seq:
        raise DoesNotFollow(
            f"The log ends at record {head.seq}, and {named} counted {start.seq}: its tail was cut off."
        )
    end = min(head.seq, start.seq + MOST_RECORDS)
    walked = walk(tenant_id, start=start, last=end)
    if walked.broken is not None:
        raise DoesNotFollow(
            f"The records since {named or 'the beginning'} do not follow: {walked.broken.problem}"
        )
    if end == head.seq and walked.head.hash != head.hash:
        raise DoesNotFollow(
            f"The head of the log does not fit the records that lead to it from {named or 'the beginning'}."
        )
    if start.seq and not _holds(tenant_id, start):
        raise DoesNotFollow(
            f"Record {start.seq} is not there any more as {named} signed it: the log up to it was computed anew, "
            "or cut off."
        )
    if end == head.seq and (newest := newest_seq(tenant_id)) > end and newest > read_head(tenant_id).seq:
        raise DoesNotFollow(f"The log holds record {newest}, but its head is at {head.seq}.")
    return walked.head


def _holds(tenant_id: int, head: Head) -> bool:
    with tenant_scope(tenant_id):
        stored = AuditRecord.objects.filter(seq=head.seq).values_list("hash", flat=True).first()
    return stored is not None and bytes(stored) == head.hash


def _newest(tenant_id: int) -> int:
    found = AuditCheckpoint.objects.order_by("-number").values_list("number", flat=True).first()
    return found or 0


def _keep_fault(tenant_id: int, words: str) -> None:
    now = timezone.now()
    with tenant_scope(tenant_id):
        state, _ = CheckpointState.objects.get_or_create(
            tenant_id=tenant_id, defaults={"looked_at": now, "number": _newest(tenant_id)}
        )
        values: dict[str, Any] = {"looked_at": now, "fault": words[:500]}
        if not state.fault:
            values["fault_at"] = now
        CheckpointState.objects.filter(pk=state.pk).update(**values)
    _log.critical("no checkpoint made: the log does not follow", extra={"tenant_id": tenant_id, "why": words})
