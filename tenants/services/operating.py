"""The operator looks into a team: for a while, for a reason, and the team's log has it. Changes nothing of the team."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from core.errors import Forbidden, NotFound
from tenants.access import Caller
from tenants.models import Tenant, User
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text
from tenants.services.recording import record_change

LOOK: Final = timedelta(minutes=30)
"""How long one reason lasts."""

ENTERED: Final = "operator.entered"

_REASON_CHARACTERS: Final = 200


def enter_team(tenant_id: int, reason: str, *, operator: User) -> Tenant:
    """Begin to look into a team. Raises ``Forbidden``, ``NotFound``, and ``InvalidInput`` without a reason."""
    if not (operator.is_active and operator.is_staff):
        raise Forbidden("Only the operator of this installation may look into a team.", rule="operator")
    why = clean_text(reason, "reason", longest=_REASON_CHARACTERS)
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound("There is no such team.", code="tenant_not_found")
    caller = Caller(
        tenant_id=tenant.pk, tenant_slug=tenant.slug, actor=f"operator:{operator.email}", user_id=operator.pk
    )
    with tenant_scope(tenant.pk):
        minutes = int(LOOK.total_seconds() // 60)
        record_change(ENTERED, caller=caller, after={"reason": why, "minutes": minutes})
    return tenant
