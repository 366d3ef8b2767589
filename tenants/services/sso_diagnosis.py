"""What can be told of an identity provider before anybody signs in through it: is it there, is it sound, has it keys.

Asks anew each time, past everything that is held. Signs nobody in and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from core.jwks import Issuer, Issuers, IssuerUnavailable
from core.loop import run_async
from core.signedtokens import ALGORITHMS
from tenants.access import Caller
from tenants.models import IdentityProvider
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change
from tenants.services.sso_exchange import SsoRefused, read_endpoints
from tenants.services.sso_providers import get_provider, open_secret

_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``good`` is ``None`` where it works, yet not as it should."""

    question: str
    good: bool | None
    words: str


def diagnose_provider(provider_id: UUID, *, caller: Caller) -> list[Finding]:
    """Fetch the provider's metadata and keys, and say of each if it will do. Raises ``NotFound``, ``Forbidden``."""
    caller.require(Action.MEMBERS_CHANGE)
    row = get_provider(provider_id, caller=caller)
    findings = run_async(_look(row, has_secret=bool(open_secret(row))), timeout=_SECONDS)
    failed = [each.question for each in findings if each.good is False]
    with tenant_scope(caller.tenant_id):
        record_change(
            "sso.provider_tested",
            caller=caller,
            after={"id": str(row.pk), "name": row.name, "failed": failed},
        )
    return findings


async def _look(row: IdentityProvider, *, has_secret: bool) -> list[Finding]:
    known = Issuers()
    try:
        metadata = await known.metadata(row.issuer)
    except IssuerUnavailable as fault:
        return [Finding("Discovery document", False, f"{fault}.")]
    findings = [Finding("Discovery document", True, "It is there, and names this issuer letter for letter.")]
    try:
        endpoints = read_endpoints(metadata)
    except SsoRefused as refusal:
        findings.append(Finding("Endpoints", False, refusal.message))
    else:
        words = f"Browsers go to {endpoints.authorization}, codes to {endpoints.token}."
        findings.append(Finding("Endpoints", True, words))
    findings += [
        _pkce(metadata),
        _client(metadata, has_secret=has_secret),
        _algorithms(metadata),
        _claims(metadata, row),
    ]
    try:
        keys = await known.keys(Issuer(row.issuer))
    except IssuerUnavailable as fault:
        findings.append(Finding("Keys", False, f"{fault}."))
    else:
        findings.append(
            Finding("Keys", True, f"It publishes {len(keys)} that signatures can be checked with.")
        )
    return findings


def _pkce(metadata: Mapping[str, Any]) -> Finding:
    question = "PKCE with S256"
    methods = metadata.get("code_challenge_methods_supported")
    if methods is None:
        return Finding(question, None, "It does not say whether it checks it. Marina uses it all the same.")
    good = isinstance(methods, list) and "S256" in methods
    return Finding(question, good, "It checks it." if good else "It says that it does not support it.")


def _client(metadata: Mapping[str, Any], *, has_secret: bool) -> Finding:
    question = "How the client shows who it is"
    ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    taken = {"client_secret_basic", "client_secret_post"} if has_secret else {"none"}
    if isinstance(ways, list) and taken & {each for each in ways if isinstance(each, str)}:
        return Finding(
            question, True, "With its secret." if has_secret else "It has no secret, and needs none here."
        )
    if has_secret:
        return Finding(question, False, "It takes no client secret, and Marina has no other way.")
    return Finding(
        question, None, "It does not say that it takes clients without a secret. Enter the client's secret."
    )


def _algorithms(metadata: Mapping[str, Any]) -> Finding:
    question = "Signatures"
    said = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
    listed = [each for each in said if isinstance(each, str)] if isinstance(said, list) else []
    taken = [each for each in listed if each in ALGORITHMS]
    if taken:
        return Finding(question, True, f"It signs with {', '.join(taken)}.")
    return Finding(question, False, f"It signs with none that Marina takes: {', '.join(ALGORITHMS)}.")


def _claims(metadata: Mapping[str, Any], row: IdentityProvider) -> Finding:
    question = "Claims"
    said = metadata.get("claims_supported")
    if not isinstance(said, list):
        return Finding(
            question, None, "It does not say which it gives. Marina needs email and email_verified."
        )
    verified = [] if row.believes_addresses else ["email_verified"]
    needed = ["email", *verified, *([row.groups_claim] if row.groups_claim else [])]
    missing = [each for each in needed if each not in said]
    if not missing:
        return Finding(question, True, f"It gives {', '.join(needed)}.")
    return Finding(question, None, f"It does not list {', '.join(missing)}, and may give them all the same.")
