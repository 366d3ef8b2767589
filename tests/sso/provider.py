"""An OpenID provider on loopback that a browser can be sent to: it agrees to what a test says, and redeems codes."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit
from uuid import UUID

from django.test import Client

from tenants.models import IdentityProvider
from tenants.services.sso_providers import ProviderSettings, create_provider
from tests.factories import Team
from tests.plugins.issuer import Answer, Asked, LoopbackIssuer, SigningKey, single

TOKEN = "/token"


@dataclass(frozen=True)
class _Agreed:
    query: dict[str, str]
    token: str


class OpenIdProvider(LoopbackIssuer):
    """Its ``authorize`` page is the test: ``agree`` is what a person's consent there leads to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.agreed: dict[str, _Agreed] = {}
        self.token_requests: list[Asked] = []
        self.routes["POST", TOKEN] = self._redeem

    def agree(
        self,
        location: str,
        *,
        key: SigningKey | None = None,
        header: Mapping[str, Any] | None = None,
        token: Callable[[Mapping[str, Any]], str] | None = None,
        answer: Mapping[str, str | None] | None = None,
        **changes: Any,
    ) -> str:
        """Where the browser is sent back to. ``changes`` are to the claims, ``answer`` to what comes along; ``token``
        makes another one of the claims.
        """
        parts = urlsplit(location)
        query = single(parts.query)
        claims = self.claims(
            query["client_id"],
            **{"nonce": query["nonce"], "email": "ada@acme.example", "email_verified": True, **changes},
        )
        code = secrets.token_urlsafe(16)
        made = token(claims) if token else self.sign(claims, key=key, header={"typ": "JWT", **(header or {})})
        self.agreed[code] = _Agreed(query, made)
        back = {"code": code, "state": query["state"], **(answer or {})}
        path = urlsplit(query["redirect_uri"]).path
        return f"{path}?{urlencode({name: value for name, value in back.items() if value is not None})}"

    def _redeem(self, asked: Asked) -> Answer:
        self.token_requests.append(asked)
        scheme, _, pair = asked.authorization.partition(" ")
        name, _, secret = (
            base64.b64decode(pair).decode().partition(":") if scheme == "Basic" else ("", "", "")
        )
        if (unquote_plus(name), unquote_plus(secret)) != (self.client_id, self.client_secret):
            return Answer({"error": "invalid_client"}, 401)
        agreed = self.agreed.pop(asked.form.get("code", ""), None)
        verifier = asked.form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
        sound = (
            agreed is not None
            and agreed.query["code_challenge"] == challenge
            and agreed.query["code_challenge_method"] == "S256"
            and agreed.query["redirect_uri"] == asked.form.get("redirect_uri")
        )
        if not sound or agreed is None:
            return Answer({"error": "invalid_grant"}, 400)
        return Answer({"access_token": "x", "token_type": "Bearer", "id_token": agreed.token})


def fresh(domain: str = "acme.example") -> str:
    """An address that nobody has used here."""
    return f"p{secrets.token_hex(6)}@{domain}"


def settings_for(provider: OpenIdProvider, **changes: Any) -> ProviderSettings:
    """Sound settings for it, but for ``changes``."""
    given: dict[str, Any] = {
        "name": "Acme",
        "issuer": provider.identifier,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "domains": ("acme.example",),
        **changes,
    }
    return ProviderSettings(**given)


def trust(team: Team, provider: OpenIdProvider, **changes: Any) -> IdentityProvider:
    """Let it vouch for the team's members."""
    return create_provider(settings_for(provider, **changes), caller=team.owner)


def begin(client: Client, team: Team, row: IdentityProvider | UUID, **form: str) -> Any:
    """Press the button on the team's sign-in page."""
    given = {"provider": str(row.pk if isinstance(row, IdentityProvider) else row), **form}
    return client.post(f"/app/sign-in/{team.slug}/", given)


def come_by(
    client: Client, team: Team, provider: OpenIdProvider, row: IdentityProvider, **agreed: Any
) -> Any:
    """Sign in through it: there, and back."""
    there = begin(client, team, row)
    assert there.status_code == 303, there.content.decode()
    return client.get(provider.agree(there["Location"], **agreed))
