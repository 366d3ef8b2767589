"""Tokens of outside issuers as callers: who vouches for them, and what a team's table says that they are worth.

Nothing is kept here: what was found lives as long as a grant does. Whoever comes by such a token uses one team's
servers over MCP, with the scopes of OAuth at most; configuration and the log take a key or a session.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from core.crypto import SealError
from core.errors import Unauthenticated, Unavailable
from core.introspection import Endpoint, introspection
from core.jwks import Issuer, IssuerUnavailable, issuers
from core.sealing import sealer
from core.signedtokens import (
    TokenRefused,
    looks_signed,
    read_token,
    require_audience,
    require_times,
)
from tenants.access import Caller
from tenants.models import TrustedIssuer
from tenants.oauth_addresses import server_of
from tenants.roles import OAUTH_SCOPES, Role, within_role
from tenants.scopenames import is_narrowing
from tenants.scoping import tenant_scope_of

OWN_PREFIX: Final = "mcp_"
"""How all of Marina's own credentials begin; no outside issuer is asked about one."""

ROLES: Final = (Role.VIEWER, Role.EDITOR)
"""What the table may make of somebody. Nobody looks after a team by the word of an outside issuer."""

STEPS: Final[dict[str, str]] = {
    "active": "Does the issuer say that it is active?",
    "subject": "Does it say whose it is?",
    "scopes": "Is it worth any scope here?",
}
"""What is asked beyond ``core.signedtokens.STEPS``."""

MAX_VALUES: Final = 500
"""Values of a claim that are looked up in the table: people may be in many groups."""

_SUBJECT_CHARACTERS: Final = 120
_ACTOR_CHARACTERS: Final = 200

_GUESSED: Final = frozenset({"form", "header", "issuer", "key", "signature", "active"})


class IssuerAway(Unavailable):
    """An outside issuer cannot be asked, so nobody knows what its token is worth."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An outside issuer as a process judges by it: what the row says, and Marina's secret there in clear."""

    id: UUID
    tenant_id: int
    tenant_slug: str
    name: str
    issuer: str
    method: str
    jwks_uri: str
    introspection_endpoint: str
    client_id: str
    audience: str
    subject_claim: str
    email_claim: str
    scopes_claim: str
    mapping: tuple[tuple[str, frozenset[str], Role], ...]
    secret: str = field(default="", repr=False)

    @property
    def asks(self) -> bool:
        """Whether the issuer is asked about each token."""
        return self.method == TrustedIssuer.Method.INTROSPECTION

    def accepts(self, audience: str) -> bool:
        """Whether a token for this audience is for here."""
        if self.audience:
            return audience == self.audience
        return server_of(audience, self.tenant_slug) is not None


def is_outside(token: str) -> bool:
    """Whether a bearer token is none of Marina's own kinds."""
    return not token.startswith(OWN_PREFIX)


def rules_of(tenant_slug: str) -> tuple[Rule, ...]:
    """The outside issuers that a team trusts now; none for a team that there is not."""
    with tenant_scope_of(tenant_slug) as tenant_id:
        rows = [] if tenant_id is None else list(TrustedIssuer.objects.filter(enabled=True))
    return tuple(rule_of(row, tenant_slug) for row in rows)


def rule_of(row: TrustedIssuer, tenant_slug: str) -> Rule:
    """A stored issuer as it is judged by."""
    try:
        secret = sealer().open(bytes(row.sealed), context=row.seal_context).decode() if row.sealed else ""
    except SealError:
        # Without it, asking fails with a reason of its own.
        secret = ""
    return Rule(
        id=row.id,
        tenant_id=row.tenant_id,
        tenant_slug=tenant_slug,
        name=row.name,
        issuer=row.issuer,
        method=row.method,
        jwks_uri=row.jwks_uri,
        introspection_endpoint=row.introspection_endpoint,
        client_id=row.client_id,
        audience=row.audience,
        subject_claim=row.subject_claim,
        email_claim=row.email_claim,
        scopes_claim=row.scopes_claim,
        mapping=tuple((each["value"], frozenset(each["scopes"]), Role(each["role"])) for each in row.mapping),
        secret=secret,
    )


async def caller_for_outsider(token: str, rules: tuple[Rule, ...]) -> Caller | None:
    """A token that one of these issuers vouches for, as a caller; ``None``: it is none that any could be asked about.

    Raises ``Unauthenticated`` and ``IssuerAway``.
    """
    rule = None
    try:
        rule = find_rule(token, rules)
        if rule is None:
            return None
        return caller_of_claims(rule, await claims_of(token, rule))
    except TokenRefused as refused:
        raise _refused(refused, rule) from None
    except IssuerUnavailable as fault:
        name = "" if rule is None else rule.name
        raise IssuerAway(
            f"The outside issuer {name} vouches for this token, and what it publishes or answers cannot be had now: "
            f"{fault}. Try again in a few seconds; an admin of the team can test the issuer in the dashboard.",
            code="issuer_unavailable",
        ) from None


def find_rule(token: str, rules: tuple[Rule, ...]) -> Rule | None:
    """The issuer that a token says it is of; without a word of it, the one that is asked. Raises ``TokenRefused``."""
    if not looks_signed(token):
        return next((rule for rule in rules if rule.asks), None)
    said = read_token(token).claims.get("iss")
    for rule in rules:
        if rule.issuer == said:
            return rule
    raise TokenRefused("issuer", "It is of no issuer that this team trusts")


async def claims_of(token: str, rule: Rule) -> Mapping[str, Any]:
    """What an issuer says of a token for here, checked. Raises ``TokenRefused`` and ``IssuerUnavailable``."""
    if not rule.asks:
        return await issuers().verify(token, Issuer(rule.issuer, rule.jwks_uri), rule.accepts)
    url = rule.introspection_endpoint or await issuers().address(rule.issuer, "introspection_endpoint")
    claims = await introspection().ask(token, Endpoint(url, rule.client_id, rule.secret))
    if claims.get("iss", rule.issuer) != rule.issuer:
        raise TokenRefused("issuer", f"The answer is about a token of another issuer than {rule.issuer}")
    # It is active now, and asked about again in seconds, so it needs no end.
    require_times({"exp": time.time() + 60, **claims}, time.time())
    require_audience(claims, rule.accepts)
    return claims


def caller_of_claims(rule: Rule, claims: Mapping[str, Any]) -> Caller:
    """Who the claims, once checked, are here. Raises ``TokenRefused`` where they name nobody."""
    subject = claims.get(rule.subject_claim)
    if not isinstance(subject, str) or not subject.strip() or not subject.isprintable():
        raise TokenRefused("subject", f"Its claim {rule.subject_claim} does not name anybody")
    if len(subject) > _SUBJECT_CHARACTERS:
        raise TokenRefused(
            "subject", f"Its claim {rule.subject_claim} is longer than {_SUBJECT_CHARACTERS} characters"
        )
    email = claims.get(rule.email_claim) if rule.email_claim else None
    shown = f" ({email})" if isinstance(email, str) and email.isprintable() and email != subject else ""
    server = "" if rule.audience else _server_named(claims, rule.tenant_slug)
    scopes = scopes_for(rule, values_of(claims, rule.scopes_claim))
    if server:
        scopes = _at(server, scopes)
    ends = claims.get("exp")
    return Caller(
        tenant_id=rule.tenant_id,
        tenant_slug=rule.tenant_slug,
        actor=f"issuer:{rule.name}:{subject}{shown}"[:_ACTOR_CHARACTERS],
        # Of the person, not of the issuer: what one opened is nobody else's.
        credential_id=uuid5(rule.id, subject),
        scopes=scopes,
        expires_at=None if ends is None else datetime.fromtimestamp(ends, UTC),
        bound=f"The outside issuer {rule.name} vouches for this token, and the team's table gives it nothing for its "
        f"claim {rule.scopes_claim}",
        issuer_id=rule.id,
        audience=server,
    )


def _server_named(claims: Mapping[str, Any], tenant_slug: str) -> str:
    """The server whose URL the one audience is, which ``Rule.accepts`` let through."""
    said = claims.get("aud")
    audience = said[0] if isinstance(said, list) else said
    return server_of(str(audience), tenant_slug) or ""


def _at(server: str, scopes: frozenset[str]) -> frozenset[str]:
    """What is left of scopes at the one server that a token is for. Where they narrow to others: nothing."""
    narrowed = {scope for scope in scopes if scope.startswith("server:")}
    here = f"server:{server}"
    return (scopes - narrowed) | {here} if not narrowed or here in narrowed else frozenset({here})


def values_of(claims: Mapping[str, Any], claim: str) -> list[str]:
    """The values of a claim: the words of a text, or the texts of a list. A dot leads into an object.

    Issuers write scopes as a text, roles and groups as a list, and some put those into an object of theirs.
    """
    found: Any = claims.get(claim)
    if found is None and "." in claim:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        found = found.split()
    if not isinstance(found, list):
        return []
    return [each for each in found[:MAX_VALUES] if isinstance(each, str)]


def scopes_for(rule: Rule, values: list[str]) -> frozenset[str]:
    """What the team's table gives for these values: nothing, unless it says so."""
    held = frozenset(values)
    given: set[str] = set()
    for value, scopes, role in rule.mapping:
        if value in held:
            given |= within_role((scope for scope in scopes if may_map(scope)), role)
    return frozenset(given)


def may_map(scope: str) -> bool:
    """Whether a table may give this scope: the use of servers, and what narrows it. Never ``admin``."""
    return scope in OAUTH_SCOPES or is_narrowing(scope)


def _refused(refused: TokenRefused, rule: Rule | None) -> Unauthenticated:
    """A refusal in the words of the endpoint. What somebody may have made up counts towards their address's lockout."""
    whose = "outside token" if rule is None else f"token of the outside issuer {rule.name}"
    if refused.step == "times":
        code, step = "token_expired", "Get a new one from its issuer."
    elif refused.step == "audience":
        code = "token_audience"
        step = "Ask its issuer for one whose only audience is this server's URL, letter for letter."
    else:
        code = "token_unknown" if refused.step in _GUESSED else "token_invalid"
        step = (
            "Get one from an issuer that the team trusts; an admin of the team can test it in the dashboard."
        )
    return Unauthenticated(f"This {whose} is refused. {refused}. {step}", code=code)
