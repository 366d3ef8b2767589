"""Scheduled work on what tenants serve. The queue is a hint; a missed run is made up for by the next."""

from __future__ import annotations

from celery import shared_task

from servers.services.named_secrets import check_secrets_of
from servers.services.sources import check_sources_of
from tenants.models import Tenant

# Older than a minute, a run is pointless: the next is due. So they do not pile up behind a stopped worker.
_EXPIRES_SECONDS = 55


@shared_task(expires=_EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def check_sources() -> None:
    """Check the health of every tenant's data sources, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        check_sources_of(tenant_id)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def check_secrets() -> None:
    """Read every tenant's secrets that lie elsewhere, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        check_secrets_of(tenant_id)
