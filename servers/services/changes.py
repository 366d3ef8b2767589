"""Makes a change of what a tenant's servers offer visible to every process. Knows no surface itself."""

from __future__ import annotations

from django.db.models import F

from tenants.changes import announce_change
from tenants.models import Tenant


def publish_change(tenant_id: int) -> None:
    """Count the tenant's surface version up in this transaction and announce it once that commits."""
    Tenant.objects.filter(pk=tenant_id).update(surface_version=F("surface_version") + 1)
    announce_change(tenant_id)
