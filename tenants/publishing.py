"""Publishes checkpoints and tombstones outside of the database: looks what each target lacks, and sends it.

A cursor a target and tenant says how far it is; it moves when the target has taken a note, so each arrives at least
once and in order, and none is lost while a target is down. Knows no Celery. Of stills only the newest is sent: it
says what the others did. A target that fails is tried again after a while that doubles, up to five minutes.
"""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from core.notetargets import Target
from tenants.models import AuditCheckpoint, AuditTombstone, CheckpointCursor, CheckpointState, Tenant
from tenants.notesenders import Note, send_notes
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import looking_alone

LOOK_SECONDS: Final = 5
MOST_NOTES: Final = 100
"""Of one tenant at a time; the next look goes on."""

MOST_FAILURES: Final = 2
"""After so many teams whose notes it did not take, a target is left alone until the next look."""

FIRST_PAUSE: Final = timedelta(seconds=5)
LAST_PAUSE: Final = timedelta(minutes=5)

_LOCK: Final = 0x7075626C  # one look at a time, in the whole installation

_DUE: Final = """
SELECT s.tenant_id FROM tenants_checkpointstate s
LEFT JOIN tenants_checkpointcursor c ON c.tenant_id = s.tenant_id AND c.target = %s
WHERE s.said_at IS NOT NULL AND (c.said_at IS NULL OR c.said_at < s.said_at)
    AND (c.next_try_at IS NULL OR c.next_try_at <= %s)
ORDER BY c.next_try_at NULLS FIRST, s.tenant_id"""

_log = logging.getLogger(__name__)


def publish_due() -> int:
    """Send to every target what it lacks. How many notes arrived.

    Several at once do no harm: one works, the others find it at work.
    """
    arrived = 0
    with looking_alone(_LOCK) as connection:
        if connection is None:
            return 0
        for target in settings.ENV.checkpoints:
            due = [row[0] for row in connection.execute(_DUE, [target.id, timezone.now()])]
            slugs = dict(Tenant.objects.filter(pk__in=due).values_list("pk", "slug"))
            failures = 0
            for tenant_id in due:
                try:
                    sent, problem = publish_tenant(tenant_id, slugs[tenant_id], target)
                except Exception:  # noqa: BLE001 - it is said, and others are due
                    # Whatever is in one team's rows, the others' notes are published.
                    _log.critical(
                        "checkpoint not published: it failed",
                        exc_info=True,
                        extra={"tenant_id": tenant_id, "target": target.label},
                    )
                    continue
                arrived += sent
                failures += bool(problem)
                if failures == MOST_FAILURES:
                    break
    return arrived


def publish_tenant(tenant_id: int, slug: str, target: Target) -> tuple[int, str]:
    """Send one target what it lacks of one tenant. How many notes arrived, and why not all, as a sentence."""
    lacking = _lacking(tenant_id, slug, target)
    if not lacking:
        return 0, ""
    sent = send_notes(target, [note for note, _ in lacking])
    arrived = lacking[: sent.count]
    values: dict[str, Any] = {}
    now = timezone.now()
    if arrived:
        values["published_at"] = now
        for note, at in arrived:
            if note.kind == "tombstone":
                values["tombstone"] = note.number
            else:
                values |= {"number": note.number, "said_at": at}
    with tenant_scope(tenant_id):
        cursor = CheckpointCursor.objects.select_for_update().get(target=target.id)
        if sent.problem:
            failures = 1 if arrived else cursor.failures + 1
            values |= {
                "failures": failures,
                "failing_since": now if failures == 1 else cursor.failing_since,
                "next_try_at": now + _pause(failures),
                "error": sent.problem[:300],
            }
        else:
            values |= {"failures": 0, "failing_since": None, "next_try_at": None, "error": ""}
        CheckpointCursor.objects.filter(pk=cursor.pk).update(**values)
    if sent.problem:
        _log.error(
            "checkpoint not published",
            extra={"tenant_id": tenant_id, "target": target.label, "why": sent.problem},
        )
    return sent.count, sent.problem


def _lacking(tenant_id: int, slug: str, target: Target) -> list[tuple[Note, datetime]]:
    """The notes that the target lacks, in their order, each with its time."""
    with tenant_scope(tenant_id):
        cursor, _ = CheckpointCursor.objects.get_or_create(
            tenant_id=tenant_id, target=target.id, defaults={"label": target.label}
        )
        state = CheckpointState.objects.first()
        rows = list(
            AuditCheckpoint.objects.filter(number__gt=cursor.number)
            .order_by("number")
            .values_list("number", "at", "note")[:MOST_NOTES]
        )
        tombstones = list(
            AuditTombstone.objects.filter(number__gt=cursor.tombstone)
            .order_by("number")
            .values_list("number", "at", "note")[:MOST_NOTES]
        )
    # A checkpoint comes soon after each tombstone, since it is recorded: that one's turn is theirs. They go first.
    notes = [(Note(slug, number, "tombstone", bytes(note)), at) for number, at, note in tombstones]
    notes += [(Note(slug, number, "checkpoint", bytes(note)), at) for number, at, note in rows]
    newest = rows[-1][0] if rows else cursor.number
    if (
        state is not None
        and state.said_at is not None
        and state.still
        and state.number == newest
        and (cursor.said_at is None or cursor.said_at < state.said_at)
    ):
        notes.append((Note(slug, newest, "still", bytes(state.still)), state.said_at))
    return notes


def _pause(failures: int) -> timedelta:
    longest: timedelta = min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LAST_PAUSE)
    # Spread out, so that all teams' notes do not come at the same moment.
    return longest * random.uniform(0.75, 1.0)  # noqa: S311
