"""Who a management command acts as within a team: the operator, or a member whom they name. Changes nothing."""

from __future__ import annotations

from core.errors import NotFound
from tenants.access import Caller, caller_of_member
from tenants.models import Tenant, User
from tenants.roles import Role


def acting_caller(slug: str, member: str | None) -> Caller:
    """The operator with an owner's rights, or the member of this address with theirs. Raises ``NotFound``."""
    team = Tenant.objects.filter(slug=slug).first()
    if team is None:
        raise NotFound(f"There is no team {slug!r}.", code="tenant_not_found")
    if member is None:
        return Caller(team.pk, team.slug, actor="operator", role=Role.OWNER)
    user = User.objects.filter(email=member.strip().lower()).first()
    if user is None:
        raise NotFound(f"There is no account {member!r}.", code="user_not_found")
    return caller_of_member(user.pk, user.email, slug)
