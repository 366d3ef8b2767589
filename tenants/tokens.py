"""OAuth access tokens as callers, and which kind of credential a bearer token is. Decides no permission.

The address names the tenant, so a token is looked up among that tenant's own: one of another tenant is unknown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from core.errors import Unauthenticated
from tenants.access import Caller, caller_for_key
from tenants.audit.records import ACTOR_CHARACTERS
from tenants.models import Membership, OAuthAccessToken, OAuthAuthorization, lasting
from tenants.models_oauth import digest_of
from tenants.roles import Role, within_role
from tenants.scoping import tenant_scope, tenant_scope_of

ACCESS_PREFIX: Final = "mcp_at_"
REFRESH_PREFIX: Final = "mcp_rt_"
MAX_TOKEN: Final = 200
"""Characters of the longest token that is looked up."""


def caller_for_credential(token: str, *, tenant_slug: str) -> Caller:
    """An API key or an access token as a caller at this tenant. Raises ``Unauthenticated``."""
    if token.startswith(ACCESS_PREFIX):
        return caller_for_token(token, tenant_slug=tenant_slug)
    return caller_for_key(token, tenant_slug=tenant_slug)


def caller_for_token(token: str, *, tenant_slug: str) -> Caller:
    """An access token as a caller. Raises ``Unauthenticated``: unknown, expired, or its member has left.

    It may do what was agreed to and what the member's role allows now, at the one server that it is for.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        raise unknown_token()
    with tenant_scope_of(tenant_slug) as tenant_id:
        if tenant_id is None:
            raise unknown_token()
        return _caller(*find_live_token(token), tenant_slug)


def caller_of_newest_token(authorization_id: UUID, *, caller: Caller) -> Caller:
    """What an authorization's newest access token is now, as ``caller_for_token``, for who has no sight of the token.

    Raises ``Unauthenticated``, also where no token is left: whichever the client holds is unknown then.
    """
    with tenant_scope(caller.tenant_id):
        newest = OAuthAccessToken.objects.filter(authorization=authorization_id).order_by("-created", "-pk")
        return _caller(*_require_live(newest), caller.tenant_slug)


def _caller(row: OAuthAccessToken, role: Role, ends_at: datetime | None, tenant_slug: str) -> Caller:
    authorization = row.authorization
    return Caller(
        tenant_id=authorization.tenant_id,
        tenant_slug=tenant_slug,
        actor=actor_of(authorization),
        user_id=authorization.user_id,
        credential_id=authorization.id,
        scopes=within_role(row.scope.split(), role) | {f"server:{authorization.server}"},
        expires_at=row.expires,
        access_ends_at=ends_at,
        principal=f"client:{authorization.client_id}:{authorization.user_id or ''}",
        audience=authorization.server,
    )


def find_live_token(token: str) -> tuple[OAuthAccessToken, Role, datetime | None]:
    """An access token that opens something now, with its authorization; the role behind it, and when that ends.

    One read. Raises ``Unauthenticated``, which says why it opens nothing. In the scope of the tenant.
    """
    return _require_live(OAuthAccessToken.objects.filter(token_checksum=digest_of(token)))


def _require_live(rows: QuerySet[OAuthAccessToken]) -> tuple[OAuthAccessToken, Role, datetime | None]:
    """The first of the rows, as ``find_live_token`` gives one."""
    now = timezone.now()
    behind = _lasting_of(OuterRef("person"))
    row = (
        rows.select_related("authorization__client", "authorization__user")
        .annotate(person=Coalesce("authorization__user_id", "authorization__client__user_id"))
        .annotate(
            role=Subquery(behind.values("role")[:1]), role_ends_at=Subquery(behind.values("ends_at")[:1])
        )
        .first()
    )
    if row is None:
        raise unknown_token()
    if now >= row.expires:
        raise Unauthenticated(
            "This access token has expired. Refresh it, or authorize the client again.", code="token_expired"
        )
    authorization = row.authorization
    if not authorization.is_live(now) or not authorization.client.is_live(now):
        raise Unauthenticated(
            "This access token was revoked. Authorize the client again.", code="token_revoked"
        )
    if row.role is None:
        raise Unauthenticated(
            "The member whose rights this access token has is not in this team any more.",
            code="token_revoked",
        )
    return row, Role(row.role), row.role_ends_at


def membership_behind(authorization: OAuthAuthorization) -> Membership | None:
    """The membership whose rights an authorization has, as it is now; ``None``: it has ended, or the account is closed.

    A client that acts for itself has the rights of who made it. In the scope of the tenant.
    """
    return _lasting_of(authorization.user_id or authorization.client.user_id or 0).first()


def _lasting_of(person: int | OuterRef) -> QuerySet[Membership]:
    """The memberships that a person has now, unless their account is closed."""
    return Membership.objects.filter(lasting(), user_id=person, user__is_active=True)


def actor_of(authorization: OAuthAuthorization) -> str:
    """How the log names who acts with an authorization."""
    name = authorization.client.shown_name
    actor = f"client:{name}" if authorization.user is None else f"user:{authorization.user.email} via {name}"
    return actor[:ACTOR_CHARACTERS]


def unknown_token() -> Unauthenticated:
    """The one answer for a token that is unknown here, whether or not it is known elsewhere."""
    return Unauthenticated(
        "This access token is not known here: it was replaced, revoked, or is another team's. Refresh it, or "
        "authorize the client again.",
        code="token_unknown",
    )
