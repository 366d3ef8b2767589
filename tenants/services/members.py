"""Who belongs to a tenant, and in which role. Knows no request and no page."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from core.errors import Conflict, Forbidden, NotFound
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.models import Membership, User
from tenants.roles import Action, Role
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, name_taken, one_of, refuse
from tenants.services.recording import record_change


def list_members(*, caller: Caller) -> list[Membership]:
    """The tenant's members with their users, by e-mail address."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(Membership.objects.select_related("user").order_by("user__email"))


def get_member(membership_id: int, *, caller: Caller) -> Membership:
    """One member with their user. Raises ``NotFound``."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return _member(membership_id)


def roles_to_give(*, caller: Caller) -> list[Role]:
    """The roles that the caller may give and take: all, but for who may not decide about owners."""
    if not caller.may(Action.MEMBERS_CHANGE):
        return []
    return [role for role in Role if role is not Role.OWNER or caller.may(Action.TENANT_CHANGE)]


def add_member(email: str, role: str, *, caller: Caller) -> Membership:
    """Make a person a member.

    Whether the address already has an account, through another team, shows in no answer: an unknown
    address gets an account that nobody can sign in to until the operator sets its password.
    Raises ``InvalidInput`` and ``Conflict`` (they are a member already).
    """
    caller.require(Action.MEMBERS_CHANGE)
    address = _address(email)
    wanted = _role(role)
    _require_power_over(wanted, caller)
    with tenant_scope(caller.tenant_id):
        with name_taken(
            "tenants_membership_unique",
            f"{address} is a member of this team already. Change their role instead.",
        ):
            membership = Membership.objects.create(user=_account(address), role=wanted.value)
        record_change("member.added", caller=caller, after=_shown(membership))
    return membership


def change_role(membership_id: int, role: str, *, caller: Caller) -> Membership:
    """Give a member another role. Raises ``Conflict`` when the team would be left without an owner."""
    caller.require(Action.MEMBERS_CHANGE)
    wanted = _role(role)
    with tenant_scope(caller.tenant_id):
        _lock_owners()
        membership = _member(membership_id)
        before = _shown(membership)
        _require_power_over(Role(membership.role), caller)
        _require_power_over(wanted, caller)
        if membership.role == wanted.value:
            return membership
        if membership.role == Role.OWNER:
            _require_another_owner(membership)
        membership.role = wanted.value
        membership.save(update_fields=["role"])
        record_change("member.changed", caller=caller, before=before, after=_shown(membership))
        # The keys that they made may do less, or more, from now on.
        announce_change(caller.tenant_id)
    return membership


def remove_member(membership_id: int, *, caller: Caller) -> None:
    """End a membership; the person's account stays. Raises ``Conflict`` for the last owner."""
    caller.require(Action.MEMBERS_CHANGE)
    with tenant_scope(caller.tenant_id):
        _lock_owners()
        membership = _member(membership_id)
        _require_power_over(Role(membership.role), caller)
        if membership.role == Role.OWNER:
            _require_another_owner(membership)
        record_change("member.removed", caller=caller, before=_shown(membership))
        membership.delete()
        announce_change(caller.tenant_id)


def _member(membership_id: int) -> Membership:
    membership = Membership.objects.select_related("user").filter(pk=membership_id).first()
    if membership is None:
        raise NotFound("There is no such member in this team.", code="member_not_found")
    return membership


def _address(email: str) -> str:
    address = clean_text(email, "email", longest=254).lower()
    try:
        validate_email(address)
    except ValidationError:
        refuse("email", "is not an e-mail address. Enter one like ada@example.com.")
    return address


def _role(role: str) -> Role:
    return Role(one_of(role, "role", [known.value for known in Role]))


def _require_power_over(role: Role, caller: Caller) -> None:
    """Only who may do all that an owner may can make, change or remove an owner."""
    if role not in roles_to_give(caller=caller):
        raise Forbidden(
            "Only an owner can make, change or remove an owner. Ask an owner of the team.",
            rule="role:owner",
            code="role_missing",
        )


def _account(address: str) -> User:
    user = User.objects.filter(email=address).first()
    if user is not None:
        return user
    try:
        with name_taken("tenants_user_email_unique", "taken"):
            return User.objects.create_user(address)
    except Conflict:  # somebody made it in between
        return User.objects.get(email=address)


def _lock_owners() -> None:
    """Changes to owners take turns, so that two of them cannot each leave the other as the last."""
    list(Membership.objects.select_for_update().filter(role=Role.OWNER).order_by("pk").values_list("pk"))


def _require_another_owner(membership: Membership) -> None:
    if not Membership.objects.filter(role=Role.OWNER).exclude(pk=membership.pk).exists():
        raise Conflict("This is the team's last owner. Make somebody else an owner first.", code="last_owner")


def _shown(membership: Membership) -> dict[str, Any]:
    return {"id": membership.pk, "email": membership.user.email, "role": membership.role}
