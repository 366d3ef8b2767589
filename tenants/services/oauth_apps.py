"""The apps connected to a team: who let which client in, clients that act for themselves, and ending either.

Everybody sees and ends what they agreed to themselves; all of the team's belongs to those who look after its keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from core.errors import Conflict, Forbidden, NotFound
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.models import OAuthAuthorization, OAuthClient
from tenants.models_oauth import digest_of
from tenants.roles import OAUTH_SCOPES, Action, within_role
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, refuse
from tenants.services.oauth_clients import shown_client
from tenants.services.oauth_ending import end_all, end_authorization, shown_authorization
from tenants.services.recording import record_change

SHOWN: Final = 200
"""The newest connections that a list holds."""


@dataclass(frozen=True, slots=True)
class IssuedClient:
    """A new client that acts for itself: its row, and the only sight of its secret there will ever be."""

    row: OAuthClient
    secret: str = field(repr=False)


def list_connections(*, caller: Caller) -> list[OAuthAuthorization]:
    """What clients may do here by now, newest first: all of the team, or the caller's own."""
    caller.require(Action.TENANT_READ)
    with tenant_scope(caller.tenant_id):
        rows = OAuthAuthorization.objects.filter(
            _own(caller, Action.KEYS_READ),
            revoked_at=None,
            expires_at__gt=timezone.now(),
            client__revoked_at=None,
        )
        return list(rows.select_related("client", "user")[:SHOWN])


def get_connection(connection_id: UUID, *, caller: Caller) -> OAuthAuthorization:
    """What one client may do, or might: it may have ended. Raises ``NotFound``, also for another member's."""
    caller.require(Action.TENANT_READ)
    with tenant_scope(caller.tenant_id):
        return _connection(connection_id, caller, Action.KEYS_READ)


def end_connection(connection_id: UUID, *, caller: Caller) -> OAuthAuthorization:
    """End what a client may do, everywhere. Raises ``NotFound``, also for another member's."""
    caller.require(Action.TENANT_READ)
    with tenant_scope(caller.tenant_id):
        row = _connection(connection_id, caller, Action.KEYS_CHANGE)
        if end_authorization(row, "member"):
            record_change("oauth.revoked", caller=caller, before=shown_authorization(row), server=row.server)
            announce_change(caller.tenant_id)
    return row


def list_clients(*, caller: Caller) -> list[OAuthClient]:
    """The team's clients, newest first, but for registrations that nobody consented to."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return list(OAuthClient.objects.filter(expires_at=None).select_related("user")[:SHOWN])


def get_client(client_id: UUID, *, caller: Caller) -> OAuthClient:
    """One of the clients that ``list_clients`` gives, however many there are. Raises ``NotFound``."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.filter(expires_at=None, pk=client_id).first()
    if row is None:
        raise _no_client()
    return row


def create_client(name: str, scopes: Sequence[str], *, caller: Caller) -> IssuedClient:
    """Make a client that gets tokens for itself (client credentials), with no more than its maker's rights."""
    caller.require(Action.KEYS_CHANGE)
    label = clean_text(name, "name", longest=80)
    if not scopes or not all(scope in OAUTH_SCOPES for scope in scopes):
        refuse("scopes", f"must be a list with at least one of: {', '.join(OAUTH_SCOPES)}.")
    if caller.user_id is None or caller.role is None:
        raise Forbidden(
            "A client that acts for itself has the rights of the member who made it, and a key is no member. Make it "
            "in the dashboard.",
            rule="oauth:maker",
            code="member_needed",
        )
    if within_role(scopes, caller.role) != frozenset(scopes):
        raise Forbidden(
            "A client cannot do more than who makes it. Leave out the scopes that your role does not allow.",
            rule="rights:oauth",
            code="scope_exceeds_rights",
        )
    secret = secrets.token_urlsafe(32)
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.create(
            client_id=secrets.token_urlsafe(24),
            client_secret=digest_of(secret),
            client_type=OAuthClient.CLIENT_CONFIDENTIAL,
            authorization_grant_type=OAuthClient.GRANT_CLIENT_CREDENTIALS,
            name=label,
            scopes=list(dict.fromkeys(scopes)),
            user_id=caller.user_id,
        )
        record_change("oauth.client_created", caller=caller, after=shown_client(row))
    return IssuedClient(row, secret)


def revoke_client(client_id: UUID, *, caller: Caller) -> OAuthClient:
    """Shut a client out of the team for good, with everything that members let it do. Raises ``NotFound``."""
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.select_for_update(no_key=True).filter(pk=client_id).first()
        if row is None:
            raise _no_client()
        if row.revoked_at is not None:
            raise Conflict("This client is revoked already.", code="client_revoked")
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        end_all(Q(client=row), "client_revoked")
        record_change("oauth.client_revoked", caller=caller, before=shown_client(row))
        announce_change(caller.tenant_id)
    return row


def remove_tried_client(client_id: str, *, caller: Caller) -> None:
    """Remove a client that was registered for a moment, to see whether clients can: nobody consented to it."""
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.filter(client_id=client_id, expires_at__isnull=False).first()
        if row is not None:
            record_change("oauth.client_revoked", caller=caller, before=shown_client(row))
            row.delete()


def _no_client() -> NotFound:
    return NotFound("There is no such client in this team.", code="client_not_found")


def _connection(connection_id: UUID, caller: Caller, needed: Action) -> OAuthAuthorization:
    rows = OAuthAuthorization.objects.filter(_own(caller, needed), pk=connection_id)
    row = rows.select_related("client", "user").first()
    if row is None:
        raise NotFound("There is no such connected app in this team.", code="connection_not_found")
    return row


def _own(caller: Caller, needed: Action) -> Q:
    """The rows that the caller may have: all where they may do what is ``needed``, or their own."""
    return Q() if caller.may(needed) else Q(user_id=caller.user_id or 0)
