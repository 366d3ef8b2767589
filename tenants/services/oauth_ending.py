"""How what clients may do ends: one authorization, or all of a client's or a member's. Records nothing itself.

Whoever changes rows of OAuth takes their locks in one order, so that nobody waits for somebody who waits for them: the
client, its authorizations by id, then their codes and tokens, and the log's head last of all. Clients are taken with
``no_key``: a row that points at one, as every new token does, locks the client's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import F, Q
from django.utils import timezone

from tenants.models import OAuthAccessToken, OAuthAuthorization, OAuthRefreshToken


def end_authorization(authorization: OAuthAuthorization, why: str) -> bool:
    """End an authorization and every token of it, in the scope of its tenant. False: it had ended before."""
    return _end([authorization.pk], why) == 1


def end_all(which: Q, why: str) -> list[OAuthAuthorization]:
    """End every authorization that ``which`` names, and give those that were live until now.

    One that waits for a code, or lies idle, ends as well: its member may come back, and it must not.
    """
    rows = OAuthAuthorization.objects.filter(which, revoked_at=None).select_for_update(of=("self",))
    standing = list(rows.select_related("client", "user").order_by("pk"))
    _end([row.pk for row in standing], why)
    now = timezone.now()
    return [row for row in standing if now < row.expires_at]


def shown_authorization(row: OAuthAuthorization) -> dict[str, object]:
    """What the log keeps of an authorization."""
    return {
        "id": str(row.id),
        "name": row.client.shown_name,
        "client_id": row.client.client_id,
        "email": None if row.user is None else row.user.email,
        "scopes": list(row.scopes),
        "resource": row.resource,
    }


def _end(numbers: Sequence[UUID], why: str) -> int:
    """End these with every token of theirs. How many had not ended before."""
    now = timezone.now()
    ended = OAuthAuthorization.objects.filter(pk__in=numbers, revoked_at=None).update(
        revoked_at=now, revoked_for=why
    )
    OAuthRefreshToken.objects.filter(authorization__in=numbers, revoked=None).update(
        revoked=now, updated=F("updated")
    )
    OAuthAccessToken.objects.filter(authorization__in=numbers).delete()
    return ended
