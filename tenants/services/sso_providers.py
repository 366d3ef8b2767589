"""The identity providers that a team lets vouch for its members, and whether it takes nothing else. Fetches nothing.

Whoever sets one up decides who comes in, so it takes the power to add members, for good: who is in the team for a time
may not. Nothing here reaches owners, or another team.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.db.models import Count

from core.errors import Conflict, Forbidden, NotFound
from core.jwks import check_issuer
from core.sealing import sealer
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.models import IdentityProvider, ProviderIdentity, Tenant
from tenants.models_sso import GIVEN_ROLES
from tenants.roles import Action, Role
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, name_taken, one_of, refuse
from tenants.services.recording import record_change

MAX_PROVIDERS: Final = 10
MAX_DOMAINS: Final = 50
MAX_GROUPS: Final = 100
MAX_SECRET: Final = 1000
LISTED_IDENTITIES: Final = 500

_DOMAIN: Final = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
)
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What is chosen of a provider. ``client_secret``: ``None`` leaves it as it is, an empty one takes it away.

    ``group_roles`` are pairs of a group and a role; the first that fits a person decides.
    """

    name: str
    issuer: str
    client_id: str
    domains: tuple[str, ...]
    client_secret: str | None = None
    default_role: str = Role.VIEWER.value
    makes_members: bool = True
    believes_addresses: bool = False
    groups_claim: str = ""
    group_roles: tuple[tuple[str, str], ...] = ()
    enabled: bool = True


def settings_of(row: IdentityProvider) -> ProviderSettings:
    """What is chosen of a provider now, but for its secret, which nobody sees again."""
    return ProviderSettings(
        name=row.name,
        issuer=row.issuer,
        client_id=row.client_id,
        domains=tuple(row.domains),
        default_role=row.default_role,
        makes_members=row.makes_members,
        believes_addresses=row.believes_addresses,
        groups_claim=row.groups_claim,
        group_roles=tuple((group, role) for group, role in row.group_roles),
        enabled=row.enabled,
    )


def list_providers(*, caller: Caller) -> list[IdentityProvider]:
    """The team's providers by name; ``people`` of each is how many it knows."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(IdentityProvider.objects.annotate(people=Count("identities")))


def get_provider(provider_id: UUID, *, caller: Caller) -> IdentityProvider:
    """One provider. Raises ``NotFound``."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        return _provider(provider_id)


def list_identities(provider_id: UUID, *, caller: Caller) -> list[ProviderIdentity]:
    """Whom a provider knows, the first first. Raises ``NotFound``."""
    caller.require(Action.MEMBERS_READ)
    with tenant_scope(caller.tenant_id):
        provider = _provider(provider_id)
        return list(provider.identities.select_related("user")[:LISTED_IDENTITIES])


def create_provider(settings: ProviderSettings, *, caller: Caller) -> IdentityProvider:
    """Let a provider vouch for members. Raises ``InvalidInput``, ``Forbidden`` and ``Conflict`` (name, too many)."""
    _require_power(caller)
    chosen = _clean(settings)
    with tenant_scope(caller.tenant_id):
        Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        if IdentityProvider.objects.count() >= MAX_PROVIDERS:
            raise Conflict(
                f"A team has at most {MAX_PROVIDERS} identity providers.", code="too_many_providers"
            )
        row = IdentityProvider(tenant_id=caller.tenant_id)
        _put(row, chosen)
        with name_taken("tenants_identityprovider_name_unique", _NAME_TAKEN):
            row.save(force_insert=True)
        record_change("sso.provider_added", caller=caller, after=_shown(row))
    return row


def change_provider(provider_id: UUID, changes: Mapping[str, Any], *, caller: Caller) -> IdentityProvider:
    """Change what ``changes`` names of a provider's settings. With another issuer it knows nobody any more: its
    subjects are other people.

    Raises ``InvalidInput``, ``Forbidden``, ``NotFound`` and ``Conflict``.
    """
    _require_power(caller)
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        row = _provider(provider_id, lock=True)
        chosen = _clean(replace(settings_of(row), **changes))
        before, issuer = _shown(row), row.issuer
        if row.sealed and chosen.issuer != issuer and chosen.client_secret is None:
            # Or who may change an address could have the secret sent to themselves.
            refuse(
                "client_secret", "must be entered again for another issuer: the old one's is not sent there."
            )
        if row.enabled and not chosen.enabled:
            _require_another(row, tenant)
        _put(row, chosen)
        with name_taken("tenants_identityprovider_name_unique", _NAME_TAKEN):
            row.save()
        after = _shown(row)
        if row.issuer != issuer:
            after["forgotten"], _ = ProviderIdentity.objects.filter(provider=row).delete()
        if after != before or chosen.client_secret is not None:
            if chosen.client_secret is not None:
                after["client_secret"] = "changed"  # noqa: S105 - that it was, not what it is
            record_change("sso.provider_changed", caller=caller, before=before, after=after)
            announce_change(caller.tenant_id)
    return row


def delete_provider(provider_id: UUID, *, caller: Caller) -> None:
    """Let a provider vouch for nobody any more, from the next request on. Members stay members.

    Raises ``Forbidden``, ``NotFound``, and ``Conflict`` for the last one of a team that requires single sign-on.
    """
    _require_power(caller)
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        row = _provider(provider_id, lock=True)
        if row.enabled:
            _require_another(row, tenant)
        record_change("sso.provider_removed", caller=caller, before=_shown(row))
        row.delete()


def forget_identity(provider_id: UUID, identity_id: UUID, *, caller: Caller) -> None:
    """Have a provider no longer know somebody: what it says of that subject next is about somebody new.

    Their sessions through it end at once. Raises ``Forbidden`` and ``NotFound``.
    """
    _require_power(caller)
    with tenant_scope(caller.tenant_id):
        provider = _provider(provider_id)
        identity = provider.identities.select_related("user").filter(pk=identity_id).first()
        if identity is None:
            raise NotFound("This provider knows no such person.", code="identity_not_found")
        before = {"id": str(identity.pk), "email": identity.user.email, "provider": provider.name}
        record_change("sso.identity_removed", caller=caller, before=before)
        identity.delete()


def is_required(*, caller: Caller) -> bool:
    """Whether the team's members, owners aside, act in it by single sign-on alone."""
    caller.require(Action.MEMBERS_READ)
    return Tenant.objects.values_list("sso_required", flat=True).get(pk=caller.tenant_id)


def require_single_sign_on(required: bool, *, caller: Caller) -> bool:
    """Have members, owners aside, act in the team only in sessions that one of its providers vouched for, or not.

    It holds from the next request on. Raises ``Conflict`` where no provider is in use, and ``Forbidden``.
    """
    _require_power(caller)
    with tenant_scope(caller.tenant_id):
        tenant = Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        if tenant.sso_required == required:
            return required
        if required and not IdentityProvider.objects.filter(enabled=True).exists():
            raise Conflict(
                "The team has no identity provider in use, so nobody but its owners could come in. Add one, and sign "
                "in through it once, before you require it.",
                code="no_provider",
            )
        tenant.sso_required = required
        tenant.save(update_fields=["sso_required"])
        record_change(
            "sso.requirement_changed",
            caller=caller,
            before={"required": not required},
            after={"required": required},
        )
        announce_change(caller.tenant_id)
    return required


def find_open_providers(tenant_slug: str) -> tuple[Tenant | None, list[IdentityProvider]]:
    """For whoever is at the door: the tenant and its providers in use. Of an unknown tenant, none."""
    tenant = Tenant.objects.filter(slug=tenant_slug).first()
    if tenant is None:
        return None, []
    with tenant_scope(tenant.pk):
        return tenant, list(IdentityProvider.objects.filter(enabled=True))


def open_secret(row: IdentityProvider) -> str:
    """The client's secret in clear, for the token request alone. Empty for a public client."""
    return sealer().open(bytes(row.sealed), context=row.seal_context).decode() if row.sealed else ""


_NAME_TAKEN: Final = "The team has an identity provider of this name already. Choose another name."


def _require_power(caller: Caller) -> None:
    caller.require(Action.MEMBERS_CHANGE)
    if caller.access_ends_at is not None:
        raise Forbidden(
            "Your own access has an end, and a provider lets people in for good. Ask an owner or admin whose access "
            "has none.",
            rule="access:end",
            code="access_ends",
        )


def _require_another(row: IdentityProvider, tenant: Tenant) -> None:
    others = IdentityProvider.objects.filter(enabled=True).exclude(pk=row.pk)
    if tenant.sso_required and not others.exists():
        raise Conflict(
            "The team requires single sign-on, and this is its last identity provider in use. Lift the requirement "
            "first.",
            code="last_provider",
        )


def _provider(provider_id: UUID, *, lock: bool = False) -> IdentityProvider:
    rows = IdentityProvider.objects.all()
    row = (rows.select_for_update() if lock else rows).filter(pk=provider_id).first()
    if row is None:
        raise NotFound("There is no such identity provider in this team.", code="provider_not_found")
    return row


def _clean(given: ProviderSettings) -> ProviderSettings:
    name = clean_text(given.name, "name", longest=80)
    try:
        issuer = check_issuer(given.issuer.strip())
    except ValueError as fault:
        refuse(
            "issuer",
            f"cannot be an issuer's: {fault}. Copy it from the provider, like https://id.example.com/acme.",
        )
    client_id = given.client_id.strip()
    if not _VISIBLE.fullmatch(client_id) or len(client_id) > 255:
        refuse(
            "client_id",
            "must be 1 to 255 visible ASCII characters, without spaces. Copy it from the provider.",
        )
    secret = given.client_secret
    if secret and (not _VISIBLE.fullmatch(secret) or len(secret) > MAX_SECRET):
        refuse(
            "client_secret",
            f"must be at most {MAX_SECRET} visible ASCII characters. Copy it from the provider.",
        )
    roles = [role.value for role in GIVEN_ROLES]
    claim = clean_text(given.groups_claim, "groups_claim", longest=120, empty=True)
    if given.group_roles and not claim:
        refuse("groups_claim", "must name the claim that holds a person's groups, where groups give roles.")
    if len(given.group_roles) > MAX_GROUPS:
        refuse("group_roles", f"lists {len(given.group_roles)} groups; at most {MAX_GROUPS} are allowed.")
    pairs = tuple(
        (
            clean_text(group, f"group_roles.{place}.group", longest=200),
            one_of(role, f"group_roles.{place}.role", roles),
        )
        for place, (group, role) in enumerate(given.group_roles)
    )
    return replace(
        given,
        name=name,
        issuer=issuer,
        client_id=client_id,
        domains=_clean_domains(given.domains),
        default_role=one_of(given.default_role, "default_role", roles),
        groups_claim=claim,
        group_roles=pairs,
    )


def _clean_domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(domains) <= MAX_DOMAINS:
        refuse("domains", f"must list 1 to {MAX_DOMAINS} domains of e-mail addresses, like example.com.")
    cleaned = []
    for place, domain in enumerate(domains):
        text = domain.strip().lower().removeprefix("@")
        if not _DOMAIN.fullmatch(text):
            refuse(f"domains.{place}", "is no domain of e-mail addresses. Enter one like example.com.")
        cleaned.append(text)
    return tuple(dict.fromkeys(cleaned))


def _put(row: IdentityProvider, chosen: ProviderSettings) -> None:
    row.name, row.issuer, row.client_id = chosen.name, chosen.issuer, chosen.client_id
    row.domains, row.default_role = list(chosen.domains), chosen.default_role
    row.makes_members, row.enabled = chosen.makes_members, chosen.enabled
    row.believes_addresses = chosen.believes_addresses
    row.groups_claim, row.group_roles = chosen.groups_claim, [list(pair) for pair in chosen.group_roles]
    if chosen.client_secret is not None:
        secret = chosen.client_secret.encode()
        row.sealed = sealer().seal(secret, context=row.seal_context) if secret else None


def _shown(row: IdentityProvider) -> dict[str, Any]:
    """What the log keeps of a provider: all but its secret."""
    return {
        "id": str(row.pk),
        "name": row.name,
        "issuer": row.issuer,
        "client_id": row.client_id,
        "has_secret": row.has_secret,
        "domains": list(row.domains),
        "default_role": row.default_role,
        "makes_members": row.makes_members,
        "believes_addresses": row.believes_addresses,
        "groups_claim": row.groups_claim,
        "group_roles": [list(pair) for pair in row.group_roles],
        "enabled": row.enabled,
    }
