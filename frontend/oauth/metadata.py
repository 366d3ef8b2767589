"""Where a team's issuer and servers say what they are (RFC 8414, RFC 9728). Made of the base URL, never of Host."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from frontend.oauth.answers import fault_answer, open_to_all, tenant_named
from tenants.models import SLUG_PATTERN
from tenants.oauth_addresses import DEFAULT_SERVER, RESERVED_SERVERS, base_url, issuer, resource
from tenants.roles import OAUTH_SCOPES
from tenants.services.oauth_parameters import GRANTS, OAuthFault
from tenants.services.outside_issuers import outside_identifiers

_SECRETS = ["client_secret_basic", "client_secret_post"]


@require_safe
def issuer_metadata(request: HttpRequest, tenant: str) -> HttpResponse:
    """The authorization server's metadata; 404 for a tenant that there is not."""
    if tenant_named(tenant) is None:
        return _nothing()
    name = issuer(tenant)
    return _document(
        {
            "issuer": name,
            "authorization_endpoint": f"{name}/authorize",
            "token_endpoint": f"{name}/token",
            "registration_endpoint": f"{name}/register",
            "client_id_metadata_document_supported": True,
            "revocation_endpoint": f"{name}/revoke",
            "introspection_endpoint": f"{name}/introspect",
            "scopes_supported": list(OAUTH_SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(GRANTS),
            "token_endpoint_auth_methods_supported": ["none", *_SECRETS],
            "revocation_endpoint_auth_methods_supported": ["none", *_SECRETS],
            "introspection_endpoint_auth_methods_supported": ["Bearer"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
    )


@require_safe
def resource_metadata(request: HttpRequest, tenant: str, server: str | None = None) -> HttpResponse:
    """A server's protected resource metadata.

    Whether a team has a server of this name is not told here: who is no member learns it nowhere.
    """
    named = server is None or (re.fullmatch(SLUG_PATTERN, server) and server not in RESERVED_SERVERS)
    if not named or tenant_named(tenant) is None:
        return _nothing()
    identifier = resource(tenant) if server is None else f"{base_url()}/mcp/{tenant}/{server}"
    return _document(
        {
            "resource": identifier,
            "resource_name": f"{tenant} / {server or DEFAULT_SERVER} on Marina",
            "authorization_servers": [issuer(tenant), *outside_identifiers(tenant)],
            "scopes_supported": list(OAUTH_SCOPES),
            "bearer_methods_supported": ["header"],
        }
    )


def _document(body: dict[str, Any]) -> HttpResponse:
    response = JsonResponse(body)
    response["Cache-Control"] = "public, max-age=300"
    return open_to_all(response)


def _nothing() -> HttpResponse:
    return open_to_all(fault_answer(OAuthFault("not_found", "There is no such issuer.", status=404)))
