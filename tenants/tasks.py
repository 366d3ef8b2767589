"""Celery's side of exports, of streams and of sweeping: hints in, work out. The row is the truth; a lost or doubled
hint harms nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import shared_task
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import RedisError

from core.hints import EXPIRES_SECONDS
from core.loop import run_async
from core.rounds import InRounds
from tenants import checkpoint_tasks
from tenants.exports import delivering
from tenants.exports.claiming import find_unclaimed
from tenants.exports.expiring import expire_files
from tenants.exports.making import make_export
from tenants.models import AuditExport, Tenant
from tenants.services.ends import note_ends
from tenants.services.export_schedules import begin_due_runs
from tenants.streams.claims import find_due
from tenants.streams.pump import LONGEST, Seat, pump
from tenants.sweeping import sweep_people, sweep_tenant

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


@shared_task(name="tenants.tasks.sweep_exports", base=InRounds, expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def sweep_exports() -> None:
    """Begin what is due by a schedule, and hint again at every tenant's exports that nobody works on."""
    _for_each_tenant(_sweep_exports_of, "exports not swept")


@shared_task(name="tenants.tasks.note_ended_members", base=InRounds, expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def note_ended_members() -> None:
    """Put into every tenant's log whose access has ended since."""
    _for_each_tenant(note_ends, "ends not noted")


@shared_task(name="tenants.tasks.pump_streams", expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
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


@shared_task(name="tenants.tasks.sweep_expired", base=InRounds, expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def sweep_expired() -> None:
    """Delete what expired long enough ago: every tenant's, one after another, and what is of no tenant."""
    _for_each_tenant(_sweep_expired_of, "expired rows not deleted")
    _for_each_tenant(expire_files, "files of exports not deleted")
    sweep_people()


def _for_each_tenant(work: Callable[[int], object], undone: str) -> None:
    """Do it for one tenant after another. ``undone``: what the process's log has of one for which it fails."""
    for tenant_id in Tenant.objects.order_by("id").values_list("id", flat=True):
        try:
            work(tenant_id)
        except Exception as fault:  # noqa: BLE001 - it is that team's: the others have their turn
            _log.error(undone, extra={"tenant_id": tenant_id, "kind": type(fault).__name__})


def _sweep_expired_of(tenant_id: int) -> None:
    gone = sweep_tenant(tenant_id)
    if gone:
        _log.info("expired rows deleted", extra={"tenant_id": tenant_id, "rows": gone})


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
