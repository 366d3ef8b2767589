"""A tenant's own particulars. Founding one is in ``servers.services.onboarding``."""

from __future__ import annotations

from tenants.access import Caller
from tenants.models import Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text
from tenants.services.recording import record_change


def get_tenant(*, caller: Caller) -> Tenant:
    """The caller's own tenant."""
    caller.require(Action.TENANT_READ)
    return Tenant.objects.get(pk=caller.tenant_id)


def rename_tenant(name: str, *, caller: Caller) -> Tenant:
    """Give the tenant another name; its slug, and so its URLs, stay. Raises ``InvalidInput``."""
    caller.require(Action.TENANT_CHANGE)
    wanted = clean_text(name, "name", longest=120)
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        before = tenant.name
        if wanted == before:
            return tenant
        tenant.name = wanted
        tenant.save(update_fields=["name"])
        record_change("tenant.changed", caller=caller, before={"name": before}, after={"name": wanted})
    return tenant
