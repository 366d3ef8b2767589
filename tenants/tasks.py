"""Celery's side of exports, of streams and of sweeping: hints in, work out. The row is the truth; a lost or doubled
hint harms nothing.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from celery import shared_task
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import RedisError

from core.loop import run_async
from tenants import checkpoint_tasks
from tenants.exports import delivering
from tenants.exports.claiming import find_unclaimed
from tenants.exports.expiring import expire_files
from tenants.exports.making import make_export
from tenants.models import AuditExport, Tenant
from tenants.services.export_schedules import begin_due_runs
from tenants.streams.claims import find_due
from tenants.streams.pump import LONGEST, Seat, pump
from tenants.sweeping import sweep_people, sweep_tenant

# Older than that, a run is pointless: the next is due.
_EXPIRES_SECONDS = 540
_PUMP_EXPIRES_SECONDS = 5
_EXPORTS_EXPIRES_SECONDS = 15

# Celery finds tasks in modules of this name alone.
__all__ = ["checkpoint_tasks", "enqueue_export", "run_export", "sweep_expired", "sweep_exports"]

_log = logging.getLogger(__name__)


def enqueue_export(export: AuditExport) -> None:
    """Tell a worker about an export, once the transaction in progress has committed.

    Never fails for want of a queue: ``sweep_exports`` picks up what was not hinted.
    """
    tenant_id, export_id = export.tenant_id, export.id
    transaction.on_commit(lambda: _hint(run_export, tenant_id, export_id))


def enqueue_delivery(export: AuditExport) -> None:
    """Tell a worker to put an export into its bucket, once the transaction in progress has committed."""
    tenant_id, export_id = export.tenant_id, export.id
    transaction.on_commit(lambda: _hint(deliver_export, tenant_id, export_id))


@shared_task(name="tenants.tasks.run_export")  # type: ignore[untyped-decorator]
def run_export(tenant_id: int, export_id: str) -> None:
    """Make one export. Its row is read in that tenant's scope, so an envelope that names another finds nothing."""
    if not make_export(tenant_id, UUID(export_id)):
        _log.info("export not made here", extra={"tenant_id": tenant_id, "export_id": export_id})
    elif UUID(export_id) in delivering.find_undelivered(tenant_id):
        _hint(deliver_export, tenant_id, UUID(export_id))


@shared_task(name="tenants.tasks.deliver_export")  # type: ignore[untyped-decorator]
def deliver_export(tenant_id: int, export_id: str) -> None:
    """Put one export of a schedule into its bucket, where it is time to."""
    if not delivering.deliver_export(tenant_id, UUID(export_id)):
        _log.info("export not delivered here", extra={"tenant_id": tenant_id, "export_id": export_id})


@shared_task(name="tenants.tasks.sweep_exports", expires=_EXPORTS_EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def sweep_exports() -> None:
    """Begin what is due by a schedule, and hint again at every tenant's exports that nobody works on."""
    for tenant_id in Tenant.objects.order_by("id").values_list("id", flat=True):
        try:
            _sweep_exports_of(tenant_id)
        except Exception as fault:  # noqa: BLE001 - it is that team's: the others' exports go on
            _log.error("exports not swept", extra={"tenant_id": tenant_id, "kind": type(fault).__name__})


@shared_task(name="tenants.tasks.pump_streams", expires=_PUMP_EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def pump_streams() -> None:
    """Hand over what streams have to hand over, unless another worker does already. At rest, one look at the
    database.
    """
    seat = Seat()
    if find_due(1) and seat.take():
        try:
            run_async(pump(seat), timeout=LONGEST)
        finally:
            seat.leave()


@shared_task(name="tenants.tasks.sweep_expired", expires=_EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def sweep_expired() -> None:
    """Delete what expired long enough ago: every tenant's, one after another, and what is of no tenant."""
    for tenant_id in Tenant.objects.order_by("id").values_list("id", flat=True):
        gone = sweep_tenant(tenant_id)
        if gone:
            _log.info("expired rows deleted", extra={"tenant_id": tenant_id, "rows": gone})
        try:
            expire_files(tenant_id)
        except OSError as fault:
            _log.error("files of exports not deleted", extra={"tenant_id": tenant_id, "errno": fault.errno})
    sweep_people()


def _sweep_exports_of(tenant_id: int) -> None:
    begun = [export.id for export in begin_due_runs(tenant_id)]
    for export_id in [*begun, *find_unclaimed(tenant_id)]:
        _hint(run_export, tenant_id, export_id)
    for export_id in delivering.find_undelivered(tenant_id):
        _hint(deliver_export, tenant_id, export_id)


def _hint(task: Any, tenant_id: int, export_id: UUID) -> None:
    try:
        task.apply_async(args=(tenant_id, str(export_id)), retry=False)
    except (OperationalError, RedisError, OSError):
        _log.warning(
            "export not hinted: the queue did not take it",
            extra={"tenant_id": tenant_id, "export_id": str(export_id)},
        )
