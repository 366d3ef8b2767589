"""Invitations: a role in a tenant, offered by mail to one address. The link's token is stored as a hash only.

Accepting needs no token: it needs the account of the address. The token proves the address to who has no account yet.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from core.errors import Conflict, Forbidden, NotFound, RateLimited
from tenants.access import Caller, caller_of_membership
from tenants.changes import announce_change
from tenants.models import ApiKey, Invitation, Membership, Tenant, User, lasting
from tenants.roles import ALLOWED, Action, Role
from tenants.scoping import directory_scope, tenant_scope
from tenants.services.counting import Counter, count
from tenants.services.inputs import name_taken, whole_number
from tenants.services.letters import invitation_letter
from tenants.services.mail import HOUR, public_link, send
from tenants.services.members import admit
from tenants.services.recording import record_change, record_refusal
from tenants.services.roster import (
    clean_address,
    clean_end,
    clean_role,
    needed_to_give,
    require_power_over,
    take_turn,
)

DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 30
MAX_OPEN: Final = 200
"""Invitations of a tenant that may be open at once."""

LETTERS_OF_TEAM: Final = 100
"""An hour. Strangers' mailboxes are at the other end."""

LISTED: Final = 500

_TOKEN_BYTES: Final = 32


def list_invitations(*, caller: Caller) -> list[Invitation]:
    """The tenant's newest invitations, whatever became of them."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(Invitation.objects.select_related("invited_by")[:LISTED])


def get_invitation(invitation_id: UUID, *, caller: Caller) -> Invitation:
    """One invitation. Raises ``NotFound``."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return _invitation(invitation_id)


def invite(
    email: str,
    role: str,
    expires_in_days: int = DEFAULT_DAYS,
    *,
    access_ends_at: datetime | None = None,
    caller: Caller,
) -> Invitation:
    """Offer a role to whoever reads the mail of ``email``. Whether there is such an account shows in no answer.

    ``sent_at`` stays empty where the mail server did not take the letter. Raises ``InvalidInput``, ``Forbidden`` (a
    role beyond the caller's power), ``Conflict`` (they are invited, or a member) and ``RateLimited``.
    """
    caller.require(Action.MEMBERS_CHANGE)
    address, wanted = clean_address(email), clean_role(role)
    lifetime = _lifetime(expires_in_days)
    ends_at = clean_end(access_ends_at, caller=caller)
    require_power_over(wanted, caller=caller)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    now = timezone.now()
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        inviter, by_team = _inviter(caller)
        if Membership.objects.filter(user__email=address).exists():
            raise Conflict(
                f"{address} is a member of this team already. Change their role or the end of their access instead.",
                code="name_taken",
            )
        if Invitation.objects.filter(accepted_at=None, withdrawn_at=None).count() >= MAX_OPEN:
            raise Conflict(
                f"{MAX_OPEN} invitations of this team are open. Withdraw some first.", code="too_many_open"
            )
        with name_taken(
            "tenants_invitation_one_open",
            f"{address} is invited already. Send that invitation again, or withdraw it to invite them anew.",
        ):
            invitation = Invitation.objects.create(
                email=address,
                role=wanted.value,
                access_ends_at=ends_at,
                digest=token_digest(token),
                invited_by_id=inviter,
                vouched_by_team=by_team,
                created_at=now,
                expires_at=now + lifetime,
            )
        _claim_letter(caller)
        record_change("invitation.created", caller=caller, after=_shown(invitation))
    return _mail(invitation, token, caller=caller)


def resend_invitation(
    invitation_id: UUID, expires_in_days: int = DEFAULT_DAYS, *, caller: Caller
) -> Invitation:
    """Mail an open or expired invitation again, with a new link; the old one ends. It is the caller's own from then on.

    Raises as ``invite``, and ``Conflict`` where it was accepted or withdrawn.
    """
    caller.require(Action.MEMBERS_CHANGE)
    lifetime = _lifetime(expires_in_days)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    now = timezone.now()
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        invitation = _invitation(invitation_id, lock=True)
        require_power_over(Role(invitation.role), caller=caller)
        if invitation.state(now) != "expired":
            _require_open(invitation, now)
        clean_end(invitation.access_ends_at, caller=caller)
        before = _shown(invitation)
        invitation.digest = token_digest(token)
        invitation.expires_at = now + lifetime
        invitation.sent_at = None
        invitation.invited_by_id, invitation.vouched_by_team = _inviter(caller)
        invitation.save(update_fields=["digest", "expires_at", "sent_at", "invited_by", "vouched_by_team"])
        _claim_letter(caller)
        record_change("invitation.resent", caller=caller, before=before, after=_shown(invitation))
    return _mail(invitation, token, caller=caller)


def withdraw_invitation(invitation_id: UUID, *, caller: Caller) -> Invitation:
    """End an invitation that nobody has accepted; doing it again changes nothing. Raises ``Conflict`` when accepted."""
    caller.require(Action.MEMBERS_CHANGE)
    now = timezone.now()
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        invitation = _invitation(invitation_id, lock=True)
        require_power_over(Role(invitation.role), caller=caller)
        if invitation.withdrawn_at is not None:
            return invitation
        if invitation.accepted_at is not None:
            _require_open(invitation, now)
        before = _shown(invitation)
        invitation.withdrawn_at = now
        invitation.save(update_fields=["withdrawn_at"])
        record_change("invitation.withdrawn", caller=caller, before=before, after=_shown(invitation))
    return invitation


def token_digest(token: str) -> bytes:
    """What is stored of a link's token: 256 random bits, so a plain hash leaves nothing to guess."""
    return hashlib.sha256(token.encode()).digest()


def find_invitation(digest: bytes) -> Invitation:
    """The invitation of a mailed link, with its tenant and who invites. Raises ``NotFound``."""
    with directory_scope(invitation_digest=digest):
        invitation = _with_people().filter(digest=digest).first()
    if invitation is None:
        raise NotFound(
            "This invitation is not known: the link was not copied whole, or a newer letter has replaced it. Look for "
            "the newest letter, or ask the team to send it again.",
            code="invitation_not_found",
        )
    return invitation


def list_own_invitations(email: str) -> list[Invitation]:
    """The open invitations to an address, of every tenant. For who has shown that the address is theirs."""
    now = timezone.now()
    with directory_scope(email=email):
        rows = _with_people().filter(email=email, accepted_at=None, withdrawn_at=None, expires_at__gt=now)
        return list(rows)


def check_invitation(invitation: Invitation, *, email: str | None) -> None:
    """Raise the reason why ``email``, the signed-in person's address if there is one, cannot accept.

    ``Conflict``: it is used, withdrawn or expired. ``Forbidden``: it went to another address.
    """
    _require_open(invitation, timezone.now())
    if email is not None and email != invitation.email:
        raise Forbidden(
            f"This invitation was sent to {invitation.email}, and you are signed in as {email}. Sign out and open the "
            f"link again, or ask the team to invite {email}.",
            rule="invitation:address",
            code="invitation_forwarded",
        )


def note_forwarded(invitation: Invitation, refusal: Forbidden, *, email: str) -> None:
    """Tell the tenant's log that somebody with another address came by the link."""
    visitor = Caller(
        tenant_id=invitation.tenant_id, tenant_slug=invitation.tenant.slug, actor=f"user:{email}"
    )
    record_refusal("invitation", refusal, operation=f"accept {invitation.pk}", caller=visitor)


def accept_invitation(invitation_id: UUID, *, user_id: int, email: str) -> Caller:
    """Make the person a member, once. They are signed in with the address that was invited.

    Raises ``NotFound`` (no invitation to this address), ``Conflict`` (used, withdrawn, expired, or a member already)
    and ``Forbidden`` (who invited may no longer do so).
    """
    with directory_scope(email=email):
        found = _with_people().filter(pk=invitation_id, email=email).first()
    if found is None:
        raise NotFound("There is no such invitation to your address.", code="invitation_not_found")
    now = timezone.now()
    with tenant_scope(found.tenant_id):
        invitation = _invitation(invitation_id, lock=True)
        _require_open(invitation, now)
        _require_power_of_inviter(invitation)
        if invitation.access_ends_at is not None and invitation.access_ends_at <= now:
            raise Conflict(
                "The access that this invitation offers has ended. Ask the team to invite you anew.",
                code="access_ends",
            )
        person = User.objects.get(pk=user_id)
        membership = admit(person, Role(invitation.role), invitation.access_ends_at)
        invitation.accepted_at = now
        invitation.save(update_fields=["accepted_at"])
        caller = caller_of_membership(membership, email, found.tenant.slug)
        record_change(
            "invitation.accepted", caller=caller, after={**_shown(invitation), "member": membership.pk}
        )
        announce_change(found.tenant_id)
    return caller


def _require_open(invitation: Invitation, now: datetime) -> None:
    state = invitation.state(now)
    if state != "open":
        reason = {
            "accepted": "This invitation was used already. Sign in to open the team.",
            "withdrawn": "This invitation was withdrawn. Ask the team for a new one.",
            "expired": "This invitation has expired. Ask the team to send it again.",
        }[state]
        raise Conflict(reason, code=f"invitation_{state}")


def _require_power_of_inviter(invitation: Invitation) -> None:
    """Nobody comes in by the word of somebody who has lost the right to give it, or whose account is gone.

    That of the team's own keys stands.
    """
    if invitation.vouched_by_team:
        return
    inviter = Membership.objects.filter(
        lasting(), user_id=invitation.invited_by_id or 0, user__is_active=True
    ).first()
    if inviter is None or not needed_to_give(Role(invitation.role)) <= ALLOWED[Role(inviter.role)]:
        gone = invitation.invited_by_id is None
        why = (
            "The account of whoever invited you is gone"
            if gone
            else "Whoever invited you may no longer do so"
        )
        raise Forbidden(
            f"{why}. Ask the team to send the invitation again.",
            rule="invitation:inviter",
            code="invitation_void",
        )


def _inviter(caller: Caller) -> tuple[int | None, bool]:
    """The person who invites, the caller or whoever made the key that does, and whether the team itself invites."""
    if caller.user_id is not None:
        return caller.user_id, False
    if caller.credential_id is None:
        return None, True
    key = ApiKey.objects.filter(pk=caller.credential_id).first()
    return (None, False) if key is None else (key.created_by_id, key.team_owned)


def _mail(invitation: Invitation, token: str, *, caller: Caller) -> Invitation:
    """Send the letter, and note that it left. After the transaction: a mail server may be slow."""
    inviter = caller.actor.removeprefix("user:") if caller.user_id is not None else "Somebody"
    letter = invitation_letter(
        invitation.email,
        team=Tenant.objects.get(pk=caller.tenant_id).name,
        role=invitation.role,
        inviter=inviter,
        link=public_link(f"invitations/{token}"),
        expires_at=invitation.expires_at,
    )
    if send(letter):
        invitation.sent_at = timezone.now()
        with tenant_scope(caller.tenant_id):
            Invitation.objects.filter(pk=invitation.pk, digest=invitation.digest).update(
                sent_at=invitation.sent_at
            )
    return invitation


def _claim_letter(caller: Caller) -> None:
    """Count a letter of the tenant; without Redis nothing is counted."""
    team = Counter("letters:team", (str(caller.tenant_id),), LETTERS_OF_TEAM)
    if wait := count([team], seconds=HOUR):
        raise RateLimited(
            f"A team sends at most {LETTERS_OF_TEAM} invitations an hour. Try again later.",
            retry_after=wait,
            rule="invitations:hour",
        )


def _lifetime(days: object) -> timedelta:
    return timedelta(days=whole_number(days, "expires_in_days", low=1, high=MAX_DAYS))


def _invitation(invitation_id: UUID, *, lock: bool = False) -> Invitation:
    rows = Invitation.objects.all()
    rows = rows.select_for_update() if lock else rows.select_related("invited_by")
    invitation = rows.filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound("There is no such invitation of this team.", code="invitation_not_found")
    return invitation


def _with_people() -> QuerySet[Invitation]:
    """Beyond a tenant's scope, so only in ``directory_scope``."""
    return Invitation.directory.select_related("tenant", "invited_by")


def _shown(invitation: Invitation) -> Mapping[str, Any]:
    return {
        "id": str(invitation.pk),
        "email": invitation.email,
        "role": invitation.role,
        "expires_at": invitation.expires_at.isoformat(),
        "access_ends_at": invitation.access_ends_at.isoformat() if invitation.access_ends_at else None,
    }
