"""Who belongs to a tenant, in which role and until when. Knows no request and no page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final

from django.db.models import Q

from core.errors import Conflict, Forbidden, NotFound
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.factors import those_with_second_factor
from tenants.models import Membership, User
from tenants.roles import Action, Role
from tenants.scoping import tenant_scope
from tenants.services.inputs import name_taken, refuse
from tenants.services.oauth_ending import end_all, shown_authorization
from tenants.services.recording import record_change
from tenants.services.roster import (
    CAN_SIGN_IN,
    clean_address,
    clean_end,
    clean_role,
    require_owner_besides,
    require_power_over,
    take_turn,
)


class Kept(Enum):
    """Stands for a value that is not to change, where ``None`` is a value of its own."""

    KEPT = "kept"


KEPT: Final = Kept.KEPT


def list_members(*, caller: Caller) -> list[Membership]:
    """The tenant's members with their users, by e-mail address; those too whose access has ended."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(Membership.objects.select_related("user").order_by("user__email"))


def find_lacking(rows: Sequence[Membership], *, caller: Caller) -> frozenset[int] | None:
    """The ids of those people who have no second factor; ``None`` where the caller may not know.

    Whom it is easiest to break in as is for those who answer for the members, and for auditors.
    """
    if not (caller.may(Action.MEMBERS_CHANGE) or caller.may(Action.AUDIT_READ)):
        return None
    people = frozenset(row.user_id for row in rows)
    return people - those_with_second_factor(people)


def get_member(membership_id: int, *, caller: Caller) -> Membership:
    """One member with their user. Raises ``NotFound``."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return _member(membership_id)


def get_own_membership(*, caller: Caller) -> Membership:
    """The caller's own, whatever their role. Raises ``NotFound`` for a credential: it is no member."""
    with tenant_scope(caller.tenant_id):
        return _own(caller)


def add_member(
    email: str, role: str, *, access_ends_at: datetime | None = None, caller: Caller
) -> Membership:
    """Make a person a member without asking them: for the operator's own commands. People are asked (``invitations``).

    Whether the address already has an account, through another team, shows in no answer: an unknown
    address gets an account that nobody can sign in to until its password is set.
    Raises ``InvalidInput``, ``Forbidden`` and ``Conflict`` (they are a member already).
    """
    caller.require(Action.MEMBERS_CHANGE)
    address = clean_address(email)
    wanted = clean_role(role)
    ends_at = clean_end(access_ends_at, caller=caller)
    require_power_over(wanted, caller=caller)
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        membership = admit(_account(address), wanted, ends_at)
        record_change("member.added", caller=caller, after=shown(membership))
    return membership


def admit(user: User, role: Role, ends_at: datetime | None) -> Membership:
    """Add a member to the tenant in scope, and write no record. Raises ``Conflict`` where they are one already."""
    with name_taken(
        "tenants_membership_unique",
        f"{user.email} is a member of this team already. Change their role or the end of their access instead.",
    ):
        return Membership.objects.create(user=user, role=role.value, ends_at=ends_at)


def change_member(
    membership_id: int,
    *,
    role: str | None = None,
    access_ends_at: datetime | Kept | None = KEPT,
    payloads: bool | None = None,
    caller: Caller,
) -> Membership:
    """Give a member another role or another end of their access, or let an auditor see what calls were given and gave.

    Nobody moves the end of their own access. Raises ``InvalidInput``, ``Forbidden``, ``NotFound``, and ``Conflict``
    when the team would be left without an owner.
    """
    caller.require(Action.MEMBERS_CHANGE)
    wanted = None if role is None else clean_role(role)
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        membership = _member(membership_id)
        before = shown(membership)
        require_power_over(Role(membership.role), caller=caller)
        wanted = wanted or Role(membership.role)
        require_power_over(wanted, caller=caller)
        ends_at = membership.ends_at
        if access_ends_at is not KEPT and access_ends_at != membership.ends_at:
            if membership.user_id == caller.user_id:
                raise Forbidden(
                    "Nobody moves the end of their own access. Ask another owner or admin of the team.",
                    rule="access:own",
                    code="own_access",
                )
            ends_at = clean_end(access_ends_at, caller=caller)
        sight = _sight(membership, wanted, payloads)
        if (membership.role, membership.ends_at, membership.payloads) == (wanted.value, ends_at, sight):
            return membership
        if membership.role == Role.OWNER and (wanted is not Role.OWNER or ends_at is not None):
            require_owner_besides(membership)
        if membership.ends_at != ends_at:
            membership.end_noted_at = None
        membership.role, membership.ends_at, membership.payloads = wanted.value, ends_at, sight
        membership.save(update_fields=["role", "ends_at", "end_noted_at", "payloads"])
        record_change("member.changed", caller=caller, before=before, after=shown(membership))
        announce_change(caller.tenant_id)
    return membership


def remove_member(membership_id: int, *, caller: Caller) -> Membership:
    """End a membership, and give it as it was; the person's account stays. Raises ``Conflict`` for the last owner."""
    caller.require(Action.MEMBERS_CHANGE)
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        membership = _member(membership_id)
        require_power_over(Role(membership.role), caller=caller)
        _end(membership, "member.removed", caller=caller)
    return membership


def leave_tenant(*, caller: Caller) -> None:
    """End the caller's own membership, which every role may. Raises ``Conflict`` for the last owner."""
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        _end(_own(caller), "member.left", caller=caller)


def transfer_ownership(membership_id: int, *, caller: Caller) -> Membership:
    """Make another member an owner and the caller, an owner until now, an admin: both or neither.

    Raises ``Forbidden`` for who is no owner themselves, and ``Conflict`` where the other could not keep the team: their
    access has an end, or their account is not in use.
    """
    caller.require(Action.TENANT_CHANGE)
    with tenant_scope(caller.tenant_id):
        take_turn(caller=caller)
        if caller.role is not Role.OWNER:
            raise Forbidden(
                "Only an owner who is signed in can hand the team over. With a key, give the role to the member.",
                rule="role:owner",
                code="role_missing",
            )
        heir, own = _member(membership_id), _own(caller)
        if heir.pk == own.pk:
            refuse("member", "is you. Choose another member.")
        _require_lasting(heir)
        before = shown(heir)
        heir.role, own.role = Role.OWNER.value, Role.ADMIN.value
        heir.payloads = False
        heir.save(update_fields=["role", "payloads"])
        own.save(update_fields=["role"])
        record_change(
            "ownership.transferred",
            caller=caller,
            before=before,
            after={**shown(heir), "handed_over_by": shown(own)},
        )
        announce_change(caller.tenant_id)
    return heir


def shown(membership: Membership) -> dict[str, Any]:
    """What the log keeps of a membership."""
    of_auditor = {"payloads": membership.payloads} if membership.role == Role.AUDITOR else {}
    return {
        "id": membership.pk,
        "email": membership.user.email,
        "role": membership.role,
        "access_ends_at": membership.ends_at.isoformat() if membership.ends_at else None,
        **of_auditor,
    }


def _sight(membership: Membership, role: Role, wanted: bool | None) -> bool:
    """Whether an auditor is to see what calls were given and gave. Other roles see it by themselves, or not at all."""
    if role is Role.AUDITOR:
        return (membership.payloads and membership.role == Role.AUDITOR) if wanted is None else wanted
    if wanted is not None:
        refuse("payloads", f"is for auditors. What a member who is {role.value} sees goes with their role.")
    return False


def _end(membership: Membership, kind: str, *, caller: Caller) -> None:
    if membership.role == Role.OWNER:
        require_owner_besides(membership)
    before = shown(membership)
    # Before the first record: a refresh holds its authorization when it waits for the log.
    ended = end_all(_acting_for(membership.user_id), "member_left")
    membership.delete()
    record_change(kind, caller=caller, before=before)
    for authorization in ended:
        record_change(
            "oauth.revoked",
            caller=caller,
            before=shown_authorization(authorization),
            server=authorization.server,
        )
    announce_change(caller.tenant_id)


def _acting_for(user_id: int) -> Q:
    """What clients may do for the person, and what those may do for themselves that the person made."""
    return Q(user_id=user_id) | Q(user=None, client__user_id=user_id)


def _require_lasting(heir: Membership) -> None:
    if heir.ends_at is not None:
        raise Conflict(
            f"The access of {heir.user.email} has an end. Remove the end first, or choose another member.",
            code="access_ends",
        )
    if not Membership.objects.filter(CAN_SIGN_IN, pk=heir.pk).exists():
        raise Conflict(
            f"{heir.user.email} has never signed in, so the team could be left with nobody. Choose another member, or "
            "ask them to sign in first.",
            code="never_signed_in",
        )


def _member(membership_id: int) -> Membership:
    membership = Membership.objects.select_related("user").filter(pk=membership_id).first()
    if membership is None:
        raise NotFound("There is no such member in this team.", code="member_not_found")
    return membership


def _own(caller: Caller) -> Membership:
    membership = (
        None
        if caller.user_id is None
        else Membership.objects.select_related("user").filter(user_id=caller.user_id).first()
    )
    if membership is None:
        raise NotFound("An API key is no member of the team: sign in as a person.", code="member_not_found")
    return membership


def _account(address: str) -> User:
    user = User.objects.filter(email=address).first()
    if user is not None:
        return user
    try:
        with name_taken("tenants_user_email_unique", "taken"):
            return User.objects.create_user(address)
    except Conflict:  # somebody made it in between
        return User.objects.get(email=address)
