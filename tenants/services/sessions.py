"""Records that a person signed in, in the log of each of their tenants. Checks no password."""

from __future__ import annotations

from tenants.access import Caller, tenants_of_user
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change


def record_sign_in(user_id: int, email: str) -> None:
    """Append ``session.signed_in`` for every tenant that the person belongs to."""
    for tenant, role in tenants_of_user(user_id):
        caller = Caller(
            tenant_id=tenant.pk, tenant_slug=tenant.slug, actor=f"user:{email}", user_id=user_id, role=role
        )
        with tenant_scope(tenant.pk):
            record_change("session.signed_in", caller=caller)
