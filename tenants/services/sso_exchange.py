"""One sign-in at a team's identity provider: where the browser is sent, and what the provider says of who came back.

OpenID Connect's authorization code with PKCE, and nothing else. The provider is talked to through ``core.fetching`` and
``core.jwks`` alone, outside of any transaction. What is found is what the provider claims: who that is here, and what
they may, ``sso_admission`` decides.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from django.conf import settings

from core.errors import Forbidden, InvalidInput
from core.fetching import FetchRefused, post_form
from core.jwks import Issuer, IssuerUnavailable, issuers
from core.loop import run_async
from core.pkce import challenge_of
from core.signedtokens import ID_TYPES, TokenRefused
from core.strictjson import BadJson, read_object
from core.webaddress import read_https
from tenants.models import IdentityProvider
from tenants.services.roster import clean_address
from tenants.services.sso_providers import open_secret

SCOPE: Final = "openid email profile"
TOKEN_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_GROUPS: Final = 1000
_WHOLE_SECONDS: Final = 30.0
_OLDEST_TOKEN: Final = 600
_MAX_PARAMETER: Final = 4096
_ERROR: Final = re.compile(r"[a-z_]{1,40}")


class SsoRefused(Forbidden):
    """A sign-in through a provider does not come about. The message is for its person, and for the team's log."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, rule=f"sso:{code}", code=f"sso_{code}")


def provider_closed() -> SsoRefused:
    """The provider is gone or switched off: said before the person is sent there, and to who comes back."""
    return SsoRefused("This way in was closed meanwhile. Ask an admin of the team.", "provider_closed")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, the ``state`` that it comes back with, and what its session keeps until then."""

    url: str
    state: str
    kept: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a provider says of somebody, signed, fresh, for this sign-in. ``email`` is in lower case, and verified."""

    subject: str
    email: str
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a sign-in needs of a provider's metadata. ``names_issuer``: it sends ``iss`` along (RFC 9207)."""

    authorization: str
    token: str
    secret_in_header: bool
    names_issuer: bool


def redirect_uri(tenant_slug: str) -> str:
    """Where providers of this team send browsers back to: its own address, so that no other team's can be mixed in."""
    return f"{settings.ENV.base_url}/app/sign-in/{tenant_slug}/back"


def begin_at_provider(provider: IdentityProvider, tenant_slug: str, *, target: str) -> Begun:
    """Begin a sign-in. Raises ``SsoRefused`` where the provider cannot be had."""
    endpoints = read_endpoints(_metadata(provider))
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri(tenant_slug),
        "scope": SCOPE,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
    }
    kept = {
        "provider": str(provider.pk),
        "issuer": provider.issuer,
        "team": tenant_slug,
        "nonce": nonce,
        "verifier": verifier,
        "target": target,
    }
    joint = "&" if urlsplit(endpoints.authorization).query else "?"
    return Begun(f"{endpoints.authorization}{joint}{urlencode(query)}", state, kept)


def finish_at_provider(
    provider: IdentityProvider, kept: Mapping[str, Any], parameters: Mapping[str, str]
) -> Asserted:
    """Take what the browser came back with for what the provider says of its person. Raises ``SsoRefused``.

    ``kept`` is what the same browser's session kept of a sign-in that was begun, and is taken out of it.
    """
    if kept["provider"] != str(provider.pk) or kept["issuer"] != provider.issuer:
        raise SsoRefused(
            "The provider's settings changed while you were there. Begin again.", "provider_changed"
        )
    endpoints = read_endpoints(_metadata(provider))
    named = parameters.get("iss")
    if (named is None and endpoints.names_issuer) or named not in {None, provider.issuer}:
        raise SsoRefused(
            "The answer does not come from the provider that you were sent to. Begin again, and tell an admin of the "
            "team if it happens again.",
            "issuer_mixed_up",
        )
    if "error" in parameters:
        said = parameters["error"]
        why = said if _ERROR.fullmatch(said) else "an error"
        raise SsoRefused(f"{provider.name} did not let you in: it says {why}.", "provider_refused")
    code = parameters.get("code", "")
    if not code or len(code) > _MAX_PARAMETER:
        raise SsoRefused(f"{provider.name} sent you back without a code. Begin again.", "no_code")
    token = _redeem(provider, endpoints, code, kept)
    return read_claims(_verify(provider, token), provider, nonce=kept["nonce"], now=time.time())


def read_endpoints(metadata: Mapping[str, Any]) -> Endpoints:
    """The parts of a provider's metadata that a sign-in needs. Raises ``SsoRefused`` naming what is wrong."""
    found = {}
    for name in ("authorization_endpoint", "token_endpoint"):
        url = metadata.get(name)
        if not isinstance(url, str) or not _is_url(url):
            raise SsoRefused(f"The provider's metadata names no https address as {name}.", "provider_unsound")
        found[name] = url
    methods = metadata.get("code_challenge_methods_supported", ["S256"])
    if not isinstance(methods, list) or "S256" not in methods:
        raise SsoRefused("The provider does not support PKCE with S256.", "provider_unsound")
    ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    in_header = (
        not isinstance(ways, list) or "client_secret_basic" in ways or "client_secret_post" not in ways
    )
    return Endpoints(
        found["authorization_endpoint"],
        found["token_endpoint"],
        in_header,
        metadata.get("authorization_response_iss_parameter_supported") is True,
    )


def read_claims(claims: Mapping[str, Any], provider: IdentityProvider, *, nonce: str, now: float) -> Asserted:
    """What a verified ID token says (OpenID Connect Core, section 3.1.3.7). Raises ``SsoRefused``."""
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise SsoRefused(
            "The provider's token was not issued for this sign-in (nonce). Begin again.", "wrong_nonce"
        )
    if claims.get("azp", provider.client_id) != provider.client_id:
        raise SsoRefused("The provider's token was issued to another client (azp).", "token_audience")
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float) or issued < now - _OLDEST_TOKEN:
        raise SsoRefused(
            "The provider's token is old, or does not say when it was issued (iat).", "token_times"
        )
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise SsoRefused("The provider does not say who you are (sub).", "no_subject")
    address = _address(email)
    if address is None:
        raise SsoRefused("The provider does not tell your e-mail address (email).", "no_email")
    verified = claims.get("email_verified", provider.believes_addresses)
    if verified is not True:
        raise SsoRefused(
            f"The provider does not say that {address} is verified (email_verified). Ask whoever runs it.",
            "email_unverified",
        )
    name = claims.get("name")
    return Asserted(
        subject, address, name if isinstance(name, str) else "", _groups(claims, provider.groups_claim)
    )


def _metadata(provider: IdentityProvider) -> Mapping[str, Any]:
    try:
        return run_async(issuers().metadata(provider.issuer), timeout=_WHOLE_SECONDS)
    except (IssuerUnavailable, TimeoutError) as fault:
        raise _unavailable(provider, fault) from None


def _redeem(provider: IdentityProvider, endpoints: Endpoints, code: str, kept: Mapping[str, Any]) -> str:
    """The ID token for a code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri(kept["team"]),
        "code_verifier": kept["verifier"],
    }
    headers, secret = {}, open_secret(provider)
    if secret and endpoints.secret_in_header:
        # Both encoded as in a form first (RFC 6749 section 2.3.1).
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = provider.client_id
        if secret:
            form["client_secret"] = secret
    try:
        answer = run_async(
            post_form(
                endpoints.token,
                form,
                headers=headers,
                seconds=TOKEN_SECONDS,
                most_bytes=MAX_ANSWER_BYTES,
            ),
            timeout=_WHOLE_SECONDS,
        )
    except (FetchRefused, TimeoutError) as refusal:
        why = str(refusal) or "it did not answer"
        raise SsoRefused(
            f"{provider.name} did not take the code: at its token endpoint, {why}. An admin of the team can check "
            "client id, secret and redirect URI.",
            "code_refused",
        ) from None
    try:
        token = read_object(answer.body).get("id_token")
    except BadJson:
        token = None
    if not isinstance(token, str):
        raise SsoRefused(f"{provider.name} answered without an ID token.", "no_token")
    return token


def _verify(provider: IdentityProvider, token: str) -> dict[str, Any]:
    try:
        return run_async(
            issuers().verify(token, Issuer(provider.issuer), provider.client_id, types=ID_TYPES),
            timeout=_WHOLE_SECONDS,
        )
    except TokenRefused as refusal:
        raise SsoRefused(
            f"The token of {provider.name} is not taken. {refusal}.", f"token_{refusal.step}"
        ) from None
    except (IssuerUnavailable, TimeoutError) as fault:
        raise _unavailable(provider, fault) from None


def _unavailable(provider: IdentityProvider, fault: Exception) -> SsoRefused:
    why = str(fault) or "It did not answer"
    return SsoRefused(f"{provider.name} cannot be used now. {why}.", "provider_unavailable")


def _groups(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    found = claims.get(claim, []) if claim else []
    listed = found if isinstance(found, list) else [found]
    return tuple(each for each in listed[:MAX_GROUPS] if isinstance(each, str))


def _address(given: object) -> str | None:
    """An e-mail address in lower case; ``None``: it is none, or is written so that it would become another one."""
    try:
        address = clean_address(given)
    except InvalidInput:
        return None
    # A Kelvin sign is a k in lower case, and a space around it would be dropped.
    return address if isinstance(given, str) and given.isascii() and given.lower() == address else None


def _is_url(url: str) -> bool:
    """Whether it is a sound https address: nothing else is ever written into a Location header."""
    try:
        read_https(url, longest=2000)
    except ValueError:
        return False
    return True
