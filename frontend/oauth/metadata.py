"""Where a team's issuer and servers say what they are (RFC 8414, RFC 9728). Made of the base URL, never of Host."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from frontend.oauth.answers import fault_answer, no_such_issuer, public_document, tenant_named
from frontend.oauth.noting import note
from tenants.oauth_addresses import DEFAULT_SERVER, base_url, issuer, may_name_server, resource
from tenants.oauth_steps import Kind
from tenants.roles import OAUTH_SCOPES
from tenants.services.oauth_parameters import GRANTS, OAuthFault
from tenants.services.outside_issuers import outside_identifiers

_LOOKED_AT = 4
"""Segments of a misplaced address that may be a team's name."""

_ELSEWHERE = (
    "There is no metadata here. A server's stands at /.well-known/oauth-protected-resource followed by the path of its "
    "MCP URL; its issuer's at /.well-known/oauth-authorization-server followed by the path of the issuer that it names."
)

_SECRETS = ["client_secret_basic", "client_secret_post"]


@public_document
def issuer_metadata(request: HttpRequest, tenant: str) -> HttpResponse:
    """The authorization server's metadata; 404 for a tenant that there is not."""
    tenant_id = tenant_named(tenant)
    if tenant_id is None:
        return no_such_issuer()
    note(request, tenant_id, Kind.ISSUER_METADATA, ok=True, status=200)
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


@public_document
def resource_metadata(request: HttpRequest, tenant: str, server: str | None = None) -> HttpResponse:
    """A server's protected resource metadata.

    Whether a team has a server of this name is not told here: who is no member learns it nowhere.
    """
    tenant_id = tenant_named(tenant)
    if tenant_id is None:
        return no_such_issuer()
    if server is not None and not may_name_server(server):
        note(request, tenant_id, Kind.RESOURCE_METADATA, ok=False, status=404, code="server_unknown")
        return no_such_issuer()
    note(request, tenant_id, Kind.RESOURCE_METADATA, ok=True, status=200)
    identifier = resource(tenant) if server is None else f"{base_url()}/mcp/{tenant}/{server}"
    return _document(
        {
            "resource": identifier,
            "resource_name": f"{tenant} / {server or DEFAULT_SERVER} on Marina",
            "authorization_servers": [issuer(tenant), *outside_identifiers(tenant_id)],
            "scopes_supported": list(OAUTH_SCOPES),
            "bearer_methods_supported": ["header"],
        }
    )


@public_document
def misplaced(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Where clients look for metadata that stands elsewhere. The answer tells nothing of any team.

    A team's timeline does, where its name stands in the address.
    """
    named = (tenant_named(part) for part in rest.split("/")[:_LOOKED_AT])
    tenant_id = next((each for each in named if each is not None), None)
    note(request, tenant_id, Kind.MISPLACED, ok=False, status=404, code="nothing_here")
    return fault_answer(OAuthFault("not_found", _ELSEWHERE, status=404))


def _document(body: dict[str, Any]) -> HttpResponse:
    response = JsonResponse(body)
    response["Cache-Control"] = "public, max-age=300"
    return response
