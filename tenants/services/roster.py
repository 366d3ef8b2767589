"""The rules that every change of who belongs to a tenant obeys. Changes nothing and records nothing itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q
from django.utils import timezone

from core.errors import Conflict, Forbidden
from tenants.access import Caller, tenant_not_found
from tenants.models import Membership
from tenants.roles import Action, Role
from tenants.services.inputs import clean_text, one_of, refuse

LONGEST_ACCESS: Final = timedelta(days=3650)
"""How far off the end of a membership may lie."""

CAN_SIGN_IN: Final = Q(user__is_active=True) & (
    Q(user__last_login__isnull=False) | ~Q(user__password__startswith=UNUSABLE_PASSWORD_PREFIX)
)
"""True for members whose account somebody has taken: it has a password, or was signed in to another way."""


def needed_to_give(role: Role) -> frozenset[Action]:
    """What somebody has to be allowed who gives or takes a role: for an owner's, to do all that an owner may."""
    needed = frozenset({Action.MEMBERS_CHANGE})
    return needed | {Action.TENANT_CHANGE} if role is Role.OWNER else needed


def roles_to_give(*, caller: Caller) -> list[Role]:
    """The roles that the caller may give and take."""
    return [role for role in Role if all(caller.may(action) for action in needed_to_give(role))]


def require_power_over(role: Role, *, caller: Caller) -> None:
    """Only who may do all that an owner may can make, change or remove an owner."""
    if role not in roles_to_give(caller=caller):
        raise Forbidden(
            "Only an owner can make, change or remove an owner. Ask an owner of the team.",
            rule="role:owner",
            code="role_missing",
        )


def clean_address(email: object) -> str:
    """An e-mail address in lower case. Raises ``InvalidInput``."""
    address = clean_text(email, "email", longest=254).lower()
    try:
        validate_email(address)
    except ValidationError:
        refuse("email", "is not an e-mail address. Enter one like ada@example.com.")
    return address


def clean_role(role: object) -> Role:
    """A role by its name. Raises ``InvalidInput``."""
    return Role(one_of(role, "role", [known.value for known in Role]))


def clean_end(ends_at: object, *, caller: Caller) -> datetime | None:
    """When access is to end; ``None``: never. Raises ``InvalidInput``, and ``Forbidden`` where it outlasts the caller.

    Whoever is in the team for a time may let nobody in for longer: otherwise a second account would be the way round.
    """
    path = "access_ends_at"
    if ends_at is not None:
        if not isinstance(ends_at, datetime) or timezone.is_naive(ends_at):
            refuse(path, "must be a time with its zone, like 2027-01-31T00:00:00Z, or nothing.")
        now = timezone.now()
        if ends_at <= now:
            refuse(path, "has passed already. To end access now, remove the member.")
        if ends_at > now + LONGEST_ACCESS:
            refuse(path, "is more than ten years away. Leave it out for access without an end.")
    own_end = caller.access_ends_at
    if own_end is not None and (ends_at is None or ends_at > own_end):
        raise Forbidden(
            f"Your own access ends on {own_end:%Y-%m-%d %H:%M} UTC, and you cannot let anybody in for longer. "
            "Choose an earlier end, or ask an owner whose access has none.",
            rule="access:end",
            code="access_ends",
        )
    return ends_at


def take_turn(*, caller: Caller) -> None:
    """Make changes of members wait for each other, and judge the caller's own membership again once it is their turn.

    So two owners cannot each remove the other as the last, and who was demoted meanwhile has lost their power. For the
    tenant in scope, as the first statement of the change.
    """
    owners = Membership.objects.select_for_update().filter(role=Role.OWNER)
    list(owners.order_by("pk").values_list("pk"))
    if caller.user_id is None:
        return
    own = Membership.objects.filter(user_id=caller.user_id).first()
    if own is None or not own.is_live(timezone.now()):
        raise tenant_not_found()
    if caller.role is not None and own.role != caller.role.value:
        raise Forbidden(
            f"Your role has just become {own.role}. Reload the page and try again.",
            rule="role:changed",
            code="role_missing",
        )


def require_owner_besides(membership: Membership) -> None:
    """Raise ``Conflict`` unless the tenant has another owner: one who can sign in, and whose access has no end."""
    owners = Membership.objects.filter(CAN_SIGN_IN, role=Role.OWNER, ends_at__isnull=True)
    if not owners.exclude(pk=membership.pk).exists():
        raise Conflict(
            "This is the team's last owner whose access has no end. Make somebody else an owner first.",
            code="last_owner",
        )
