"""Whether who began a task may still have it done: their credential is looked at anew, without its token."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from math import inf
from time import monotonic, time
from typing import Final

from django.utils import timezone

from core.errors import Unauthenticated
from servers.services.grants import GRANT_SECONDS, MAX_GRANTS
from servers.services.reading import look_up
from tenants.access import Caller, caller_of_key, own_actions
from tenants.keyrights import with_makers
from tenants.models import ApiKey, Membership, OAuthAuthorization, TrustedIssuer, lasting
from tenants.roles import Role, within_role
from tenants.scoping import tenant_scope
from tenants.tokens import membership_behind

_ENDED: Final = (
    "The credential that began this task opens nothing any more: it was revoked, has expired, or whose rights it had "
    "has left the team. Begin the task again with one that works."
)


class StandingCache:
    """``standing_of``, held for as long as the endpoint holds who a token is, and dropped as that is. On one loop."""

    def __init__(self) -> None:
        self._held: OrderedDict[Caller, tuple[float, float, Caller]] = OrderedDict()
        self._dropped = 0

    async def get(self, caller: Caller) -> Caller:
        """See ``standing_of``. Raises ``Unavailable`` when the database is away."""
        # A clock that is set back makes nothing last longer but what has an end of its own.
        until, expires, found = self._held.get(caller, (-inf, -inf, caller))
        if monotonic() >= until or time() >= expires:
            dropped = self._dropped
            found = await look_up(standing_of, caller)
            ends = [each.timestamp() for each in (found.expires_at, found.access_ends_at) if each is not None]
            # What changed while it was asked is asked for again.
            if dropped == self._dropped:
                self._held[caller] = monotonic() + GRANT_SECONDS, min(ends, default=inf), found
                self._held.move_to_end(caller)
                while len(self._held) > MAX_GRANTS:
                    self._held.popitem(last=False)
        return found

    def drop(self, tenant_id: int | None) -> None:
        """Something of the tenant changed, perhaps who may do what; ``None``: of any."""
        self._dropped += 1
        for caller in [each for each in self._held if tenant_id in (None, each.tenant_id)]:
            del self._held[caller]


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
    return None if member is None else replace(caller, role=Role(member.role), actions=own_actions(member))
