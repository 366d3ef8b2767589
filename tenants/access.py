"""Who is asking, and what they may do. The only way from a session or a token to a tenant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_network
from typing import Final
from uuid import UUID

from django.utils import timezone

from core.clientaddress import is_within
from core.errors import Forbidden, NotFound, Unauthenticated
from core.outbound import Network
from tenants.arrivals import Arrival, SignInNeeded, confined
from tenants.factors import has_second_factor
from tenants.keyrights import actions_of, actions_within, bound_of, end_of_maker, with_makers
from tenants.models import ApiKey, Membership, ProviderIdentity, Tenant
from tenants.roles import ALLOWED, AUDITOR_WITH_PAYLOADS, SCOPE_ACTIONS, Action, Role
from tenants.scoping import directory_scope, tenant_scope

KEY_PREFIXES: Final = tuple(f"mcp_{mode}_" for mode in ApiKey.Mode.values)
"""How keys begin: a test key may do what a live one may, and shows everywhere what it is."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated person or credential, bound to one tenant. Safe to hand across threads.

    A person has a ``role``; a credential has ``scopes``. ``actor`` is how the log names them. ``actions`` are what is
    left of a credential's scopes, worked out when it was looked up; ``bound`` says why that may be less than they say.
    ``networks`` is ``None`` for who may come from anywhere; of everybody else each request's address is to be judged.
    ``access_ends_at`` is the end of the membership that stands behind the caller: the person's, or the key's maker's.
    ``principal`` is whose sessions are, where that is not the credential: a client that asks its member for one more
    right goes on with another credential in the session that it has.
    ``issuer_id`` is the outside issuer that vouches for the caller, ``audience`` the one server that its token is for.
    ``auditing``: each look of theirs at the log is recorded, as an auditor's, and that of a key which an auditor made.
    """

    tenant_id: int
    tenant_slug: str
    actor: str
    user_id: int | None = None
    credential_id: UUID | None = None
    role: Role | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)
    expires_at: datetime | None = None
    actions: frozenset[Action] | None = None
    bound: str = ""
    networks: tuple[Network, ...] | None = None
    access_ends_at: datetime | None = None
    principal: str = ""
    issuer_id: UUID | None = None
    audience: str = ""
    auditing: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether there is neither a person nor a credential: anyone, on a public server."""
        return self.user_id is None and self.credential_id is None

    def may(self, action: Action) -> bool:
        """Whether role or scopes allow the action. Default deny."""
        if self.actions is not None:
            return action in self.actions
        if self.role is not None:
            return action in ALLOWED[self.role]
        return action in actions_of(self.scopes)

    def require(self, action: Action) -> None:
        """Raise ``Forbidden`` naming the rule and what would allow the action."""
        if self.may(action):
            return
        if self.role is not None:
            may = ", ".join(role.value for role in Role if action in ALLOWED[role])
            raise Forbidden(
                f"Your role {self.role.value} does not allow this ({action.value}). Roles that may: {may}. "
                "Ask an owner or admin of the team.",
                rule=f"role:{action.value}",
                code="role_missing",
            )
        if action in actions_of(self.scopes):
            raise Forbidden(
                f"{self.bound}, and a key may do no more than its maker: although it has a scope for it, this one may "
                f"not do this ({action.value}). An owner or admin of the team can roll the key, which makes it theirs.",
                rule=f"maker:{action.value}",
                code="maker_bound",
            )
        needed = [scope for scope, actions in SCOPE_ACTIONS.items() if action in actions]
        if self.issuer_id is not None:
            raise Forbidden(
                f"{self.bound} that allows {action.value}; it needs {needed[0]}. Ask its issuer for a token with more, "
                "or an owner or admin of the team to add a value to the table.",
                rule=f"scope:{needed[0]}",
                code="insufficient_scope",
                data={"needed_scopes": needed[:1]},
            )
        raise Forbidden(
            f"This credential lacks a scope that allows {action.value}: one of {', '.join(needed)}. "
            "Issue a key with that scope.",
            rule=f"scope:{needed[0]}",
            code="insufficient_scope",
            data={"needed_scopes": needed[:1], "any_of": needed},
        )


def marina_of(tenant_id: int) -> Caller:
    """Marina itself in this team, for the log: of what nobody of the team did."""
    slug = Tenant.objects.values_list("slug", flat=True).get(pk=tenant_id)
    return Caller(tenant_id, slug, actor="marina")


def tenant_not_found() -> NotFound:
    """The one answer for a tenant that is unknown and for one that the caller does not belong to."""
    return NotFound("There is no such team, or you are not a member of it.", code="tenant_not_found")


def access_ended(membership: Membership) -> NotFound:
    """The answer for a tenant that the caller was a member of for a time, which is over."""
    ended = "" if membership.ends_at is None else f" on {membership.ends_at:%Y-%m-%d %H:%M} UTC"
    return NotFound(
        f"Your access to this team was for a time, and ended{ended}. An owner or admin of the team can give you more.",
        code="access_ended",
    )


class SecondFactorNeeded(Forbidden):
    """The member has to set a second factor up before anything of this tenant opens."""


def caller_for_user(user_id: int, email: str, tenant_slug: str, *, arrival: Arrival | None = None) -> Caller:
    """A signed-in person as a member of a tenant, for a session of theirs that was signed in by ``arrival``.

    Raises ``NotFound`` when they are not one, or no longer; ``SignInNeeded`` where the session's way in opens this
    tenant not; and ``SecondFactorNeeded`` where the tenant requires a second factor and they have none: of those whom
    its provider vouches for, the provider asks its own. Asked anew by each request, so a membership ends on every
    replica at its time.
    """
    if arrival is not None and not arrival.reaches(tenant_slug):
        raise confined()
    vouched = arrival is not None and not arrival.by_password
    membership = _membership(user_id, tenant_slug, factor=not vouched)
    caller = caller_of_membership(membership, email, tenant_slug)
    if arrival is not None:
        _require_way(arrival, caller, required=membership.tenant.sso_required)
    return caller


def caller_of_member(user_id: int, email: str, tenant_slug: str) -> Caller:
    """As ``caller_for_user``, where no session asks: what Marina itself does in a member's name."""
    return caller_of_membership(_membership(user_id, tenant_slug, factor=False), email, tenant_slug)


def _membership(user_id: int, tenant_slug: str, *, factor: bool) -> Membership:
    with directory_scope(user_id=user_id):
        membership = (
            Membership.directory.select_related("tenant")
            .filter(user_id=user_id, tenant__slug=tenant_slug)
            .first()
        )
    if membership is None:
        raise tenant_not_found()
    if not membership.is_live(timezone.now()):
        raise access_ended(membership)
    if factor and membership.tenant.require_second_factor and not has_second_factor(user_id):
        raise SecondFactorNeeded(
            f"The team {tenant_slug} asks for a second factor of all its members. Set one up on your account's page,"
            " under Second factor.",
            rule="team:second_factor",
            code="second_factor_required",
        )
    return membership


def caller_of_membership(membership: Membership, email: str, tenant_slug: str) -> Caller:
    """The member that this membership makes of a person. Asks nothing: whether it lasts is for who found it."""
    return Caller(
        tenant_id=membership.tenant_id,
        tenant_slug=tenant_slug,
        actor=f"user:{email}",
        user_id=membership.user_id,
        role=Role(membership.role),
        actions=own_actions(membership),
        access_ends_at=membership.ends_at,
        auditing=membership.role == Role.AUDITOR,
    )


def own_actions(membership: Membership) -> frozenset[Action] | None:
    """What a membership allows where that is not just what its role does; else ``None``."""
    given = membership.payloads and membership.role == Role.AUDITOR
    return AUDITOR_WITH_PAYLOADS if given else None


def _require_way(arrival: Arrival, caller: Caller, *, required: bool) -> None:
    """Raise ``SignInNeeded`` unless the session was signed in by a way that this team takes from this member."""
    owner = caller.role is Role.OWNER
    if arrival.by_password and (owner or not required):
        return
    if owner:
        raise SignInNeeded(
            "Owners sign in with their password: single sign-on, which admins may set up, opens nothing to them.",
            rule="sso:owner",
            code="sso_owner",
        )
    proof = arrival.proof_for(caller.tenant_slug, timezone.now())
    if proof is not None and _still_vouched(proof.provider_id, caller):
        return
    raise SignInNeededHere(caller, required=required)


def _still_vouched(provider_id: UUID, caller: Caller) -> bool:
    """Whether the provider is still the team's and in use, and still knows the person."""
    with tenant_scope(caller.tenant_id):
        rows = ProviderIdentity.objects.filter(provider_id=provider_id, provider__enabled=True)
        return rows.filter(user_id=caller.user_id or 0).exists()


class SignInNeededHere(SignInNeeded):
    """A member is to come by their team's single sign-on. ``caller`` is who they will be, for the log."""

    def __init__(self, caller: Caller, *, required: bool) -> None:
        why = (
            "This team lets its members in by single sign-on alone."
            if required
            else "Your sign-in through the team's single sign-on has ended."
        )
        super().__init__(
            f"{why} Sign in through your team.",
            rule="sso:required" if required else "sso:ended",
            code="sso_required",
            team=caller.tenant_slug,
        )
        self.caller = caller


def tenants_of_user(user_id: int, *, arrival: Arrival | None = None) -> list[tuple[Tenant, Role]]:
    """The tenants that a person belongs to, by name, with their role in each; of those, what their session reaches."""
    with directory_scope(user_id=user_id):
        rows = Membership.directory.select_related("tenant").filter(user_id=user_id).order_by("tenant__name")
        now = timezone.now()
        return [
            (row.tenant, Role(row.role))
            for row in rows
            if row.is_live(now) and (arrival is None or arrival.reaches(row.tenant.slug))
        ]


def ended_tenants_of_user(user_id: int) -> list[tuple[Tenant, datetime]]:
    """The tenants that a person belonged to for a time which is over, by name, and when it ended."""
    with directory_scope(user_id=user_id):
        rows = Membership.directory.select_related("tenant").filter(
            user_id=user_id, ends_at__lte=timezone.now()
        )
        return [(row.tenant, row.ends_at) for row in rows.order_by("tenant__name") if row.ends_at is not None]


def key_digest(token: str) -> bytes:
    """What is stored of an API key: SHA-256 over its text."""
    return hashlib.sha256(token.encode()).digest()


_ENDED: Final = {
    "revoked": "This API key was revoked. Ask an admin of the team for a new one.",
    "expired": "This API key has expired. Ask an admin of the team for a new one.",
    "replaced": "This API key was replaced by a newer one and works no longer. Use the new one, or ask an admin of the "
    "team for it.",
}


def caller_for_key(token: str, *, tenant_slug: str | None = None) -> Caller:
    """An API key as a caller. Raises ``Unauthenticated``: malformed, unknown, expired or revoked.

    With ``tenant_slug``, a key of another tenant gets the answer of an unknown key, word for word.
    """
    if not token.startswith(KEY_PREFIXES) or len(token) > 200 or not token.isascii():
        raise Unauthenticated(
            f"This is not a Marina API key: they begin with {' or '.join(KEY_PREFIXES)}. Copy the whole key into the "
            "Authorization header, after 'Bearer '.",
            code="key_malformed",
        )
    digest = key_digest(token)
    with directory_scope(key_digest=digest):
        key = with_makers(ApiKey.directory.select_related("tenant")).filter(digest=digest).first()
    if key is None:
        raise unknown_key()
    if tenant_slug is not None and key.tenant.slug != tenant_slug:
        raise unknown_key(KeyOfElsewhere)
    return caller_of_key(key)


def caller_of_key(key: ApiKey) -> Caller:
    """The caller that a key, read ``with_makers``, is now. Raises ``Unauthenticated`` when it works no longer."""
    if not key.is_live(timezone.now()):
        state = "revoked" if key.revoked_at is not None else "expired"
        raise Unauthenticated(_ENDED["replaced" if key.replaced_at else state], code=f"key_{state}")
    scopes, bound = frozenset(key.scopes), bound_of(key)
    return Caller(
        tenant_id=key.tenant_id,
        tenant_slug=key.tenant.slug,
        actor=f"key:{key.name} ({key.public_part})",
        credential_id=key.id,
        scopes=scopes,
        expires_at=key.expires_at,
        actions=actions_within(scopes, bound),
        bound=bound.reason,
        networks=tuple(ip_network(network) for network in key.networks) or None,
        access_ends_at=end_of_maker(key),
        auditing=bound.auditing,
    )


def require_address(caller: Caller, address: str) -> None:
    """Raise ``Forbidden`` where the caller's credential may not be used from this address."""
    if caller.networks is None or is_within(address, caller.networks):
        return
    raise Forbidden(
        f"This key may not be used from your address ({address}): its team lets it be used from some addresses only. "
        "Use it from one of those, or ask an admin of the team to add yours.",
        rule="key:networks",
        code="address_not_allowed",
        data={"address": address},
    )


class KeyOfElsewhere(Unauthenticated):
    """A key of another team. To its sender it is an unknown one; only, nobody made it up."""


def unknown_key(kind: type[Unauthenticated] = Unauthenticated) -> Unauthenticated:
    """The one answer for a key that is unknown here, whether or not it is known elsewhere."""
    return kind(
        "This API key is not known here. Check that the whole key was copied and that the URL is your team's.",
        code="key_unknown",
    )
