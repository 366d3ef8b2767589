"""A tenant's own particulars. Founding one is in ``servers.services.onboarding``."""

from __future__ import annotations

from typing import Any

from core.errors import Conflict, Forbidden
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.factors import has_second_factor
from tenants.models import MAX_PREVIEW, Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, whole_number
from tenants.services.recording import record_change


def get_tenant(*, caller: Caller) -> Tenant:
    """The caller's own tenant."""
    caller.require(Action.TENANT_READ)
    return Tenant.objects.get(pk=caller.tenant_id)


def change_tenant(
    *,
    name: str | None = None,
    require_second_factor: bool | None = None,
    preview_characters: int | None = None,
    caller: Caller,
) -> Tenant:
    """Give the tenant another name, or change what holds for all of it; what is ``None`` stays.

    ``require_second_factor``: of its members. ``preview_characters``: so much of a result's beginning its log keeps.
    Its slug, and so its URLs, stay. Raises ``InvalidInput``, ``Forbidden`` for a credential that
    asks for second factors, and ``Conflict`` for who would shut themselves out.
    """
    caller.require(Action.TENANT_CHANGE)
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = clean_text(name, "name", longest=120)
    if require_second_factor is not None:
        wanted["require_second_factor"] = require_second_factor
    if preview_characters is not None:
        wanted["preview_characters"] = whole_number(
            preview_characters, "preview_characters", low=0, high=MAX_PREVIEW
        )
    if require_second_factor:
        _require_own_factor(caller)
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        before = {field: getattr(tenant, field) for field in wanted}
        if wanted == before:
            return tenant
        for field, value in wanted.items():
            setattr(tenant, field, value)
        if "preview_characters" in wanted:
            # Calls take it from the snapshot of their server, which every process is to make anew.
            tenant.surface_version += 1
            announce_change(caller.tenant_id)
        tenant.save(update_fields=[*wanted, "surface_version"])
        record_change("tenant.changed", caller=caller, before=before, after=wanted)
    return tenant


def _require_own_factor(caller: Caller) -> None:
    """Only a member who has one may ask it of all the others: then at least one of them can still undo it."""
    if caller.user_id is None or caller.credential_id is not None:
        raise Forbidden(
            "No API key or connected app may ask a second factor of the team's members. An owner who has one does it, "
            "signed in, on the members page.",
            rule="team:second_factor_by_owner",
        )
    if not has_second_factor(caller.user_id):
        raise Conflict(
            "You have no second factor yourself, and would shut yourself out. Set one up on your account's page first.",
            code="second_factor_required",
        )
