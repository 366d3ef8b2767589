"""Whom a team lets in by the word of its identity provider: the binding to an account, membership, and role.

What holds:
- A person is known by provider and subject. An e-mail address binds nobody's account: who has shown that an account is
  theirs (``accounts.is_taken``) connects it themselves, signed in with their password in the same browser.
- An account that nobody has taken is a name, no more: a provider may use it, in its own team.
- Nobody becomes an owner so, and owners are not signed in so.
- Who was removed from the team does not come back by signing in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.utils import timezone

from core.errors import Conflict, InvalidInput
from core.requestid import current_request_id
from tenants.access import Caller, caller_of_membership
from tenants.arrivals import Proof
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, Reason
from tenants.changes import announce_change
from tenants.models import IdentityProvider, Membership, ProviderIdentity, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.accounts import is_taken
from tenants.services.counting import Counter, count
from tenants.services.inputs import clean_text, name_taken
from tenants.services.members import admit, shown
from tenants.services.recording import record_change
from tenants.services.sso_exchange import Asserted, SsoRefused, provider_closed

PROOF_HOURS: Final = 12
"""How long a provider's word holds: whom it no longer lets in is out by then."""

REFUSALS_A_MINUTE: Final = 60
"""Recorded, a team. Anybody can cause them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody who is let in: their account, who they are in the team, and the proof that their session keeps."""

    user: User
    caller: Caller
    proof: Proof


def admit_person(
    provider_id: UUID, asserted: Asserted, *, tenant_id: int, tenant_slug: str, password_user: int | None
) -> Admitted:
    """Let in whom the provider vouches for, or raise ``SsoRefused`` with the reason.

    ``password_user`` is the person whose password opened the session that asks, if one did.
    """
    with tenant_scope(tenant_id):
        # One at a time at a provider: two first sign-ins of one person make one account.
        provider = IdentityProvider.objects.select_for_update().filter(pk=provider_id, enabled=True).first()
        if provider is None:
            raise provider_closed()
        if asserted.email.rpartition("@")[2] not in provider.domains:
            raise SsoRefused(
                f"{asserted.email} is of a domain that this team does not let in through {provider.name}. An admin of "
                "the team can add it.",
                "domain_not_allowed",
            )
        entrance = _Entrance(provider, asserted, tenant_slug, password_user)
        identity = provider.identities.select_related("user").filter(subject=asserted.subject).first()
        if identity is None:
            identity = entrance.bind()
        membership = entrance.membership_of(identity.user)
        identity.last_used_at = timezone.now()
        identity.save(update_fields=["last_used_at"])
        caller = caller_of_membership(membership, identity.user.email, tenant_slug)
        record_change("session.signed_in", caller=caller, after={"through": provider.name})
        until = timezone.now() + timedelta(hours=PROOF_HOURS)
    return Admitted(identity.user, caller, Proof(tenant_slug, provider.pk, provider.name, until))


def record_refused_sign_in(refusal: SsoRefused, provider: IdentityProvider | None, *, tenant_id: int) -> None:
    """Tell the team's log why somebody was not let in; up to sixty a minute, since anybody can cause them."""
    if count([Counter("sso:refused", (str(tenant_id),), REFUSALS_A_MINUTE)], seconds=60):
        _log.warning("refused sign-in not recorded: too many", extra={"tenant_id": tenant_id})
        return
    name = "" if provider is None else provider.name
    with tenant_scope(tenant_id):
        append_entry(
            Entry(
                kind="session.refused",
                outcome="refused",
                actor=f"single sign-on ({name})" if name else "single sign-on",
                arguments={"through": name},
                reason=Reason(code=refusal.code, rule=refusal.rule, message=refusal.message),
                request_id=current_request_id(),
            ),
            tenant_id=tenant_id,
        )


@dataclass(frozen=True, slots=True)
class _Entrance:
    """One person at the door, in the scope of the tenant."""

    provider: IdentityProvider
    asserted: Asserted
    tenant_slug: str
    password_user: int | None

    def bind(self) -> ProviderIdentity:
        """Have the provider know this subject as a person, for good."""
        user = self._account()
        if self.provider.identities.filter(user=user).exists():
            raise SsoRefused(
                f"{self.provider.name} vouched for {self.asserted.email} as somebody else before. An admin of the team "
                "can have it forget the earlier one.",
                "another_subject",
            )
        if not Membership.objects.filter(user=user).exists():
            self._make_member(user)
        identity = ProviderIdentity.objects.create(
            provider=self.provider, user=user, subject=self.asserted.subject
        )
        after = {"id": str(identity.pk), "email": user.email, "provider": self.provider.name}
        record_change("sso.identity_added", caller=self._visitor(user), after=after)
        return identity

    def membership_of(self, user: User) -> Membership:
        """The person's membership, with the role that their groups give them by now."""
        if not user.is_active:
            raise SsoRefused("Your account is closed. Ask the operator of this Marina.", "account_closed")
        membership = (
            Membership.objects.select_for_update(of=("self",))
            .select_related("user")
            .filter(user=user)
            .first()
        )
        if membership is None or not membership.is_live(timezone.now()):
            raise SsoRefused(
                "You are not a member of this team any more. An owner or admin can add you again.",
                "not_a_member",
            )
        if membership.role == Role.OWNER:
            if user.pk != self.password_user:
                raise SsoRefused(
                    "Owners sign in with their password: single sign-on, which admins may set up, opens nothing to "
                    "them.",
                    "owner",
                )
            return membership
        wanted = self._role()
        if self.provider.group_roles and membership.role != wanted.value:
            before = shown(membership)
            # Whose sight an admin widened, they widened for that role.
            membership.role, membership.payloads = wanted.value, False
            membership.save(update_fields=["role", "payloads"])
            after = {**shown(membership), "through": self.provider.name}
            record_change("member.changed", caller=self._visitor(user), before=before, after=after)
            announce_change(self.provider.tenant_id)
        return membership

    def _account(self) -> User:
        """The account of the address, where the provider may speak for it; a new one where there is none."""
        email = self.asserted.email
        user = User.objects.select_for_update().filter(email=email).first()
        if user is None:
            self._require_makes_members()
            try:
                with name_taken("tenants_user_email_unique", ""):
                    return User.objects.create_user(email, None, name=self._name())
            except Conflict:
                raise SsoRefused(
                    "Somebody took the account of your address just now. Begin again.", "raced"
                ) from None
        if user.pk != self.password_user and (is_taken(user) or user.is_staff or user.is_superuser):
            raise SsoRefused(
                f"There is an account with the address {email} already, and an address alone opens none. Sign in with "
                "its password, then come here again in the same browser: that connects the two.",
                "link_needed",
            )
        return user

    def _make_member(self, user: User) -> None:
        self._require_makes_members()
        membership = admit(user, self._role(), None)
        after = {**shown(membership), "through": self.provider.name}
        record_change("member.added", caller=self._visitor(user), after=after)
        announce_change(self.provider.tenant_id)

    def _require_makes_members(self) -> None:
        if not self.provider.makes_members:
            raise SsoRefused(
                f"{self.asserted.email} is not a member of this team, and signing in makes nobody one. Ask an owner or "
                "admin to invite you.",
                "not_a_member",
            )

    def _role(self) -> Role:
        """The first of the provider's pairs whose group the person is in, or the role of everybody else."""
        pairs = (role for group, role in self.provider.group_roles if group in self.asserted.groups)
        return Role(next(pairs, self.provider.default_role))

    def _name(self) -> str:
        try:
            return clean_text(self.asserted.name, "name", longest=120, empty=True)
        except InvalidInput:
            return ""

    def _visitor(self, user: User) -> Caller:
        return Caller(self.provider.tenant_id, self.tenant_slug, f"user:{user.email}", user_id=user.pk)
