"""Tokens: for a code, for a refresh token, for the client itself; and given back. They stand in no message."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from core.errors import SourceError
from core.pkce import challenge_of
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import read_scopes
from servers.execution.authorizing.clients import Client
from servers.execution.authorizing.discovery import OFFLINE, Found
from servers.execution.authorizing.faults import UNKNOWN_CLIENT, named_error, needed, unsound
from servers.execution.unanswered import host_of

MAX_LIFETIME: Final = 31_536_000.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_MAX_CODE: Final = 8_192


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was granted. ``expires_at`` in seconds since the epoch; 0: it was not said. ``refresh`` may be empty."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: float
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a browser is sent, and what has to be known when it comes back."""

    url: str
    state: str
    verifier: str = field(repr=False)


def begin_visit(found: Found, client: Client, redirect_uri: str, scopes: Iterable[str]) -> Visit:
    """A browser's way to the authorization server, with PKCE and the resource (RFC 8707)."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    query = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "resource": found.resource,
    }
    wanted = tuple(scopes)
    if wanted:
        query["scope"] = " ".join(wanted)
    if OFFLINE in wanted:
        # OpenID Connect Core, section 11: without it, the scope is ignored.
        query["prompt"] = "consent"
    joint = "&" if urlsplit(found.server.authorization).query else "?"
    return Visit(f"{found.server.authorization}{joint}{urlencode(query)}", state, verifier)


def read_return(parameters: Mapping[str, str], *, issuer: str, names_issuer: bool) -> str:
    """The code with which a browser came back (RFC 9207, section 2.4, before anything else). Raises ``SourceError``."""
    named, host = parameters.get("iss"), host_of(issuer)
    # Letter by letter: what is nearly the issuer is not it.
    if (named is None and names_issuer) or (named is not None and named != issuer):
        raise unsound(
            "The answer does not come from the authorization server that the browser was sent to (iss), so it was not "
            "used. Sign in again; if this happens again, somebody may be mixing up servers."
        )
    if "error" in parameters:
        error = named_error(parameters)
        raise needed(
            f"The authorization server at {host} did not sign in: it says {error or 'an error'}. Try again."
        )
    code = parameters.get("code", "")
    if not code or len(code) > _MAX_CODE:
        raise needed(f"The authorization server at {host} sent the browser back without a code. Try again.")
    return code


async def redeem_code(
    ask: Asker, endpoint: str, client: Client, *, code: str, verifier: str, redirect_uri: str, resource: str
) -> Tokens:
    """Tokens for a code. Raises ``SourceError``."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "resource": resource,
    }
    return await _ask_for(ask, endpoint, client, form)


async def refresh(ask: Asker, endpoint: str, client: Client, tokens: Tokens, resource: str) -> Tokens:
    """Other tokens for a refresh token, with the one that goes on: servers may give another one, or keep it.

    Raises ``SourceError``: ``sign_in_needed`` where there will be none.
    """
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "resource": resource}
    new = await _ask_for(ask, endpoint, client, form)
    return Tokens(new.access, new.refresh or tokens.refresh, new.expires_at, new.scopes or tokens.scopes)


async def ask_as_client(
    ask: Asker, endpoint: str, client: Client, resource: str, scopes: Iterable[str]
) -> Tokens:
    """A token for the client itself (RFC 6749, section 4.4). Raises ``SourceError``."""
    form = {"grant_type": "client_credentials", "resource": resource}
    if wanted := " ".join(scopes):
        form["scope"] = wanted
    return await _ask_for(ask, endpoint, client, form)


async def revoke(ask: Asker, endpoint: str, client: Client, tokens: Tokens) -> None:
    """Give tokens back (RFC 7009). Raises ``SourceError`` where nobody takes them."""
    kind, token = ("refresh_token", tokens.refresh) if tokens.refresh else ("access_token", tokens.access)
    form, headers = client.sign({"token": token, "token_type_hint": kind})
    said = await ask.post_form(endpoint, form, headers)
    if said.status != 200:
        raise SourceError(
            f"The authorization server at {host_of(endpoint)} did not take a token back (status {said.status}).",
            code="source_failed",
        )


async def _ask_for(ask: Asker, endpoint: str, client: Client, form: Mapping[str, str]) -> Tokens:
    signed, headers = client.sign(form)
    said = await ask.post_form(endpoint, signed, headers)
    return read_tokens(said.status, said.values, host_of(endpoint), now=time.time())


_ENDS: Final = frozenset({UNKNOWN_CLIENT, "invalid_grant", "invalid_scope", "unauthorized_client"})
"""Errors (RFC 6749, section 5.2) after which the same is refused again."""
_PASSING: Final = frozenset({"server_error", "temporarily_unavailable"})


def read_tokens(status: int, said: Mapping[str, Any], host: str, *, now: float) -> Tokens:
    """What a token endpoint answered. Raises ``SourceError``: ``sign_in_needed`` where trying again does not help."""
    if status != 200:
        error = named_error(said)
        words = f"The authorization server at {host} gave no token (status {status}{f', {error}' if error else ''})."
        if error not in _ENDS and (error in _PASSING or status not in (400, 401)):
            # Also what something before it answered, such as a gateway: that says nothing of the sign-in.
            raise SourceError(
                f"{words} Try again later.", code="source_failed", data={"status": status}, retryable=True
            )
        raise needed(f"{words} Sign in again on the page of the data source.", error=error)
    token, kind = said.get("access_token"), said.get("token_type")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise unsound(f"The authorization server at {host} answered without a token that a header can carry.")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise unsound(f"The authorization server at {host} gave a token that is not a bearer token.")
    renewing = said.get("refresh_token")
    return Tokens(
        token,
        renewing if isinstance(renewing, str) and _TOKEN.fullmatch(renewing) else "",
        _end(said.get("expires_in"), now),
        read_scopes(said.get("scope", "")),
    )


def _end(lifetime: object, now: float) -> float:
    if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdigit() and len(lifetime) < 12:
        lifetime = int(lifetime)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
        return 0
    return now + min(float(lifetime), MAX_LIFETIME)
