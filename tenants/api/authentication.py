"""Who calls the REST API: an API key as Bearer token. Sessions are DRF's own. Decides no permission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from tenants.access import Caller, caller_for_key

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema

CHALLENGE: Final = 'Bearer realm="marina"'
"""What a 401 asks for (RFC 6750 section 3)."""


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
        """Raises ``Unauthenticated`` for a key that is malformed, unknown, expired or revoked."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        caller = caller_for_key(token.strip())
        return KeyPrincipal(caller.actor), caller

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes ``ApiKeyAuthentication``."""

    target_class = "tenants.api.authentication.ApiKeyAuthentication"
    match_subclasses = True
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of the team (mcp_live_…).",
        }
