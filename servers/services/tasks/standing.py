"""Whether who began a task may still have it done: their credential is looked at anew, without its token."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from django.utils import timezone

from core.errors import Unauthenticated
from tenants.access import Caller, caller_of_key
from tenants.keyrights import with_makers
from tenants.models import ApiKey, Membership, OAuthAuthorization, TrustedIssuer, lasting
from tenants.roles import Role, within_role
from tenants.scoping import tenant_scope
from tenants.tokens import membership_behind

_ENDED: Final = (
    "The credential that began this task opens nothing any more: it was revoked, has expired, or whose rights it had "
    "has left the team. Begin the task again with one that works."
)


def standing_of(caller: Caller) -> Caller:
    """The caller as they are now, with no more rights than when they began. Raises ``Unauthenticated``.

    An access token that has expired since ends nothing: its client would have another one by now.
    """
    if caller.anonymous:
        return caller
    with tenant_scope(caller.tenant_id):
        found = _now(caller)
    if found is None:
        raise Unauthenticated(_ENDED, code="credential_ended")
    return found


def _now(caller: Caller) -> Caller | None:
    now = timezone.now()
    if caller.issuer_id is not None:
        trusted = TrustedIssuer.objects.filter(id=caller.issuer_id, enabled=True).exists()
        return caller if trusted else None
    if caller.credential_id is not None:
        key = with_makers(ApiKey.objects.select_related("tenant")).filter(id=caller.credential_id).first()
        if key is not None:
            return caller_of_key(key)
        authorization = (
            OAuthAuthorization.objects.select_related("client").filter(id=caller.credential_id).first()
        )
        if authorization is None or not authorization.is_live(now) or not authorization.client.is_live(now):
            return None
        behind = membership_behind(authorization)
        if behind is None:
            return None
        kept = within_role(sorted(caller.scopes), Role(behind.role))
        return replace(caller, scopes=kept | {each for each in caller.scopes if each.startswith("server:")})
    member = Membership.objects.filter(lasting(), user_id=caller.user_id or 0).first()
    return None if member is None else replace(caller, role=Role(member.role))
