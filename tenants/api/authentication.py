"""Who calls the REST API: an API key as Bearer token. Sessions are DRF's own. Decides no permission."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from core.challenges import quotable
from core.clientaddress import address_of_meta
from core.errors import Forbidden, Unauthenticated
from tenants.access import Caller, caller_for_key, require_address
from tenants.tokens import ACCESS_PREFIX

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema

CHALLENGE: Final = 'Bearer realm="marina"'
"""What a 401 asks for when no key was sent (RFC 6750 section 3)."""


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """What stands for a credential where DRF expects a user. It holds no rights: the caller does."""

    actor: str
    is_authenticated: bool = True
    is_anonymous: bool = False
    is_active: bool = True
    pk: None = None


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer mcp_live_…``. The request's ``auth`` becomes the key's ``Caller``."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, Caller] | None:
        """Raises ``Unauthenticated`` for a key that is malformed, unknown, expired or revoked.

        At a team's address a key of another team is an unknown one, word for word. Raises ``Forbidden`` for one that
        may not be used from where the request came from.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        address = address_of_meta(request.META, settings.ENV.trusted_proxies)
        caller = self.identify(token.strip(), _tenant_of(request), address)
        self.let_in(caller, address)
        return KeyPrincipal(caller.actor), caller

    def identify(self, token: str, tenant_slug: str | None, address: str) -> Caller:
        """The caller behind a token that came from ``address``. An access token is none here, whoever's it is."""
        if token.startswith(ACCESS_PREFIX):
            raise Unauthenticated(
                "Access tokens are for a server's MCP URL, and REST is none. Send an API key of the team, or sign in.",
                code="token_audience",
            )
        return caller_for_key(token, tenant_slug=tenant_slug)

    def let_in(self, caller: Caller, address: str) -> None:
        """Raise ``Forbidden`` where the key may not be used from this address."""
        require_address(caller, address)

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def challenge(error: Unauthenticated | Forbidden) -> str | None:
    """The ``WWW-Authenticate`` of a refusal (RFC 6750 section 3.1); ``None`` where no other key would help."""
    if isinstance(error, Unauthenticated):
        return (
            _challenge("invalid_token", error.message)
            if error.code.startswith(("key_", "token_"))
            else CHALLENGE
        )
    if error.code != "insufficient_scope":
        return None
    return _challenge("insufficient_scope", error.message, error.data.get("needed_scopes", ()))


def _challenge(problem: str, description: str, scopes: Iterable[str] = ()) -> str:
    parts = {"error": problem, "error_description": description, "scope": " ".join(scopes)}
    return ", ".join((CHALLENGE, *(f'{name}="{quotable(value)}"' for name, value in parts.items() if value)))


def _tenant_of(request: Request) -> str | None:
    """The team in the address; ``None`` at an address of no team."""
    match = request.resolver_match
    return None if match is None else match.kwargs.get("tenant")


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes ``ApiKeyAuthentication``."""

    target_class = "tenants.api.authentication.ApiKeyAuthentication"
    match_subclasses = True
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of the team (mcp_live_… or mcp_test_…).",
        }
