"""Logs with records and checkpoints, and what somebody with the database's superuser could do to them."""

from __future__ import annotations

import psycopg
from django.conf import settings

from tenants.audit.append import append_entry
from tenants.audit.notes import Statement
from tenants.audit.records import Entry
from tenants.models import AuditCheckpoint, CheckpointState
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import make_checkpoint
from tenants.services.log_keys import open_keys
from tests.tenants.audit.places import Place, make_place

TABLES = (
    "tenants_auditrecord",
    "tenants_auditcheckpoint",
    "tenants_audittombstone",
    "tenants_logkey",
)


def write(place: Place, count: int = 1, *, word: str = "r") -> None:
    """Add records."""
    with tenant_scope(place.tenant_id):
        for number in range(count):
            entry = Entry("key.created", "ok", "user:a", request_id=f"{word}{number}")
            append_entry(entry, tenant_id=place.tenant_id)


def sign_off(place: Place) -> Statement | None:
    """Make the next statement about a log."""
    return make_checkpoint(place.tenant_id, place.slug, open_keys())


def signed_log(*counts: int) -> Place:
    """A log with so many records, and a checkpoint after each lot of them."""
    place = make_place()
    for count in counts:
        write(place, count)
        made = sign_off(place)
        assert made is not None
        assert made.kind == "checkpoint"
    return place


def state_of(place: Place) -> CheckpointState:
    with tenant_scope(place.tenant_id):
        return CheckpointState.objects.get()


def notes_of(place: Place) -> list[bytes]:
    """The stored checkpoints, oldest first."""
    with tenant_scope(place.tenant_id):
        return [bytes(row.note) for row in AuditCheckpoint.objects.order_by("number")]


def tamper(*statements: tuple[str, tuple[object, ...]]) -> None:
    """What somebody with the database's superuser could do, whatever triggers say."""
    with psycopg.connect(settings.ENV.database_url) as superuser:
        for table in TABLES:
            superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for statement, values in statements:
            superuser.execute(statement.encode(), values)
        for table in TABLES:
            superuser.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only".encode())
        superuser.execute("ALTER TABLE tenants_auditrecord ENABLE ALWAYS TRIGGER removal")
        superuser.execute("ALTER TABLE tenants_audittombstone ENABLE ALWAYS TRIGGER checked")
        superuser.execute("ALTER TABLE tenants_auditcheckpoint ENABLE ALWAYS TRIGGER stored")
