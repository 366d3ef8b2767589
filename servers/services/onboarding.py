"""Founds tenants: the team, its first owner and its default server, in one transaction."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import transaction

from core.errors import Conflict, Forbidden, NotFound
from servers.models import Server
from tenants.access import caller_of_membership, tenants_of_user
from tenants.models import SLUG_PATTERN, Membership, Tenant, User
from tenants.oauth_addresses import DEFAULT_SERVER
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, matching, name_taken, refuse
from tenants.services.recording import record_change

RESERVED_SLUGS: Final = frozenset(
    {
        "account",
        "admin",
        "invitation",
        "invitations",
        "new-team",
        "password",
        "sign-in",
        "sign-out",
        "sign-up",
    }
)
"""What stands in the dashboard where a tenant's slug would (a test compares them)."""

MAX_OWNED: Final = 10
"""Teams that a person may own who founds one themselves."""


def found_own_tenant(slug: str, name: str, user_id: int) -> Tenant:
    """Found a tenant where sign-up is open. Raises ``Forbidden``, ``Conflict`` (too many), and as ``found_tenant``."""
    if settings.ENV.signup != "open":
        raise Forbidden(
            "Teams are founded by the operator of this Marina. Ask them for one.",
            rule="signup:teams",
            code="signup_closed",
        )
    with transaction.atomic():
        # Two at once would each find room for the last one.
        User.objects.select_for_update(no_key=True).only("pk").filter(pk=user_id).first()
        owned = sum(role is Role.OWNER for _, role in tenants_of_user(user_id))
        if owned >= MAX_OWNED:
            raise Conflict(f"You own {owned} teams already; {MAX_OWNED} are the most.", code="too_many_teams")
        return found_tenant(slug, name, user_id)


def found_tenant(slug: str, name: str, owner_id: int) -> Tenant:
    """Make a tenant with its owner and its ``default`` server, which offers every tool.

    Raises ``InvalidInput``, ``Conflict`` (the slug is taken) and ``NotFound`` (no such user).
    """
    matching(
        slug,
        "slug",
        SLUG_PATTERN,
        "must be lower-case letters, digits and inner hyphens, at most 40: like my-team.",
    )
    if slug in RESERVED_SLUGS:
        refuse("slug", "is the address of a page of Marina. Choose another one.")
    title = clean_text(name, "name", longest=120)
    with transaction.atomic():
        owner = User.objects.filter(pk=owner_id).first()
        if owner is None:
            raise NotFound("There is no such user to own the team.", code="user_not_found")
        with name_taken("tenants_tenant_slug_key", f"A team at {slug} exists already. Choose another slug."):
            tenant = Tenant.objects.create(slug=slug, name=title)
        with tenant_scope(tenant.pk):
            membership = Membership.objects.create(user=owner, role=Role.OWNER.value)
            Server.objects.create(slug=DEFAULT_SERVER, title=title, offers_all=True)
            record_change(
                "tenant.created",
                caller=caller_of_membership(membership, owner.email, slug),
                after={"slug": slug, "name": title, "owner": owner.email},
                server=DEFAULT_SERVER,
            )
    return tenant
