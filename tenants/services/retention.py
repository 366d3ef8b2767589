"""How long a team's log is kept, and legal holds: set by owners, read by whoever may read the log. Removes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from core.errors import Conflict, NotFound
from tenants.access import Caller
from tenants.audit.query import clean_period
from tenants.models import AuditRecord, AuditTombstone, LegalHold, LogRetention
from tenants.models_retention import MAX_DAYS, MIN_DAYS
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, refuse
from tenants.services.recording import record_change

LISTED_TOMBSTONES: Final = 100
MAX_HOLDS: Final = 100
"""So many holds of a team may stand at a time."""

_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A tombstone as people and programs read it."""

    number: int
    first: int
    last: int
    at: datetime
    days: int
    note: str

    @property
    def count(self) -> int:
        """How many records were removed with it."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a team's log is kept. ``days``: ``None`` for ever. ``removed``: records up to this number are gone, or going.

    ``waits`` says why something older than ``days`` is still there, as of ``looked_at``; empty: nothing is.
    """

    days: int | None
    removed: int
    oldest_at: datetime | None
    waits: str
    looked_at: datetime | None
    holds: tuple[LegalHold, ...]
    tombstones: tuple[Tombstone, ...]

    @property
    def standing(self) -> tuple[LegalHold, ...]:
        """The holds that are not lifted."""
        return tuple(hold for hold in self.holds if hold.lifted_at is None)


def read_keeping(*, caller: Caller) -> Keeping:
    """How the team's log is kept, its holds and its newest tombstones."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        row = LogRetention.objects.first()
        tombstones = list(AuditTombstone.objects.all()[:LISTED_TOMBSTONES])
        removed = tombstones[0].last if tombstones else 0
        oldest = (
            AuditRecord.objects.filter(seq__gt=removed).order_by("seq").values_list("at", flat=True).first()
        )
        holds = tuple(LegalHold.objects.all())
    return Keeping(
        days=None if row is None else row.days,
        removed=removed,
        oldest_at=oldest,
        waits="" if row is None else row.waits,
        looked_at=None if row is None else row.looked_at,
        holds=holds,
        tombstones=tuple(
            Tombstone(each.number, each.first, each.last, each.at, each.days, bytes(each.note).decode())
            for each in tombstones
        ),
    )


def set_retention(days: int | None, *, caller: Caller) -> None:
    """Keep records for so many days from now on, or for ever. Raises ``InvalidInput`` and ``Conflict``."""
    caller.require(Action.TENANT_CHANGE)
    if days is not None and not MIN_DAYS <= days <= MAX_DAYS:
        refuse("days", f"must be from {MIN_DAYS} to {MAX_DAYS}, or null: records are kept for ever then.")
    if days is not None and not settings.ENV.checkpoints:
        raise Conflict(
            "Checkpoints of this installation's logs are published nowhere, so nothing of them is removed: a log whose "
            "beginning somebody cut off would look alike. An operator names a place in MARINA_CHECKPOINTS first.",
            code="checkpoints_not_published",
        )
    with tenant_scope(caller.tenant_id):
        row, _ = LogRetention.objects.get_or_create(tenant_id=caller.tenant_id)
        if row.days == days:
            return
        before = row.days
        row.days, row.waits, row.looked_at = days, "", None
        row.save(update_fields=["days", "waits", "looked_at"])
        record_change("retention.changed", caller=caller, before={"days": before}, after={"days": days})


def place_hold(
    reason: str, from_at: datetime | None = None, to_at: datetime | None = None, *, caller: Caller
) -> LegalHold:
    """Have nothing removed of a time range, or of the whole log, until it is lifted. Raises ``InvalidInput``."""
    caller.require(Action.TENANT_CHANGE)
    words = clean_text(reason, "reason", longest=_REASON_CHARACTERS)
    period = clean_period(from_at, to_at)
    with tenant_scope(caller.tenant_id):
        if LegalHold.objects.filter(lifted_at=None).count() >= MAX_HOLDS:
            raise Conflict(
                f"{MAX_HOLDS} legal holds stand, which is the most. Lift one that is over first.",
                code="too_many_holds",
            )
        hold = LegalHold.objects.create(
            reason=words, from_at=period.start, to_at=period.end, placed_by=caller.actor[:200]
        )
        record_change("hold.placed", caller=caller, after=_shown(hold))
    return hold


def get_hold(hold_id: UUID, *, caller: Caller) -> LegalHold:
    """One hold, lifted or not. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return _hold(hold_id)


def lift_hold(hold_id: UUID, *, caller: Caller) -> LegalHold:
    """End a hold. Raises ``NotFound``, and ``Conflict`` for one that was lifted before."""
    caller.require(Action.TENANT_CHANGE)
    with tenant_scope(caller.tenant_id):
        lifted = LegalHold.objects.filter(id=hold_id, lifted_at=None).update(
            lifted_at=timezone.now(), lifted_by=caller.actor[:200]
        )
        hold = _hold(hold_id)
        if not lifted:
            raise Conflict("This legal hold was lifted before.", code="hold_lifted")
        record_change("hold.lifted", caller=caller, before=_shown(hold))
    return hold


def _hold(hold_id: UUID) -> LegalHold:
    hold = LegalHold.objects.filter(id=hold_id).first()
    if hold is None:
        raise NotFound("There is no such legal hold in this team.", code="hold_not_found")
    return hold


def _shown(hold: LegalHold) -> dict[str, Any]:
    return {
        "id": str(hold.id),
        "reason": hold.reason,
        "from": hold.from_at and hold.from_at.isoformat(),
        "to": hold.to_at and hold.to_at.isoformat(),
    }
