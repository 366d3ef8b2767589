"""Deletes files of exports whose time is over, and those that nobody wants any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from tenants.access import marina_of
from tenants.exportfiles import folder_of, remove_files
from tenants.exports.delivering import give_up
from tenants.models import AuditExport
from tenants.scoping import tenant_scope

_Status = AuditExport.Status
_WAITING: Final = AuditExport.Delivery.WAITING
_TOO_LATE: Final = "The file was deleted after its time, before it was in the bucket. Run the export again."
_FILELESS: Final = (_Status.CANCELLED, _Status.FAILED, _Status.EXPIRED)


def expire_files(tenant_id: int) -> int:
    """End the exports of a team whose files were kept for their time. How many that were. Raises ``OSError``.

    What was still on its way to a bucket does not come there any more, which is recorded.
    """
    oldest = timezone.now() - timedelta(days=settings.ENV.exports_days)
    with tenant_scope(tenant_id):
        ended = AuditExport.objects.filter(status=_Status.DONE, finished_at__lt=oldest).update(
            status=_Status.EXPIRED, path=""
        )
        too_late = list(AuditExport.objects.filter(status=_Status.EXPIRED, delivery=_WAITING))
    if too_late:
        marina = marina_of(tenant_id)
        for export in too_late:
            give_up(export, marina, _TOO_LATE)
    _remove_unwanted(tenant_id)
    return ended


def _remove_unwanted(tenant_id: int) -> None:
    """Delete what lies there of exports that have no file: also what a process left that ended in between."""
    folder = folder_of(tenant_id)
    found = {name for path in folder.glob("*.*") if (name := _id_of(path.name)) is not None}
    if not found:
        return
    with tenant_scope(tenant_id):
        unwanted = AuditExport.objects.filter(id__in=found, status__in=_FILELESS)
        ids = list(unwanted.values_list("id", flat=True))
    for export_id in ids:
        remove_files(tenant_id, export_id)


def _id_of(name: str) -> UUID | None:
    try:
        return UUID(name.partition(".")[0])
    except ValueError:
        return None
