"""Where a team's checkpoints are published and how that goes, for its members. ``tenants.publishing`` sends them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from tenants.access import Caller
from tenants.models import CheckpointCursor, CheckpointState
from tenants.roles import Action
from tenants.scoping import tenant_scope


@dataclass(frozen=True, slots=True)
class Place:
    """One place. ``number`` is the newest checkpoint there; ``error`` says why the next one is not, or is empty."""

    label: str
    number: int
    said_at: datetime | None
    failing_since: datetime | None
    next_try_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a team's checkpoints stand. ``fault`` says why none can be made: somebody has to look into that."""

    number: int
    records: int
    said_at: datetime | None
    fault: str
    fault_at: datetime | None
    places: tuple[Place, ...]


def read_standing(*, caller: Caller) -> Standing:
    """How the team's checkpoints stand, and where they are."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        state = CheckpointState.objects.first()
        cursors = {cursor.target: cursor for cursor in CheckpointCursor.objects.all()}
    places = []
    for target in settings.ENV.checkpoints:
        cursor = cursors.get(target.id) or CheckpointCursor(number=0)
        places.append(
            Place(
                target.label,
                cursor.number,
                cursor.said_at,
                cursor.failing_since,
                cursor.next_try_at,
                cursor.error,
            )
        )
    if state is None:
        return Standing(0, 0, None, "", None, tuple(places))
    return Standing(state.number, state.seq, state.said_at, state.fault, state.fault_at, tuple(places))
