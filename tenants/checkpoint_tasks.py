"""Celery's side of checkpoints: looks when they are due, and what is to be published, to be verified, or to be removed.

A look that is missed is made up for by the next. The row is the truth; a lost or doubled hint harms nothing.
"""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import RedisError

from core.hints import EXPIRES_SECONDS
from core.rounds import InRounds
from tenants.models import AuditVerification
from tenants.partitions import drop_empty_partitions, make_partitions
from tenants.pruning import prune_due
from tenants.publishing import publish_due
from tenants.services import verifications
from tenants.services.checkpoints import make_due_checkpoints

_log = logging.getLogger(__name__)


@shared_task(name="tenants.tasks.make_checkpoints", expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def make_checkpoints() -> None:
    """Make a checkpoint of each tenant's log that is due for one."""
    make_due_checkpoints()


@shared_task(name="tenants.tasks.prune_logs", base=InRounds, expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def prune_logs() -> None:
    """Remove what teams' policies do not keep any more, and see to the months of the records' table."""
    make_partitions()
    if prune_due():
        drop_empty_partitions()


@shared_task(name="tenants.tasks.publish_checkpoints", expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def publish_checkpoints() -> None:
    """Send every target the checkpoints that it lacks."""
    publish_due()


def enqueue_verification(row: AuditVerification) -> None:
    """Tell a worker about a verification, once the transaction in progress has committed.

    Never fails for want of a queue: ``sweep_verifications`` picks up what was not hinted.
    """
    tenant_id, verification_id = row.tenant_id, row.id
    if row.status == AuditVerification.Status.QUEUED:
        transaction.on_commit(lambda: _hint(tenant_id, verification_id))


@shared_task(name="tenants.tasks.run_verification")  # type: ignore[untyped-decorator]
def run_verification(tenant_id: int, verification_id: str) -> None:
    """Make one verification. Its row is read in that tenant's scope: an envelope that names another finds nothing."""
    if not verifications.run_verification(tenant_id, UUID(verification_id)):
        _log.info(
            "verification not made here", extra={"tenant_id": tenant_id, "verification_id": verification_id}
        )


@shared_task(name="tenants.tasks.sweep_verifications", base=InRounds, expires=EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def sweep_verifications() -> None:
    """Hint again at verifications of all tenants that nobody works on."""
    for tenant_id, verification_id in verifications.find_unclaimed():
        _hint(tenant_id, verification_id)


def _hint(tenant_id: int, verification_id: UUID) -> None:
    try:
        run_verification.apply_async(args=(tenant_id, str(verification_id)), retry=False)
    except (OperationalError, RedisError, OSError):
        _log.warning(
            "verification not hinted: the queue did not take it",
            extra={"tenant_id": tenant_id, "verification_id": str(verification_id)},
        )
