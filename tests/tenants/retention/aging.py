"""Logs that are old enough to be pruned: their records, and the checkpoints that signed them, are of the past."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from django.conf import settings

from core.notetargets import FolderTarget, Target
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, now_us
from tenants.audit.tombstones import DAY_US
from tenants.models import AuditRecord, AuditTombstone
from tenants.pruning import prune_tenant
from tenants.publishing import publish_tenant
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import make_checkpoint
from tenants.services.log_keys import open_keys
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import tamper


def owner_of(place: Place) -> Caller:
    """Who may set how its log is kept."""
    return Caller(place.tenant_id, place.slug, actor="user:owner@example.com", role=Role.OWNER)


@contextmanager
def published_in(folder: Path) -> Iterator[FolderTarget]:
    """Checkpoints are published in this folder meanwhile."""
    target = FolderTarget(folder.as_uri(), folder)
    with publishing_to(target):
        yield target


@contextmanager
def publishing_to(*targets: Target) -> Iterator[None]:
    """This process with these places."""
    with patch.object(settings, "ENV", replace(settings.ENV, checkpoints=targets)):
        yield


def write_then(place: Place, count: int, *, days_ago: float) -> None:
    """Add records of that day, and a checkpoint that signed them then, which the database has had since."""
    then = now_us() - int(days_ago * DAY_US)
    with tenant_scope(place.tenant_id):
        for number in range(count):
            entry = Entry("key.created", "ok", "user:a", request_id=f"r{number}", at=then + number)
            append_entry(entry, tenant_id=place.tenant_id)
    with patch("tenants.services.checkpoints.now_us", lambda: then + count):
        assert make_checkpoint(place.tenant_id, place.slug, open_keys()) is not None
    tamper(
        (
            "UPDATE tenants_auditcheckpoint SET stored_at = at WHERE tenant_id = %s AND at < stored_at",
            (place.tenant_id,),
        )
    )


def old_log() -> Place:
    """A log of 12 records: four of 100 days ago, four of 50, four of now, with a checkpoint after each lot."""
    place = make_place()
    for days_ago in (100, 50, 0.001):
        write_then(place, 4, days_ago=days_ago)
    return place


def publish(place: Place, target: FolderTarget) -> None:
    """Publish what is not yet."""
    _, problem = publish_tenant(place.tenant_id, place.slug, target)
    assert problem == ""


def prune(place: Place) -> int:
    """A worker's turn. How many records went."""
    return prune_tenant(place.tenant_id, place.slug, open_keys())


def numbers_of(place: Place) -> list[int]:
    """The records that are there."""
    with tenant_scope(place.tenant_id):
        return list(AuditRecord.objects.order_by("seq").values_list("seq", flat=True))


def tombstones_of(place: Place) -> list[bytes]:
    """The notes of its tombstones, oldest first."""
    with tenant_scope(place.tenant_id):
        return [bytes(row.note) for row in AuditTombstone.objects.order_by("number")]
